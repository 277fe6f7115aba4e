"""Print the result of a query, and again what is new whenever its data changes.

    python examples/live_query.py "SELECT ..." [http://HOST:PORT] [--results N]

Without an address the server of this machine is meant. Needs the packages `pyarrow` and
`websockets`.
"""

import argparse
import json
import struct

import pyarrow as pa
from websockets.sync.client import connect

HEADER = struct.Struct("<II")  # the channel, and the number of the batch


def main() -> None:
    parser = argparse.ArgumentParser(description="Follow the result of a query.")
    parser.add_argument("sql")
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8816", help="the server's HTTP address")
    parser.add_argument("--results", type=int, help="end after so many")
    arguments = parser.parse_args()
    with connect(arguments.url.replace("http", "ws", 1) + "/api/v1/live", max_size=None) as socket:
        socket.send(json.dumps({"subscribe": {"id": "example", "sql": arguments.sql}}))
        for message in socket:
            if isinstance(message, bytes):
                table = pa.ipc.open_stream(message[HEADER.size :]).read_all()
                for row in table.to_pylist():
                    print(row, flush=True)
                continue
            told = json.loads(message)
            if told["type"] == "error":
                raise SystemExit(f"{told['code']}: {told['detail']}")
            if told["type"] == "result":
                head = "all rows:" if told["mode"] == "refresh" else "more rows:"
                print(head, told["datasets"], flush=True)
            if told["type"] == "end" and told["number"] == arguments.results:
                return


if __name__ == "__main__":
    main()
