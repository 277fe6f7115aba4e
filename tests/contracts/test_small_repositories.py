"""What the smaller repositories promise: of people and their calls, of reads, own tables and profiles."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from flight_core.adapters.catalog.audit import SqlAuditRepository
from flight_core.adapters.catalog.datasets import SqlDatasetRepository
from flight_core.adapters.catalog.issuer_users import SqlIssuerUserRepository
from flight_core.adapters.catalog.open_reads import SqlOpenReadRepository
from flight_core.adapters.catalog.own_tables import SqlOwnTableRepository
from flight_core.adapters.catalog.profiles import SqlProfileRepository
from flight_core.adapters.catalog.tokens import SqlTokenRepository
from flight_core.adapters.catalog.usage import SqlUsageRepository
from flight_core.adapters.catalog.users import SqlUserRepository
from flight_core.domain.access import Origin, Scope
from flight_core.domain.audit import AuditEntry, AuditFilter, Decision
from flight_core.domain.dataset import DatasetName, DatasetVersion, VersionRef
from flight_core.domain.errors import TokenNotFound, UserExists, UserNotFound
from flight_core.domain.events import Event, EventKind
from flight_core.domain.issuer_users import IssuerUser
from flight_core.domain.limits import Limits
from flight_core.domain.profile import ColumnProfile
from flight_core.domain.tokens import ApiToken
from flight_core.domain.usage import Usage, Use
from flight_core.domain.users import User

NOON = datetime(2031, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIMITS = Limits(queries=2, memory_bytes=5_000_000_000, requests_per_s=0.5)


def at_once(call):
    """Four of the same, as of four processes."""
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(call, range(4)))


def test_tokens_come_back_by_their_digests_and_stay_revoked(database):
    tokens, other = SqlTokenRepository(database), SqlTokenRepository(database)
    token = ApiToken("1", "ann", frozenset({Scope.READ}), ("birds",), NOON, "bob", NOON + HOUR, limits=LIMITS)
    assert other.by_digest() == {}
    tokens.add(token, b"\x00digest")
    assert other.by_digest() == {b"\x00digest": token}
    tokens.touch("1", NOON)
    assert tokens.list() == [replace(token, last_used_at=NOON)]
    revoked = tokens.revoke("1", NOON)
    assert tokens.revoke("1", NOON + HOUR) == revoked
    assert other.by_digest()[b"\x00digest"].revoked_at == NOON
    with pytest.raises(TokenNotFound):
        tokens.revoke("2", NOON)


def test_a_users_name_is_taken_until_they_are_removed(database):
    users, other = SqlUserRepository(database), SqlUserRepository(database)
    ann = User("ann", frozenset({Scope.READ}), ("*",), NOON, "bob", NOON, "hash", LIMITS)
    assert not other.ever()
    users.add(ann)
    assert other.by_name() == {"ann": ann}
    with pytest.raises(UserExists):
        users.add(ann)
    users.set_password("ann", "other", NOON + HOUR)
    assert other.by_name()["ann"].password_hash == "other"
    users.remove("ann", NOON)
    assert (other.by_name(), other.ever()) == ({}, True)
    with pytest.raises(UserNotFound):
        users.remove("ann", NOON)
    users.add(ann)
    assert other.by_name() == {"ann": ann}


def test_a_user_of_an_issuer_counts_until_their_time_is_over(database):
    users = SqlIssuerUserRepository(database)
    ann = IssuerUser("ann", "https://issuer", "read", NOON + HOUR)
    at_once(lambda _: users.put(ann, NOON))
    assert users.find("ann") == ann
    users.put(IssuerUser("bob", "https://issuer", "write", NOON + 3 * HOUR), NOON + 2 * HOUR)
    assert users.find("ann") is None
    users.remove("bob")
    users.remove("bob")
    assert users.find("bob") is None


def test_calls_are_found_by_what_is_known_of_them_and_forgotten_the_oldest_first(database):
    audit = SqlAuditRepository(database)
    origin = Origin("http", "10.0.0.1", "token 1")
    entries = [
        AuditEntry(NOON, "ann", origin, "open_query", Decision.ALLOWED, "SELECT 'ü'", ("Birds",), count=3),
        AuditEntry(NOON + HOUR, "bob", origin, "drop_dataset", Decision.REFUSED, "owls", ("owls",), "denied"),
    ]
    audit.append(entries)
    everything = audit.list(AuditFilter(), limit=10)
    assert [each.entry for each in everything] == entries[::-1]
    assert (everything[1].entry.at, everything[1].entry.count) == (NOON, 3)
    assert [each.entry for each in audit.list(AuditFilter(), limit=10, before=everything[0].seq)] == entries[
        :1
    ]
    for wanted in ({"dataset": "birds"}, {"actor": "ann"}, {"decision": Decision.ALLOWED}):
        assert [each.entry for each in audit.list(AuditFilter(**wanted), limit=10)] == entries[:1]
    for wanted in ({"since": NOON + HOUR}, {"action": "drop_dataset"}, {"dataset": "owl_"}):
        found = [each.entry for each in audit.list(AuditFilter(**wanted), limit=10)]
        assert found == ([] if "dataset" in wanted else entries[1:])
    audit.prune(keep=1)
    assert [each.entry for each in audit.list(AuditFilter(), limit=10)] == entries[1:]


def test_reads_that_are_counted_at_once_all_count(database):
    usage = SqlUsageRepository(database)
    at_once(
        lambda n: usage.add(
            {("d1", "ann"): Use("ann", 2, NOON + n * HOUR), ("d1", "bob"): Use("bob", 1, NOON)}
        )
    )
    assert sorted(usage.of("d1"), key=lambda use: use.actor) == [
        Use("ann", 8, NOON + 3 * HOUR),
        Use("bob", 4, NOON),
    ]
    assert usage.totals() == {"d1": Usage(12, 2, NOON + 3 * HOUR)}


def test_no_read_is_older_than_the_horizon(database):
    reads = SqlOpenReadRepository(database)
    assert reads.horizon("d1", alive_since=NOON) is None
    reads.report("flight", NOON, {"d1": NOON - HOUR})
    reads.report("control", NOON + HOUR, {})
    assert reads.horizon("d1", alive_since=NOON) == NOON - HOUR
    assert reads.horizon("d2", alive_since=NOON) == NOON
    assert reads.horizon("d1", alive_since=NOON + HOUR) == NOON + HOUR
    reads.leave("flight", "control")
    assert reads.horizon("d1", alive_since=NOON) is None


def test_the_names_of_own_tables_are_those_that_were_told_last(database):
    tables = SqlOwnTableRepository(database)
    tables.replace(frozenset({"nests", "eggs"}))
    tables.replace(frozenset({"nests"}))
    assert (tables.has("NESTS"), tables.has("eggs")) == (True, False)


def test_the_first_profile_of_a_version_stays(database):
    version = DatasetVersion(VersionRef("d1", 0), pa.schema([("n", pa.int64())]), 1, 1, NOON)
    event = Event(EventKind.DATASET_COMMITTED, "Birds", {}, NOON)
    SqlDatasetRepository(database).publish(DatasetName("Birds"), version, event)
    profiles, column = (
        SqlProfileRepository(database),
        ColumnProfile("n", "int64", nulls=3, distinct=5_000_000_000),
    )
    assert profiles.find(version.ref) is None
    at_once(lambda _: profiles.put(version.ref, [column]))
    profiles.put(version.ref, [])
    assert [(each.name, each.distinct) for each in profiles.find(version.ref)] == [("n", 5_000_000_000)]
    profiles.put(VersionRef("d2", 0), [column])
    assert profiles.find(VersionRef("d2", 0)) is None
