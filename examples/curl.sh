#!/bin/sh
# SQL with curl, as CSV and as JSON.
#
#     sh examples/curl.sh [http://HOST:PORT]
set -eu

url=${1:-http://127.0.0.1:8816}

curl -sS --fail-with-body "$url/api/v1/queries" \
    -H 'Content-Type: application/json' -H 'Accept: text/csv' \
    -d '{"sql": "SELECT origin, count(*) AS flights FROM flights GROUP BY origin ORDER BY 2 DESC", "limit": 3}'

curl -sS --fail-with-body "$url/api/v1/queries" \
    -H 'Content-Type: application/json' \
    -d '{"sql": "SELECT max(delay) AS latest FROM flights WHERE origin = $origin", "params": {"origin": "SEA"}}'

curl -sS --fail-with-body "$url/api/v1/datasets/flights/rows?limit=2&columns=date&columns=delay" \
    -H 'Accept: application/x-ndjson'
