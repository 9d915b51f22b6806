"""What Prometheus reads. Labels come from short lists (routes, statuses, products), never from a caller."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric

    from serving.http.exchange import Exchange
    from serving.http.limits import Traffic
    from serving.http.stack import Application
    from serving.service import QuoteService

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
GROUPS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Count requests and quotes as they are answered.

    Parameters
    ----------
    registry
        What the counters belong to; one for each application, so that two in a process do not mix.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "premia_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "premia_request_seconds",
            "From the first byte of a request to the end of its answer.",
            ("method", "route"),
            buckets=SECONDS,
            registry=registry,
        )
        self._quotes = Counter(
            "premia_quotes",
            "Quotes by the state they were brought into.",
            ("product", "state", "arm"),
            registry=registry,
        )
        # `labels()` checks and hashes its arguments each time; what it gives stays the same.
        self._counts: dict[tuple[str, str, int], Counter] = {}
        self._times: dict[tuple[str, str], Histogram] = {}

    def observe(self, exchange: Exchange) -> None:
        """Count a request that has been answered, and its quotes."""
        method, route, status = exchange.method, exchange.route, exchange.status
        count = self._counts.get((method, route, status))
        if count is None:
            count = self._counts[method, route, status] = self._requests.labels(method, route, str(status))
        count.inc()
        timer = self._times.get((method, route))
        if timer is None:
            timer = self._times[method, route] = self._seconds.labels(method, route)
        timer.observe((exchange.ended - exchange.began) / 1e9)
        for product, _, state, arm in exchange.quotes if status < 400 else ():
            self._quotes.labels(product, state, arm).inc()


class ServiceState(Collector):
    """Read the state of the service when it is asked for, so that keeping it costs no request anything.

    Parameters
    ----------
    app
        The application; until its service is open, only its traffic is told.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    def collect(self) -> Iterator[Metric]:
        """Give each metric as of now."""
        yield from _of_traffic(self._app.traffic)
        service: QuoteService | None = getattr(self._app.state, "service", None)
        if service is not None:
            yield from _of_service(service)
            yield _of_groups(service.records.groups)
            yield _of_webhooks(self._app.state.deliverer.counts)


def _of_traffic(traffic: Traffic) -> Iterator[Metric]:
    now = GaugeMetricFamily("premia_requests_now", "Requests under way.", labels=("stage",))
    now.add_metric(("open",), traffic.open)
    now.add_metric(("waiting",), traffic.waiting)
    now.add_metric(("in_work",), traffic.in_work)
    yield now
    refused = CounterMetricFamily(
        "premia_refused", "Requests refused to keep the others fast.", labels=("reason",)
    )
    for reason in ("open", "queue", "waited", "stopping"):
        refused.add_metric((reason,), traffic.refused[reason])
    yield refused


def _of_service(service: QuoteService) -> Iterator[Metric]:
    info = InfoMetricFamily(
        "premia_model", "What prices each product.", labels=("product", "version", "plan", "hash")
    )
    for code, one in sorted(service.generation.products.items()):
        info.add_metric(
            ("",) * 4,
            {
                "product": code,
                "version": str(one.model_version),
                "plan": one.plan.code,
                "hash": one.model_hash[:12],
            },
        )
    yield info
    generation = service.generation
    yield GaugeMetricFamily("premia_generation", "What prices, counted since the start.", generation.number)
    yield GaugeMetricFamily(
        "premia_products_out_of_service", "Products that do not serve.", len(generation.out_of_service)
    )
    yield GaugeMetricFamily(
        "premia_refused_changes", "What lies on the disk and cannot serve now.", len(generation.refused)
    )
    yield CounterMetricFamily("premia_swaps", "Generations put in place of another.", service.swaps)
    yield CounterMetricFamily("premia_swaps_failed", "Changes that could not be loaded.", service.refusals)
    yield CounterMetricFamily(
        "premia_shadow_failures",
        "Shadow models that could not be scored beside a quote.",
        service.shadow_failures,
    )
    yield GaugeMetricFamily(
        "premia_generation_age_seconds", "Since what prices was loaded.", monotonic() - generation.loaded
    )
    history = generation.snapshot.signature[0]
    if history is not None:
        age = time() - history[1] / 1e9
        yield GaugeMetricFamily(
            "premia_snapshot_age_seconds", "Since the snapshot that serves was written.", age
        )


def _of_groups(groups: Mapping[int, int]) -> Metric:
    """Give how many writes each commit made durable."""
    buckets: list[tuple[str, Any]] = [
        (str(float(bound)), sum(count for size, count in groups.items() if size <= bound)) for bound in GROUPS
    ]
    buckets.append(("+Inf", sum(groups.values())))
    total = sum(size * count for size, count in groups.items())
    return HistogramMetricFamily(
        "premia_commit_writes", "Writes made durable by one commit.", buckets=buckets, sum_value=total
    )


def _of_webhooks(counts: Mapping[str, int]) -> Metric:
    found = GaugeMetricFamily("premia_webhook_deliveries", "Deliveries in the outbox.", labels=("state",))
    for state in ("pending", "delivered", "dead"):
        found.add_metric((state,), counts.get(state, 0))
    return found


def open_metrics(app: Application) -> CollectorRegistry:
    """Observe an application; what is observed is read from the registry."""
    registry = CollectorRegistry()
    registry.register(ServiceState(app))
    app.observers.append(Metrics(registry).observe)
    return registry
