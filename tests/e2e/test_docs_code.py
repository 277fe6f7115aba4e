"""The Python in the README and the guides runs, page by page, and prints what the page says."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from skein.demo import shipped_flights
from tests.architecture import documents
from tests.protocol import certificates
from tests.stack import skein_stack

# These show parts of files of this project; they say themselves where they go.
NOT_RUN = {
    f"docs/how-to/add-{it}.md" for it in ("a-source-kind", "a-file-format", "an-engine", "a-table-store")
}


def runnable():
    pages = [
        documents.ROOT / "README.md",
        *documents.DOCS.glob("tutorial/*.md"),
        *documents.DOCS.glob("how-to/*.md"),
    ]
    return [page for page in sorted(pages) if _python(page) and documents.name(page) not in NOT_RUN]


def _python(page: Path) -> str:
    return "\n".join(code for language, code in documents.blocks(page) if language == "python")


@pytest.mark.parametrize("page", runnable(), ids=documents.name)
def test_the_code_of_a_page_prints_what_the_page_says(page, tmp_path):
    settings = _network(tmp_path) if page.stem == "network" else {}
    with skein_stack(tmp_path / "skein-data", ingest_roots=str(tmp_path), **settings) as stack:
        stack.write("flights", shipped_flights())
        printed = _run(_at(_python(page), stack), tmp_path)
    for shown in _outputs(page):
        assert shown in printed


def _network(folder: Path) -> dict[str, object]:
    """The server of the page about networks, with its certificate where the page has it."""
    (folder / "cert.pem").write_bytes(certificates.SERVER + certificates.CA)
    (folder / "key.pem").write_bytes(certificates.SERVER_KEY)
    return {
        "tokens": "dashboard/read=first-long-random-text,loader/read+write=second-long-random-text",
        "tls_cert": folder / "cert.pem",
        "tls_key": folder / "key.pem",
    }


def _at(code: str, stack) -> str:
    """The code, with the address of this server in the place of the usual one."""
    flight, http = (re.search(r":(\d+)$", uri).group(1) for uri in (stack.flight_uri, stack.http_url))
    return code.replace(":8815", f":{flight}").replace(":8816", f":{http}")


def _run(code: str, folder: Path) -> str:
    script = folder / "page.py"
    script.write_text(code)
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _outputs(page: Path) -> list[str]:
    """The blocks of text that come right after a block of Python: what it prints."""
    return [
        after
        for (language, _), (kind, after) in pairwise(documents.blocks(page))
        if (language, kind) == ("python", "text")
    ]
