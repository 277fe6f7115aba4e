"""Code that a person can copy from the terminal and run: the first steps with each client."""

import json
from dataclasses import dataclass
from string import Template

from skein.runtime import Endpoints

_ADBC = """\
import adbc_driver_flightsql.dbapi as flight_sql${import_os}
connection = flight_sql.connect("${flight}"${adbc_credentials})
"""

_TEMPLATES = {
    "Polars": """\
import polars as pl
${adbc}print(pl.read_database("${sql}", connection))
connection.close()""",
    "pandas": """\
import pandas as pd
${adbc}print(pd.read_sql("${sql}", connection))
connection.close()""",
    "ADBC": """\
${adbc}cursor = connection.cursor()
cursor.execute("${sql}")
print(cursor.fetch_arrow_table())
cursor.close()
connection.close()""",
    "pyarrow.flight": """\
import pyarrow.flight as fl${import_os}
client = fl.connect("${flight}")${flight_credentials}
info = client.get_flight_info(fl.FlightDescriptor.for_command("${sql}")${options})
print(client.do_get(info.endpoints[0].ticket${options}).read_all())""",
    "Python's standard library": """\
import json, urllib.request${import_os}
request = urllib.request.Request(
    "${http}/api/v1/queries",
    json.dumps({"sql": "${sql}"}).encode(),
    {"Content-Type": "application/json"${http_credentials}},
)
print(json.load(urllib.request.urlopen(request))["rows"])""",
    "curl": """\
curl -sS ${http}/api/v1/queries -H 'Content-Type: application/json' -H 'Accept: text/csv' \\
   ${curl_credentials} -d '${body}'""",
}

_CREDENTIALS = {
    "import_os": "\nimport os",
    "adbc_credentials": ', db_kwargs={"adbc.flight.sql.authorization_header": '
    '"Bearer " + os.environ["SKEIN_TOKEN"]}',
    "flight_credentials": '\ntoken = "Bearer " + os.environ["SKEIN_TOKEN"]'
    '\noptions = fl.FlightCallOptions(headers=[(b"authorization", token.encode())])',
    "options": ", options",
    "http_credentials": ', "Authorization": "Bearer " + os.environ["SKEIN_TOKEN"]',
    "curl_credentials": ' -H "Authorization: Bearer $SKEIN_TOKEN"',
}


@dataclass(frozen=True, slots=True)
class Snippet:
    client: str  # `curl` is for a shell, the others for Python
    code: str


def snippets(endpoints: Endpoints, dataset: str | None, *, credentials: bool) -> list[Snippet]:
    """For the servers that there are; with `credentials` they send the token in SKEIN_TOKEN.

    No name of a dataset holds a quote.
    """
    sql = _statement(dataset)
    values = {
        "flight": endpoints.flight,
        "http": endpoints.http,
        "sql": sql.replace('"', '\\"'),
        "body": json.dumps({"sql": sql}),
        **(_CREDENTIALS if credentials else dict.fromkeys(_CREDENTIALS, "")),
    }
    values["adbc"] = Template(_ADBC).substitute(values)
    return [
        Snippet(client, Template(template).substitute(values))
        for client, template in _TEMPLATES.items()
        if _served(template, endpoints)
    ]


def _served(template: str, endpoints: Endpoints) -> bool:
    return bool(endpoints.http if "${http}" in template else endpoints.flight)


def _statement(dataset: str | None) -> str:
    if dataset is None:
        return "SELECT 42 AS answer"
    if dataset == "flights":
        return "SELECT origin, avg(delay) FROM flights GROUP BY origin ORDER BY 2 DESC LIMIT 5"
    return f'SELECT * FROM "{dataset}" LIMIT 5'
