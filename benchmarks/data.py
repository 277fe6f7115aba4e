"""Deterministic tables to measure with: the same rows on every machine, no download.

`lineitem` has the columns, types and value ranges of TPC-H's table of that name. The values come
from a hash of the row number, not from dbgen, so results are not TPC-H results.
"""

from pathlib import Path

import duckdb

# A text to cut comments from, about 2,000 characters long.
_POOL = (
    "SELECT string_agg(words[1 + (hash(j, 99) % 16)::BIGINT], ' ' ORDER BY j) AS pool FROM range(270) r(j),"
    " (SELECT ['carefully', 'quickly', 'furiously', 'slyly', 'ironic', 'final', 'regular', 'express',"
    " 'pending', 'deposits', 'requests', 'packages', 'accounts', 'ideas', 'foxes', 'theodolites'] AS words)"
)


def _pick(seed: int, count: int) -> str:
    """A whole number from 0 to `count` - 1, with an even spread; one `seed` a column."""
    return f"(hash(i, {seed}) % {count})::BIGINT"


def _order(seed: int, count: int) -> str:
    """The same for the four lines of one order."""
    return f"(hash(i // 4, {seed}) % {count})::BIGINT"


# Dates as in section 4.2.3 of the TPC-H specification: ship, commit and receipt follow the order's date.
_LINEITEM = f"""
    SELECT (i // 4 * 4 + 1)::BIGINT AS l_orderkey,
           1 + {_pick(1, 200_000)} AS l_partkey,
           1 + {_pick(2, 10_000)} AS l_suppkey,
           1 + i % 4 AS l_linenumber,
           (1 + {_pick(3, 50)})::DECIMAL(15,2) AS l_quantity,
           ((90_000 + {_pick(4, 10_400_000)}) / 100)::DECIMAL(15,2) AS l_extendedprice,
           ({_pick(5, 11)} / 100)::DECIMAL(15,2) AS l_discount,
           ({_pick(6, 9)} / 100)::DECIMAL(15,2) AS l_tax,
           ['A', 'N', 'R'][1 + {_pick(7, 3)}] AS l_returnflag,
           ['F', 'O'][1 + {_pick(8, 2)}] AS l_linestatus,
           DATE '1992-01-01' + ({_order(9, 2406)} + 1 + {_pick(10, 121)})::INTEGER AS l_shipdate,
           DATE '1992-01-01' + ({_order(9, 2406)} + 30 + {_pick(11, 61)})::INTEGER AS l_commitdate,
           DATE '1992-01-01' + ({_order(9, 2406)} + 2 + {_pick(10, 121)} + {_pick(12, 30)})::INTEGER
               AS l_receiptdate,
           ['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'][1 + {_pick(13, 4)}]
               AS l_shipinstruct,
           ['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB'][1 + {_pick(14, 7)}] AS l_shipmode,
           substr(pool, 1 + {_pick(15, 1_900)}, 10 + {_pick(16, 34)}) AS l_comment
    FROM range({{rows}}) t(i), ({_POOL})
"""

_NUMBERS = f"""
    SELECT i AS id,
           (1 + {_pick(3, 50)})::DECIMAL(15,2) AS quantity,
           ((90_000 + {_pick(4, 10_400_000)}) / 100)::DECIMAL(15,2) AS price,
           {_pick(14, 1_000)}::INTEGER AS bucket,
           {_pick(15, 1_000_000)} / 7.0 AS reading,
           {_pick(17, 1_000_000_000)} AS device
    FROM range({{rows}}) t(i)
"""

_TEXTS = f"""
    SELECT i AS id,
           substr(pool, 1 + {_pick(1, 1_000)}, 200 + {_pick(2, 600)}) AS title,
           substr(pool, 1 + {_pick(3, 1_000)}, 500) || i AS body,
           'https://example.org/' || (hash(i, 4) % 100_000) AS link
    FROM range({{rows}}) t(i), ({_POOL})
"""

_NESTED = f"""
    SELECT i AS id,
           {{'x': {_pick(1, 1_000)}, 'y': {_pick(2, 1_000)} / 7.0}} AS point,
           [{_pick(3, 100)}, {_pick(4, 100)}, i] AS readings,
           [{{'name': 'sensor ' || (hash(i, 5) % 50), 'value': {_pick(6, 10_000)}}}] AS sensors
    FROM range({{rows}}) t(i)
"""


def lineitem(folder: Path, rows: int) -> Path:
    """A Parquet file of `rows` x 16; made once."""
    return _made(folder / f"lineitem-{rows}.parquet", _LINEITEM.replace("{rows}", str(rows)))


def numbers(folder: Path, rows: int) -> Path:
    """A Parquet file of `rows` x 6, numeric; made once."""
    return _made(folder / f"numbers6-{rows}.parquet", _NUMBERS.replace("{rows}", str(rows)))


def texts(folder: Path, rows: int) -> Path:
    """A Parquet file of `rows` x 4, about a kilobyte of text a row; made once."""
    return _made(folder / f"texts-{rows}.parquet", _TEXTS.replace("{rows}", str(rows)))


def nested(folder: Path, rows: int) -> Path:
    """A Parquet file of `rows` x 4: a struct, a list, and a list of structs; made once."""
    return _made(folder / f"nested-{rows}.parquet", _NESTED.replace("{rows}", str(rows)))


def _made(path: Path, sql: str) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        connection = duckdb.connect()
        connection.execute(
            f"COPY ({sql}) TO '{part}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 61440)"
        )
        connection.close()
        part.rename(path)
    return path
