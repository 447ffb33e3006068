"""Metrics for Prometheus, by graph, node, tool, verdict and server; never by what people write."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from graphs.telemetry.multiprocess import FOLDER_VARIABLE, is_process_alive
from graphs.telemetry.store_figures import StoreCollector, StoreFigures

UNKNOWN = "unknown"
"""The label of a tool that no server has: the model made its name up, and names must not be endless."""

TurnStatus = Literal["waiting", "finished", "stopped", "failed"]
NotificationOutcome = Literal["sent", "retried", "failed", "dropped"]
ToolOutcome = Literal["ok", "error", "refused", "cut"]

SHORT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
LONG_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

TASK_BUCKETS = (1, 2, 3, 5, 10, 20, 50, 100)


@dataclass(frozen=True, slots=True)
class NodeMeter:
    """The metrics of one node of one graph."""

    running: Gauge
    seconds: Histogram


@dataclass(frozen=True, slots=True)
class TurnMeter:
    """The metrics of one graph's turns."""

    running: Gauge
    counters: Mapping[str, Counter]
    """By status."""
    seconds: Histogram
    first_token: Histogram


@dataclass(frozen=True, slots=True)
class ToolMeter:
    """The metrics of one tool of one server."""

    calls: Mapping[ToolOutcome, Counter]
    seconds: Histogram


@dataclass(frozen=True, slots=True)
class TokenMeter:
    """The metrics of one model in one graph."""

    prompt: Counter
    completion: Counter


