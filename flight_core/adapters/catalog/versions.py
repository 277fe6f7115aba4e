"""Tags, retention policies, and expired versions.

Changes lock the revision counter, so that no version is tagged while it expires.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from flight_core.adapters.catalog import counters
from flight_core.adapters.catalog.events import append_event
from flight_core.adapters.catalog.tables import (
    datasets,
    expired_versions,
    profiles,
    retention_policies,
    version_tags,
)
from flight_core.domain.dataset import DatasetName, dataset_not_found, require_kept
from flight_core.domain.events import Event
from flight_core.domain.versions import RetentionPolicy, Tag, TagName, tag_not_found
from flight_core.infrastructure.database import Database


@dataclass(frozen=True, slots=True)
class SqlVersionRepository:
    """See `VersionRepository`."""

    database: Database

    def tags(self, dataset_id: str) -> Sequence[Tag]:
        with self.database.read() as connection:
            return _tags(connection, dataset_id)

    def put_tag(self, dataset_id: str, tag: Tag, event: Event) -> None:
        with self.database.write() as connection:
            counters.lock(connection, counters.REVISION)
            dataset = _dataset(connection, dataset_id, event.subject)
            first_kept = dataset.first_kept or 0
            tags = {each.name.key: each for each in _tags(connection, dataset_id)}
            tagged = [each.version for each in tags.values()]
            require_kept(DatasetName(dataset.name), tag.version, first_kept, tagged)
            moved = tags.get(tag.name.key)
            connection.execute(_tag_of(dataset_id, tag.name))
            connection.execute(
                version_tags.insert().values(
                    dataset_id=dataset_id,
                    key=tag.name.key,
                    name=tag.name.value,
                    version=tag.version,
                    actor=tag.actor,
                    message=tag.message,
                    tagged_at=tag.tagged_at,
                )
            )
            if moved is not None:
                _let_go(connection, dataset, moved.version, event.occurred_at)
            counters.count(connection, counters.REVISION)
            append_event(connection, event)

    def remove_tag(self, dataset_id: str, name: TagName, event: Event) -> None:
        with self.database.write() as connection:
            counters.lock(connection, counters.REVISION)
            dataset = _dataset(connection, dataset_id, event.subject)
            tags = {tag.name.key: tag for tag in _tags(connection, dataset_id)}
            if name.key not in tags:
                raise tag_not_found(dataset.name, name, tags)
            connection.execute(_tag_of(dataset_id, name))
            _let_go(connection, dataset, tags[name.key].version, event.occurred_at)
            counters.count(connection, counters.REVISION)
            append_event(connection, event)

    def retention(self, dataset_id: str) -> RetentionPolicy | None:
        statement = retention_policies.select().where(retention_policies.c.dataset_id == dataset_id)
        with self.database.read() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else RetentionPolicy(row.keep_versions, row.keep_s)

    def set_retention(self, dataset_id: str, policy: RetentionPolicy | None, event: Event) -> None:
        with self.database.write() as connection:
            counters.lock(connection, counters.REVISION)
            _dataset(connection, dataset_id, event.subject)
            connection.execute(
                retention_policies.delete().where(retention_policies.c.dataset_id == dataset_id)
            )
            if policy is not None:
                connection.execute(
                    retention_policies.insert().values(
                        dataset_id=dataset_id, keep_versions=policy.keep_versions, keep_s=policy.keep_s
                    )
                )
            append_event(connection, event)

    def expire(self, dataset_id: str, *, before: int, event: Event) -> Sequence[int]:
        with self.database.write() as connection:
            counters.lock(connection, counters.REVISION)
            dataset = _dataset(connection, dataset_id, event.subject)
            first_kept = dataset.first_kept or 0
            if before <= first_kept:
                return []
            tagged = {tag.version for tag in _tags(connection, dataset_id)}
            gone = [number for number in range(first_kept, before) if number not in tagged]
            statement = datasets.update().where(datasets.c.id == dataset_id)
            connection.execute(statement.values(first_kept=before))
            counters.count(connection, counters.REVISION)
            if gone:
                _note_expired(connection, dataset_id, gone, event.occurred_at)
                append_event(connection, event)
            return gone

    def expired(self, dataset_id: str) -> Mapping[int, datetime]:
        statement = expired_versions.select().where(expired_versions.c.dataset_id == dataset_id)
        with self.database.read() as connection:
            return {row.version: row.expired_at for row in connection.execute(statement)}

    def forget_expired(self, dataset_id: str, versions: Collection[int]) -> None:
        own = expired_versions.c.dataset_id == dataset_id
        which = expired_versions.c.version == sa.bindparam("number")
        with self.database.write() as connection:
            if versions:
                gone = [{"number": number} for number in versions]
                connection.execute(expired_versions.delete().where(own, which), gone)
                known = profiles.c.version == sa.bindparam("number")
                connection.execute(profiles.delete().where(profiles.c.dataset_id == dataset_id, known), gone)


def _dataset(connection: sa.Connection, dataset_id: str, name: str) -> sa.Row[Any]:
    statement = datasets.select().where(datasets.c.id == dataset_id, datasets.c.key.is_not(None))
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise dataset_not_found(name, ())
    return row


def _tags(connection: sa.Connection, dataset_id: str) -> Sequence[Tag]:
    own = version_tags.c.dataset_id == dataset_id
    rows = connection.execute(version_tags.select().where(own).order_by(version_tags.c.key))
    return [Tag(TagName(row.name), row.version, row.tagged_at, row.actor, row.message) for row in rows]


def _tag_of(dataset_id: str, name: TagName) -> sa.Delete:
    return version_tags.delete().where(
        version_tags.c.dataset_id == dataset_id, version_tags.c.key == name.key
    )


def _let_go(connection: sa.Connection, dataset: sa.Row[Any], version: int, at: datetime) -> None:
    """Expire a version that has lost a tag, if only the tag kept it."""
    tagged = {tag.version for tag in _tags(connection, dataset.id)}
    if version < (dataset.first_kept or 0) and version not in tagged:
        _note_expired(connection, dataset.id, [version], at)


def _note_expired(
    connection: sa.Connection, dataset_id: str, versions: Collection[int], at: datetime
) -> None:
    rows = [{"dataset_id": dataset_id, "version": number, "expired_at": at} for number in versions]
    connection.execute(expired_versions.insert(), rows)
