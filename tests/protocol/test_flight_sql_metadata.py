"""The metadata commands. Schemas, filters and order are the specification's."""

import adbc_driver_flightsql.dbapi as adbc
import duckdb
import pyarrow as pa
import pytest

from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName
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
from tests.stack import skein_stack

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
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("skein")


@pytest.fixture(scope="module")
def stack(folder):
    with skein_stack(folder) as made:
        made.write("birds", BIRDS)
        with made.raw() as client:
            client.update(SETUP)
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


LISTS = [
    "SELECT table_name FROM information_schema.tables",
    "SELECT table_name, view_definition FROM information_schema.views",
    "SELECT DISTINCT catalog_name FROM information_schema.schemata",
    "SELECT database_name, table_name FROM duckdb_columns()",
    "SELECT relname FROM pg_catalog.pg_class",
    "SELECT name, sql FROM sqlite_master",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "SHOW DATABASES",
    "PRAGMA show_tables_expanded",
]


def test_older_versions_of_datasets_are_no_tables(client, stack):
    assert client.rows('SELECT name FROM "birds@v0"') == [("goose",)]
    assert client.update('CREATE OR REPLACE TEMP TABLE kept AS FROM lake.datasets."birds@v0"') == 1
    assert pairs(client.metadata(CommandGetTables(catalog="lake"))) == EVERY_TABLE[:1]
    for sql in LISTS:
        listed = str(client.rows(sql))
        assert "@" not in listed, sql
        assert "lake_versions" not in listed, sql
        assert "lake" in listed or "birds" in listed, sql


@pytest.mark.parametrize(
    "sql",
    [
        'DROP VIEW "birds@v0"',
        'DROP VIEW lake.datasets."birds@v0"',
        'CREATE VIEW "birds@v0" AS SELECT 1 AS x',
        'CREATE TABLE lake_versions.datasets."birds@v0" AS SELECT 1 AS x',
        "DETACH lake_versions",
        "CREATE SCHEMA lake_versions",
    ],
)
def test_nobody_drops_or_hides_a_version(client, sql):
    assert client.update('CREATE OR REPLACE TEMP TABLE kept AS FROM "birds@v0"') == 1
    with pytest.raises(pa.ArrowException):
        client.update(sql)
    assert client.update('CREATE OR REPLACE TEMP TABLE kept AS FROM datasets."birds@v0"') == 1
    assert client.rows('SELECT name FROM "birds@v0"') == [("goose",)]


PLACES = """
    SELECT DISTINCT 'FROM ' || function_name || '()' FROM duckdb_functions()
    WHERE function_type IN ('table', 'table_macro') AND len(parameters) = 0
    UNION ALL SELECT 'PRAGMA ' || function_name FROM duckdb_functions() WHERE function_type = 'pragma'
    UNION ALL SELECT concat_ws('.', 'FROM ' || database_name, schema_name, view_name) FROM duckdb_views()
    UNION ALL SELECT 'SELECT pg_get_viewdef(oid) FROM pg_catalog.pg_class'
"""
HIDDEN_PLACES = [
    *("FROM duckdb_settings()", "CALL duckdb_databases()", "TABLE duckdb_databases", "SUMMARIZE pg_settings"),
    'CREATE TEMP TABLE kept AS FROM "system"."main"."duckdb_databases"()',
    "PIVOT duckdb_databases ON path USING count(*)",
    "PREPARE places AS FROM duckdb_profiling_settings()",
    "SELECT current_setting('temp_' || 'directory')",
    "SELECT 'home_directory'.current_setting()",
    "SET VARIABLE place = current_setting('allowed_directories')",
    "CREATE TEMP MACRO place(name) AS current_setting(name)",
    "EXPLAIN ANALYZE SELECT current_setting('secret_directory')",
]


def test_sql_does_not_tell_where_the_server_keeps_its_files(stack, folder):
    """Asked of every function and view that DuckDB has, and of what reads files."""
    with stack.adbc() as connection, connection.cursor() as cursor:

        def answer(sql: str) -> str:
            try:
                cursor.execute(sql)
                sink = pa.BufferOutputStream()
                table = cursor.fetch_arrow_table()
                with pa.ipc.new_stream(sink, table.schema) as writer:
                    writer.write_table(table)
                return str(sink.getvalue().to_pybytes())
            except adbc.Error as error:
                return str(error)

        cursor.execute(PLACES)
        places = [sql for (sql,) in cursor.fetchall()]
        read = 'SELECT * FROM birds JOIN "birds@v0" USING (name)'
        explained = [
            f"EXPLAIN {how} {read}" for how in ("ANALYZE", "(ANALYZE, FORMAT json)", "(FORMAT json)")
        ]
        told = {sql: answer(sql) for sql in [*places, *explained, *HIDDEN_PLACES]}
        assert [sql for sql, text in told.items() if str(folder) in text] == []
        assert all("[statement_not_allowed]" in told[sql] for sql in HIDDEN_PLACES)
        assert ".parquet" in told[explained[0]]
        assert "~/" in told["FROM system.information_schema.views"]
        cursor.execute("SELECT current_setting('timezone'), current_setting('search_path')")
        assert cursor.fetchall() == [("Etc/UTC", "workspace.main,lake.datasets,lake_versions.datasets")]


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
        said = {"columns": {"weight_kg": text}}
        stack.skein.control.datasets.annotate(DatasetName("birds"), said, actor=LOCAL)
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
