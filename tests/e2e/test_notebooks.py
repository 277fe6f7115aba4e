"""The notebooks run from top to bottom in kernels of their own, and show what they showed when saved."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from skein.demo import shipped_flights
from tests.stack import skein_stack

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with skein_stack(tmp_path_factory.mktemp("notebooks") / "skein-data") as stack:
        stack.write("flights", shipped_flights())
        yield stack


def texts(notebook):
    """What each cell of code shows as text; a plot by its kind alone."""
    return [
        [sorted(output["data"]) if "image/png" in output["data"] else output["data"]["text/plain"]]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]


@pytest.mark.filterwarnings("default")  # of the kernel's libraries
@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_says(path, server):
    saved = nbformat.read(path, as_version=4)
    run = nbformat.read(path, as_version=4)
    NotebookClient(run, timeout=90, resources={"metadata": {"path": str(server.data.parent)}}).execute()
    assert texts(saved)
    assert texts(run) == texts(saved)
