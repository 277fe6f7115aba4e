"""Sessions: whose they are, what they hold, how they end."""

from contextlib import ExitStack

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.application.sessions.session import SessionLimits
from schemas.flight_sql import flight_pb2
from schemas.flight_sql.flight_pb2 import SessionOptionValue, SetSessionOptionsResult
from tests.protocol.raw_flight_sql import RawFlightSql
from tests.stack import skein_stack, until


def set_options(client: RawFlightSql, **values: SessionOptionValue) -> dict[str, int]:
    """The names refused, and why."""
    request = flight_pb2.SetSessionOptionsRequest(session_options=values)
    (body,) = client.action("SetSessionOptions", request)
    errors = flight_pb2.SetSessionOptionsResult.FromString(body).errors
    return {name: error.value for name, error in errors.items()}


def get_options(client: RawFlightSql) -> dict[str, object]:
    (body,) = client.action("GetSessionOptions", flight_pb2.GetSessionOptionsRequest())
    options = flight_pb2.GetSessionOptionsResult.FromString(body).session_options
    return {name: getattr(value, value.WhichOneof("option_value")) for name, value in options.items()}


def text(value: str) -> SessionOptionValue:
    return SessionOptionValue(string_value=value)


def test_temporary_tables_variables_and_settings_stay_in_their_session(client, stack):
    client.execute("CREATE TEMP TABLE secret AS SELECT 1 AS i")
    client.execute("SET VARIABLE answer = 42")
    client.execute("SET TimeZone = 'Asia/Tokyo'")
    client.execute("SET default_null_order = 'nulls_first'")
    mine = "SELECT getvariable('answer'), current_setting('TimeZone'), current_setting('default_null_order')"
    assert client.rows(mine) == [(42, "Asia/Tokyo", "NULLS_FIRST")]
    with stack.raw() as other:
        assert other.rows(mine)[0][0] is None
        assert other.rows(mine)[0][1:] != ("Asia/Tokyo", "NULLS_FIRST")
        with pytest.raises(KeyError):
            other.rows("SELECT * FROM secret")


def test_prepare_and_execute_of_sql_stay_in_their_session(client, stack):
    client.execute("PREPARE double AS SELECT $1 * 2 AS x")
    assert client.rows("EXECUTE double(21)") == [(42,)]
    with stack.raw() as other, pytest.raises(pa.ArrowInvalid):
        other.rows("EXECUTE double(21)")


def test_two_clients_in_one_process_have_two_sessions(stack):
    with stack.raw() as first, stack.raw() as second:
        first.execute("CREATE TEMP TABLE t AS SELECT 1 AS i")
        second.execute("CREATE TEMP TABLE t AS SELECT 2 AS i")
        assert first.rows("FROM t") == [(1,)]
        assert second.rows("FROM t") == [(2,)]


def test_the_session_cookie_names_a_session_on_any_connection(stack):
    cookie = {"cookie": "theme=dark; arrow_flight_session_id=4711"}
    with stack.raw(**cookie) as first:
        first.execute("CREATE TEMP TABLE baked AS SELECT 1 AS i")
    with stack.raw(**cookie) as second:
        assert second.rows("FROM baked") == [(1,)]


class Cookies(fl.ClientMiddlewareFactory):
    """Keeps what the server sets, as browsers do."""

    def __init__(self) -> None:
        super().__init__()
        self.cookies: list[str] = []

    def start_call(self, info: fl.CallInfo) -> fl.ClientMiddleware:
        return Cookie(self)


class Cookie(fl.ClientMiddleware):
    def __init__(self, jar: Cookies) -> None:
        super().__init__()
        self._jar = jar

    def received_headers(self, headers: dict[str, list[str]]) -> None:
        self._jar.cookies += headers.get("set-cookie", [])

    def sending_headers(self) -> dict[str, str]:
        cookies = [cookie.partition(";")[0] for cookie in self._jar.cookies]
        return {"cookie": cookies[-1]} if cookies else {}


def test_a_client_that_keeps_the_cookie_finds_its_session_on_another_connection(stack):
    jar = Cookies()
    with fl.connect(stack.flight_uri, middleware=[jar]) as connection:
        client = RawFlightSql(connection, {})
        client.execute("CREATE TEMP TABLE remembered AS SELECT 1 AS i")
        assert client.rows("FROM remembered") == [(1,)]
        assert len(jar.cookies) == 1
        assert jar.cookies[0].startswith("arrow_flight_session_id=")
    with fl.connect(stack.flight_uri, middleware=[jar]) as connection:
        client = RawFlightSql(connection, {})
        assert client.rows("FROM remembered") == [(1,)]
        assert len(jar.cookies) == 1
        list(client.action("CloseSession", flight_pb2.CloseSessionRequest()))
        with pytest.raises(KeyError):
            client.rows("FROM remembered")


