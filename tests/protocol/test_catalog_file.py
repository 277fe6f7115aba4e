"""The catalog as one file: there and back, what differs, and what a file cannot bring."""

import json

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from control_api.catalog_file import CatalogFiles
from flight_core.domain.access import LOCAL, Actor, Scope
from schemas.catalog import CatalogFile
from tests.stack import skein_stack

EXPORT, IMPORT = "/api/v1/catalog/export", "/api/v1/catalog/import"
NAMES = ("alpha", "Beta", "gamma")


class Two:
    """Servers with nothing in common."""

    def __init__(self, here, there):
        self.here, self.there = here, there


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    here, there, secrets = (tmp_path_factory.mktemp(name) for name in ("here", "there", "secrets"))
    (secrets / "known").write_text("hunter2")
    with skein_stack(here, secrets_dir=secrets) as first, skein_stack(there, secrets_dir=secrets) as second:
        yield Two(first, second)


def emptied(stack):
    """Two versions of each dataset, of which nobody has said anything."""
    control = stack.skein.control
    for schedule in control.schedules.list(actor=LOCAL):
        control.schedules.remove(schedule.name, actor=LOCAL)
    for contract in control.contracts.list(actor=LOCAL):
        control.contracts.withdraw(contract.dataset, actor=LOCAL)
    for status in control.derivations.inspect(actor=LOCAL):
        control.derivations.remove(status.derivation.target, actor=LOCAL)
    for dataset in control.datasets.list(actor=LOCAL):
        control.datasets.drop(dataset.name, actor=LOCAL)
    for name in NAMES:
        for _ in range(2):
            stack.write(name, pa.table({"id": [1], "text": ["x"]}))


def exported(client):
    return client.get(EXPORT).raise_for_status().json()


def imported(client, file, **parameters):
    return client.post(IMPORT, json=file, params=parameters, timeout=60).raise_for_status().json()


def elsewhere(file):
    """As somebody would carry it to a server whose datasets have other ids."""
    return {**file, "datasets": [{**dataset, "id": None} for dataset in file["datasets"]]}


words = st.text("abc-_ü1", min_size=1, max_size=5)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
notes = st.builds(
    lambda **said: said | {"columns": {key: text for key, text in said["columns"].items() if text}},
    description=texts,
    tags=st.lists(words, unique=True, max_size=3),
    owners=st.lists(words, unique=True, max_size=2),
    columns=st.dictionaries(st.sampled_from(["id", "text"]), texts),
).filter(lambda said: any(said.values()))
contract = st.fixed_dictionaries(
    {
        "description": texts,
        "columns": st.just([{"name": "id", "type": "int64", "ge": 0, "severity": "warn"}]),
        "unique": st.sampled_from([[], [{"columns": ["id"]}]]),
        "limits": st.fixed_dictionaries({"max_rejected_rows": st.none() | st.integers(0, 9)}),
    }
)
dataset = st.fixed_dictionaries(
    {
        "notes": st.none() | notes,
        "version_tags": st.dictionaries(
            st.text("abc", min_size=1, max_size=3),
            st.fixed_dictionaries({"version": st.integers(0, 1), "message": words}),
            max_size=2,
        ),
        "retention": st.none() | st.fixed_dictionaries({"keep_versions": st.integers(1, 9)}),
        "contract": st.none() | contract,
    }
)
derivation = st.fixed_dictionaries(
    {
        "sql": st.just("SELECT id FROM alpha WHERE id > ?"),
        "params": st.tuples(st.integers(-9, 9)).map(list),
    }
).map(lambda made: {**made, "refresh": "manual"})
timing = st.sampled_from([{"every_s": 90.0}, {"cron": "0 6 * * *", "timezone": "Europe/Berlin"}])
source = st.sampled_from(
    [
        {"kind": "http", "url": "http://127.0.0.1:9/x.csv", "headers": {"X-Key": {"secret": "known"}}},
        {"kind": "http", "url": "http://127.0.0.1:9/x.csv"},
    ]
)
schedule = st.builds(
    lambda timing, source, mode, priority: {
        "ingestion": {"dataset": "alpha", "source": source, "mode": mode, "priority": priority},
        "paused": True,
        **timing,
    },
    timing,
    source,
    st.sampled_from(["append", "replace"]),
    st.integers(-100, 100),
)


@st.composite
def files(draw):
    datasets = [{"name": name, **draw(dataset)} for name in sorted(NAMES, key=str.lower)]
    if draw(st.booleans()):
        datasets.append({"name": "made", "derivation": draw(derivation)})
    names = draw(st.lists(st.sampled_from(["a", "b"]), unique=True))
    return {"datasets": datasets, "schedules": [{"name": name, **draw(schedule)} for name in sorted(names)]}


