"""What keeps, compares and tidies versions."""

from dataclasses import replace
from datetime import timedelta

from control_api.options import VersionUseCases
from flight_core.application.datasets.diff import DiffVersions
from flight_core.application.datasets.versions import (
    GetRetention,
    ListTags,
    ReadHistory,
    RemoveTag,
    RestoreVersion,
    SetRetention,
    TagVersion,
)
from flight_core.application.maintenance.compaction import CompactDataset
from flight_core.application.maintenance.due import MaintenanceOptions
from flight_core.application.maintenance.start import StartMaintenance
from flight_core.application.maintenance.vacuum import VacuumDataset, VacuumOptions
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.profiles.profile import ComputeProfile, ProfileDataset
from flight_core.domain.versions import RetentionPolicy
from flight_server.options import FlightUseCases
from skein.settings import Settings
from skein.wiring.parts import Parts, find_version

_TICKET_SLACK_S = 60.0  # between the check of a ticket and its first look at the catalog


def version_use_cases(parts: Parts, flight: FlightUseCases) -> VersionUseCases:
    datasets, versions = parts.catalog.datasets, parts.catalog.versions
    store, find, publish = parts.store, find_version(parts), parts.open_write.publish
    return VersionUseCases(
        history=ReadHistory(datasets, store, versions),
        diff=DiffVersions(datasets, find, flight.open_query, parts.catalog.contracts),
        restore=RestoreVersion(datasets, store, find, publish, parts.catalog.derivations),
        list_tags=ListTags(datasets, versions),
        tag=TagVersion(datasets, versions, find, utc_now),
        remove_tag=RemoveTag(datasets, versions, utc_now),
        get_retention=GetRetention(datasets, versions, retention(parts.settings)),
        set_retention=SetRetention(datasets, versions, utc_now),
    )


def compact(parts: Parts) -> CompactDataset:
    return CompactDataset(
        parts.catalog.datasets, parts.store, parts.engine, parts.open_write.publish, parts.queries.reads
    )


def vacuum(parts: Parts) -> VacuumDataset:
    settings = parts.settings
    options = VacuumOptions(
        grace=timedelta(seconds=settings.ticket_ttl_s + _TICKET_SLACK_S),
        orphan_grace=timedelta(seconds=settings.orphan_grace_s),
        default=retention(settings),
    )
    open_reads = parts.catalog.open_reads
    return VacuumDataset(
        parts.catalog.datasets, parts.store, parts.catalog.versions, open_reads, utc_now, options
    )


def compute_profile(parts: Parts) -> ComputeProfile:
    profiles = parts.catalog.profiles
    return ComputeProfile(parts.store, profiles, replace(parts.queries.open, results=None))


def profile_dataset(parts: Parts) -> ProfileDataset:
    compute = compute_profile(parts)
    return ProfileDataset(
        parts.catalog.datasets, find_version(parts), compute.profiles, compute, start_maintenance(parts)
    )


def start_maintenance(parts: Parts) -> StartMaintenance:
    return StartMaintenance(parts.catalog.jobs, parts.catalog.datasets, utc_now, new_id, parts.wakeup)


def maintenance_options(settings: Settings) -> MaintenanceOptions:
    every_s = settings.vacuum_every_s
    return MaintenanceOptions(settings.compact_files or None, timedelta(seconds=every_s) if every_s else None)


def retention(settings: Settings) -> RetentionPolicy:
    return RetentionPolicy(settings.keep_versions, settings.keep_versions_s)
