"""Datasets that an actor was not granted: as unknown as those that do not exist, through every door."""

import json
import re
from collections.abc import Iterator

import adbc_driver_flightsql.dbapi as dbapi
import httpx
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from websockets.sync.client import connect

from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, DatasetVersion, WriteMode, WriteRule
from tests.protocol.raw_flight_sql import RawFlightSql
from tests.stack import Stack, skein_stack

TOKENS = {
    "owner": "own3r",
    "team": "t3am",
    "loader": "l0ader",
    "chief": "ch1ef",
    "twin": "tw0",
    "pair": "pa1r",
    "pair, narrow": "n4rrow",
    "sender": "s3nder",
    "writer": "wr1ter",
}
SETTING = (
    f"owner={TOKENS['owner']},team/read+write@sales*+orders={TOKENS['team']},"
    f"loader/read+ingest@sales*={TOKENS['loader']},chief/read+write+admin@sales*={TOKENS['chief']},"
    f"twin/ingest@twin_out=0ne,twin/read+ingest@twin*={TOKENS['twin']},"
    f"pair={TOKENS['pair']},pair/read+write@pair*={TOKENS['pair, narrow']},"
    f"sender/ingest@sales*={TOKENS['sender']},writer/write={TOKENS['writer']}"
)
SECRET, ABSENT = "payroll_v1", "payroll_v2"
ROWS = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "who": ["a", "b", "c"]})


def http(stack: Stack, who: str) -> httpx.Client:
    return stack.http(headers={"Authorization": f"Bearer {TOKENS[who]}"}, timeout=60)


def flight_options(who: str) -> fl.FlightCallOptions:
    return fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {TOKENS[who]}".encode())])


def put(client: fl.FlightClient, name: str, options: fl.FlightCallOptions) -> None:
    writer, _ = client.do_put(fl.FlightDescriptor.for_path(name), ROWS.schema, options)
    with writer:
        writer.write_table(ROWS)
        writer.done_writing()


def sql_connection(stack: Stack, who: str) -> dbapi.Connection:
    header = {"adbc.flight.sql.authorization_header": f"Bearer {TOKENS[who]}"}
    return dbapi.connect(stack.flight_uri, db_kwargs=header, autocommit=True)


def uploaded(client: httpx.Client) -> dict[str, str]:
    """A source that the client sent."""
    sent = client.post("/api/v1/uploads?name=new.csv", content=b"id,who\n4,d\n")
    assert sent.status_code == 201, sent.text
    return {"kind": "upload", "id": sent.json()["id"]}


def made_from_it(stack: Stack, name: str, version: DatasetVersion) -> None:
    open_write = stack.skein.flight.write_dataset.take_rows.open_write
    pins = {SECRET: version.ref}
    with open_write(
        DatasetName(name), ROWS.schema, WriteRule(WriteMode.CREATE), actor=LOCAL, inputs=pins
    ) as write:
        write.staged.write(ROWS.to_batches()[0])
        write.commit()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with skein_stack(tmp_path_factory.mktemp("grants") / "data", tokens=SETTING) as made:
        made.write("sales_eu", ROWS)
        secret = made.write(SECRET, ROWS)
        made_from_it(made, "sales_sum", secret)
        with http(made, "owner") as client:
            for dataset in ("sales_eu", SECRET):
                request = {"dataset": dataset, "source": uploaded(client), "mode": "append"}
                done = client.post("/api/v1/ingestions", json=request, headers={"Prefer": "wait=60"})
                assert done.json()["state"] == "succeeded", done.text
            contract = client.put(f"/api/v1/datasets/{SECRET}/contract", json={"columns": [{"name": "id"}]})
            assert contract.status_code < 300, contract.text
            derived = {"sql": f"SELECT count(*) AS n FROM {SECRET}", "refresh": "manual"}
            told = client.put("/api/v1/datasets/sales_late/derivation", json=derived)
            assert told.status_code < 300, told.text
            scheduled = {
                "name": "nightly",
                "ingestion": {"dataset": SECRET, "source": {"kind": "sql", "sql": "SELECT 1 AS id"}},
                "every_s": 86_400,
                "paused": True,
            }
            told = client.post("/api/v1/schedules", json=scheduled)
            assert told.status_code < 300, told.text
        yield made


