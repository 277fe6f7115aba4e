"""Read an Arrow stream over HTTP, with nothing but the standard library and pyarrow.

    python examples/http_arrow.py [http://HOST:PORT]

Without an address the server of this machine is meant.
"""

import json
import sys
from urllib.request import Request, urlopen

import pyarrow as pa

LONGEST = "SELECT origin, destination, distance FROM flights ORDER BY distance DESC, date LIMIT ?"


def main(url: str) -> None:
    request = Request(
        f"{url}/api/v1/queries",
        data=json.dumps({"sql": LONGEST, "params": [3]}).encode(),
        headers={"Content-Type": "application/json", "Accept": "application/vnd.apache.arrow.stream"},
    )
    with urlopen(request) as response, pa.ipc.open_stream(response) as reader:
        print(f"read from {response.headers['Skein-Datasets']}")
        for batch in reader:
            for row in batch.to_pylist():
                print(row)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8816")
