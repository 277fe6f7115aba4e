"""The client side of every peer, in a process of its own: requests come on standard input, answers go out.

    python client.py KIND ADDRESS

It runs in the peer's environment, and so imports nothing but pyarrow and the peer's own library. A request is
one line of JSON, an answer too:

- `{"do": "drain", "sql": ...}`: `{"total_s", "first_batch_s", "rows", "bytes", "cpu_s"}`
- `{"do": "check", "sql": ...}`: the same with `sums`: rows, and the sum of each column (of lengths for texts)
- `{"do": "convert", "sql": ..., "to": "pandas" | "polars"}`: as `drain`, with the conversion in the time
- `{"do": "load", "statements": [...], "clients": n, "seconds": s}`: `{"latencies_s", "seconds", "cpu_s"}`
"""

import http.client
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

Ask = Callable[[str], Iterator[pa.RecordBatch]]
ARROW = "application/vnd.apache.arrow.stream"


def duckdb_in_process(address: str) -> Ask:
    """`address` is JSON: the files of each table."""
    import duckdb

    connection = duckdb.connect()
    for name, files in json.loads(address).items():
        connection.execute(f"CREATE VIEW {name} AS FROM read_parquet({files!r})")
    return lambda sql: iter(connection.cursor().sql(sql).to_arrow_reader(65_536))


def polars_in_process(address: str) -> Ask:
    import polars as pl

    tables = {name: pl.scan_parquet(files) for name, files in json.loads(address).items()}
    context = pl.SQLContext(tables)

    def ask(sql: str) -> Iterator[pa.RecordBatch]:
        return iter(context.execute(sql).collect(engine="streaming").to_arrow().to_batches())

    return ask


def flight(address: str, **options: object) -> Ask:
    """Plain Flight: a command is planned, its ticket read."""
    import pyarrow.flight as fl

    client = fl.connect(address)

    def ask(sql: str) -> Iterator[pa.RecordBatch]:
        command = json.dumps({"sql": sql, **options}) if options else sql
        info = client.get_flight_info(fl.FlightDescriptor.for_command(command))
        for chunk in client.do_get(info.endpoints[0].ticket):
            yield chunk.data

    return ask


def flight_compact(address: str) -> Ask:
    return flight(address, narrow_decimals=True)


def flight_tickets(address: str) -> Ask:
    """A server whose tickets are SQL."""
    import pyarrow.flight as fl

    client = fl.connect(address)

    def ask(sql: str) -> Iterator[pa.RecordBatch]:
        for chunk in client.do_get(fl.Ticket(sql.encode())):
            yield chunk.data

    return ask


def flight_memory(address: str) -> Ask:
    ask = flight_tickets(address)
    return lambda sql: ask(f"kept:{sql}")


def adbc(address: str) -> Ask:
    import adbc_driver_flightsql.dbapi as flight_sql

    return _dbapi(flight_sql.connect(address, autocommit=True))


def postgres(address: str) -> Ask:
    import adbc_driver_postgresql.dbapi as postgresql

    return _dbapi(postgresql.connect(address, autocommit=True))


def _dbapi(connection: Any) -> Ask:
    def ask(sql: str) -> Iterator[pa.RecordBatch]:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            yield from cursor.fetch_record_batch()

    return ask


def quack(address: str) -> Ask:
    import duckdb
    import duckdb_extension_httpfs
    import duckdb_extension_quack

    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for extension in (duckdb_extension_httpfs, duckdb_extension_quack):
        (path,) = Path(extension.__file__).parent.rglob("*.duckdb_extension")
        connection.execute(f"LOAD '{path}'")
    connection.execute("CREATE SECRET (TYPE quack, TOKEN 'benchmark')")
    connection.execute(f"ATTACH '{address}' AS remote")

    def ask(sql: str) -> Iterator[pa.RecordBatch]:
        quoted = sql.replace("'", "''")
        return iter(connection.cursor().sql(f"FROM remote.query('{quoted}')").to_arrow_reader(65_536))

    return ask


def skein_http(address: str) -> Ask:
    return _posted(address, "/api/v1/queries", lambda sql: json.dumps({"sql": sql}))


def skein_websocket(address: str) -> Ask:
    """The first result of a live query: each binary frame is 8 bytes and an Arrow IPC stream of one batch."""
    from websockets.sync.client import connect

    def ask(sql: str) -> Iterator[pa.RecordBatch]:
        url = f"ws://{address}/api/v1/live"
        with connect(url, max_size=None, max_queue=4, compression=None) as socket:
            socket.send(json.dumps({"subscribe": {"sql": sql}}))
            for frame in socket:
                if isinstance(frame, bytes):
                    yield from pa.ipc.open_stream(pa.py_buffer(frame)[8:])
                elif json.loads(frame)["type"] in ("end", "error"):
                    return

    return ask


def roapi_http(address: str) -> Ask:
    return _posted(address, "/api/sql", lambda sql: sql)


def mosaic(address: str) -> Ask:
    return _posted(address, "/", lambda sql: json.dumps({"type": "arrow", "sql": sql}))


def _posted(address: str, path: str, body: Callable[[str], str]) -> Ask:
    connection = http.client.HTTPConnection(address)

    def ask(sql: str) -> Iterator[pa.RecordBatch]:
        reply = _post(connection, path, body(sql))
        if reply.status != 200:
            raise RuntimeError(f"{reply.status}: {reply.read(500)!r}")
        yield from pa.ipc.open_stream(reply)
        reply.read()

    return ask