# What routes take where their models have no example.
BODIES: dict[str, dict[str, object]] = {
    "POST /api/v1/datasets/{name}/restore": {"version": "0"},
    "PUT /api/v1/datasets/{name}/retention": {"keep_versions": 1},
    "PUT /api/v1/datasets/{name}/tags/{tag}": {},
}


def requests_for_a_dataset(stack: Stack) -> Iterator[tuple[str, str, object]]:
    """Method, path and a body that fits, of every route there is."""
    with http(stack, "owner") as client:
        document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items() if "/datasets/{name}" in path else ():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            reference = re.search(r"schemas/(\w+)", json.dumps(content))
            model = document["components"]["schemas"][reference[1]] if reference else {}
            examples = model.get("examples", [None])
            route = f"{method.upper()} {path}"
            yield method, path, BODIES.get(route, examples[0])


@pytest.mark.parametrize("who", ["team", "chief", "loader"])
def test_no_route_tells_a_dataset_out_of_sight_from_one_that_does_not_exist(stack, who):
    requests = list(requests_for_a_dataset(stack))
    assert len(requests) > 15
    with http(stack, who) as client:
        for method, path, body in requests:
            replies = []
            for name in (SECRET, ABSENT):
                url = path.replace("{name}", name).replace("{tag}", "golden")
                url = re.sub(r"\{\w+\}", "1", url)
                condition = {"If-Match": "*"} if method == "patch" else {}
                needed = {"from": 0} if "/diff" in path else {}
                reply = client.request(method, url, json=body, params=needed, headers=condition)
                told = {**reply.json(), "request_id": ""}
                replies.append((reply.status_code, json.dumps(told).replace(name, "NAME")))
            assert replies[0] == replies[1], f"{method} {path}"
            assert replies[0][0] in (403, 404), f"{method} {path}: {replies[0]}"


@pytest.mark.parametrize("who", ["team", "chief", "loader"])
def test_lists_leave_out_what_is_out_of_sight(stack, who):
    with http(stack, "owner") as client:
        client.post("/api/v1/query", json={"sql": f"SELECT * FROM {SECRET}"})
    with http(stack, who) as client:
        for path in ("datasets", "jobs", "ingestions", "schedules", "derivations", "queries", "uploads"):
            reply = client.get(
                f"/api/v1/{path}?limit=1" if path in ("jobs", "ingestions") else f"/api/v1/{path}"
            )
            assert reply.status_code == 200, reply.text
            assert SECRET not in reply.text, path
        items = client.get("/api/v1/datasets").json()["items"]
        assert {"sales_eu", "sales_sum"} <= {each["name"] for each in items}


def test_lineage_leaves_out_what_is_out_of_sight(stack):
    with http(stack, "team") as client:
        graph = client.get("/api/v1/datasets/sales_sum/lineage")
        assert graph.status_code == 200
        assert SECRET not in graph.text
    with http(stack, "owner") as client:
        assert SECRET in client.get("/api/v1/datasets/sales_sum/lineage").text


def test_a_job_out_of_sight_is_as_unknown_as_none(stack):
    with http(stack, "owner") as client:
        job = client.get(f"/api/v1/jobs?dataset={SECRET}").json()["items"][0]["id"]
    with http(stack, "chief") as client:
        for method, path in [
            ("GET", "jobs/{}"),
            ("GET", "jobs/{}/log"),
            ("POST", "jobs/{}/cancel"),
            ("GET", "ingestions/{}"),
            ("POST", "ingestions/{}/retry"),
        ]:
            replies = [
                client.request(method, "/api/v1/" + path.format(each)).json()
                for each in (job, "0" * len(job))
            ]
            assert [reply["code"] for reply in replies] == ["ingestion_not_found"] * 2
            details = [reply["detail"].replace(job, "0" * len(job)) for reply in replies]
            assert details[0] == details[1]
        assert client.get("/api/v1/schedules/nightly").json()["code"] == "schedule_not_found"
        assert client.delete("/api/v1/schedules/nightly").json()["code"] == "schedule_not_found"


