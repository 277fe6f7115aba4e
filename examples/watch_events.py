"""Print what happens on a server as it happens: commits, drops, ingestions.

    python examples/watch_events.py [http://HOST:PORT] [--dataset NAME] [--kind KIND] [--after ID] [--count N]

Without an address the server of this machine is meant. Needs the package `websockets`.
"""

import argparse
import itertools
import json
from urllib.parse import urlencode

from websockets.sync.client import connect

ABOUT_THE_STREAM = ("skein.hello", "skein.heartbeat", "skein.reset", "skein.error")


def main() -> None:
    parser = argparse.ArgumentParser(description="Print events as they happen.")
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8816", help="the server's HTTP address")
    parser.add_argument("--after", help="begin after this id: the last one that was seen")
    parser.add_argument("--dataset", action="append", help="only of these, such as 'sales_*'")
    parser.add_argument("--kind", action="append", help="only such as dataset.committed, or 'dataset.*'")
    parser.add_argument("--count", type=int, help="end after so many events")
    arguments = parser.parse_args()
    wanted = {"after": arguments.after, "dataset": arguments.dataset, "kind": arguments.kind}
    query = urlencode({name: value for name, value in wanted.items() if value}, doseq=True)
    with connect(f"{arguments.url.replace('http', 'ws', 1)}/api/v1/events?{query}") as socket:
        messages = (json.loads(text) for text in socket)
        events = (message for message in messages if message["type"] not in ABOUT_THE_STREAM)
        for event in itertools.islice(events, arguments.count):
            print(event["id"], event["type"], event["subject"], event["data"], flush=True)


if __name__ == "__main__":
    main()
