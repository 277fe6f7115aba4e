from pathlib import Path

import pytest

from flight_core.domain.errors import InvalidOption, InvalidSource
from skein.cli.arguments import options_of, source_of, value_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("60", 60),
        ("-1.5", -1.5),
        ("true", True),
        ("null", None),
        ('["a", 1]', ["a", 1]),
        ('"60"', "60"),
        ("SEA", "SEA"),
        ("2026-01-31", "2026-01-31"),
        ("", ""),
        (";", ";"),
        ("NaN", "NaN"),
        ("007", "007"),
    ],
)
def test_what_is_json_is_a_value_and_everything_else_text(text, value):
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


def test_options_are_split_at_the_first_equals_sign():
    assert options_of(["delimiter==", "header=false", "record_path=a.b"]) == {
        "delimiter": "=",
        "header": False,
        "record_path": "a.b",
    }


@pytest.mark.parametrize("pair", ["header", "=;", ""])
def test_an_option_without_a_name_or_a_value_is_refused(pair):
    with pytest.raises(InvalidOption, match="NAME=VALUE"):
        options_of([pair])


def test_paths_become_absolute_and_keep_their_patterns(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    assert source_of(["part-*.csv"]) == {"kind": "file", "path": str(tmp_path / "part-*.csv")}
    assert source_of(["/a.csv", "~/b.csv"]) == {
        "kind": "file",
        "path": ["/a.csv", str(Path.home() / "b.csv")],
    }


@pytest.mark.parametrize("url", ["http://example.org/x.csv", "HTTPS://example.org/x.csv?a=1"])
def test_a_url_is_fetched(url):
    assert source_of([url]) == {"kind": "http", "url": url}


@pytest.mark.parametrize(
    "sources", [["s3://bucket/x"], ["https://a/x", "https://a/y"], ["x.csv", "https://a/y"]]
)
def test_other_urls_and_mixtures_are_refused(sources):
    with pytest.raises(InvalidSource):
        source_of(sources)


def test_types_of_columns_become_an_option():
    types = ["zip=string", "at=timestamp[ms, tz=UTC]", "day=date:%d.%m.%Y"]
    assert options_of(["header=true"], types=types) == {
        "header": True,
        "types": {
            "zip": "string",
            "at": "timestamp[ms, tz=UTC]",
            "day": {"type": "date", "format": "%d.%m.%Y"},
        },
    }
    with pytest.raises(InvalidOption, match="COLUMN=TYPE"):
        options_of([], types=["zip"])
