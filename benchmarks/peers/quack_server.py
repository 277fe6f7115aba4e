"""DuckDB's quack protocol over the files: `python quack_server.py TABLES_JSON PORT`, until input ends."""

import json
import sys
from pathlib import Path

import duckdb
import duckdb_extension_httpfs
import duckdb_extension_quack

tables, port = json.loads(sys.argv[1]), sys.argv[2]
connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
for extension in (duckdb_extension_httpfs, duckdb_extension_quack):
    (path,) = Path(extension.__file__).parent.rglob("*.duckdb_extension")
    connection.execute(f"LOAD '{path}'")
for name, files in tables.items():
    connection.execute(f"CREATE VIEW {name} AS FROM read_parquet({files!r})")
connection.execute(f"CALL quack_serve('quack:127.0.0.1:{port}', token = 'benchmark')").fetchall()
print("ready", flush=True)
sys.stdin.read()
