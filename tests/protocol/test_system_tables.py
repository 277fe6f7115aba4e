"""What the server knows, read by SQL: the same as by the API, and no more than the caller may know."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.domain.system import SYSTEM_TABLES
from tests.stack import Stack, skein_stack

OWNER, READER, EMEA = "0wner", "r3ader", "em3a"
EVERYBODY = (OWNER, READER, EMEA)
WAIT, ANY = {"Prefer": "wait=60"}, {"If-Match": "*"}
VERSIONS = "SELECT dataset, version FROM skein.versions ORDER BY ALL"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`payroll`, and `sales` with what comes of it: one version from a dataset that is gone."""
    tokens = f"owner={OWNER},reader/read={READER},emea/read@sales*={EMEA}"
    with skein_stack(tmp_path_factory.mktemp("system") / "data", tokens=tokens) as made:
        made.write("sales", pa.table({"x": [1, 2]}))
        made.write("payroll", pa.table({"x": [3]}))
        made.write("sales_gone", pa.table({"x": [4]}))
        with api(made, OWNER) as client:
            ingest(client, "sales_total", "SELECT sum(x) AS s FROM sales", message="for the board")
            ingest(client, "sales_total", "SELECT sum(gone.x) AS s FROM sales_gone AS gone, payroll")
            ingest(client, "payroll", "SELECT x FROM sales WHERE error('no')")
            ingest(client, "sales_never", "SELECT x FROM sales WHERE error('no')")
            assert client.put("/api/v1/datasets/sales/tags/Golden", json={}).status_code == 200
            about = {"description": "what was sold", "tags": ["money"], "owners": ["sue"]}
            assert client.patch("/api/v1/datasets/sales", json=about, headers=ANY).status_code == 200
            assert client.delete("/api/v1/datasets/sales_gone").status_code == 204
        yield made


def ingest(client: Any, dataset: str, sql: str, **fields: str) -> None:
    body = {"dataset": dataset, "source": {"kind": "sql", "sql": sql}, **fields}
    job = client.post("/api/v1/ingestions", json=body, headers=WAIT).json()
    assert job["state"] == ("failed" if "error" in sql else "succeeded"), job


def api(stack: Stack, token: str) -> Any:
    return stack.http(headers={"Authorization": f"Bearer {token}"}, timeout=80)


def over_http(stack: Stack, token: str, sql: str) -> pa.Table:
    with api(stack, token) as client:
        accept = {"Accept": "application/vnd.apache.arrow.stream"}
        answer = client.post("/api/v1/query", json={"sql": sql}, headers=accept)
        assert answer.status_code == 200, answer.text
        return pa.ipc.open_stream(answer.content).read_all()


def over_flight(stack: Stack, token: str, sql: str) -> pa.Table:
    options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())])
    with stack.flight() as client:
        info = client.get_flight_info(fl.FlightDescriptor.for_command(sql), options)
        table = client.do_get(info.endpoints[0].ticket, options).read_all()
        assert info.schema == table.schema
        return table


def connected(stack: Stack, token: str) -> Any:
    header = {"adbc.flight.sql.authorization_header": f"Bearer {token}"}
    return adbc.connect(stack.flight_uri, db_kwargs=header, autocommit=True)


def over_flight_sql(stack: Stack, token: str, sql: str) -> pa.Table:
    with connected(stack, token) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table()


def items(stack: Stack, token: str, path: str) -> list[dict[str, Any]]:
    with api(stack, token) as client:
        return client.get(f"/api/v1/{path}", params={"limit": 1000}).json()["items"]