@pytest.mark.parametrize("door", ["socket", "stream"])
def test_events_of_a_dataset_out_of_sight_are_not_sent(stack, door):
    head = {"Authorization": f"Bearer {TOKENS['team']}"}
    seen = []
    if door == "socket":
        url = stack.http_url.replace("http", "ws") + "/api/v1/events?after=0"
        with connect(url, additional_headers=head) as socket:
            stack.write("sales_eu", ROWS)
            while not (seen and "sales_eu" in seen[-1] and _is_newest(stack, seen[-1])):
                seen.append(socket.recv(timeout=30))
    else:
        url = "/api/v1/events/stream?after=0"
        with http(stack, "team") as client, client.stream("GET", url) as reply:
            stack.write("sales_eu", ROWS)
            for line in reply.iter_lines():
                seen.append(line)
                if line.startswith("data:") and _is_newest(stack, line.removeprefix("data:")):
                    break
    assert any("sales_eu" in text for text in seen)
    assert not any(SECRET in text for text in seen)


def _is_newest(stack: Stack, message: str) -> bool:
    return int(json.loads(message)["id"]) == stack.skein.events.bounds()[1]


def test_flight_shows_and_takes_only_what_was_granted(stack):
    options = flight_options("team")
    with stack.flight() as client:
        listed = {flight.descriptor.path[0] for flight in client.list_flights(options=options)}
        assert {b"sales_eu", b"sales_sum"} <= listed
        assert SECRET.encode() not in listed
        for name in (SECRET, ABSENT):
            path = fl.FlightDescriptor.for_path(name)
            for ask in (client.get_flight_info, client.get_schema):
                with pytest.raises(KeyError, match=r"\[dataset_not_found\]"):
                    ask(path, options)
            for action in ("describe_dataset", "drop_dataset"):
                body = json.dumps({"dataset": name}).encode()
                with pytest.raises(KeyError, match=r"\[dataset_not_found\]"):
                    list(client.do_action(fl.Action(action, body), options))
            with pytest.raises(fl.FlightUnauthorizedError, match=r"\[permission_denied\]"):
                put(client, name, options)
        put(client, "orders", options)


def test_a_ticket_of_somebody_else_does_not_open_what_is_out_of_sight(stack):
    with stack.flight() as client:
        info = client.get_flight_info(fl.FlightDescriptor.for_path(SECRET), flight_options("owner"))
        with pytest.raises(KeyError, match=r"\[dataset_not_found\]"):
            client.do_get(info.endpoints[0].ticket, flight_options("team")).read_all()


@pytest.mark.parametrize("who", ["team", "loader"])
def test_a_ticket_that_holds_the_result_of_somebody_else_opens_for_who_could_have_made_it(stack, who):
    with stack.flight() as client:

        def run(sql: str) -> fl.Ticket:
            command = fl.FlightDescriptor.for_command(sql.encode())
            return client.get_flight_info(command, flight_options("owner")).endpoints[0].ticket

        run("CREATE OR REPLACE TABLE names (who VARCHAR)")
        ticket = run(f"INSERT INTO names SELECT who FROM {SECRET} RETURNING who")
        with pytest.raises(fl.FlightUnauthorizedError, match=r"\[permission_denied\]"):
            client.do_get(ticket, flight_options(who)).read_all()
        assert client.do_get(ticket, flight_options("owner")).read_all().num_rows > 0


