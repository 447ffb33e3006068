"""The page on metrics, from the metrics as they are made."""

from __future__ import annotations

from unittest import mock

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from graphs.telemetry.metrics import Metrics
from graphs.telemetry.store_figures import StoreFigures
from scripts.reference.markdown import code, require_same, table

INTRODUCTION = """\
# Metrics

`GET /metrics` shows them to Prometheus, of all workers together, without a key. A counter ends in `_total`; a histogram
has `_bucket`, `_sum` and `_count`; all times are in seconds.
"""
LABELS = {
    "direction": "`in`: from clients; `out`: to them.",
    "graph": "The name of the graph.",
    "node": "The name of the node.",
    "type": "The type of the node: `model`, `permission` or `tools`.",
    "model": "The model that was asked for.",
    "kind": "`prompt` or `completion`.",
    "server": "The MCP server.",
    "tool": "The tool; `unknown` if no server has one of that name.",
    "verdict": "`allow`, `ask` or `deny`.",
    "role": "The role whose limit was reached.",
    "limit": "`requests_per_minute`, `endpoint_requests_per_minute` or `tokens_per_day`.",
    "reason": "The limit of `http:` in `gateway.yaml` that was reached, or `malformed` and the like.",
    "method": "The HTTP method.",
    "route": "The route, as a pattern.",
    "status": "Turns: `finished`, `waiting`, `stopped` or `failed`. Approvals: as in the API. HTTP: the status code.",
    "outcome": (
        "Model requests: `ok`, `cut`, or the kind of error. Tool calls: `ok`, `error`, `refused` or `cut`. "
        "Reloads: `ok` or `failed`. Notifications: `sent`; `retried`, where an attempt failed and another follows; "
        "`failed`, where it was given up; `dropped`, where somebody decided first."
    ),
    "destination": "The destination's name in `gateway.yaml`.",
    "event": "`approval.pending`, `approval.expiring`, `approval.failed`, `question.pending` or `question.expiring`.",
}


def build_page() -> str:
    """The whole page. Raises ValueError where a label has no description."""
    rows = find_metrics()
    require_same("label", {label for *_, labels in rows for label in labels}, LABELS)
    metrics = [(code(name), kind, ", ".join(map(code, labels)), text) for name, kind, text, labels in rows]
    labels = [(code(label), text) for label, text in LABELS.items()]
    return "\n".join(
        (
            INTRODUCTION,
            table(("metric", "type", "labels", "meaning"), metrics),
            "## Labels\n",
            table(("label", "values"), labels),
        )
    )


def find_metrics() -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Name, type, meaning and labels of each: of those that are counted here, then of those read from the storage."""
    made: list[MetricWrapperBase] = []
    with mock.patch.object(CollectorRegistry, "register", lambda _, metric: made.append(metric)):
        metrics = Metrics()
    rows: list[tuple[str, str, str, tuple[str, ...]]] = []
    for metric in made:
        for family in metric.describe():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            rows.append((name, family.type, family.documentation, tuple(metric._labelnames)))
    page, _ = metrics.render_page(
        "", StoreFigures(is_up=True, approvals={"pending": 1}, oldest_approval=1, free_bytes=1)
    )
    for family in text_string_to_metric_families(page.decode()):
        rows.append((family.name, family.type, family.documentation, tuple(family.samples[0].labels)))
    return rows