def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In one order; absent things are None, moments are texts in SQL's answers and in the API's."""
    plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
    return sorted(plain, key=repr)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return dict(value) if value and isinstance(value[0], tuple) else value
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else (value or None)


def expected(stack: Stack, token: str, table: str) -> list[dict[str, Any]]:
    """What the API says that the table has to hold."""
    names = [each["name"] for each in items(stack, token, "datasets")]
    match table:
        case "datasets":
            return [{**each, "dataset": each["name"]} for each in items(stack, token, "datasets")]
        case "versions":
            return [
                {**each, "dataset": name, "info": info, "checksum": info.get("checksum")}
                for name in names
                for each in items(stack, token, f"datasets/{name}/versions")
                for info in [{key: text for key, text in each["info"].items() if key != "inputs"}]
            ]
        case "jobs":
            found = items(stack, token, "jobs")
            kinds = {each["id"]: each for each in items(stack, token, "ingestions")}
            return [
                {**each, **told(kinds.get(each["id"])), "job_id": each["id"], **error(each)} for each in found
            ]
    return [
        {**edge, "parent_dropped": edge["parent_dataset"] not in names}
        for name in names
        for edge in edges(stack, token, name)
    ]


def told(ingestion: dict[str, Any] | None) -> dict[str, Any]:
    kept = ingestion or {"kind": None, "mode": None, "schedule": None}
    return {"source_kind": kept["kind"], "mode": kept["mode"], "schedule": kept["schedule"]}


def error(job: dict[str, Any]) -> dict[str, Any]:
    kept = job["error"] or {"code": None, "message": None}
    return {"error_code": kept["code"], "error_message": kept["message"]}


def edges(stack: Stack, token: str, name: str) -> Iterator[dict[str, Any]]:
    """The parents of all versions of a dataset, one step up each."""
    for version in items(stack, token, f"datasets/{name}/versions"):
        with api(stack, token) as client:
            query = {"version": version["version"], "depth": 1}
            graph = client.get(f"/api/v1/datasets/{name}/lineage", params=query).json()
        nodes = {node["id"]: node for node in graph["nodes"]}
        here = graph["nodes"][0]["id"]
        for edge in (each for each in graph["edges"] if each["to"] == here):
            parent = nodes[edge["from"]]
            yield {
                "dataset": name,
                "version": version["version"],
                "parent_dataset": parent["dataset"],
                "parent_version": parent["version"],
                "kind": edge["kind"],
            }


@pytest.mark.parametrize("token", EVERYBODY)
@pytest.mark.parametrize("table", SYSTEM_TABLES)
def test_a_table_says_what_the_api_says(stack, table, token):
    found = over_flight_sql(stack, token, f"SELECT * FROM skein.{table}")
    assert found.column_names == SYSTEM_TABLES[table].names
    wanted = expected(stack, token, table)
    assert wanted
    columns = SYSTEM_TABLES[table].names
    assert comparable(found.to_pylist()) == comparable([{key: row[key] for key in columns} for row in wanted])


DOORS = {"http": over_http, "flight": over_flight, "flight_sql": over_flight_sql}


@pytest.mark.parametrize("token", EVERYBODY)
@pytest.mark.parametrize("door", DOORS)
def test_every_door_gives_the_same(stack, door, token):
    wanted = sorted((row["dataset"], row["version"]) for row in expected(stack, token, "versions"))
    assert [tuple(row.values()) for row in DOORS[door](stack, token, VERSIONS).to_pylist()] == wanted


@pytest.mark.parametrize("table", SYSTEM_TABLES)
def test_nobody_reads_of_datasets_out_of_sight(stack, table):
    # the texts of statements are what their authors said about datasets in sight
    columns = "* EXCLUDE (source, info)" if table == "versions" else "*"
    everything, some = (
        repr(over_http(stack, token, f"SELECT {columns} FROM skein.{table}").to_pylist())
        for token in (READER, EMEA)
    )
    assert ("payroll" in everything, "payroll" in some, "sales" in some) == (True, False, True)


@pytest.mark.parametrize("token", [OWNER, READER])
def test_who_made_it_from_what_and_why_is_one_statement(stack, token):
    sql = """
        WITH RECURSIVE up AS (
            SELECT dataset, version FROM skein.versions WHERE dataset = 'sales_total'
            UNION
            SELECT parent_dataset, parent_version FROM skein.lineage JOIN up USING (dataset, version)
        )
        SELECT dataset, version, operation, v.actor, message, source_kind, v.tags
        FROM up LEFT JOIN skein.versions AS v USING (dataset, version) LEFT JOIN skein.jobs USING (job_id)
        ORDER BY dataset, version
    """
    assert [tuple(row.values()) for row in over_flight(stack, token, sql).to_pylist()] == [
        ("payroll", 0, "create", "local", None, None, []),
        ("sales", 0, "create", "local", None, None, ["Golden"]),
        ("sales_gone", 0, None, None, None, None, None),
        ("sales_total", 0, "create", "owner", "for the board", "sql", []),
        ("sales_total", 1, "append", "owner", None, "sql", []),
    ]


@pytest.mark.parametrize("token", EVERYBODY)
def test_system_tables_join_datasets(stack, token):
    sql = """
        SELECT d.rows, v.added_rows, (SELECT sum(x) FROM "sales@v0") AS total
        FROM SKEIN.Datasets AS d JOIN skein.main.versions AS v USING (dataset) WHERE dataset = ?
    """
    with connected(stack, token) as connection, connection.cursor() as cursor:
        cursor.execute(sql, ["sales"])
        assert cursor.fetchall() == [(2, 2, 3)]


@pytest.fixture
def fresh(tmp_path) -> Iterator[Stack]:
    tokens = f"owner={OWNER},reader/read={READER}"
    with skein_stack(tmp_path, tokens=tokens, cache_min_run_s=0.0) as made:
        made.write("sales", pa.table({"x": [1]}))
        yield made


@pytest.mark.parametrize("token", [OWNER, READER])
def test_what_was_committed_shows_at_once(fresh, token):
    """In a statement that ran before, with its ticket, when it is prepared, and next to a dataset."""
    count = "SELECT count(*) AS n, (SELECT sum(x) FROM sales) AS s FROM skein.versions"
    options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())])
    with (
        fresh.flight() as client,
        connected(fresh, token) as connection,
        connection.cursor() as prepared,
        api(fresh, token) as http,
    ):
        (endpoint,) = client.get_flight_info(fl.FlightDescriptor.for_command(count), options).endpoints
        assert client.do_get(endpoint.ticket, options).read_all().to_pylist() == [{"n": 1, "s": 1}]
        prepared.adbc_prepare("SELECT count(*) FROM skein.versions WHERE dataset = ?")
        for n in (2, 3):
            fresh.write("sales", pa.table({"x": [n]}))
            prepared.execute("SELECT count(*) FROM skein.versions WHERE dataset = ?", ["sales"])
            assert prepared.fetchall() == [(n,)]
            answer = http.post("/api/v1/query", json={"sql": count})
            assert answer.json()["rows"] == [{"n": n, "s": sum(range(n + 1))}]
            assert answer.headers["skein-cache"] == "bypass"
        # the ticket pins the dataset that it reads, and nothing else
        assert client.do_get(endpoint.ticket, options).read_all().to_pylist() == [{"n": 3, "s": 1}]


def test_statements_of_every_kind_read_them(fresh):
    with connected(fresh, OWNER) as connection, connection.cursor() as cursor:

        def rows(sql: str) -> list[tuple]:
            cursor.execute(sql)
            return cursor.fetchall()

        rows("CREATE TABLE kept AS SELECT * FROM skein.versions")
        rows("CREATE VIEW recent AS SELECT dataset, version FROM skein.versions")
        rows("CREATE TEMP TABLE mine AS SELECT dataset FROM skein.datasets")
        fresh.write("sales", pa.table({"x": [2]}))
        assert rows("SELECT max(version) FROM kept") == [(0,)]
        assert rows("SELECT max(version) FROM recent") == [(1,)]
        assert rows("SELECT m.dataset, version FROM mine AS m JOIN skein.datasets USING (dataset)") == [
            ("sales", 1)
        ]
        assert [row[0] for row in rows("DESCRIBE skein.lineage")] == SYSTEM_TABLES["lineage"].names
        rows("USE skein")
        assert rows("SELECT version FROM datasets") == [(1,)]
        rows("CREATE TABLE datasets.copied AS SELECT dataset, version FROM skein.versions")
        assert rows("SELECT count(*) FROM datasets.copied") == [(2,)]


def test_a_transaction_reads_them(fresh):
    header = {"adbc.flight.sql.authorization_header": f"Bearer {OWNER}"}
    with adbc.connect(fresh.flight_uri, db_kwargs=header) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT 1 AS x")
        cursor.execute("SELECT version, x FROM skein.versions, t")
        assert cursor.fetchall() == [(0, 1)]
        connection.rollback()


CHANGES = [
    "DROP VIEW skein.versions",
    "DROP SCHEMA skein.main CASCADE",
    "CREATE OR REPLACE VIEW skein.main.versions AS SELECT 1 AS x",
    "CREATE TABLE skein.mine (x INTEGER)",
    "INSERT INTO skein.jobs (job_id) VALUES ('x')",
    "DELETE FROM skein.versions",
    "UPDATE Skein.versions SET actor = 'nobody'",
    "COMMENT ON VIEW skein.versions IS 'mine'",
    "CREATE SCHEMA skein",
    'CREATE SCHEMA IF NOT EXISTS workspace."SKEIN"',
    "CREATE MACRO skein.f() AS 1",
    "USE skein; CREATE TABLE t (x INTEGER)",
    "USE skein; DROP VIEW versions",
    "ATTACH ':memory:' AS skein",
    "ATTACH OR REPLACE ':memory:' AS \"skein\"",
    "DETACH skein",
]


@pytest.mark.parametrize("token", [OWNER, READER])
def test_nobody_changes_or_hides_them(stack, token):
    before = over_http(stack, OWNER, VERSIONS)
    code = "statement_not_allowed" if token == OWNER else "permission_denied"
    for sql in CHANGES:
        with api(stack, token) as client:
            refused = client.post("/api/v1/query", json={"sql": sql}).json()
        assert refused.get("code") in (code, "invalid_sql" if ";" in sql else code), (sql, refused)
    with connected(stack, OWNER) as connection, connection.cursor() as cursor:
        for options in ({"catalog_name": "skein"}, {"db_schema_name": "skein"}):
            with pytest.raises(adbc.Error, match=r"\[statement_not_allowed\]"):
                cursor.adbc_ingest("mine", pa.table({"x": [1]}), mode="create", **options)
    assert over_http(stack, OWNER, VERSIONS) == before


@pytest.mark.parametrize("token", EVERYBODY)
def test_they_are_listed_with_their_columns(stack, token):
    with connected(stack, token) as connection:
        found = connection.adbc_get_objects(depth="columns", catalog_filter="skein").read_all().to_pylist()
        (schema,) = found[0]["catalog_db_schemas"]
        listed = {
            table["table_name"]: [column["column_name"] for column in table["table_columns"]]
            for table in schema["db_schema_tables"]
        }
        assert (found[0]["catalog_name"], schema["db_schema_name"]) == ("skein", "main")
        assert listed == {name: columns.names for name, columns in SYSTEM_TABLES.items()}


@pytest.mark.parametrize("token", [OWNER, READER])
def test_one_that_does_not_exist_is_a_failure_with_a_way_out(stack, token):
    with api(stack, token) as client:
        failure = client.post("/api/v1/query", json={"sql": "SELECT * FROM skein.version"}).json()
    assert failure["code"] == "dataset_not_found"
    assert "versions" in failure["detail"]


@pytest.mark.parametrize("contract", [False, True])
def test_rows_that_a_statement_wrote_tell_what_they_were_made_from(tmp_path, contract):
    with skein_stack(tmp_path / "data") as made:
        made.write("source", pa.table({"x": [1, 2]}))
        made.write("taken", pa.table({"x": [0]}))
        if contract:
            body = {"columns": [{"name": "x", "type": "int64"}]}
            with made.http() as client:
                assert client.put("/api/v1/datasets/taken/contract", json=body).status_code < 300
        with made.cursor() as cursor:
            cursor.execute("INSERT INTO datasets.taken SELECT x FROM source")
            cursor.execute("SELECT version, parent_dataset, parent_version FROM skein.lineage ORDER BY ALL")
            assert cursor.fetchall() == [(1, "source", 0), (1, "taken", 0)]