class Metrics:
    """The metrics of this process, or of all workers of one start where FOLDER_VARIABLE is set.

    Children of a metric are looked up once and kept: `labels()` costs more than counting does.
    """

    def __init__(self) -> None:
        self._folder = Path(folder) if (folder := os.environ.get(FOLDER_VARIABLE)) else None
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._registry = own = CollectorRegistry()
        self._turns = Counter(
            "interlock_turns", "Turns that ended, by how they ended.", ["graph", "status"], registry=own
        )
        self._turn_seconds = Histogram(
            "interlock_turn_seconds",
            "From a turn's beginning to its end.",
            ["graph"],
            buckets=LONG_BUCKETS,
            registry=own,
        )
        self._first_token = Histogram(
            "interlock_first_token_seconds",
            "From a turn's beginning to the first piece of its text.",
            ["graph"],
            buckets=LONG_BUCKETS,
            registry=own,
        )
        self._turns_running = Gauge(
            "interlock_turns_running", "Turns under way.", ["graph"], multiprocess_mode="livesum", registry=own
        )
        self._node_seconds = Histogram(
            "interlock_node_seconds",
            "One run of a node.",
            ["graph", "node", "type"],
            buckets=SHORT_BUCKETS,
            registry=own,
        )
        self._node_running = Gauge(
            "interlock_node_running",
            "Turns that are in this node now.",
            ["graph", "node"],
            multiprocess_mode="livesum",
            registry=own,
        )
        self._group_tasks = Histogram(
            "interlock_group_tasks",
            "Tasks that one run of a `parallel` or `map` node sent out.",
            ["graph", "node"],
            buckets=TASK_BUCKETS,
            registry=own,
        )
        self._retries = Counter(
            "interlock_retries",
            "Further attempts at nodes, by what the one before failed with.",
            ["graph", "node", "kind"],
            registry=own,
        )
        self._error_ways = Counter(
            "interlock_error_ways",
            "Ways by `on_error` that were taken, by what the node failed with.",
            ["graph", "node", "kind"],
            registry=own,
        )
        self._model_requests = Counter(
            "interlock_model_requests", "Requests to the model endpoint.", ["model", "outcome"], registry=own
        )
        self._tokens = Counter(
            "interlock_tokens", "Tokens that the model endpoint counted.", ["graph", "model", "kind"], registry=own
        )
        self._tool_calls = Counter(
            "interlock_tool_calls", "Tool calls, refused ones too.", ["server", "tool", "outcome"], registry=own
        )
        self._tool_seconds = Histogram(
            "interlock_tool_seconds", "Tool calls that ran.", ["server", "tool"], buckets=SHORT_BUCKETS, registry=own
        )
        self._verdicts = Counter(
            "interlock_verdicts", "Verdicts on tool calls, one a call.", ["graph", "tool", "verdict"], registry=own
        )
        self._cache_hits = Counter(
            "interlock_cache_hits", "Results that a node used again, by `cache`.", ["graph", "node"], registry=own
        )
        self._notifications = Counter(
            "interlock_notifications",
            "Attempts to send a notification, by what came of them.",
            ["destination", "event", "outcome"],
            registry=own,
        )
        self._server_up = Gauge(
            "interlock_server_up",
            "1 while the MCP server is connected; of several workers, in all of them.",
            ["server"],
            multiprocess_mode="livemin",
            registry=own,
        )
        self._limited_requests = Counter(
            "interlock_limited_requests",
            "Requests refused because a limit of a role was reached.",
            ["role", "limit"],
            registry=own,
        )
        self._endpoint_bytes = Counter(
            "interlock_endpoint_bytes",
            "Bytes of requests that were passed on to the model endpoint without a graph, and of their answers.",
            ["route", "direction"],
            registry=own,
        )
        self._refused_connections = Counter(
            "interlock_refused_connections",
            "Connections and requests refused before a valid key was shown, or while a request came.",
            ["reason"],
            registry=own,
        )
        self._reloads = Counter("interlock_reloads", "Reloads of the config folder.", ["outcome"], registry=own)
        self._http_requests = Counter(
            "interlock_http_requests", "HTTP requests answered.", ["method", "route", "status"], registry=own
        )
        self._http_seconds = Histogram(
            "interlock_http_request_seconds",
            "From an HTTP request to the end of its answer.",
            ["route"],
            buckets=LONG_BUCKETS,
            registry=own,
        )
        self._exposition = _Exposition(own if self._folder is None else MultiProcessCollector(None, str(self._folder)))
        self._turn_meters: dict[str, TurnMeter] = {}
        self._tool_meters: dict[tuple[str, str], ToolMeter] = {}
        self._token_meters: dict[tuple[str, str], TokenMeter] = {}
        self._counters: dict[tuple[str, ...], Counter] = {}
        self._http_meters: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._up_by_server: dict[str, bool] = {}

    def build_node_meter(self, graph: str, name: str, kind: str) -> NodeMeter:
        """Build one node's meter; once per snapshot."""
        return NodeMeter(self._node_running.labels(graph, name), self._node_seconds.labels(graph, name, kind))

    def find_turn_meter(self, graph: str) -> TurnMeter:
        """Find the meter of a graph's turns."""
        meter = self._turn_meters.get(graph)
        if meter is None:
            statuses: tuple[TurnStatus, ...] = ("waiting", "finished", "stopped", "failed")
            meter = self._turn_meters[graph] = TurnMeter(
                running=self._turns_running.labels(graph),
                counters={status: self._turns.labels(graph, status) for status in statuses},
                seconds=self._turn_seconds.labels(graph),
                first_token=self._first_token.labels(graph),
            )
        return meter

    def find_tool_meter(self, server: str, tool: str) -> ToolMeter:
        """Find the meter of one tool's calls. `tool` is a name that the server lists, or UNKNOWN."""
        meter = self._tool_meters.get((server, tool))
        if meter is None:
            outcomes: tuple[ToolOutcome, ...] = ("ok", "error", "refused", "cut")
            meter = self._tool_meters[server, tool] = ToolMeter(
                calls={outcome: self._tool_calls.labels(server, tool, outcome) for outcome in outcomes},
                seconds=self._tool_seconds.labels(server, tool),
            )
        return meter

    def count_verdict(self, graph: str, tool: str | None, verdict: str) -> None:
        """Count one verdict; `tool` is `server/tool`, None for one that no server has."""
        tool = tool or UNKNOWN
        counter = self._counters.get((graph, tool, verdict))
        if counter is None:
            counter = self._counters[graph, tool, verdict] = self._verdicts.labels(graph, tool, verdict)
        counter.inc()

    def count_retry(self, graph: str, node: str, kind: str) -> None:
        """Count one further attempt at a node; `kind` is what the one before failed with."""
        self._retries.labels(graph, node, kind).inc()

    def count_error_way(self, graph: str, node: str, kind: str) -> None:
        """Count one way by `on_error`; `kind` is that of the error."""
        self._error_ways.labels(graph, node, kind).inc()

    def observe_tasks(self, graph: str, node: str, tasks: int) -> None:
        """Observe how many tasks a node sends out."""
        self._group_tasks.labels(graph, node).observe(tasks)

    def count_cache_hit(self, graph: str, node: str) -> None:
        """Count one result that a node used again."""
        self._cache_hits.labels(graph, node).inc()

    def count_notification(self, destination: str, event: str, outcome: NotificationOutcome) -> None:
        """Count one attempt to send a notification. `dropped`: there was nothing to tell any more; `failed`: given
        up."""
        self._notifications.labels(destination, event, outcome).inc()

    def count_model_request(self, model: str, outcome: str) -> None:
        """Count one request to the model endpoint: `ok`, `cut`, or the kind of the error."""
        counter = self._counters.get((model, outcome))
        if counter is None:
            counter = self._counters[model, outcome] = self._model_requests.labels(model, outcome)
        counter.inc()

    def count_tokens(self, graph: str, model: str, prompt: int, completion: int) -> None:
        """Count what one model call used."""
        meter = self._token_meters.get((graph, model))
        if meter is None:
            prompts, completions = (self._tokens.labels(graph, model, kind) for kind in ("prompt", "completion"))
            meter = self._token_meters[graph, model] = TokenMeter(prompts, completions)
        meter.prompt.inc(prompt)
        meter.completion.inc(completion)

    def count_http_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request. `method` and `route` come from the routes that there are."""
        meters = self._http_meters.get((method, route, status))
        if meters is None:
            counter = self._http_requests.labels(method, route, str(status))
            meters = self._http_meters[method, route, status] = (counter, self._http_seconds.labels(route))
        meters[0].inc()
        meters[1].observe(seconds)

    def count_limited_request(self, role: str, limit: str) -> None:
        """Count one request that a role's limit refused."""
        self._limited_requests.labels(role, limit).inc()

    def count_endpoint_bytes(self, route: str, received: int, sent: int) -> None:
        """Count the bytes of one request that was passed on, and of its answer."""
        self._endpoint_bytes.labels(route, "in").inc(received)
        self._endpoint_bytes.labels(route, "out").inc(sent)

    def count_refused_connection(self, reason: str) -> None:
        """Count one connection or request that a limit of `http:` refused."""
        self._refused_connections.labels(reason).inc()

    def set_servers_up(self, up: Mapping[str, bool]) -> None:
        """Set which of the configured MCP servers are up. One that is not configured any more is left out."""
        if up == self._up_by_server:
            return
        for name in self._up_by_server.keys() - up.keys():
            if self._folder is None:
                self._server_up.remove(name)
            else:  # from a file that workers share, no label can be taken back
                self._server_up.labels(name).set(math.nan)
        for name, is_up in up.items():
            self._server_up.labels(name).set(is_up)
        self._up_by_server = dict(up)

    def count_reload(self, outcome: Literal["ok", "failed"]) -> None:
        """Count one reload of the config folder."""
        self._reloads.labels(outcome).inc()

    def read_running_turns(self) -> Mapping[str, Mapping[str, int]]:
        """Read graph → node → turns that are in it now, in all workers; under "" the graph's turns under way."""
        found: dict[str, dict[str, int]] = {}
        for metric in self._collect_gauges():
            if metric.name in ("interlock_turns_running", "interlock_node_running"):
                for sample in metric.samples:
                    nodes = found.setdefault(sample.labels["graph"], {})
                    nodes[sample.labels.get("node", "")] = int(sample.value)
        return found

    def render_page(self, accept: str, figures: StoreFigures) -> tuple[bytes, str]:
        """Render what a scrape reads, and its content type, in the form that the `Accept` header asks for.

        `figures` are those of the store now.
        """
        self._forget_dead_workers()
        encode, kind = choose_encoder(accept)
        return encode(_Exposition(self._exposition, StoreCollector(figures))), kind

    def _collect_gauges(self) -> Iterator[Metric]:
        if self._folder is None:
            yield from self._turns_running.collect()
            yield from self._node_running.collect()
        else:
            self._forget_dead_workers()
            files = [str(file) for file in self._folder.glob("gauge_livesum_*.db")]
            yield from cast("Iterable[Metric]", MultiProcessCollector.merge(files))  # pyright: ignore[reportUnknownMemberType]

    def _forget_dead_workers(self) -> None:
        """Remove the gauges of workers that were killed; what they counted stays counted."""
        if self._folder is None:
            return
        for file in self._folder.glob("gauge_live*_*.db"):
            if not is_process_alive(int(file.stem.rpartition("_")[2])):
                file.unlink(missing_ok=True)


class _Exposition(Collector):
    """Collects from several collectors, without the `_created` series that nobody asks for."""

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        for collector in self._collectors:
            for metric in collector.collect():
                metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
                yield metric
