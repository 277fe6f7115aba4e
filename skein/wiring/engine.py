"""Settings -> what runs SQL, and what its results are kept in."""

import shutil
from collections.abc import Set
from dataclasses import replace

from flight_core.adapters.engines.duckdb.guarded.process import GuardedOptions
from flight_core.adapters.engines.duckdb.row_finder import DuckDbRowFinder
from flight_core.adapters.results.disk import DiskResultCache, ResultCacheOptions
from flight_core.application.sessions.session import SessionLimits
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from skein.directory import DataDirectory, Role
from skein.settings import Settings

_ROW_FINDER_BYTES = 1 << 30


def duckdb_options(settings: Settings, directory: DataDirectory, roles: Set[Role]) -> DuckDbOptions:
    return DuckDbOptions(
        workspace=directory.workspace if Role.FLIGHT in roles else None,
        readable=(directory.lake,),
        temp=directory.temp(roles),
        memory_bytes=settings.memory_limit,
        temp_bytes=settings.temp_limit,
        threads=settings.threads,
    )


def guarded_options(settings: Settings, directory: DataDirectory, roles: Set[Role]) -> GuardedOptions:
    temp = directory.temp(roles)
    return GuardedOptions(
        temp=temp,
        folders={str(directory.lake): "<lake>", str(temp): "<temp>"},
        memory_bytes=settings.guarded_memory,
        temp_bytes=settings.temp_limit,
        threads=settings.threads,
        timeout_s=settings.guarded_timeout_s,
        max_processes=settings.guarded_processes,
    )


def build_row_finder(options: DuckDbOptions) -> DuckDbRowFinder:
    temp = options.temp / "rows"
    shutil.rmtree(temp, ignore_errors=True)  # of a process that was killed
    memory_bytes = min(options.memory_bytes, _ROW_FINDER_BYTES)
    return DuckDbRowFinder(replace(options, temp=temp, memory_bytes=memory_bytes))


def build_results(settings: Settings, directory: DataDirectory, roles: Set[Role]) -> DiskResultCache | None:
    if not settings.cache_bytes:
        return None
    options = ResultCacheOptions(
        max_bytes=settings.cache_bytes,
        max_entry_bytes=settings.cache_entry_bytes,
        ttl_s=settings.cache_ttl_s,
        min_run_s=settings.cache_min_run_s,
    )
    return DiskResultCache(directory.temp(roles) / "results", options)


def session_limits(settings: Settings) -> SessionLimits:
    return SessionLimits(
        max_sessions=settings.max_sessions,
        idle_s=settings.session_idle_s,
        transaction_idle_s=settings.transaction_idle_s,
    )
