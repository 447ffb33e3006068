"""Execute a compiled graph: the stream of its states, the time it may take, and the wait for a decision."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

from langchain_core.runnables import RunnableConfig

from graphs.config.compile_graph import GraphPlan
from graphs.events import ApprovalNeeded
from graphs.nodes.state import Context, State
from graphs.runtime.compiler import ServedGraph, compute_step_limit
from graphs.store.approvals import Approvals

POLL_SECONDS = 0.25
"""Seconds between two looks at an approval that a stream waits for."""


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


async def wait_for_decisions(approvals: Approvals, question: ApprovalNeeded) -> None:
    """Return once none of these is pending.

    The store is asked again and again: the decision may come to another process.
    """
    ids = [entry.call_id for entry in question.pending]
    while any(  # noqa: ASYNC110  the event may happen in another process
        entry.status == "pending" for entry in (await approvals.find_by_calls(ids)).values()
    ):
        await asyncio.sleep(POLL_SECONDS)
