"""The reference page names what the server offers."""

import re
from pathlib import Path

import pytest

from flight_server.commands import WRITE_HEADERS
from flight_server.streams import COMPRESSION_HEADER
from schemas import flight as wire
from tests.protocol.flight_stack import flight_stack

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "flight.md").read_text()


def headings(section: str) -> set[str]:
    """The third-level headings below a second-level one."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^### (\S+)$", text, re.MULTILINE))


def test_every_action_has_a_heading_and_a_description(tmp_path):
    with flight_stack(tmp_path) as stack, stack.connect() as client:
        actions = client.list_actions()
    ours = {action.type for action in actions if action.type.islower()}  # Flight SQL's are CamelCase
    assert ours == headings("DoAction")
    assert all(action.description for action in actions)


def test_every_header_has_a_heading():
    assert headings("Headers") == {COMPRESSION_HEADER, *WRITE_HEADERS}


@pytest.mark.parametrize(
    "model",
    [
        wire.SqlCommand,
        wire.DatasetCommand,
        wire.WriteCommand,
        wire.WriteResult,
        wire.InfoMetadata,
        wire.QueryStatus,
        wire.DatasetDescription,
        wire.ColumnDescription,
        wire.VersionStatus,
    ],
)
def test_every_field_is_named(model):
    missing = [field for field in model.model_fields if not re.search(rf"\b{field}\b", PAGE)]
    assert missing == []
