"""The page about formats names every format and every option, and no other."""

import re

from flight_core.adapters.parsers.column_types.inference import NULL_WORDS
from flight_core.adapters.parsers.options import FORMATS, model_of
from tests.architecture import documents

PAGE = documents.DOCS / "reference" / "formats.md"


def test_every_format_has_a_heading():
    headings = " ".join(documents.headings(PAGE))
    assert sorted(re.findall(r"`([a-z]+)`", headings)) == sorted(FORMATS)


def test_every_option_is_in_the_table_with_its_formats():
    section = documents.sections(PAGE)["Options"]
    rows = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \|", section, re.MULTILINE)
    told = {
        option: set(FORMATS) if formats == "all" else set(formats.split(", ")) for option, formats in rows
    }
    options = {option for format in FORMATS for option in model_of(format).model_fields}
    assert told == {
        option: {format for format in FORMATS if option in model_of(format).model_fields}
        for option in options
    }


def test_the_words_for_nothing_are_listed():
    text = PAGE.read_text()
    assert all(f"`{word}`" in text for word in NULL_WORDS if word)
