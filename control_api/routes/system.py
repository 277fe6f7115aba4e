"""Health, metrics, and the pages people look at."""

from importlib.resources import files

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import HTMLResponse, Response

from control_api.dependencies import Options
from control_api.paging import Paged
from control_api.readiness import OK
from control_api.security import STRICT_PAGE_POLICY
from flight_core.domain.errors import NotFound
from schemas.errors import PROBLEM_TYPES, ProblemPage, ProblemType
from schemas.http import API
from schemas.system import About, Health, Readiness

_REDOC_LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg"

router = APIRouter(tags=["system"])
pages = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def health(options: Options) -> Health:
    """Whether the process answers. Needs no credentials."""
    return Health(version=options.version)


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready."}})
async def readiness(request: Request, response: Response) -> Readiness:
    """Whether the catalog, the engine and the disk work, checked just now. Needs no credentials; only callers
    with credentials see which of them fails."""
    results = await request.app.state.readiness()
    ready = set(results.values()) <= {OK}
    response.status_code = 200 if ready else 503
    known = hasattr(request.state, "actor")
    return Readiness(status="ready" if ready else "not ready", checks=results if known else {})


_METRICS = {"text/plain": {"schema": {"type": "string"}, "example": "skein_streams_open 3.0\n"}}


@router.get("/metrics", response_class=Response, responses={200: {"content": _METRICS}})
def metrics(options: Options) -> Response:
    """Prometheus metrics of this process."""
    return Response(generate_latest(options.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/problems")
async def problems(paging: Paged) -> ProblemPage:
    """All problem types, ordered by code: the codes that failures can have, and how to resolve them."""
    page, following = paging.page(PROBLEM_TYPES.values(), place=lambda each: (each.code,))
    return ProblemPage(items=list(page), next=following)


@router.get("/problems/{code}")
async def problem(code: str) -> ProblemType:
    """One problem type: the target of a problem's `type`."""
    if code not in PROBLEM_TYPES:
        raise NotFound(f"there is no problem type {code[:60]!r}; GET /problems lists them")
    return PROBLEM_TYPES[code]


@router.get(API)
async def about(options: Options) -> About:
    """The version of this server, and where its Flight server is."""
    return About(version=options.version, flight_uri=options.flight_uri or None)


@pages.get("/")
async def landing_page() -> Response:
    page = _page("index.html")
    page.headers["Content-Security-Policy"] = STRICT_PAGE_POLICY
    return page


@pages.get("/docs")
async def swagger_ui() -> Response:
    return _page("swagger.html")


@pages.get("/redoc")
async def redoc() -> Response:
    return _page("redoc.html")


@pages.get("/static/redoc.js")
def redoc_script() -> Response:
    """ReDoc without its maker's logo, the one thing that it loads from elsewhere."""
    script = (files("fastapi_offline") / "static" / "redoc.standalone.js").read_text()
    return Response(script.replace(_REDOC_LOGO, "data:,"), media_type="text/javascript")


def _page(name: str) -> Response:
    return HTMLResponse((files("control_api") / "static" / name).read_text())
