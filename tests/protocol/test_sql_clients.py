"""Libraries on top of ADBC and Flight SQL, used the way their own documentation says."""

import gc
import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sqlalchemy as sa

from tests.stack import Stack

# Some of these libraries leave cursors open for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*was not explicitly close:ResourceWarning")

BIRDS = pa.table({"name": ["duck", "goose", "swan"], "weight_kg": [1.1, 3.5, 9.0]})
NODE = Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def stack(stack):
    stack.write("birds", BIRDS)
    yield stack
    gc.collect()  # what is left open, here and not in other tests


@pytest.fixture
def connection(stack: Stack):
    with stack.adbc(autocommit=False) as made:
        yield made


@pytest.fixture(params=["", "datasets."], ids=["table", "dataset"])
def place(request, stack):
    """The schema, with a dot, in which `frame` does not exist yet."""
    with stack.raw() as client:
        for schema in ("main", "datasets"):
            client.execute(f"DROP TABLE IF EXISTS {schema}.frame")
    return request.param


# --- Polars ---


def flightsql(stack: Stack) -> str:
    """Polars finds the driver by the scheme; without TLS the transport has to be named."""
    return stack.flight_uri.replace("grpc://", "flightsql://") + "?transport=tcp"


def test_polars_reads_through_a_connection(connection):
    frame = pl.read_database("SELECT * FROM birds WHERE weight_kg > 2", connection)
    assert frame.equals(pl.from_arrow(BIRDS).filter(pl.col("weight_kg") > 2))


def test_polars_binds_parameters(connection):
    options = {"parameters": [2.0]}
    frame = pl.read_database("FROM birds WHERE weight_kg > ?", connection, execute_options=options)
    assert frame["name"].to_list() == ["goose", "swan"]


def test_polars_reads_batches(connection):
    batches = list(pl.read_database("FROM range(200000)", connection, iter_batches=True, batch_size=50_000))
    assert sum(batch.height for batch in batches) == 200_000


def test_polars_reads_by_uri(stack):
    assert pl.read_database_uri("FROM birds", flightsql(stack), engine="adbc").equals(pl.from_arrow(BIRDS))


@pytest.mark.parametrize("way", ["connection", "uri"])
def test_polars_writes(stack, connection, place, way):
    frame = pl.DataFrame({"i": [1, 2], "s": ["a", None], "l": [[1.5], []]})
    target = connection if way == "connection" else flightsql(stack)
    for mode, height in (("fail", 2), ("append", 4), ("replace", 2)):
        assert frame.write_database(f"{place}frame", target, engine="adbc", if_table_exists=mode) == 2
        with stack.adbc() as other:
            assert pl.read_database("FROM frame", other).height == height
    with stack.adbc() as other:
        assert pl.read_database("FROM frame", other).equals(frame)


# --- pandas ---


def test_pandas_reads(connection):
    frame = pd.read_sql("SELECT * FROM birds", connection)
    pd.testing.assert_frame_equal(frame, BIRDS.to_pandas())
    arrow = pd.read_sql("SELECT * FROM birds", connection, dtype_backend="pyarrow")
    assert arrow.dtypes["weight_kg"] == pd.ArrowDtype(pa.float64())


@pytest.mark.parametrize("schema", [None, "datasets"])
def test_pandas_reads_a_table(connection, schema):
    frame = pd.read_sql_table("birds", connection, schema=schema)
    pd.testing.assert_frame_equal(frame, BIRDS.to_pandas())


def test_pandas_writes(connection, stack, place):
    schema = place.rstrip(".") or None
    frame = pd.DataFrame({"i": [1, 2], "s": ["a", "b"], "t": pd.to_datetime(["2020-01-01", "2021-01-01"])})

    def write(mode: str) -> int | None:
        return frame.to_sql("frame", connection, schema=schema, if_exists=mode, index=False)

    assert write("fail") == 2
    with pytest.raises(ValueError, match="exists"):
        write("fail")
    assert write("append") == 2
    with stack.adbc() as other:
        assert pd.read_sql("SELECT count(*) AS n FROM frame", other)["n"][0] == 4
    assert write("replace") == 2
    with stack.adbc() as other:
        back = pd.read_sql(f"SELECT * FROM {place}frame", other)
    assert back.to_dict("list") == frame.to_dict("list")


