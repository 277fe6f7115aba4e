"""Fields that are no numbers although they look like some, wherever in a file they are."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from flight_core.adapters.parsers.formats.codes import may_hold_codes
from flight_core.adapters.parsers.formats.dialects import Table

CODE = re.compile(r"0[0-9]|[+ \t][-+.0-9 \t]")


def table(path: Path, *, delimiter=",", quote='"', line_end="\n") -> Table:
    return Table(path, "f", "utf-8", delimiter, quote, False, ("a",), line_end, ".", 1.0)


def holds_codes(text: str, **dialect) -> bool:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_bytes(text.encode())
        return may_hold_codes(table(path, **dialect))


@given(
    st.sampled_from(
        [(",", '"', "\n"), (";", "'", "\r"), ("\t", None, "\n"), ("|", '"', "\n"), ("^", "]", "\n")]
    ),
    st.lists(st.lists(st.text('0019+- .\tx"é]', max_size=3), min_size=1, max_size=3), max_size=4),
)
def test_fields_that_begin_as_no_plain_number_does_are_found(dialect, rows):
    delimiter, quote, line_end = dialect
    text = "".join(delimiter.join(row) + line_end for row in rows)
    marks = "|".join(map(re.escape, filter(None, dialect)))
    expected = re.search(f"(?:^|{marks})(?:{CODE.pattern})", text) is not None
    assert holds_codes(text, delimiter=delimiter, quote=quote, line_end=line_end) == expected