def test_nobody_keeps_a_query_of_somebody_else_from_running(stack):
    with stack.flight() as client, stack.flight() as other:
        mine, theirs, admins = (
            RawFlightSql(each, {"authorization": f"Bearer {TOKENS[who]}"})
            for each, who in ((client, "team"), (other, "loader"), (other, "owner"))
        )
        info = mine.execute("SELECT 1 AS one")
        theirs.cancel(info)
        assert mine.fetch(info).to_pylist() == [{"one": 1}]
        planned = mine.execute("SELECT 2 AS two")
        admins.cancel(planned)
        with pytest.raises(fl.FlightServerError, match=r"\[cancelled\]"):
            mine.fetch(planned)


def test_flight_sql_shows_and_takes_only_what_was_granted(stack):
    with sql_connection(stack, "team") as connection, connection.cursor() as cursor:
        objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
        assert SECRET not in json.dumps(objects)
        assert "sales_eu" in json.dumps(objects)
        for name in (SECRET, ABSENT):
            with pytest.raises(dbapi.Error, match=r"\[dataset_not_found\]"):
                cursor.execute(f"SELECT * FROM {name}")
            with pytest.raises(dbapi.Error, match=r"(?i)not.?found"):
                connection.adbc_get_table_schema(name)
            for mode in ("append", "create", "replace"):
                with pytest.raises(dbapi.Error, match=r"\[permission_denied\]"):
                    cursor.adbc_ingest(name, ROWS, mode=mode, db_schema_name="datasets")
        with pytest.raises(dbapi.Error, match=r"\[permission_denied\]"):
            cursor.adbc_ingest("everybodys", ROWS, mode="create")
        cursor.adbc_ingest("sales_us", ROWS, mode="create", db_schema_name="datasets")
        cursor.execute("SELECT count(*) FROM sales_us")
        assert cursor.fetchone() == (3,)


def test_who_may_ingest_can_do_nothing_else_that_changes_anything(stack):
    with http(stack, "loader") as client:
        source = uploaded(client)
        for dataset, code in (("sales_new", 202), (SECRET, 403), (ABSENT, 403)):
            reply = client.post(
                "/api/v1/ingestions",
                json={"dataset": dataset, "source": source, "mode": "append"},
                headers={"Prefer": "wait=30"},
            )
            assert reply.status_code == code, reply.text
        assert client.get("/api/v1/datasets/sales_new").json()["rows"] == 1
        assert client.delete("/api/v1/datasets/sales_new").json()["code"] == "permission_denied"
        refused = client.post("/api/v1/query", json={"sql": "CREATE TABLE t AS SELECT 1 AS x"})
        assert refused.status_code == 403
    with stack.flight() as client, pytest.raises(fl.FlightUnauthorizedError, match=r"\[permission_denied\]"):
        put(client, "sales_new", flight_options("loader"))


def test_who_may_only_ingest_sees_what_became_of_it_and_nothing_else(stack: Stack) -> None:
    with http(stack, "sender") as sender, http(stack, "loader") as loader:
        asked = {"dataset": "sales_sent", "source": uploaded(sender), "mode": "append"}
        headers = {"Prefer": "wait=60"}
        sent = sender.post("/api/v1/ingestions", json=asked, headers=headers)
        assert (sent.status_code, sent.json()["state"]) == (202, "succeeded"), sent.text
        mine = sent.json()["id"]
        for path in ("jobs", "ingestions"):
            assert sender.get(f"/api/v1/{path}/{mine}").json()["state"] == "succeeded"
            assert sender.get(f"/api/v1/{path}/{mine}/log").json()["items"]
            ended = sender.post(f"/api/v1/{path}/{mine}/cancel")
            assert (ended.status_code, ended.json()["code"]) == (409, "ingestion_finished"), ended.text
        asked["source"] = uploaded(loader)
        theirs = loader.post("/api/v1/ingestions", json=asked, headers=headers).json()["id"]
        for path in ("jobs/{}", "ingestions/{}", "jobs/{}/log"):
            refused = sender.get("/api/v1/" + path.format(theirs))
            assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
            unknown = sender.get("/api/v1/" + path.format("0" * 32))
            assert (unknown.status_code, unknown.json()["code"]) == (404, "ingestion_not_found")
        for path in ("jobs", "datasets/sales_sent", "datasets/sales_sent/rows"):
            assert sender.get(f"/api/v1/{path}").json()["code"] == "permission_denied"


