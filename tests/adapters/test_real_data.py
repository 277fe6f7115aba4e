"""Awkward data as the world has it, and small likenesses of it that are always there."""

import json
import os
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.adapters.parsing import parsed, types

FOLDER = Path(os.environ.get("SKEIN_TEST_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


def real(name: str) -> Path:
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"{name} is not here; point SKEIN_TEST_DATA to the folder that has it")
    return path


def test_zip_codes_keep_their_zeros():
    table = parsed(real("zipcodes.csv"))
    assert types(table) == {
        "zip_code": "string",
        "latitude": "double",
        "longitude": "double",
        "city": "string",
        "state": "string",
        "county": "string",
    }
    assert table.num_rows == 42_049
    assert table["zip_code"][0].as_py() == "00501"
    assert pc.all(pc.equal(pc.utf8_length(table["zip_code"]), 5)).as_py()


def test_film_titles_that_are_numbers_are_text_and_so_are_dates_in_prose():
    path = real("movies.json")
    records = json.loads(path.read_text())
    table = parsed(path)
    assert table.num_rows == len(records)
    assert table.column_names == list(dict.fromkeys(key for record in records for key in record))
    assert types(table)["Title"] == types(table)["Release Date"] == "string"
    assert types(table)["US Gross"] == "int64"
    assert types(table)["IMDB Rating"] == "double"
    titles = [None if record["Title"] is None else str(record["Title"]) for record in records]
    assert table["Title"].to_pylist() == titles
    for column in ("Release Date", "US Gross", "IMDB Rating", "Director"):
        assert table[column].to_pylist() == [record[column] for record in records]


def test_earthquakes_become_rows_with_a_place():
    path = real("earthquakes.json")
    features = json.loads(path.read_text())["features"]
    table = parsed(path)
    assert table.num_rows == len(features)
    assert table["id"].to_pylist() == [feature["id"] for feature in features]
    assert types(table)["mag"] == "double"
    assert types(table)["time"] == "int64"
    assert table["mag"].to_pylist() == [feature["properties"]["mag"] for feature in features]
    points = [place["coordinates"] for place in table["geometry"].to_pylist()]
    assert points == [feature["geometry"]["coordinates"] for feature in features]


def test_the_request_can_say_what_times_and_dates_are():
    quakes = parsed(real("earthquakes.json"), types={"time": "timestamp[ms, tz=UTC]"})
    feature = json.loads(real("earthquakes.json").read_text())["features"][0]
    assert quakes["time"][0].as_py() == datetime.fromtimestamp(feature["properties"]["time"] / 1000, UTC)
    films = parsed(real("movies.json"), types={"Release Date": {"type": "date", "format": "%b %d %Y"}})
    assert films["Release Date"][0].as_py() == date(1998, 6, 12)


def test_flights_as_json():
    path = real("flights-200k.json")
    records = json.loads(path.read_text())
    table = parsed(path)
    assert types(table) == {"delay": "int64", "distance": "int64", "time": "double"}
    for column in table.column_names:
        assert table[column].to_pylist() == [record[column] for record in records]


def test_flights_as_parquet():
    path = real("flights-3m.parquet")
    table = parsed(path)
    assert types(table) == types(pq.read_table(path))
    assert table.cast(pq.read_schema(path)).equals(pq.read_table(path))


def test_codes_with_leading_zeros_at_the_end_of_a_file():
    lines = [f"{code},x" for code in range(99_950, 500, -1)]
    table = parsed("\n".join(["zip_code,city", *lines, "00501,Holtsville"]).encode())
    assert types(table) == {"zip_code": "string", "city": "string"}
    assert table["zip_code"][-1].as_py() == "00501"


def test_titles_of_two_types():
    films = [
        {"Title": "Metropolis", "Year": 1927},
        {"Title": 300, "Year": 2006},
        {"Title": None, "Year": None},
    ]
    table = parsed(json.dumps(films).encode())
    assert table.to_pydict() == {"Title": ["Metropolis", "300", None], "Year": [1927, 2006, None]}


def test_points_of_geojson():
    quake = {
        "type": "Feature",
        "properties": {"mag": 2, "felt": None},
        "geometry": {"type": "Point", "coordinates": [-118.6, 34.5, 26]},
        "id": "ci1",
    }
    collection = {"type": "FeatureCollection", "features": [quake], "bbox": [-179.9, -56.5, -3.5]}
    assert parsed(json.dumps(collection).encode()).to_pylist() == [
        {
            "id": "ci1",
            "mag": 2,
            "felt": None,
            "geometry": {"type": "Point", "coordinates": [-118.6, 34.5, 26.0]},
        }
    ]


def test_departures_of_flights():
    moments = [datetime.fromisoformat("2001-01-01T00:01:00"), datetime.fromisoformat("2001-06-30T23:59:00")]
    expected = pa.table({"date": pa.array(moments, pa.timestamp("us")), "delay": [14, -3]})
    content = b"date,delay\n2001-01-01 00:01,14\n2001-06-30 23:59,-3\n"
    assert parsed(content).equals(expected)