def _post(connection: http.client.HTTPConnection, path: str, body: str) -> http.client.HTTPResponse:
    """A server may have closed a connection that it kept: then on a new one."""
    headers = {"Accept": ARROW, "Content-Type": "application/json"}
    try:
        connection.request("POST", path, body, headers)
        return connection.getresponse()
    except (http.client.RemoteDisconnected, ConnectionError):
        connection.close()
        connection.request("POST", path, body, headers)
        return connection.getresponse()


def json_rows(address: str) -> Ask:
    """An endpoint that answers with one JSON array of objects."""
    connection = http.client.HTTPConnection(address)

    def ask(sql: str) -> Iterator[pa.RecordBatch]:
        rows = json.loads(_post(connection, "/", json.dumps({"sql": sql})).read())
        yield from pa.Table.from_pylist(rows).to_batches()

    return ask


KINDS: dict[str, Callable[[str], Ask]] = {
    each.__name__: each
    for each in (
        duckdb_in_process,
        polars_in_process,
        flight,
        flight_compact,
        flight_tickets,
        flight_memory,
        adbc,
        postgres,
        quack,
        skein_http,
        skein_websocket,
        roapi_http,
        mosaic,
        json_rows,
    )
}


def drain(ask: Ask, sql: str) -> dict[str, Any]:
    cpu, start = time.process_time(), time.perf_counter()
    first, rows, size = 0.0, 0, 0
    for batch in ask(sql):
        first = first or time.perf_counter() - start
        rows += batch.num_rows
        size += batch.nbytes
    return {
        "total_s": time.perf_counter() - start,
        "first_batch_s": first,
        "rows": rows,
        "bytes": size,
        "cpu_s": time.process_time() - cpu,
    }


def check(ask: Ask, sql: str) -> dict[str, Any]:
    rows, sums = 0, dict[str, float]()
    for batch in ask(sql):
        rows += batch.num_rows
        for field, column in zip(batch.schema, batch.columns, strict=True):
            sums[field.name] = sums.get(field.name, 0.0) + _sum(column)
    return {"rows": rows, "sums": sums}


def _sum(column: pa.Array) -> float:
    """Of the values; of the lengths of texts and of lists, of the days of dates."""
    kind = column.type
    if isinstance(column, pa.ExtensionArray):  # PostgreSQL's numeric, as text
        column = column.storage.cast(pa.decimal128(38, 10))
        kind = column.type
    if pa.types.is_dictionary(kind):
        return _sum(column.cast(kind.value_type))
    if pa.types.is_struct(kind):
        return sum(_sum(column.field(i)) for i in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return float(pc.sum(pc.list_value_length(column)).as_py() or 0) + _sum(column.flatten())
    if pa.types.is_string_view(kind):
        column, kind = column.cast(pa.string()), pa.string()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return float(pc.sum(pc.binary_length(column)).as_py() or 0)
    if pa.types.is_date(kind):
        return float(pc.sum(column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())).as_py() or 0)
    if pa.types.is_timestamp(kind):
        return float(pc.sum(column.cast(pa.timestamp("ms")).cast(pa.int64())).as_py() or 0)
    if pa.types.is_decimal(kind):
        return float(pc.sum(column.cast(pa.decimal128(38, kind.scale))).as_py() or Decimal(0))
    return float(pc.sum(column).as_py() or 0)


def convert(ask: Ask, sql: str, to: str) -> dict[str, Any]:
    cpu, start = time.process_time(), time.perf_counter()
    table = pa.Table.from_batches(ask(sql))
    if to == "polars":
        import polars as pl

        rows = pl.from_arrow(table).height  # type: ignore[union-attr]
    else:
        rows = len(table.to_pandas())
    spent = time.perf_counter() - start
    return {"total_s": spent, "rows": rows, "cpu_s": time.process_time() - cpu}


def load(
    kind: Callable[[str], Ask], address: str, statements: list[str], clients: int, seconds: float
) -> Any:
    """`clients` threads, each with a connection of its own, one statement after the other."""
    asks = [kind(address) for _ in range(clients)]
    for ask in asks:
        drain(ask, statements[0])
    spent: list[list[float]] = [[] for _ in asks]
    failures: list[Exception] = []
    gate = threading.Barrier(clients + 1)
    stop = 0.0

    def run(number: int) -> None:
        gate.wait()
        place = number * len(statements) // clients
        try:
            while time.perf_counter() < stop:
                begun = time.perf_counter()
                drain(asks[number], statements[place % len(statements)])
                spent[number].append(time.perf_counter() - begun)
                place += 1
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    cpu, start = time.process_time(), time.perf_counter()
    stop = start + seconds
    gate.wait()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    latencies = [each for many in spent for each in many]
    return {
        "latencies_s": latencies,
        "seconds": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu,
    }


def main() -> None:
    kind, address = KINDS[sys.argv[1]], sys.argv[2]
    ask = kind(address)
    for line in sys.stdin:
        request = json.loads(line)
        task = request.pop("do")
        try:
            if task == "load":
                answer = load(kind, address, **request)
            else:
                answer = {"drain": drain, "check": check, "convert": convert}[task](ask, **request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