def test_who_may_write_and_not_read_is_told_no_rows_and_changes_nothing_unseen(stack: Stack) -> None:
    stack.write("unread", ROWS)
    with stack.raw(authorization=f"Bearer {TOKENS['writer']}") as client, http(stack, "owner") as owner:
        owner.post("/api/v1/query", json={"sql": "CREATE TABLE copies (id BIGINT, who VARCHAR)"})
        for sql in ("INSERT INTO copies FROM unread RETURNING *", "DELETE FROM unread", "SELECT 1"):
            for run in (client.query, client.update):
                with pytest.raises(fl.FlightUnauthorizedError, match=r"\[permission_denied\].*'read'"):
                    run(sql)
        asked = fl.FlightDescriptor.for_command(b"INSERT INTO copies FROM unread RETURNING *")
        with pytest.raises(fl.FlightUnauthorizedError, match=r"'read'"):
            client.client.get_flight_info(asked, flight_options("writer"))
        put(client.client, "unread", flight_options("writer"))
    with http(stack, "writer") as client, http(stack, "owner") as owner:
        for method, path, body in (
            ("POST", "queries", {"sql": "INSERT INTO copies FROM unread RETURNING *"}),
            ("POST", "datasets/unread/delete", {"where": "id = 1"}),
            ("PUT", "datasets/unread/contract", {"columns": [{"name": "id"}]}),
            ("PUT", "datasets/unread/retention", {"keep_versions": 7}),
            ("PUT", "datasets/unread/derivation", {"sql": "SELECT 1 AS one"}),
        ):
            refused = client.request(method, f"/api/v1/{path}", json=body)
            assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied"), path
        assert owner.get("/api/v1/datasets/unread").json()["rows"] == 6
        assert owner.get("/api/v1/datasets/unread/contract").status_code == 404
        assert owner.get("/api/v1/datasets/unread/retention").json()["keep_versions"] != 7
        assert owner.post("/api/v1/query", json={"sql": "FROM copies"}).json()["rows"] == []


def test_sql_of_an_ingestion_reads_nothing_out_of_sight(stack):
    with http(stack, "loader") as client:
        for name in (SECRET, ABSENT):
            source = {"kind": "sql", "sql": f"SELECT * FROM {name}"}
            reply = client.post("/api/v1/ingestions", json={"dataset": "sales_copy", "source": source})
            assert reply.json()["code"] == "dataset_not_found", reply.text


def test_a_job_is_done_with_the_token_of_its_owner_that_sees_what_it_reads(stack: Stack) -> None:
    stack.write("twin_in", ROWS)
    source = {"kind": "sql", "sql": "SELECT id FROM twin_in"}
    with http(stack, "twin") as client:
        asked = {"dataset": "twin_out", "source": source}
        job = client.post("/api/v1/ingestions", json=asked, headers={"Prefer": "wait=60"}).json()
        assert (job["state"], job["rows"]) == ("succeeded", 3), job


NAMES = {"kind": "sql", "sql": "SELECT dataset FROM skein.datasets"}


def ingested(client: httpx.Client, dataset: str) -> dict[str, object]:
    request = {"dataset": dataset, "source": NAMES, "mode": "replace"}
    return client.post("/api/v1/ingestions", json=request, headers={"Prefer": "wait=60"}).json()


def scheduled(client: httpx.Client, dataset: str) -> dict[str, object]:
    asked = {"name": dataset, "ingestion": {"dataset": dataset, "source": NAMES}, "cron": "0 0 1 1 *"}
    assert client.post("/api/v1/schedules", json=asked).status_code == 201
    return run(client, dataset)


def run(client: httpx.Client, schedule: str) -> dict[str, object]:
    return client.post(f"/api/v1/schedules/{schedule}/run", headers={"Prefer": "wait=60"}).json()


