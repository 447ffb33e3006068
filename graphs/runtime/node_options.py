"""What LangGraph is told of a node beside what it does: how often it is tried, where a failure leads, what is noted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph._internal._constants import CONFIG_KEY_RUNTIME  # pyright: ignore[reportPrivateUsage]
from langgraph.errors import NodeError, NodeTimeoutError
from langgraph.graph import END
from langgraph.runtime import Runtime
from langgraph.types import Command, RetryPolicy

from graphs.config.graph_plan import GraphPlan
from graphs.config.spec.node import END as THE_END
from graphs.config.spec.node import NodeSpec, RetrySpec
from graphs.config.spec.node_types import AgentNodeSpec, CallNodeSpec
from graphs.errors import ModelError, NodeFailure
from graphs.events import NodeNote
from graphs.nodes import NodeSite, Services, find_emitter
from graphs.nodes.failures import describe_error
from graphs.nodes.state import Context, State, build_token_use, count_visits
from graphs.nodes.values import NodeValues, render_note
from graphs.telemetry.metrics import Metrics
from graphs.telemetry.path import ERROR_WAY, StepWay, record_way

LONGEST_WAIT = 60.0
"""Seconds between two attempts that a graph asks for."""


def is_worth_retrying(error: Exception) -> bool:
    """Whether the same request may succeed a moment later, and nobody has read any of the answer yet."""
    return isinstance(error, ModelError) and error.retryable


MODEL_RETRY = RetryPolicy(
    initial_interval=0.3,
    max_interval=2.0,
    max_attempts=3,
    retry_on=is_worth_retrying,
)
"""Only failures before the first word: what a person has read is never said again."""


def build_retry_policy(node: NodeSpec) -> RetryPolicy | None:
    """Build when LangGraph runs a node again that failed; None: never."""
    if isinstance(node, CallNodeSpec):
        return build_call_retry(node)
    retry: RetrySpec | None = getattr(node, "retry", None)
    if retry is None:
        return MODEL_RETRY if node.retries else None
    return RetryPolicy(
        initial_interval=retry.wait,
        max_interval=LONGEST_WAIT,
        max_attempts=retry.times,
        # What a person has read is never said again: of a node that asks a model, and keeps nothing.
        retry_on=is_worth_another_attempt if node.locate_outputs() or not node.retries else is_worth_retrying,
    )


def build_call_retry(spec: CallNodeSpec) -> RetryPolicy | None:
    """Build when a tool is called again; None: never."""
    if spec.retry is None:
        return None
    is_polling = spec.retry.until is not None
    return RetryPolicy(
        initial_interval=spec.retry.wait,
        backoff_factor=1.0 if is_polling else 2.0,
        max_interval=spec.retry.wait if is_polling else LONGEST_WAIT,
        jitter=not is_polling,
        max_attempts=spec.retry.times,
        retry_on=is_repeatable,
    )


def is_repeatable(error: Exception) -> bool:
    """Whether a node says of its failure that it may be tried again."""
    return isinstance(error, NodeFailure) and error.is_repeatable


def build_failure_options(name: str, plan: GraphPlan, metrics: Metrics) -> dict[str, Any]:
    """Build what LangGraph is told of a node's failures: how often it is tried, how long it may take, where to go."""
    node = plan.spec.nodes[name]
    # What takes time and may be repeated of a call is its last part; an agent that is a graph of its own sees to both.
    in_parts = node.role == "caller" or (isinstance(node, AgentNodeSpec) and node.is_isolated)
    timeout: float | None = None if in_parts else getattr(node, "timeout", None)
    options: dict[str, Any] = {"retry_policy": None if in_parts else build_retry_policy(node)}
    if timeout is not None:
        options["timeout"] = timeout
    if name in plan.error_ways:
        options["error_handler"] = build_error_handler(plan, metrics)
    if node.role == "group":
        # LangGraph cannot see where it sends its tasks.
        options["destinations"] = tuple(f"{name}.{path[-1]}" for path in node.list_inner_nodes())
    return options


