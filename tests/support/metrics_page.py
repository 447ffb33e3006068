"""What `GET /metrics` says, read by Prometheus' own Python parser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families


class Seen:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name with at least these labels; 0 where there is none."""
        return sum(one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items())

    def labels(self, name: str, label: str) -> set[str]:
        """The values of a label."""
        return {sample.labels[label] for sample in self.samples if sample.name == name}


async def scraped(http: httpx.AsyncClient, root: str) -> Seen:
    """What is there now."""
    response = await http.get(f"{root.removesuffix('/v1')}/metrics")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain; version=")
    return Seen(response.text)


async def awaited(http: httpx.AsyncClient, root: str, wanted: Callable[[Seen], bool], timeout: float = 10) -> Seen:
    """The first scrape that is as wanted."""
    deadline = time.monotonic() + timeout
    while True:
        seen = await scraped(http, root)
        if wanted(seen):
            return seen
        assert time.monotonic() < deadline, seen.text
        await asyncio.sleep(0.05)