@pytest.mark.parametrize("ask", [ingested, scheduled])
def test_a_job_sees_no_more_than_the_credential_that_asked_for_it(stack: Stack, ask) -> None:
    dataset = f"pair_{ask.__name__}"
    with http(stack, "pair, narrow") as narrow, http(stack, "pair") as wide:
        job = ask(narrow, dataset)
        assert job["state"] == "succeeded", job["error"]
        read = {"sql": f"FROM {dataset}"}
        assert SECRET not in narrow.post("/api/v1/query", json=read).text
        again = wide.post(f"/api/v1/datasets/{dataset}/refresh", headers={"Prefer": "wait=60"})
        assert again.status_code == 202, again.text
        assert SECRET in narrow.post("/api/v1/query", json=read).text


def test_statements_and_uploads_of_one_name_are_kept_apart_by_rights(stack: Stack) -> None:
    with http(stack, "pair, narrow") as narrow, http(stack, "pair") as wide:
        asked = [client.post("/api/v1/query", json={"sql": "SELECT 1 AS one"}) for client in (narrow, wide)]
        for method, path, items in (
            ("GET", "queries/{}", [reply.headers["Skein-Query-Id"] for reply in asked]),
            ("DELETE", "queries/{}", [reply.headers["Skein-Query-Id"] for reply in asked]),
            ("GET", "uploads/{}", [uploaded(client)["id"] for client in (narrow, wide)]),
            ("DELETE", "uploads/{}", [uploaded(client)["id"] for client in (narrow, wide)]),
        ):
            of_narrow, of_wide = items
            refused = narrow.request(method, "/api/v1/" + path.format(of_wide))
            assert refused.json()["code"] in ("query_not_found", "permission_denied"), path
            assert wide.request(method, "/api/v1/" + path.format(of_narrow)).is_success
        mine, theirs = uploaded(narrow), uploaded(wide)
        for kind, key, ids in (
            ("uploads", "id", [mine["id"], theirs["id"]]),
            ("queries", "id", [reply.headers["Skein-Query-Id"] for reply in asked]),
        ):
            seen = [
                {each[key] for each in client.get(f"/api/v1/{kind}").json()["items"]}
                for client in (narrow, wide)
            ]
            assert ids[0] in seen[0]
            assert ids[1] not in seen[0]
            assert set(ids) <= seen[1]
        for source, status in ((theirs, 403), (mine, 202)):
            reply = narrow.post("/api/v1/ingestions", json={"dataset": "pair_sent", "source": source})
            assert reply.status_code == status, reply.text


def test_who_runs_or_resumes_a_schedule_could_have_made_it(stack: Stack) -> None:
    asked = {"dataset": "pair_run", "source": {"kind": "sql", "sql": f"SELECT count(*) AS n FROM {SECRET}"}}
    schedule = {"name": "pair_run", "ingestion": asked, "cron": "0 0 1 1 *"}
    with http(stack, "pair, narrow") as narrow, http(stack, "pair") as wide:
        assert wide.post("/api/v1/schedules", json=schedule).status_code == 201
        assert run(narrow, "pair_run")["code"] == "dataset_not_found"
        assert narrow.get("/api/v1/datasets/pair_run").status_code == 404
        paused = narrow.patch("/api/v1/schedules/pair_run", json={"paused": True})
        assert paused.json()["paused"] is True, paused.text
        for change in ({"paused": False}, {"every_s": 1}):
            refused = narrow.patch("/api/v1/schedules/pair_run", json=change)
            assert (refused.status_code, refused.json()["code"]) == (404, "dataset_not_found"), change
        assert wide.patch("/api/v1/schedules/pair_run", json={"paused": False}).json()["paused"] is False
        assert run(wide, "pair_run")["state"] == "succeeded"


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (f"datasets/{SECRET}/delete", {"where": "id = 77"}),
        (
            "ingestions",
            {"dataset": "pair_once", "source": {"kind": "sql", "sql": f"SELECT id FROM {SECRET}"}},
        ),
    ],
)
def test_a_key_is_answered_to_the_rights_that_it_came_with(stack: Stack, path: str, asked: object) -> None:
    with http(stack, "pair, narrow") as narrow, http(stack, "pair") as wide:
        first, again, other = (
            client.post(f"/api/v1/{path}", json=asked, headers={"Idempotency-Key": "of " + path[:5]})
            for client in (wide, wide, narrow)
        )
        assert first.is_success
        assert again.is_success
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused"), other.text
        assert other.json().get("details") is None
        assert SECRET not in other.json()["detail"]