# --- SQLAlchemy ---

needs_dialect = pytest.mark.skipif(
    importlib.util.find_spec("sqlalchemy_adbc") is None, reason="sqlalchemy-adbc is not installed"
)


@pytest.fixture
def engine(stack):
    made = sa.create_engine(stack.flight_uri.replace("grpc://", "adbc+flightsql://") + "?tls=false")
    yield made
    made.dispose()


METADATA = sa.MetaData()
NOTES = sa.Table(
    "notes",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("text", sa.String),
    sa.Column("price", sa.Numeric(9, 2)),
)


@needs_dialect
def test_sqlalchemy_creates_inserts_selects_updates_and_rolls_back(engine):
    METADATA.drop_all(engine)
    METADATA.create_all(engine)
    with engine.begin() as connection:
        connection.execute(NOTES.insert(), [{"id": 1, "text": "a"}, {"id": 2, "text": "b", "price": 1.5}][:1])
        connection.execute(NOTES.insert(), [{"id": 2, "text": "b"}, {"id": 3, "text": "c"}])
    with engine.begin() as connection:
        changed = connection.execute(NOTES.update().where(NOTES.c.id > 1).values(text="z"))
        assert changed.rowcount == 2
    with engine.connect() as connection:
        connection.execute(NOTES.delete())
        connection.rollback()
        rows = connection.execute(sa.select(NOTES.c.text).order_by(NOTES.c.id)).scalars()
        assert rows.all() == ["a", "z", "z"]


@needs_dialect
def test_sqlalchemy_reflects(engine):
    METADATA.create_all(engine)
    inspector = sa.inspect(engine)
    assert {"main", "datasets"} <= set(inspector.get_schema_names())
    assert inspector.has_table("notes")
    types = {column["name"]: type(column["type"]) for column in inspector.get_columns("notes")}
    assert types == {"id": sa.Integer, "text": sa.String, "price": sa.Numeric}
    reflected = sa.Table("notes", sa.MetaData(), autoload_with=engine)
    assert reflected.columns.keys() == ["id", "text", "price"]


@needs_dialect
def test_pandas_reads_through_sqlalchemy(engine):
    pd.testing.assert_frame_equal(pd.read_sql("SELECT * FROM birds", engine), BIRDS.to_pandas())


# --- ibis ---


def test_ibis_queries(stack):
    pytest.importorskip(
        "ibis_gizmosql", reason="ibis-gizmosql pins older libraries than Skein needs; see clients.md"
    )
    import ibis

    host, port = stack.flight_uri.removeprefix("grpc://").split(":")
    backend = ibis.gizmosql.connect(host=host, port=int(port), user="u", password="p", use_encryption=False)
    assert backend.sql("SELECT * FROM birds").count().execute() == 3


# --- Node ---


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
@pytest.mark.skipif(
    not (NODE / "node_modules").is_dir(), reason="run `npm install` in tests/protocol/node first"
)
def test_node_clients(stack):
    host, port = stack.flight_uri.removeprefix("grpc://").split(":")
    command = ["node", str(NODE / "clients.mjs"), host, port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    birds = [{**row, "kind": "a"} for row in BIRDS.to_pylist()]
    for client in ("gizmo", "lance"):
        assert answer[client]["birds"] == birds
        assert answer[client]["inserted"] == [{"i": 1}, {"i": 2}]
        assert answer[client]["many"] == 300_000
    assert {"lake", "workspace"} <= set(answer["gizmo"]["catalogs"])