@given(files())
@settings(max_examples=5, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_what_is_exported_here_and_imported_there_is_exported_there(two, file):
    emptied(two.here)
    emptied(two.there)
    with two.here.http() as here, two.there.http() as there:
        report = imported(here, file)
        assert {each["outcome"] for each in report["parts"]} <= {"added"}, report
        carried = elsewhere(exported(here))
        assert carried == elsewhere(CatalogFile.model_validate(file).model_dump(mode="json"))
        nothing = exported(there)
        tried = imported(there, carried, dry_run=True)
        assert exported(there) == nothing
        assert imported(there, carried)["parts"] == tried["parts"]
        assert elsewhere(exported(there)) == carried
        assert imported(there, carried)["parts"] == imported(here, exported(here))["parts"] == []


@pytest.fixture
def here(two):
    emptied(two.here)
    with two.here.http() as client:
        yield client


@pytest.fixture
def there(two):
    emptied(two.there)
    with two.there.http() as client:
        yield client


def outcomes(report):
    return [(each["part"], each["name"], each["outcome"]) for each in report["parts"]]


def test_what_the_server_says_otherwise_stays_unless_it_is_to_be_overwritten(here):
    file = {"datasets": [{"name": "alpha", "notes": {"description": "ours", "columns": {"id": "ours"}}}]}
    imported(here, file)
    file["datasets"][0]["notes"] = {"description": "theirs", "tags": ["t"]}
    kept = imported(here, file)
    assert outcomes(kept) == [("notes", "alpha", "conflict")]
    assert (kept["parts"][0]["before"]["description"], kept["parts"][0]["after"]["tags"]) == ("ours", ["t"])
    assert here.get("/api/v1/datasets/alpha").json()["description"] == "ours"
    assert outcomes(imported(here, file, overwrite=True)) == [("notes", "alpha", "changed")]
    assert exported(here)["datasets"][0]["notes"] == {
        "description": "theirs",
        "tags": ["t"],
        "owners": [],
        "columns": {},
    }


def test_credentials_stay_where_they_are(here, there):
    source = {
        "kind": "http",
        "url": "http://me:hunter2@127.0.0.1:9/x.csv?sig=hunter2",
        "headers": {"Authorization": "Bearer hunter2"},
    }
    ingestion = {"dataset": "alpha", "source": source}
    made = {"name": "fetch", "every_s": 60, "paused": True, "ingestion": ingestion}
    assert here.post("/api/v1/schedules", json=made).status_code == 201
    file = exported(here)
    assert "hunter2" not in json.dumps(file)
    file["schedules"][0]["every_s"] = 90.0
    assert outcomes(imported(here, file, overwrite=True)) == [("schedule", "fetch", "changed")]
    assert here.get("/api/v1/schedules/fetch").json()["every_s"] == 90.0
    refused = imported(there, elsewhere(file), dry_run=True)["parts"][-1]
    assert (refused["outcome"], refused["problem"]["code"]) == ("refused", "invalid_option")
    assert there.get("/api/v1/schedules/fetch").status_code == 404


def test_the_credentials_of_a_schedule_survive_a_change(two, here):
    source = {"kind": "http", "url": "http://127.0.0.1:9/x.csv", "headers": {"Authorization": "hunter2"}}
    made = {
        "name": "fetch",
        "every_s": 60,
        "paused": True,
        "ingestion": {"dataset": "alpha", "source": source},
    }
    here.post("/api/v1/schedules", json=made)
    file = exported(here)
    file["schedules"][0]["ingestion"]["mode"] = "replace"
    imported(here, file, overwrite=True)
    request = two.here.skein.control.schedules.get("fetch", actor=LOCAL).request
    assert (request.mode, request.source.fields["headers"]) == ("replace", {"Authorization": "hunter2"})


def test_what_cannot_be_said_here_is_refused_part_by_part(here, there):
    file = exported(here)
    file["datasets"][0]["version_tags"] = {"golden": {"version": 0}}
    file["datasets"][1]["version_tags"] = {"golden": {"version": 7}}
    file["datasets"][1]["id"] = None
    file["datasets"].append({"name": "nowhere", "notes": {"tags": ["t"]}, "retention": {"keep_versions": 1}})
    file["datasets"].append({"name": "made", "derivation": {"sql": "SELECT * FROM nowhere"}})
    report = imported(there, file)
    assert outcomes(report) == [
        ("version_tag", "alpha", "refused"),
        ("version_tag", "Beta", "refused"),
        ("notes", "nowhere", "refused"),
        ("retention", "nowhere", "refused"),
        ("derivation", "made", "refused"),
    ]
    codes = [each["problem"]["code"] for each in report["parts"]]
    assert codes[:4] == ["version_not_found", "version_not_found", "dataset_not_found", "dataset_not_found"]
    unknown = there.post(IMPORT, json={**file, "version": 2})
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/version")
    broken = {"datasets": [{"name": "alpha", "notes": {"tags": ["t"]}}, {"name": "no name"}]}
    assert there.post(IMPORT, json=broken).json()["code"] == "invalid_dataset_name"
    assert exported(there)["datasets"][0]["notes"] is None


def test_a_file_holds_what_its_reader_sees_and_changes_what_they_may(two, here):
    imported(here, {"datasets": [{"name": name, "notes": {"tags": ["t"]}} for name in NAMES]})
    files = CatalogFiles(two.here.skein.control, Actor("r", frozenset({Scope.READ}), ("a*",)))
    assert [dataset.name for dataset in files.exported().datasets] == ["alpha"]
    wanted = CatalogFile.model_validate(
        {"datasets": [{"name": name, "contract": {"description": "mine"}} for name in ("alpha", "Beta")]}
    )
    report = files.imported(wanted, {"path": IMPORT}, dry_run=False, overwrite=True)
    assert [part.problem.code for part in report.parts] == ["permission_denied"] * 2
    assert two.here.skein.control.contracts.list(actor=LOCAL) == []
