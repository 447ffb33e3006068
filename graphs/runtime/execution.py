"""Execute a compiled graph: the stream of its states, and the time it may take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

from langchain_core.runnables import RunnableConfig

from graphs.config.graph_plan import GraphPlan
from graphs.nodes.state import Context, State
from graphs.runtime.compiler import ServedGraph, compute_step_limit


def stream_states(graph: ServedGraph, entry: Any, context: Context) -> AsyncIterator[State]:
    """Stream the state after each step of a graph that starts, or goes on, in the thread `context.thread`.

    `entry` is LangGraph's input: a new state, `Command(resume=…)`, or None to go on from the last checkpoint.
    """
    config: RunnableConfig = {
        "configurable": {"thread_id": context.thread},
        "recursion_limit": compute_step_limit(graph.plan),
    }
    return cast(
        "AsyncIterator[State]",
        graph.graph.astream(  # pyright: ignore[reportUnknownMemberType]
            entry, config, context=context, stream_mode="values", durability="async"
        ),
    )


def compute_deadline(plan: GraphPlan) -> float:
    """Compute the seconds after which a turn is stopped from outside: its own limit, in better words, comes first."""
    limit = plan.spec.limits.seconds
    return limit + min(60.0, max(5.0, limit / 5))
