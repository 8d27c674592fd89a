"""What the API counts, in Prometheus's text format."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from services.core.leases import Priority

# Seconds. The goals are 20 and 100 ms, so the steps are finest there.
_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One registry for each application, so that two in one process don't add up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "quarry_http_requests_total",
            "HTTP requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "quarry_http_request_duration_seconds",
            "Time to answer an HTTP request.",
            ["route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.searches = Counter("quarry_searches_total", "Searches answered.", ["mode"], registry=self.registry)
        self.search_seconds = Histogram(
            "quarry_search_duration_seconds",
            "Time of a search alone.",
            ["mode"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.webhooks = Counter(
            "quarry_webhooks_total", "Webhooks by what came of them.", ["forge", "outcome"], registry=self.registry
        )
        self.damaged = Counter(
            "quarry_damaged_texts_total",
            "Stored texts left out of answers because they do not match their digest.",
            registry=self.registry,
        )
        self.points = Gauge("quarry_points", "Points that searches can see.", registry=self.registry)
        self.repos = Gauge("quarry_repos", "Repositories in the catalog.", registry=self.registry)

        self.depth = Gauge(
            "quarry_queue_depth",
            "Jobs (stage plan) and batches that wait or are being worked on.",
            ["stage", "priority"],
            registry=self.registry,
        )

    def waits(self, depths: Mapping[tuple[str, Priority], int]) -> None:
        """Show how much there is to do, by (stage, class)."""
        for stage in ("plan", "chunk", "embed", "index"):
            for priority in Priority:
                self.depth.labels(stage, priority.value).set(depths.get((stage, priority), 0))

    def searched(self, mode: str, took_ms: float, damaged: int) -> None:
        """Count a search."""
        self.searches.labels(mode).inc()
        self.search_seconds.labels(mode).observe(took_ms / 1000)
        self.damaged.inc(damaged)

    def text(self) -> bytes:
        """Return everything in the text format."""
        return generate_latest(self.registry)
