"""Tracing with OpenTelemetry, exported by OTLP over HTTP. Needs the extra `otel`.

The environment variables of OpenTelemetry (OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS
and so on) apply.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from flight_core.application.ports.tracing import Fields
from flight_core.application.ports.tracing import Span as TracedSpan

_EXPORT_TIMEOUT_S = 3.0  # a shutdown waits that long for an unreachable collector
_STANDARD = {"sql": "db.query.text", "error": "error.type"}


@dataclass(frozen=True, slots=True)
class OtlpOptions:
    """`endpoint` is the collector's URL, without `/v1/traces`. `sql`: whether spans contain statements."""

    endpoint: str
    version: str
    sql: bool = False


class OtlpTracer:
    """Sends spans in batches, from a background thread, until `close`. Spans that do not fit into the queue,
    or that the collector does not accept, are dropped; that is logged."""

    def __init__(self, options: OtlpOptions) -> None:
        ours = Resource({"service.name": "skein", "service.version": options.version})
        self.provider = TracerProvider(
            resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        if not options.sql:
            self.provider.add_span_processor(_WithoutValues())
        exporter = OTLPSpanExporter(f"{options.endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_TIMEOUT_S)
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self.provider.get_tracer("skein", options.version)
        self._left_out = frozenset() if options.sql else frozenset({"sql"})

    def start(self, name: str, fields: Fields) -> TracedSpan:
        return OtlpSpan(self._tracer.start_span(name, attributes=self._attributes(fields)))

    def serve(self, name: str, fields: Fields, headers: Mapping[str, str]) -> TracedSpan:
        return OtlpSpan(
            self._tracer.start_span(
                name,
                context=TraceContextTextMapPropagator().extract(headers, context=Context()),
                kind=SpanKind.SERVER,
                attributes=self._attributes(fields),
            )
        )

    def close(self) -> None:
        """Send the pending spans, and stop."""
        self.provider.shutdown()

    def _attributes(self, fields: Fields) -> dict[str, str | int | float | bool]:
        return _attributes({name: value for name, value in fields.items() if name not in self._left_out})


class OtlpSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        headers: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(headers, trace.set_span_in_context(self._span, Context()))
        return headers.get("traceparent", "")

    def current(self) -> AbstractContextManager[object]:
        return trace.use_span(self._span, record_exception=False, set_status_on_exception=False)

    def event(self, name: str) -> None:
        self._span.add_event(name)

    def end(self, fields: Fields, *, error: str | None = None) -> None:
        self._span.set_attributes(_attributes({**fields, "error": error}))
        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class _WithoutValues(SpanProcessor):
    """Removes the query strings of URLs, which may contain SQL."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.attributes and "url.query" in span.attributes:
            span.set_attribute("url.query", "REDACTED")

    def on_end(self, span: ReadableSpan) -> None:
        pass


def ids_of_current() -> Mapping[str, str]:
    """`trace_id` and `span_id` of the current span, as OpenTelemetry names them in logs; empty without
    one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }


def _attributes(fields: Fields) -> dict[str, str | int | float | bool]:
    """The fields as attributes: with their standard name if there is one, otherwise with the prefix
    `skein.`."""
    return {
        _STANDARD.get(name, name if "." in name else f"skein.{name}"): value
        for name, value in fields.items()
        if value is not None
    }
