"""Make `skein/data/flights.parquet`, the demo dataset, from a larger table of US flights.

    python scripts/make_demo_flights.py flights-3m.parquet skein/data/flights.parquet

Takes every fifteenth flight in the order of departure: 200,000 of the 3,000,000 flights between January
and June 2001 in the `flights-3m` table of the vega-datasets collection. The source is the On-Time
Performance data of the US Bureau of Transportation Statistics, which is in the public domain.
The same input gives the same bytes.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

STEP = 15
SCHEMA = pa.schema(
    [
        ("date", pa.timestamp("us")),
        ("delay", pa.int32()),
        ("distance", pa.int32()),
        ("origin", pa.string()),
        ("destination", pa.string()),
    ]
)


def sample(source: Path) -> pa.Table:
    table = pq.read_table(source, columns=SCHEMA.names)
    order = [(name, "ascending") for name in ("date", "origin", "destination", "distance", "delay")]
    table = table.take(pc.sort_indices(table, sort_keys=order))
    return table.take(pa.array(range(0, table.num_rows, STEP))).cast(SCHEMA)


def main(source: str, target: str) -> None:
    table = sample(Path(source))
    pq.write_table(
        table,
        target,
        compression="zstd",
        compression_level=19,
        use_dictionary=["delay", "distance", "origin", "destination"],
        column_encoding={"date": "DELTA_BINARY_PACKED"},
        store_schema=False,
    )
    print(f"{table.num_rows} rows, {Path(target).stat().st_size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
