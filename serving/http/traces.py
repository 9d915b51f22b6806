"""Traces for OpenTelemetry: made from the marks of an exchange after its answer, and only of sampled ones."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from serving.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from serving.http.exchange import Exchange


class _Given(RandomIdGenerator):
    """Ids that the answer has told already; those of the stages are new."""

    trace = span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        span, self.span = self.span, 0
        return span or super().generate_span_id()


class Traces:
    """Hand the spans of sampled exchanges to an exporter, from a thread of its own.

    Parameters
    ----------
    exporter
        Where spans go.
    version
        Of the service, told with each span.
    """

    def __init__(self, exporter: SpanExporter, version: str) -> None:
        self._ids = _Given()
        resource = Resource.create({"service.name": "premia", "service.version": version})
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("premia", version)

    def observe(self, exchange: Exchange) -> None:
        """Make the spans of an exchange that has been answered."""
        if not exchange.sampled:
            return
        self._ids.trace, self._ids.span = int(exchange.trace_id, 16), int(exchange.span_id, 16)
        began = exchange.arrived_ns
        span = self._tracer.start_span(
            f"{exchange.method} {exchange.route}",
            context=_parent(exchange),
            kind=trace.SpanKind.SERVER,
            start_time=began,
            attributes={
                "http.request.method": exchange.method,
                "http.route": exchange.route,
                "http.response.status_code": exchange.status,
            },
        )
        if exchange.quotes:
            product, channel, state, arm = exchange.quotes[0]
            span.set_attributes(
                {
                    "premia.product": product,
                    "premia.channel": channel,
                    "premia.state": state,
                    "premia.arm": arm,
                }
            )
        if exchange.status >= 500:
            span.set_status(trace.StatusCode.ERROR)
        inner = trace.set_span_in_context(span)
        for name, begin, end in exchange.stages():
            if name:
                stage = self._tracer.start_span(name, context=inner, start_time=began + begin)
                stage.end(began + end)
        span.end(began + exchange.ended - exchange.began)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def _parent(exchange: Exchange) -> Context:
    if not exchange.parent_id:
        return Context()
    parent = trace.SpanContext(
        int(exchange.trace_id, 16),
        int(exchange.parent_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(1),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())


def open_traces(endpoint: str, version: str) -> Traces:
    """Send traces to an OTLP collector over HTTP.

    Raises
    ------
    SettingsError
        If the exporter is not installed.
    """
    try:
        otlp = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ModuleNotFoundError as error:
        raise SettingsError(
            "PREMIA_OTLP_ENDPOINT needs what is not installed. Hint: pip install 'premia[telemetry]'"
        ) from error
    return Traces(otlp.OTLPSpanExporter(endpoint=endpoint), version)
