"""Searching a whole file for fields such as `00501`, which must not be read as numbers."""

import re
from collections.abc import Callable

from flight_core.adapters.parsers.formats.dialects import Table
from flight_core.adapters.parsers.text import as_series, in_parallel, line_chunks

_CHUNK_BYTES = 8 << 20
# How they begin. Short texts of one length are found as fast as memory is read, a few dozen at a time.
_BEGINNINGS = ("0[0-9]", "[+ \t][-+.0-9 \t]")


def may_hold_codes(table: Table) -> bool:
    """Whether any field begins as no plain number does: with a zero before another digit, or with a plus
    sign or a space before a number. Reading such a field as a number would lose that."""
    return any(in_parallel(_search(table), line_chunks(table.path, _CHUNK_BYTES)))


def may_hold_points(table: Table) -> bool:
    """Whether a point precedes a digit although the comma is the decimal mark: Polars accepts both."""
    if table.decimal != ",":
        return False
    chunks = line_chunks(table.path, _CHUNK_BYTES)
    return any(in_parallel(lambda lines: as_series(lines).str.contains(r"\.[0-9]").any(), chunks))


def _search(table: Table) -> Callable[[memoryview], bool]:
    quote = table.quote or table.delimiter
    marks = "|".join(map(re.escape, sorted({table.delimiter, table.line_end, quote})))
    patterns = [f"(?:{marks}){beginning}" for beginning in _BEGINNINGS]
    first = re.compile(f"(?:{re.escape(quote)})?(?:{'|'.join(_BEGINNINGS)})".encode())

    def found(lines: memoryview) -> bool:
        if first.match(lines):
            return True
        text = as_series(lines)
        return any(text.str.contains(pattern).any() for pattern in patterns)

    return found
