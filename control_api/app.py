"""The control plane as one ASGI application."""

import asyncio
from pathlib import Path

from fastapi import Depends, FastAPI
from prometheus_client import ProcessCollector
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from control_api import errors, openapi
from control_api.compression import Compressing
from control_api.conditional import Conditional
from control_api.dependencies import known_parameters
from control_api.observability import REQUEST_ID, EngineCollector, Requests
from control_api.options import ControlOptions, ControlUseCases
from control_api.readiness import Readiness
from control_api.routes import (
    annotations,
    audit,
    catalog,
    contracts,
    datasets,
    derivations,
    events,
    ingestions,
    jobs,
    live,
    profiles,
    queries,
    schedules,
    system,
    tokens,
    uploads,
    users,
    versions,
)
from control_api.security import Guard, GuardOptions, SecurityHeaders
from control_api.streaming import Streaming
from schemas.http import API

_EXPOSED_HEADERS = [
    "ETag",
    "Link",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "Skein-Affected-Rows",
    "Skein-Cache",
    "Skein-Datasets",
    "Skein-Query-Id",
    "Upload-Complete",
    "Upload-Length",
    "Upload-Limit",
    "Upload-Offset",
    REQUEST_ID,
]

_ROUTES = (
    datasets,
    annotations,
    catalog,
    contracts,
    profiles,
    versions,
    derivations,
    ingestions,
    schedules,
    audit,
    tokens,
    users,
    uploads,
    jobs,
    queries,
    events,
    live,
    system,
)


def create_app(use_cases: ControlUseCases, options: ControlOptions, *, whole: bool = True) -> FastAPI:
    """The API and its pages; without `whole` only what tells how the server is.

    Stateless but for what the use cases hold. Set `app.state.stopping` before the server stops,
    so that event streams end: they would go on for ever."""
    app = FastAPI(
        title="Skein",
        version=options.version,
        description=openapi.DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        responses=openapi.PROBLEMS,
        generate_unique_id_function=lambda route: route.name,
        middleware=_middleware(use_cases, options),
        telemetry=options.telemetry,
    )
    app.state.use_cases = use_cases
    app.state.options = options
    app.state.streaming = Streaming(options.stall_timeout_s)
    app.state.stopping = asyncio.Event()
    app.state.readiness = Readiness(use_cases.checks, options.check_timeout_s)
    options.registry.register(EngineCollector(use_cases))
    ProcessCollector(registry=options.registry)
    errors.install(app)
    openapi.install(app)
    for routes in _ROUTES if whole else (system,):
        app.include_router(routes.router, dependencies=[Depends(known_parameters)])
    if not whole:
        return app
    app.include_router(system.pages)
    # Swagger UI and ReDoc as their makers ship them, so that the pages work without the internet.
    app.mount("/static/vendor", StaticFiles(packages=[("fastapi_offline", "static")]))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    return app


def _middleware(use_cases: ControlUseCases, options: ControlOptions) -> list[Middleware]:
    """The outermost first."""
    guard = GuardOptions(
        hosts=frozenset(host.lower() for host in options.hosts),
        origins=frozenset(options.origins),
        max_body_bytes=options.max_body_bytes,
    )
    cross_origin = Middleware(
        CORSMiddleware,
        allow_origins=options.origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_EXPOSED_HEADERS,
    )
    return [
        Middleware(SecurityHeaders),
        Middleware(Requests, options.registry),
        *([cross_origin] if options.origins else []),
        Middleware(Compressing),
        Middleware(Guard, guard, use_cases.gate),
        Middleware(Conditional, prefix=API),
    ]
