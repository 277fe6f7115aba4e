"""Where traces go, if anywhere."""

from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version

from fastapi.telemetry import TelemetryConfig
from starlette.types import Scope

from flight_core.application.ports.tracing import UNTRACED, Tracer
from flight_core.domain.errors import InvalidOption
from skein.logging import log_fields
from skein.settings import Settings

_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})


@dataclass(frozen=True, slots=True)
class Telemetry:
    """`http` is for FastAPI, which makes the spans of requests itself; None: it makes none."""

    tracer: Tracer = UNTRACED
    http: TelemetryConfig | None = None


def telemetry(settings: Settings, stack: ExitStack) -> Telemetry:
    """
    Raises:
        InvalidOption: traces are asked for, and the packages that make them are not installed.
    """
    if settings.otlp_endpoint is None:
        return Telemetry()
    try:
        from flight_core.adapters.telemetry.otlp import OtlpOptions, OtlpTracer, ids_of_current
    except ImportError:
        raise InvalidOption(
            "SKEIN_OTLP_ENDPOINT needs an extra: pip install 'skein-flight[otel]'", option="otlp_endpoint"
        ) from None
    tracer = OtlpTracer(OtlpOptions(settings.otlp_endpoint, version("skein-flight"), settings.otlp_sql))
    stack.callback(tracer.close)
    stack.enter_context(log_fields(ids_of_current))
    http: TelemetryConfig = {
        "tracer_provider": tracer.provider,
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "exclude": _is_probe,
    }
    return Telemetry(tracer, http)


def _is_probe(scope: Scope) -> bool:
    return scope["path"] in _PROBES