def test_options_can_be_read(client):
    options = get_options(client)
    assert options["catalog"] == "workspace"
    assert options["schema"] == "main"
    assert options["integer_division"] is False
    assert options["parallel_endpoints"] == 1


def test_options_are_what_sql_sees(client):
    assert (
        set_options(client, TimeZone=text("Asia/Tokyo"), integer_division=SessionOptionValue(bool_value=True))
        == {}
    )
    assert client.rows("SELECT current_setting('TimeZone'), 3 / 2") == [("Asia/Tokyo", 1)]
    assert get_options(client)["TimeZone"] == "Asia/Tokyo"


def test_the_time_zone_decides_how_moments_are_read_and_shown(client):
    moment = "SELECT TIMESTAMPTZ '2020-07-01 12:00:00' AS t"
    set_options(client, TimeZone=text("Europe/Berlin"))
    column = client.query(moment).column("t")
    assert column.type == pa.timestamp("us", "Europe/Berlin")
    assert column.cast(pa.int64()).to_pylist() == [1593597600000000]


def test_schema_and_catalog_decide_where_names_are_looked_for(client, stack):
    stack.write("birds", pa.table({"i": [1]}))
    client.execute("CREATE SCHEMA IF NOT EXISTS attic")
    client.execute("CREATE OR REPLACE TABLE attic.boxes AS SELECT 3 AS i")
    assert set_options(client, schema=text("attic")) == {}
    assert client.rows("FROM boxes") == [(3,)]
    assert client.rows("FROM birds") == [(1,)]
    assert get_options(client)["schema"] == "attic"
    assert set_options(client, catalog=text("lake")) == {}
    assert (get_options(client)["catalog"], get_options(client)["schema"]) == ("lake", "datasets")
    assert set_options(client, catalog=SessionOptionValue()) == {}
    assert (get_options(client)["catalog"], get_options(client)["schema"]) == ("workspace", "main")


def test_an_option_without_a_value_goes_back_to_its_default(client):
    before = get_options(client)["TimeZone"]
    set_options(client, TimeZone=text("Asia/Tokyo"))
    assert set_options(client, TimeZone=SessionOptionValue()) == {}
    assert get_options(client)["TimeZone"] == before


def test_refused_options_are_named_with_the_reason_and_the_others_are_set(client):
    errors = set_options(
        client,
        TimeZone=text("Asia/Tokyo"),
        schema=text("nowhere"),
        colour=text("blue"),
        integer_division=text("perhaps"),
        memory_limit=text("1TB"),
        parallel_endpoints=text("-1"),
    )
    assert errors == {
        "schema": SetSessionOptionsResult.INVALID_VALUE,
        "colour": SetSessionOptionsResult.INVALID_NAME,
        "integer_division": SetSessionOptionsResult.INVALID_VALUE,
        "memory_limit": SetSessionOptionsResult.INVALID_NAME,
        "parallel_endpoints": SetSessionOptionsResult.INVALID_VALUE,
    }
    assert get_options(client)["TimeZone"] == "Asia/Tokyo"


def test_global_settings_are_not_for_clients(client):
    for sql in ("SET memory_limit = '1TB'", "SET GLOBAL TimeZone = 'UTC'", "SET threads = 64"):
        with pytest.raises(fl.FlightUnauthorizedError, match=r"\[statement_not_allowed\]"):
            client.execute(sql)


def test_closing_a_session_forgets_everything(client):
    client.execute("CREATE TEMP TABLE gone AS SELECT 1 AS i")
    handle = client.prepare("FROM gone").prepared_statement_handle
    transaction = client.begin()
    (body,) = client.action("CloseSession", flight_pb2.CloseSessionRequest())
    closed = flight_pb2.CloseSessionResult.FromString(body).status
    assert closed == flight_pb2.CloseSessionResult.CLOSED
    with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
        client.run_prepared(handle)
    with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
        client.commit(transaction)
    with pytest.raises(KeyError):
        client.rows("FROM gone")
    assert client.rows("SELECT 1") == [(1,)]


def test_an_idle_session_is_closed(tmp_path):
    with skein_stack(tmp_path, session_idle_s=0.2) as stack, stack.raw() as client:
        client.execute("CREATE TEMP TABLE gone AS SELECT 1 AS i")
        handle = client.prepare("FROM gone").prepared_statement_handle
        until(lambda: len(stack.skein.flight_sql.sessions) == 0)
        with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
            client.run_prepared(handle)


def test_a_session_whose_stream_is_being_read_is_not_idle(tmp_path):
    with skein_stack(tmp_path, session_idle_s=0.2) as stack, stack.raw() as client, stack.raw() as other:
        client.execute("CREATE TEMP TABLE much AS SELECT range AS i FROM range(3000000)")
        other.execute("CREATE TEMP TABLE idle AS SELECT 1 AS i")
        info = client.execute("FROM much")
        reader = client.client.do_get(info.endpoints[0].ticket)
        reader.read_chunk()
        until(lambda: len(stack.skein.flight_sql.sessions) == 1)
        assert sum(chunk.data.num_rows for chunk in reader) > 0
        assert client.rows("SELECT count(*) FROM much") == [(3_000_000,)]


