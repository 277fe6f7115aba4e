"""The metadata commands. Schemas, filters and order are the specification's."""

import duckdb
import pyarrow as pa
import pytest

from schemas.flight_sql.sql_pb2 import (
    CommandGetCatalogs,
    CommandGetCrossReference,
    CommandGetDbSchemas,
    CommandGetExportedKeys,
    CommandGetImportedKeys,
    CommandGetPrimaryKeys,
    CommandGetTables,
    CommandGetTableTypes,
    CommandGetXdbcTypeInfo,
)
from tests.protocol.raw_flight_sql import schema_of
from tests.protocol.sql_stack import sql_stack

BIRDS = pa.table({"name": ["goose"], "weight_kg": [3.5]})

SETUP = """
    CREATE TABLE parent (a INTEGER, b VARCHAR, PRIMARY KEY (b, a));
    CREATE TABLE single (id BIGINT PRIMARY KEY, code VARCHAR UNIQUE NOT NULL);
    CREATE TABLE child (x INTEGER, y VARCHAR, z VARCHAR, s BIGINT,
        FOREIGN KEY (y, x) REFERENCES parent (b, a), FOREIGN KEY (s) REFERENCES single (id),
        FOREIGN KEY (z) REFERENCES single (code));
    CREATE VIEW looking AS SELECT * FROM single;
    CREATE SCHEMA attic;
    CREATE TABLE attic.box (i INTEGER PRIMARY KEY);
    CREATE TABLE attic.b_x (i INTEGER);
    CREATE TABLE attic."b%x" (i INTEGER);
    CREATE TABLE typed (
        i INTEGER NOT NULL, d DECIMAL(9, 2), t TIMESTAMP WITH TIME ZONE, l INTEGER[],
        m MAP(VARCHAR, INTEGER), e ENUM ('a', 'b'), n STRUCT(x DATE)
    );
    COMMENT ON COLUMN typed.d IS 'money';
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with sql_stack(tmp_path_factory.mktemp("skein")) as made:
        made.write("birds", BIRDS)
        with made.raw() as client:
            client.update(SETUP)
        yield made


@pytest.fixture
def client(stack):
    with stack.raw() as made:
        yield made


def fields(*specs: str) -> pa.Schema:
    """`name:type` for nullable fields, `name:type!` for those that are not."""
    types = {
        "utf8": pa.utf8(),
        "int32": pa.int32(),
        "uint8": pa.uint8(),
        "bool": pa.bool_(),
        "binary": pa.binary(),
    }
    split = [spec.partition(":") for spec in specs]
    return pa.schema(
        [pa.field(name, types[type.rstrip("!")], nullable=not type.endswith("!")) for name, _, type in split]
    )


KEYS = fields(
    *("pk_catalog_name:utf8", "pk_db_schema_name:utf8", "pk_table_name:utf8!", "pk_column_name:utf8!"),
    *("fk_catalog_name:utf8", "fk_db_schema_name:utf8", "fk_table_name:utf8!", "fk_column_name:utf8!"),
    *(
        "key_sequence:int32!",
        "fk_key_name:utf8",
        "pk_key_name:utf8",
        "update_rule:uint8!",
        "delete_rule:uint8!",
    ),
)
TABLES = fields("catalog_name:utf8", "db_schema_name:utf8", "table_name:utf8!", "table_type:utf8!")
SCHEMAS = [
    (CommandGetCatalogs(), fields("catalog_name:utf8!")),
    (CommandGetDbSchemas(), fields("catalog_name:utf8", "db_schema_name:utf8!")),
    (CommandGetTables(), TABLES),
    (
        CommandGetTables(include_schema=True),
        TABLES.append(pa.field("table_schema", pa.binary(), nullable=False)),
    ),
    (CommandGetTableTypes(), fields("table_type:utf8!")),
    (
        CommandGetPrimaryKeys(table="parent"),
        fields(
            *("catalog_name:utf8", "db_schema_name:utf8", "table_name:utf8!", "column_name:utf8!"),
            *("key_sequence:int32!", "key_name:utf8"),
        ),
    ),
    (CommandGetExportedKeys(table="parent"), KEYS),
    (CommandGetImportedKeys(table="child"), KEYS),
    (CommandGetCrossReference(pk_table="parent", fk_table="child"), KEYS),
]


@pytest.mark.parametrize(("command", "schema"), SCHEMAS, ids=lambda value: type(value).__name__)
def test_schemas_are_exact_whether_there_are_rows_or_not(client, command, schema):
    table = client.metadata(command)
    assert table.schema.equals(schema, check_metadata=True)
    for column in table.columns:
        column.validate(full=True)


def test_catalogs(client):
    assert client.metadata(CommandGetCatalogs()).to_pydict() == {
        "catalog_name": ["lake", "skein", "workspace"]
    }


def test_the_catalog_of_temporary_tables_shows_when_there_are_some(client):
    client.execute("CREATE TEMP TABLE mine (i INTEGER)")
    catalogs = client.metadata(CommandGetCatalogs()).column(0).to_pylist()
    assert catalogs == ["lake", "skein", "temp", "workspace"]
    found = client.metadata(CommandGetTables(catalog="temp")).to_pylist()
    assert [(row["table_name"], row["table_type"]) for row in found] == [("mine", "LOCAL TEMPORARY")]


def pairs(table: pa.Table) -> list[tuple]:
    return [tuple(row.values()) for row in table.to_pylist()]


EVERY_SCHEMA = [("lake", "datasets"), ("skein", "main"), ("workspace", "attic"), ("workspace", "main")]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, EVERY_SCHEMA),
        ({"catalog": "workspace"}, EVERY_SCHEMA[2:]),
        ({"catalog": "work%"}, []),
        ({"catalog": ""}, []),
        ({"db_schema_filter_pattern": "%a%"}, EVERY_SCHEMA),
        ({"db_schema_filter_pattern": "ma_n"}, [("skein", "main"), ("workspace", "main")]),
        ({"db_schema_filter_pattern": ""}, []),
        ({"catalog": "lake", "db_schema_filter_pattern": "main"}, []),
    ],
)
def test_schemas_are_filtered_and_ordered(client, filters, expected):
    assert pairs(client.metadata(CommandGetDbSchemas(**filters))) == expected


EVERY_TABLE = [
    ("lake", "datasets", "birds", "TABLE"),
    ("skein", "main", "datasets", "VIEW"),
    ("skein", "main", "jobs", "VIEW"),
    ("skein", "main", "lineage", "VIEW"),
    ("skein", "main", "versions", "VIEW"),
    ("workspace", "attic", "b%x", "TABLE"),
    ("workspace", "attic", "b_x", "TABLE"),
    ("workspace", "attic", "box", "TABLE"),
    ("workspace", "main", "child", "TABLE"),
    ("workspace", "main", "looking", "VIEW"),
    ("workspace", "main", "parent", "TABLE"),
    ("workspace", "main", "single", "TABLE"),
    ("workspace", "main", "typed", "TABLE"),
]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, EVERY_TABLE),
        ({"catalog": "lake"}, EVERY_TABLE[:1]),
        ({"catalog": ""}, []),
        ({"db_schema_filter_pattern": "att%"}, EVERY_TABLE[5:8]),
        ({"table_name_filter_pattern": "b_x"}, EVERY_TABLE[5:8]),
        ({"table_name_filter_pattern": r"b\_x"}, EVERY_TABLE[6:7]),
        ({"table_name_filter_pattern": r"b\%x"}, EVERY_TABLE[5:6]),
        ({"table_name_filter_pattern": "BIRDS"}, []),
        ({"table_types": ["VIEW"]}, EVERY_TABLE[1:5] + EVERY_TABLE[9:10]),
        ({"table_types": ["BASE TABLE"], "catalog": "lake"}, EVERY_TABLE[:1]),
        ({"table_types": ["view", "TABLE"]}, EVERY_TABLE),
        ({"table_types": ["SYNONYM"]}, []),
    ],
)
def test_tables_are_filtered_and_ordered(client, filters, expected):
    assert pairs(client.metadata(CommandGetTables(**filters))) == expected
    with_schema = client.metadata(CommandGetTables(**filters, include_schema=True))
    assert pairs(with_schema.drop_columns("table_schema")) == expected


def test_older_versions_of_datasets_are_no_tables(client, stack):
    assert client.rows('SELECT name FROM "birds@v0"') == [("goose",)]
    assert pairs(client.metadata(CommandGetTables(catalog="lake"))) == EVERY_TABLE[:1]


def table_schema(client, name: str) -> pa.Schema:
    table = client.metadata(CommandGetTables(table_name_filter_pattern=name, include_schema=True))
    return schema_of(table.column("table_schema")[0].as_py())


def test_the_schema_of_a_table_is_that_of_a_query_with_the_nullability_of_the_catalog(client):
    schema = table_schema(client, "typed")
    assert [field.nullable for field in schema] == [False] + [True] * 6
    queried = client.query("SELECT * FROM typed").schema
    assert [(field.name, field.type) for field in schema] == [(field.name, field.type) for field in queried]


def test_columns_tell_their_sql_type(client):
    schema = table_schema(client, "typed")
    told = {
        field.name: {
            key.decode().removeprefix("ARROW:FLIGHT:SQL:"): value.decode()
            for key, value in field.metadata.items()
        }
        for field in schema
    }
    assert {name: about["TYPE_NAME"] for name, about in told.items()} == {
        "i": "INTEGER",
        "d": "DECIMAL(9,2)",
        "t": "TIMESTAMP WITH TIME ZONE",
        "l": "INTEGER[]",
        "m": "MAP(VARCHAR, INTEGER)",
        "e": "ENUM('a', 'b')",
        "n": "STRUCT(x DATE)",
    }
    assert (told["d"]["PRECISION"], told["d"]["SCALE"], told["d"]["REMARKS"]) == ("9", "2", "money")
    assert told["i"]["CATALOG_NAME"] == "workspace"
    assert told["i"]["SCHEMA_NAME"] == told["i"]["DB_SCHEMA_NAME"] == "main"
    assert told["i"]["TABLE_NAME"] == "typed"
    assert (told["i"]["IS_AUTO_INCREMENT"], told["i"]["IS_READ_ONLY"], told["i"]["IS_SEARCHABLE"]) == (
        "0",
        "0",
        "1",
    )


def test_a_dataset_tells_its_columns(client):
    schema = table_schema(client, "birds")
    assert [(field.name, field.type) for field in schema] == [
        ("name", pa.utf8()),
        ("weight_kg", pa.float64()),
    ]


@pytest.mark.parametrize("in_session", [False, True])
def test_what_people_say_about_columns_of_a_dataset_is_their_remarks(stack, client, in_session):
    if in_session:
        client.update("CREATE TEMP TABLE mine (i INTEGER)")
    for text in ("kilograms", "grams"):
        stack.describe("birds", weight_kg=text)
        remarks = {
            field.name: field.metadata.get(b"ARROW:FLIGHT:SQL:REMARKS")
            for field in table_schema(client, "birds")
        }
        assert remarks == {"name": None, "weight_kg": text.encode()}


def test_a_broken_view_does_not_spoil_the_list(client):
    client.update("CREATE TABLE going (i INTEGER); CREATE VIEW dangling AS FROM going; DROP TABLE going")
    try:
        found = client.metadata(CommandGetTables(table_name_filter_pattern="dangling", include_schema=True))
        assert schema_of(found.column("table_schema")[0].as_py()) == pa.schema([])
    finally:
        client.update("DROP VIEW dangling")


def test_table_types(client):
    table = client.metadata(CommandGetTableTypes())
    assert table.column(0).to_pylist() == ["LOCAL TEMPORARY", "TABLE", "VIEW"]


def test_metadata_show_what_the_transaction_did(client):
    transaction = client.begin()
    client.execute("CREATE TABLE unborn (i INTEGER)", transaction)
    found = client.metadata(CommandGetTables(table_name_filter_pattern="unborn"))
    client.rollback(transaction)
    assert found.num_rows == 1
    assert client.metadata(CommandGetTables(table_name_filter_pattern="unborn")).num_rows == 0


def test_primary_keys_in_the_order_of_the_constraint(client):
    rows = client.metadata(CommandGetPrimaryKeys(table="parent")).to_pylist()
    assert [(row["column_name"], row["key_sequence"]) for row in rows] == [("b", 1), ("a", 2)]
    assert {(row["catalog_name"], row["db_schema_name"], row["table_name"]) for row in rows} == {
        ("workspace", "main", "parent")
    }
    assert len({row["key_name"] for row in rows}) == 1


@pytest.mark.parametrize(
    ("command", "rows"),
    [
        (CommandGetPrimaryKeys(table="box"), 1),
        (CommandGetPrimaryKeys(table="box", db_schema="attic"), 1),
        (CommandGetPrimaryKeys(table="box", db_schema="main"), 0),
        (CommandGetPrimaryKeys(table="box", catalog="lake"), 0),
        (CommandGetPrimaryKeys(table="box", catalog="workspace", db_schema="attic"), 1),
        (CommandGetPrimaryKeys(table="b_x"), 0),
        (CommandGetPrimaryKeys(table="birds"), 0),
        (CommandGetPrimaryKeys(table="nowhere"), 0),
    ],
    ids=str,
)
def test_primary_keys_are_filtered(client, command, rows):
    assert client.metadata(command).num_rows == rows


CHILD_KEYS = [
    ("parent", "b", "child", "y", 1),
    ("parent", "a", "child", "x", 2),
    ("single", "code", "child", "z", 1),
    ("single", "id", "child", "s", 1),
]


def key_rows(table: pa.Table) -> list[tuple]:
    names = ["pk_table_name", "pk_column_name", "fk_table_name", "fk_column_name", "key_sequence"]
    return pairs(table.select(names))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (CommandGetImportedKeys(table="child"), CHILD_KEYS),
        (CommandGetExportedKeys(table="parent"), CHILD_KEYS[:2]),
        (CommandGetExportedKeys(table="single"), CHILD_KEYS[2:]),
        (CommandGetExportedKeys(table="child"), []),
        (CommandGetImportedKeys(table="parent"), []),
        (CommandGetImportedKeys(table="child", db_schema="attic"), []),
        (CommandGetCrossReference(pk_table="parent", fk_table="child"), CHILD_KEYS[:2]),
        (CommandGetCrossReference(pk_table="child", fk_table="parent"), []),
        (
            CommandGetCrossReference(pk_table="parent", fk_table="child", fk_catalog="workspace"),
            CHILD_KEYS[:2],
        ),
        (CommandGetCrossReference(pk_table="parent", fk_table="child", pk_db_schema="attic"), []),
    ],
    ids=str,
)
def test_foreign_keys(client, command, expected):
    table = client.metadata(command)
    assert sorted(key_rows(table)) == sorted(expected)
    assert set(table.column("update_rule").to_pylist()) <= {3}
    assert set(table.column("delete_rule").to_pylist()) <= {3}
    assert all(table.column("fk_key_name").is_valid().to_pylist())
    assert all(table.column("pk_key_name").is_valid().to_pylist())


def test_columns_of_a_foreign_key_are_in_order_and_keys_are_together(client):
    table = client.metadata(CommandGetImportedKeys(table="child"))
    order = pairs(
        table.select(["pk_catalog_name", "pk_db_schema_name", "pk_table_name", "pk_key_name", "key_sequence"])
    )
    assert order == sorted(order)


def test_type_info_is_ordered_and_knows_every_type_of_duckdb(client):
    table = client.metadata(CommandGetXdbcTypeInfo())
    codes = pairs(table.select(["data_type", "type_name"]))
    assert codes == sorted(codes)
    known = duckdb.sql(
        "SELECT DISTINCT logical_type FROM duckdb_types() WHERE logical_type NOT IN ('TYPE', 'TUPLE')"
    )
    assert {name for (name,) in known.fetchall()} <= set(table.column("type_name").to_pylist())


def test_literals_of_type_info_are_literals(client):
    samples = {
        "DATE": "2020-01-01",
        "INTERVAL": "1 day",
        "BLOB": "a",
        "BIT": "101",
        "UUID": "8a2b9e1a-4c1f-4a4f-9c77-1d1c9bd5d0d1",
        "JSON": "1",
        "TIME": "12:00:00",
        "TIME_NS": "12:00:00",
        "TIME WITH TIME ZONE": "12:00:00+01",
    }
    for row in client.metadata(CommandGetXdbcTypeInfo()).to_pylist():
        if row["literal_prefix"] is None or row["type_name"] in ("VARCHAR", "ENUM", "UUID", "JSON"):
            continue
        text = samples.get(row["type_name"], "2020-01-01 12:00:00")
        literal = f"{row['literal_prefix']}{text}{row['literal_suffix']}"
        assert duckdb.sql(f"SELECT typeof({literal})").fetchall() == [(row["type_name"],)]


def test_type_info_of_one_number(client):
    table = client.metadata(CommandGetXdbcTypeInfo(data_type=93))
    assert set(table.column("data_type").to_pylist()) == {93}
    assert set(table.column("sql_data_type").to_pylist()) == {9}
    assert "TIMESTAMP_NS" in table.column("type_name").to_pylist()
    assert client.metadata(CommandGetXdbcTypeInfo(data_type=0)).num_rows == 8
    assert client.metadata(CommandGetXdbcTypeInfo(data_type=12345)).num_rows == 0
