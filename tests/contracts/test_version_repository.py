"""What every catalog of versions promises: tags, retention, and what has expired."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from flight_core.adapters.catalog.datasets import SqlDatasetRepository
from flight_core.adapters.catalog.events import SqlEventRepository
from flight_core.adapters.catalog.open_reads import SqlOpenReadRepository
from flight_core.adapters.catalog.versions import SqlVersionRepository
from flight_core.domain.dataset import DatasetName, DatasetVersion, VersionRef
from flight_core.domain.errors import (
    DatasetNotFound,
    InvalidOption,
    InvalidTag,
    TagNotFound,
    VersionExpired,
    VersionNotFound,
)
from flight_core.domain.events import Event, EventKind
from flight_core.domain.versions import RetentionPolicy, Tag, TagName, version_named

NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
SALES = DatasetName("Sales")
GOLDEN = TagName("Golden")


def version(number):
    schema = pa.schema([("n", pa.int64())])
    return DatasetVersion(VersionRef("id1", number), schema, 1, 1, NOW + timedelta(hours=number))


def event(kind=EventKind.DATASET_TAGGED, at=NOW):
    return Event(kind, "Sales", {}, at)


def tag(name=GOLDEN, number=0):
    return Tag(name, number, NOW, "ann", "because")


class Catalog:
    def __init__(self, database):
        self.database = database
        self.datasets = SqlDatasetRepository(self.database)
        self.versions = SqlVersionRepository(self.database)
        self.events = SqlEventRepository(self.database)
        for number in range(6):
            self.datasets.publish(SALES, version(number), event(EventKind.DATASET_COMMITTED))

    @property
    def entry(self):
        return self.datasets.lake_state().datasets["sales"]

    def expire(self, before, at=NOW):
        return self.versions.expire("id1", before=before, event=event(EventKind.DATASET_EXPIRED, at))


@pytest.fixture
def catalog(database):
    return Catalog(database)


def test_a_tag_names_a_version_until_it_is_moved_or_removed(catalog):
    catalog.versions.put_tag("id1", tag(), event())
    assert catalog.versions.tags("id1") == [tag()]
    assert catalog.entry.version_tags == {"golden": 0}
    catalog.versions.put_tag("id1", tag(TagName("GOLDEN"), 3), event())
    catalog.versions.put_tag("id1", tag(TagName("audited"), 3), event())
    assert [(str(each.name), each.version) for each in catalog.versions.tags("id1")] == [
        ("audited", 3),
        ("GOLDEN", 3),
    ]
    catalog.versions.remove_tag("id1", TagName("golden"), event())
    assert catalog.entry.version_tags == {"audited": 3}
    with pytest.raises(TagNotFound, match=r"no tag 'auditd'; did you mean 'audited'\?"):
        catalog.versions.remove_tag("id1", TagName("auditd"), event())


def test_every_change_of_a_tag_is_a_change_of_the_lake_and_an_event(catalog):
    before, first = catalog.datasets.lake_state().revision, catalog.events.bounds()[1]
    catalog.versions.put_tag("id1", tag(), event())
    catalog.versions.remove_tag("id1", GOLDEN, event(EventKind.DATASET_UNTAGGED))
    assert catalog.datasets.lake_state().revision == before + 2
    assert [stored.event.kind for stored in catalog.events.after(first)] == [
        EventKind.DATASET_TAGGED,
        EventKind.DATASET_UNTAGGED,
    ]


def test_versions_expire_unless_they_have_a_tag(catalog):
    catalog.versions.put_tag("id1", tag(number=1), event())
    assert catalog.expire(4) == [0, 2, 3]
    assert catalog.expire(4) == catalog.expire(2) == []
    assert catalog.versions.expired("id1") == dict.fromkeys([0, 2, 3], NOW)
    assert catalog.datasets.get(SALES).first_kept == 4
    for number in (1, 4, 5):
        catalog.entry.require_kept(number)
    with pytest.raises(
        VersionExpired, match="version 3 of dataset 'Sales' has expired; the oldest one kept is 1"
    ):
        catalog.entry.require_kept(3)


def test_an_old_version_expires_when_it_loses_its_last_tag(catalog):
    catalog.versions.put_tag("id1", tag(number=1), event())
    catalog.versions.put_tag("id1", tag(TagName("other"), 1), event())
    catalog.expire(4)
    later = NOW + timedelta(hours=1)
    catalog.versions.put_tag("id1", tag(number=5), event(at=later))
    assert 1 not in catalog.versions.expired("id1")
    catalog.versions.remove_tag("id1", TagName("other"), event(at=later))
    assert catalog.versions.expired("id1")[1] == later
    with pytest.raises(VersionExpired):
        catalog.entry.require_kept(1)


def test_a_tag_does_not_bring_an_expired_version_back(catalog):
    catalog.expire(4)
    with pytest.raises(VersionExpired):
        catalog.versions.put_tag("id1", tag(number=2), event())
    assert catalog.versions.tags("id1") == []
    catalog.versions.put_tag("id1", tag(number=4), event())


def test_expired_versions_are_forgotten_once_their_files_are_gone(catalog):
    catalog.expire(4)
    catalog.versions.forget_expired("id1", [0, 3])
    assert sorted(catalog.versions.expired("id1")) == [1, 2]
    catalog.versions.forget_expired("id1", [])
    with pytest.raises(VersionExpired):
        catalog.entry.require_kept(0)


def test_a_policy_is_kept_until_it_is_withdrawn(catalog):
    assert catalog.versions.retention("id1") is None
    for policy in (RetentionPolicy(3, None), RetentionPolicy(None, 0.5), RetentionPolicy(), None):
        catalog.versions.set_retention("id1", policy, event(EventKind.DATASET_RETENTION_SET))
        assert catalog.versions.retention("id1") == policy


def test_a_dropped_dataset_has_no_tags_and_gets_none(catalog):
    catalog.versions.put_tag("id1", tag(), event())
    catalog.datasets.drop(SALES, event(EventKind.DATASET_DROPPED))
    assert catalog.versions.tags("id1") == []
    for change in (
        lambda: catalog.versions.put_tag("id1", tag(), event()),
        lambda: catalog.versions.remove_tag("id1", GOLDEN, event()),
        lambda: catalog.versions.set_retention("id1", None, event()),
        lambda: catalog.expire(4),
    ):
        with pytest.raises(DatasetNotFound):
            change()


# The domain's own rules


@pytest.mark.parametrize(
    "name", ["v3", "V12", "", "3x", "a b", "x" * 65, "latest", "Current", "history", "é"]
)
def test_what_names_a_version_by_itself_is_no_tag(name):
    with pytest.raises(InvalidTag):
        TagName(name)


def test_what_follows_the_at_sign_is_a_number_a_moment_or_a_tag():
    assert [version_named(text) for text in ("3", "v3", "V3")] == [3, 3, 3]
    assert version_named("2026-01-31T12:00:00Z") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert version_named("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    assert version_named("golden") == TagName("golden")
    for text in ("", "a b", "-1", "latest"):
        with pytest.raises(VersionNotFound):
            version_named(text)


@pytest.mark.parametrize(
    ("policy", "first"),
    [
        (RetentionPolicy(), 0),
        (RetentionPolicy(1), 5),
        (RetentionPolicy(3), 3),
        (RetentionPolicy(99), 0),
        (RetentionPolicy(None, 0), 5),  # version 5 replaced version 4 at hour 5
        (RetentionPolicy(None, 3600), 4),
        (RetentionPolicy(None, 2.4 * 3600), 3),
        (RetentionPolicy(1, 2.4 * 3600), 3),
        (RetentionPolicy(4, 3600), 2),
        (RetentionPolicy(None, 1e9), 0),
    ],
)
def test_a_version_stays_if_either_rule_keeps_it(policy, first):
    history = [version(number) for number in reversed(range(6))]
    now = NOW + timedelta(hours=5, minutes=30)
    assert policy.first_kept(history, now) == first


@pytest.mark.parametrize("fields", [{"keep_versions": 0}, {"keep_s": -1}])
def test_a_policy_keeps_something(fields):
    with pytest.raises(InvalidOption):
        RetentionPolicy(**fields)


# Open reads


def test_the_horizon_is_the_oldest_read_that_any_living_process_may_have(catalog):
    open_reads = SqlOpenReadRepository(catalog.database)
    minutes = [NOW + timedelta(minutes=number) for number in range(10)]
    assert open_reads.horizon("id1", alive_since=NOW) is None
    open_reads.report("flight", minutes[8], {"id1": minutes[3], "id2": minutes[1]})
    open_reads.report("control", minutes[7], {})
    assert open_reads.horizon("id1", alive_since=NOW) == minutes[3]
    assert open_reads.horizon("id2", alive_since=NOW) == minutes[1]
    assert open_reads.horizon("id3", alive_since=NOW) == minutes[7]
    open_reads.report("flight", minutes[9], {"": minutes[2]})
    assert open_reads.horizon("id3", alive_since=NOW) == minutes[2]
    assert open_reads.horizon("id3", alive_since=minutes[8]) == minutes[2]
    open_reads.leave("flight", "nobody")
    assert open_reads.horizon("id1", alive_since=NOW) == minutes[7]
    assert open_reads.horizon("id1", alive_since=minutes[8]) is None