def test_too_many_sessions_are_refused_and_those_that_hold_nothing_make_room(tmp_path):
    with skein_stack(tmp_path, max_sessions=2) as stack:
        with stack.raw() as passer_by:
            passer_by.rows("SELECT 1")
        with stack.raw() as first, stack.raw() as second, stack.raw() as third:
            first.execute("CREATE TEMP TABLE t (i INTEGER)")
            second.begin()
            with pytest.raises(fl.FlightUnavailableError, match=r"\[too_many_sessions\].*SKEIN_MAX_SESSIONS"):
                third.rows("SELECT 1")
            list(first.action("CloseSession", flight_pb2.CloseSessionRequest()))
            assert third.rows("SELECT 1") == [(1,)]


def test_nobody_keeps_others_out_by_many_sessions(tmp_path):
    tokens = "ann/read=a1,bob/read=b1"
    with (
        skein_stack(tmp_path, tokens=tokens, max_sessions=3) as stack,
        stack.flight() as client,
    ):

        def session(token: str, cookie: str) -> RawFlightSql:
            headers = {"authorization": f"Bearer {token}", "cookie": f"arrow_flight_session_id={cookie}"}
            return RawFlightSql(client, headers)

        oldest, *_ = (session("a1", f"number{number}").begin() for number in range(3))
        with pytest.raises(fl.FlightUnavailableError, match=r"\[too_many_sessions\]"):
            session("a1", "one-more").begin()
        kept = session("b1", "number1").begin()
        with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
            session("a1", "number0").commit(oldest)
        with pytest.raises(fl.FlightUnavailableError, match=r"\[too_many_sessions\]"):
            session("b1", "one-more").begin()
        session("b1", "number1").commit(kept)


def test_the_parameters_of_an_actor_are_bounded_in_all_sessions_together(tmp_path):
    with skein_stack(tmp_path, tokens="ann/read=a1,bob/read=b1") as stack:
        stack.skein.flight_sql.sessions.limits = SessionLimits(max_bound_bytes=1500)
        rows = pa.table({"p": ["x" * 1000]})
        headers = [{"authorization": f"Bearer {token}"} for token in ("a1", "a1", "b1")]
        with ExitStack() as clients:
            first, second, other = (
                RawFlightSql(clients.enter_context(stack.flight()), each) for each in headers
            )
            one, two, three = (
                each.prepare("SELECT length(?) AS n").prepared_statement_handle
                for each in (first, second, other)
            )
            first.bind(one, rows)
            first.bind(one, rows)
            other.bind(three, rows)
            with pytest.raises(fl.FlightUnavailableError, match=r"\[limit_exceeded\].*'ann'"):
                second.bind(two, rows)
            first.close_prepared(one)
            second.bind(two, rows)
            assert second.fetch(second.run_prepared(two)).to_pylist() == [{"n": 1000}]


def test_a_handle_of_another_user_is_unknown(tmp_path):
    users = "alice/read+write=wonderland,bob/read+write=builder"
    with skein_stack(tmp_path, users=users) as stack, stack.flight() as client:
        alice, bob = (
            RawFlightSql(client, login(client, *who)) for who in (("alice", "wonderland"), ("bob", "builder"))
        )
        handle = alice.prepare("SELECT 1").prepared_statement_handle
        transaction = alice.begin()
        alice.execute("CREATE TEMP TABLE mine AS SELECT 1 AS i")
        info = alice.execute("FROM mine")
        for use in (
            lambda: bob.run_prepared(handle),
            lambda: bob.commit(transaction),
            lambda: bob.fetch(info),
        ):
            with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
                use()
        assert alice.fetch(info).to_pylist() == [{"i": 1}]


def test_a_credential_of_the_same_name_with_fewer_rights_finds_no_session_of_one_with_more(tmp_path):
    cookie = {"cookie": "arrow_flight_session_id=4711"}
    with skein_stack(tmp_path, tokens="ann=wide,ann/read=narrow") as stack, stack.flight() as client:
        wide, narrow = (
            RawFlightSql(client, cookie | {"authorization": f"Bearer {token}"})
            for token in ("wide", "narrow")
        )
        handle = wide.prepare("SELECT 1").prepared_statement_handle
        transaction = wide.begin()
        wide.execute("CREATE TEMP TABLE mine AS SELECT 1 AS i")
        with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
            narrow.run_prepared(handle)
        with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
            narrow.commit(transaction)
        narrow.prepare("SELECT 1")
        list(narrow.action("CloseSession", flight_pb2.CloseSessionRequest()))
        assert wide.rows("FROM mine") == [(1,)]


def login(client: fl.FlightClient, user: str, password: str) -> dict[str, str]:
    name, value = client.authenticate_basic_token(user, password)
    return {name.decode(): value.decode()}
