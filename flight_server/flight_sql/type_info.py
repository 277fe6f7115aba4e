"""GetXdbcTypeInfo: the types of DuckDB in the numbers of ODBC and JDBC."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

_I32 = pa.int32()
_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("type_name", pa.utf8(), nullable=False),
    pa.field("data_type", _I32, nullable=False),
    pa.field("column_size", _I32),
    pa.field("literal_prefix", pa.utf8()),
    pa.field("literal_suffix", pa.utf8()),
    pa.field("create_params", pa.list_(pa.field("item", pa.utf8(), nullable=False))),
    pa.field("nullable", _I32, nullable=False),
    pa.field("case_sensitive", pa.bool_(), nullable=False),
    pa.field("searchable", _I32, nullable=False),
    pa.field("unsigned_attribute", pa.bool_()),
    pa.field("fixed_prec_scale", pa.bool_(), nullable=False),
    pa.field("auto_increment", pa.bool_()),
    pa.field("local_type_name", pa.utf8()),
    pa.field("minimum_scale", _I32),
    pa.field("maximum_scale", _I32),
    pa.field("sql_data_type", _I32, nullable=False),
    pa.field("datetime_subcode", _I32),
    pa.field("num_prec_radix", _I32),
    pa.field("interval_precision", _I32),
]
SCHEMA = pa.schema(_FIELDS)

_NULLABLE = 1
_COMPARED, _MATCHED_TOO = 2, 3  # "searchable": all but LIKE, and LIKE as well

_UNKNOWN = 0
_NUMERIC, _DECIMAL, _INTEGER, _SMALLINT, _REAL, _DOUBLE, _INTERVAL = 2, 3, 4, 5, 7, 8, 10
_VARCHAR, _DATE, _TIME, _TIMESTAMP = 12, 91, 92, 93
_LONGVARCHAR, _VARBINARY, _BIGINT, _TINYINT, _BIT = -1, -3, -5, -6, -7
_DATETIME = 9  # what dates and times have in common; the subcode tells them apart


@dataclass(frozen=True, slots=True)
class SqlType:
    """A row of the answer, without what follows from the rest."""

    name: str
    code: int
    size: int | None = None  # digits, characters, or bits of a binary fraction
    quotes: tuple[str, str] | None = None
    parameters: tuple[str, ...] | None = None
    searchable: int = _COMPARED
    unsigned: bool | None = None
    scale: tuple[int, int] | None = None
    subcode: int | None = None
    radix: int | None = None

    @property
    def sql_code(self) -> int:
        return _DATETIME if self.code in (_DATE, _TIME, _TIMESTAMP) else self.code

    def row(self) -> dict[str, object]:
        prefix, suffix = self.quotes or (None, None)
        low, high = self.scale or (None, None)
        return {
            "type_name": self.name,
            "data_type": self.code,
            "column_size": self.size,
            "literal_prefix": prefix,
            "literal_suffix": suffix,
            "create_params": self.parameters,
            "nullable": _NULLABLE,
            "case_sensitive": self.searchable == _MATCHED_TOO,
            "searchable": self.searchable,
            "unsigned_attribute": self.unsigned,
            "fixed_prec_scale": False,
            "auto_increment": None if self.unsigned is None else False,
            "local_type_name": self.name,
            "minimum_scale": low,
            "maximum_scale": high,
            "sql_data_type": self.sql_code,
            "datetime_subcode": self.subcode,
            "num_prec_radix": self.radix,
            "interval_precision": None,
        }


def _integer(name: str, code: int, digits: int, *, unsigned: bool = False) -> SqlType:
    return SqlType(name, code, digits, unsigned=unsigned, scale=(0, 0), radix=10)


def _text(name: str, code: int = _VARCHAR, parameters: tuple[str, ...] | None = None) -> SqlType:
    return SqlType(name, code, quotes=("'", "'"), parameters=parameters, searchable=_MATCHED_TOO)


def _moment(name: str, code: int, size: int, subcode: int, digits: int) -> SqlType:
    return SqlType(name, code, size, (f"{name} '", "'"), scale=(0, digits), subcode=subcode)


def _moments() -> Iterator[SqlType]:
    yield SqlType("DATE", _DATE, 10, ("DATE '", "'"), subcode=1)
    yield _moment("TIME", _TIME, 15, 2, 6)
    yield _moment("TIME_NS", _TIME, 18, 2, 9)
    yield _moment("TIME WITH TIME ZONE", _TIME, 21, 4, 6)
    yield _moment("TIMESTAMP", _TIMESTAMP, 26, 3, 6)
    yield _moment("TIMESTAMP_S", _TIMESTAMP, 19, 3, 0)
    yield _moment("TIMESTAMP_MS", _TIMESTAMP, 23, 3, 3)
    yield _moment("TIMESTAMP_NS", _TIMESTAMP, 29, 3, 9)
    yield _moment("TIMESTAMP WITH TIME ZONE", _TIMESTAMP, 32, 5, 6)
    yield _moment("TIMESTAMPTZ_NS", _TIMESTAMP, 35, 5, 9)
    yield SqlType("INTERVAL", _INTERVAL, quotes=("INTERVAL '", "'"))


TYPES: tuple[SqlType, ...] = (
    SqlType("BOOLEAN", _BIT, 1),
    _integer("TINYINT", _TINYINT, 3),
    _integer("UTINYINT", _TINYINT, 3, unsigned=True),
    _integer("SMALLINT", _SMALLINT, 5),
    _integer("USMALLINT", _SMALLINT, 5, unsigned=True),
    _integer("INTEGER", _INTEGER, 10),
    _integer("UINTEGER", _INTEGER, 10, unsigned=True),
    _integer("BIGINT", _BIGINT, 19),
    _integer("UBIGINT", _BIGINT, 20, unsigned=True),
    _integer("HUGEINT", _NUMERIC, 39),
    _integer("UHUGEINT", _NUMERIC, 39, unsigned=True),
    SqlType("BIGNUM", _NUMERIC, unsigned=False, scale=(0, 0), radix=10),
    SqlType(
        "DECIMAL", _DECIMAL, 38, parameters=("precision", "scale"), unsigned=False, scale=(0, 38), radix=10
    ),
    SqlType("FLOAT", _REAL, 24, unsigned=False, radix=2),
    SqlType("DOUBLE", _DOUBLE, 53, unsigned=False, radix=2),
    _text("VARCHAR", parameters=("length",)),
    _text("UUID"),
    _text("ENUM", parameters=("values",)),
    _text("JSON", _LONGVARCHAR),
    SqlType("BLOB", _VARBINARY, quotes=("'", "'::BLOB")),
    SqlType("BIT", _VARBINARY, quotes=("'", "'::BIT")),
    *_moments(),
    *(
        SqlType(name, _UNKNOWN)
        for name in ("ARRAY", "GEOMETRY", "LIST", "MAP", "NULL", "STRUCT", "UNION", "VARIANT")
    ),
)


def type_info(data_type: int | None) -> pa.Table:
    """One row a type, ordered by number and name; with `data_type`, only those of that number."""
    found = sorted((t for t in TYPES if data_type in (None, t.code)), key=lambda t: (t.code, t.name))
    return pa.Table.from_pylist([t.row() for t in found], schema=SCHEMA)