def test_whoever_may_read_rows_may_hold_them_against_a_contract(stack: Stack) -> None:
    contract = {"columns": [{"name": "id", "type": "int64", "ge": 2}]}
    with http(stack, "loader") as client:
        check = "/api/v1/datasets/sales_eu/contract/check"
        job = client.post(check, json=contract, headers={"Prefer": "wait=60"}).json()
        assert job["state"] == "succeeded", job["error"]
        assert job["result"]["rejected_rows"] > 0
        proposed = client.post("/api/v1/datasets/sales_eu/contract/infer").json()
        assert [column["name"] for column in proposed["columns"]] == ["id", "who"]
        for action in ("check", "infer"):
            refused = client.post(f"/api/v1/datasets/{SECRET}/contract/{action}", json=contract)
            assert (refused.status_code, refused.json()["code"]) == (404, "dataset_not_found"), refused.text


def test_a_schedule_does_with_the_rights_of_its_owner_only_what_its_owner_said(stack: Stack) -> None:
    ingestion = {"dataset": "sales_names", "source": {"kind": "sql", "sql": "SELECT 1 AS id"}}
    theirs = {"name": "theirs", "ingestion": ingestion, "every_s": 86_400, "paused": True}
    with http(stack, "owner") as owner, http(stack, "chief") as chief:
        assert owner.post("/api/v1/schedules", json=theirs).status_code == 201
        ingestion["source"] = {"kind": "sql", "sql": "SELECT dataset FROM skein.datasets"}
        changed = chief.patch("/api/v1/schedules/theirs", json={"ingestion": ingestion})
        assert changed.json()["actor"] == "chief", changed.text
        run = chief.post("/api/v1/schedules/theirs/run", headers={"Prefer": "wait=60"}).json()
        assert run["state"] == "succeeded", run["error"]
        assert SECRET not in chief.post("/api/v1/query", json={"sql": "FROM sales_names"}).text


def test_a_cycle_names_no_dataset_out_of_sight(stack: Stack) -> None:
    with http(stack, "owner") as owner, http(stack, "pair, narrow") as narrow:
        owner.post("/api/v1/query", json={"sql": "CREATE TABLE datasets.pair_a AS SELECT 1 AS i"})
        for target, source in (("hidden_b", "pair_a"), ("pair_c", "hidden_b")):
            derived = {"sql": f"SELECT i FROM {source}", "refresh": "manual"}
            assert owner.put(f"/api/v1/datasets/{target}/derivation", json=derived).is_success
            assert owner.post(f"/api/v1/datasets/{target}/refresh", headers={"Prefer": "wait=60"}).is_success
        asked = {"sql": "SELECT i FROM pair_c"}
        for client, names in ((narrow, ["pair_a", "pair_c", "pair_a"]), (owner, None)):
            refused = client.put("/api/v1/datasets/pair_a/derivation", json=asked)
            assert refused.json()["code"] == "derivation_cycle", refused.text
            assert refused.json()["details"]["cycle"] == (names or ["pair_a", "pair_c", "hidden_b", "pair_a"])
            assert ("hidden_b" in refused.text) is (client is owner)


def test_nobody_makes_a_dataset_anew_from_what_is_out_of_sight(stack: Stack) -> None:
    with http(stack, "loader") as client:
        reply = client.post("/api/v1/datasets/sales_late/refresh")
        assert (reply.status_code, reply.json()["code"]) == (403, "permission_denied"), reply.text
        assert SECRET not in reply.text
    with http(stack, "owner") as client:
        assert client.get("/api/v1/datasets/sales_late/derivation").json()["state"] == "new"
