"""Metrics that are read from the store at each scrape, since every replica sees the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, kw_only=True)
class StoreFigures:
    """What a scrape says of the store; what could not be read is left out."""

    is_up: bool
    """Whether it can be read and written now."""
    approvals: Mapping[str, int] = field(default_factory=dict[str, int])
    """By status."""
    oldest_approval: float | None = None
    """Seconds for which the oldest pending approval has waited; 0 while none waits."""
    free_bytes: int | None = None
    """Of the disk with the SQLite file, or else with the data folder."""


class StoreCollector(Collector):
    """Collects the figures of one scrape."""

    def __init__(self, figures: StoreFigures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        figures = self._figures
        family = GaugeMetricFamily("interlock_approvals", "Approvals in the store, by status.", labels=["status"])
        for status, count in figures.approvals.items():
            family.add_metric([status], count)
        yield family
        if figures.oldest_approval is not None:
            yield GaugeMetricFamily(
                "interlock_oldest_approval_seconds",
                "For how long the oldest pending approval has waited; 0 while none waits.",
                value=figures.oldest_approval,
            )
        yield GaugeMetricFamily(
            "interlock_store_up", "1 while the storage can be read and written.", value=float(figures.is_up)
        )
        if figures.free_bytes is not None:
            yield GaugeMetricFamily(
                "interlock_disk_free_bytes",
                "Bytes that are free on the disk of the SQLite file or, with PostgreSQL, of the data folder.",
                value=figures.free_bytes,
            )
