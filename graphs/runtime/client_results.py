"""Turns that ended with calls of the client's own tools, and go on where their graph was once the results are there.

A graph that is nothing but one model and its tools begins again instead: its history says all that it knows. In any
other one, what ran before the call would run twice, and what was found would be forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from graphs.config.graph_plan import GraphPlan
from graphs.llm.messages import Message, client_call_ids
from graphs.runtime.compiler import ServedGraph
from graphs.runtime.conversation import find_result
from graphs.runtime.restore import RestoredHistory
from graphs.store.checkpoints import Checkpoints
from graphs.store.turns import TurnRow

HANDOVER_KEY = "handover"
"""Where the request that a turn's row keeps says what was handed to the client."""

CONTINUED_KEY = "continued"
"""Where it says whether the turn went on behind such calls."""


class Handover(TypedDict):
    """What a turn handed to its client."""

    node: str
    """The model node that called the client's tools."""
    calls: Sequence[str]
    """The ids of these calls."""


@dataclass(frozen=True, kw_only=True)
class Continue:
    """The graph goes on behind the calls that an earlier turn handed to the client."""

    row: TurnRow
    handover: Handover
    results: Sequence[ToolMessage]
    """In the order of the calls."""


def build_handover(plan: GraphPlan, state: Mapping[str, Any], calls: Sequence[str]) -> Handover | None:
    """Build what a row keeps of the calls that are handed to the client; None: the graph begins again."""
    if not calls or plan.is_tool_loop:
        return None
    return Handover(node=state["asker"], calls=[*calls])


def find_continued(found: RestoredHistory) -> Continue | None:
    """Find the turn whose graph goes on with the results that this request ends with; None: there is none."""
    begun, row = found.conversation.open_exchange, found.parent
    if begun is None or row is None or row.thread is None:
        return None
    handover = cast("Handover | None", (row.request or {}).get(HANDOVER_KEY))
    sent = found.conversation.messages[begun.start : begun.end]
    if handover is None or not set(handover["calls"]).issubset(client_call_ids(sent)):
        return None
    results = {str(message.get("tool_call_id")): message for message in sent if message.get("role") == "tool"}
    if results.keys().isdisjoint(handover["calls"]):
        return None
    called = max(at for at, message in enumerate(sent) if {*handover["calls"]} & {*client_call_ids([message])})
    if client_call_ids(sent[called + 1 :]):
        return None  # the client goes on from a later place, which is no longer known
    made = [_build_result(call, find_result(call, results)) for call in handover["calls"]]
    return Continue(row=row, handover=handover, results=made)


def find_problem(continued: Continue, graph: ServedGraph) -> str | None:
    """Explain why this graph cannot go on there, in words; None: it can."""
    node = continued.handover["node"]
    if node in graph.plan.spec.nodes and graph.plan.id == continued.row.graph:
        return None
    return (
        f"The graph {continued.row.graph!r} was changed while your client ran its tools, and the node {node!r} that "
        "asked for them is not in it any more. Nothing was run."
    )


async def copy_checkpoint(checkpoints: Checkpoints, source: str, thread: str) -> bool:
    """Copy the newest checkpoint of a thread to a new thread: the same results may come again, and go on from there
    once more. False: it is not kept any more."""
    config: RunnableConfig = {"configurable": {"thread_id": source, "checkpoint_ns": ""}}
    newest = await checkpoints.aget_tuple(config)
    if newest is None:
        return False
    checkpoints.hold(thread, is_new=True)
    config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    await checkpoints.aput(config, newest.checkpoint, newest.metadata, newest.checkpoint["channel_versions"])
    return True


def build_entry(continued: Continue, plan: GraphPlan) -> Command[Any]:
    """Build what the graph goes on with behind its last checkpoint."""
    node = continued.handover["node"]
    update: dict[str, Any] = {"messages": [*continued.results]}
    if plan.counts_visits and plan.spec.nodes[node].role == "agent":
        update["agent"] = node  # the same visit
    return Command(update=update, goto=plan.find_node_behind_tools(node))


def _build_result(call_id: str, message: Message) -> ToolMessage:
    content = message.get("content")
    return ToolMessage(cast("Any", content if isinstance(content, list) else str(content or "")), tool_call_id=call_id)
