"""Health, metrics, and the pages people look at."""

import logging
from importlib.resources import files

import anyio
from anyio import to_thread
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import HTMLResponse, Response

from control_api.dependencies import Options, UseCases
from control_api.options import Check
from flight_core.domain.errors import FlightCoreError, NotFound
from schemas.errors import PROBLEM_TYPES, ProblemPage, ProblemType
from schemas.http import API
from schemas.system import About, Health, Readiness

logger = logging.getLogger(__name__)

router = APIRouter(tags=["system"])
pages = APIRouter(include_in_schema=False)

_OK = "ok"


@router.get("/healthz")
async def health(options: Options) -> Health:
    """Whether the process answers. Needs no credentials."""
    return Health(version=options.version)


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready."}})
async def readiness(response: Response, use_cases: UseCases, options: Options) -> Readiness:
    """Whether the catalog, the engine and the disk work, tried just now."""
    results: dict[str, str] = {}

    async def look(name: str, check: Check) -> None:
        results[name] = await _result(name, check, options.check_timeout_s)

    async with anyio.create_task_group() as tasks:
        for name, check in use_cases.checks.items():
            tasks.start_soon(look, name, check)
    ready = all(result == _OK for result in results.values())
    response.status_code = 200 if ready else 503
    return Readiness(status="ready" if ready else "not ready", checks=dict(sorted(results.items())))


async def _result(name: str, check: Check, timeout_s: float) -> str:
    try:
        with anyio.fail_after(timeout_s):
            await to_thread.run_sync(check, abandon_on_cancel=True)
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except FlightCoreError as error:
        return str(error)
    except Exception:
        logger.exception("check failed", extra={"check": name})
        return "failed; the server's log tells more"
    return _OK


_METRICS = {"text/plain": {"schema": {"type": "string"}, "example": "skein_streams_open 3.0\n"}}


@router.get("/metrics", response_class=Response, responses={200: {"content": _METRICS}})
def metrics(options: Options) -> Response:
    """Prometheus metrics of this process."""
    return Response(generate_latest(options.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/problems")
async def problems() -> ProblemPage:
    """Every code a failure can have, and what to do about it."""
    return ProblemPage(items=list(PROBLEM_TYPES.values()))


@router.get("/problems/{code}")
async def problem(code: str) -> ProblemType:
    """What a problem's `type` leads to."""
    if code not in PROBLEM_TYPES:
        raise NotFound(f"there is no problem type {code[:60]!r}; GET /problems lists them")
    return PROBLEM_TYPES[code]


@router.get(API)
async def about(options: Options) -> About:
    """What runs here."""
    return About(version=options.version, flight_uri=options.flight_uri or None)


@pages.get("/")
async def landing_page() -> Response:
    return _page("index.html")


@pages.get("/docs")
async def swagger_ui() -> Response:
    return _page("swagger.html")


@pages.get("/redoc")
async def redoc() -> Response:
    return _page("redoc.html")


def _page(name: str) -> Response:
    return HTMLResponse((files("control_api") / "static" / name).read_text())