def is_worth_another_attempt(error: Exception) -> bool:
    """Whether an author who asked for attempts gets another: what failed may succeed, and nobody has read any of it."""
    is_passing = isinstance(error, NodeFailure) and (error.kind == "invalid" or error.is_repeatable)
    return is_worth_retrying(error) or is_passing or isinstance(error, NodeTimeoutError)


def build_error_handler(plan: GraphPlan, metrics: Metrics) -> Callable[..., Awaitable[Command[str]]]:
    """Build the function that leads a failure of a node where its `on_error` says."""

    async def handle(state: State, error: NodeError, runtime: Runtime[Context]) -> Command[str]:
        name = error.node.partition(".")[0]
        record = describe_error(name, error.error)
        if record is None:
            raise error.error
        update: dict[str, Any] = {"error": record}
        if isinstance(error.error, NodeFailure | ModelError):
            counts = {"calls": error.error.calls, "rounds": error.error.rounds}
            update |= {key: count for key, count in counts.items() if count is not None}
        if plan.counts_visits:
            update |= build_visits(state, name)
        # In Studio it may be none, or anything.
        if isinstance(runtime.context, Context):  # pyright: ignore[reportUnnecessaryIsInstance]
            update |= build_token_use(state, runtime.context)
        target = plan.error_ways[name].to
        record_way(plan.id, name, StepWay(at=ERROR_WAY, to=target, of=len(plan.branches[name])), record["kind"])
        metrics.count_error_way(plan.id, name, record["kind"])
        return Command(update=update, goto=resolve_target(target))

    return handle


def record_visits(run: Callable[..., Awaitable[Mapping[str, Any]]], name: str) -> Callable[..., Any]:
    """Wrap a node, so that the state says how often a way led to it."""

    @wraps(run)
    async def run_recorded(state: State, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        return {**await run(state, *args, **kwargs), **build_visits(state, name)}

    return run_recorded


def announce_note(
    run: Callable[..., Awaitable[Mapping[str, Any]]], site: NodeSite, services: Services
) -> Callable[..., Any]:
    """Wrap a node, so that its `note` is shown when it begins."""
    values = NodeValues(site, services)

    @wraps(run)
    async def run_announced(state: State, runtime: Runtime[Context], **kwargs: Any) -> Mapping[str, Any]:
        context = services.find_context(runtime)
        if line := await render_note(values, site, state, context):
            find_emitter(context, runtime.stream_writer)(NodeNote(site.name, line))
        return await run(state, runtime=runtime, **kwargs)

    return run_announced


def build_visits(state: State, name: str) -> dict[str, Any]:
    """Build what changes in the state where a node has come to its end, or failed."""
    return {"visits": {**state.get("visits", {}), name: count_visits(state, name)}, "agent": ""}


def resolve_target(name: str) -> str:
    """Return LangGraph's name for where a branch leads."""
    return END if name == THE_END else name


class UntracedRouter(Runnable[State, str]):
    """A router that LangGraph runs without a run of its own in LangChain's traces, which would cost two tasks."""

    def __init__(self, route: Callable[[State, Runtime[Context]], Awaitable[str]]) -> None:
        self._route = route
        self.name = "route"

    def invoke(self, input: State, config: RunnableConfig | None = None, **_: Any) -> str:
        """Raise TypeError: graphs run asynchronously."""
        raise TypeError("a graph runs asynchronously: its conditions may have to wait")

    async def ainvoke(self, input: State, config: RunnableConfig | None = None, **_: Any) -> str:
        """Decide where to go next, here and not on another thread."""
        return await self._route(input, find_runtime(config))


def find_runtime(config: RunnableConfig | None) -> Runtime[Context]:
    """Find the runtime of a step; an empty one where none runs: Studio writes a state in the name of a node."""
    found = (config or {}).get("configurable", {}).get(CONFIG_KEY_RUNTIME)
    return cast("Runtime[Context]", found or Runtime())
