"""Turns that ended with calls of the client's own tools, and go on where their graph was once the results are there.

A graph that is nothing but one model and its tools begins again instead: its history says all that it knows. In any
other one, what ran before the call would run twice, and what was found would be forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, cast

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage, convert_to_messages
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import Command

from graphs.config.graph_plan import GraphPlan
from graphs.llm.messages import Message, client_call_ids
from graphs.nodes.state import find_last_answer
from graphs.runtime.conversation import Conversation, find_result
from graphs.runtime.stale_values import explain_stale_value
from graphs.store.checkpoints import Checkpoints
from graphs.store.store import Store
from graphs.store.turns import TurnRow

HANDOVER_KEY = "handover"
"""Where the request that a turn's row keeps says what was handed to the client."""
CONTINUED_KEY = "continued"
"""Where it says whether the turn went on behind such calls."""
CLIENT_RESULT = "client-result-"
"""How the ids of messages begin that are results of the client's own tools."""

CONVERTED_FIELDS = ("role", "content", "tool_calls", "tool_call_id", "name")


class Handover(TypedDict):
    """What a turn handed to its client."""

    node: str
    """The model node that called the client's tools."""
    calls: Sequence[str]
    """The ids of these calls."""
    unreadable: Sequence[str]
    """The ids of calls beside them that nobody can run: they could not be read."""


@dataclass(frozen=True, kw_only=True)
class Continue:
    """The graph goes on behind the calls that an earlier turn handed to the client."""

    row: TurnRow
    handover: Handover
    results: Mapping[str, Message]
    """What the client sent back, by call, also of calls before the latest ones."""
    history: Sequence[Message] = field(default=())
    """The conversation before that turn's own messages."""
    later: Sequence[Message] = field(default=())
    """What an attempt to go on did before it was cut off: its tool calls with their results."""


def build_handover(plan: GraphPlan, state: Mapping[str, Any], calls: Sequence[str]) -> Handover | None:
    """Build what a row keeps of the calls that are handed to the client; None: the graph begins again."""
    answer = find_last_answer(cast("Any", state))
    if not calls or plan.is_tool_loop or answer is None:
        return None
    unreadable = [call["id"] or "" for call in answer.invalid_tool_calls if call["id"] not in _list_results(state)]
    return Handover(node=state["asker"], calls=[*calls], unreadable=unreadable)


async def find_continued(store: Store, owner: str, graph: str, conversation: Conversation) -> Continue | None:
    """Find the turn of this graph that handed out the calls whose results this request ends with; None: there is
    none."""
    calls = _find_latest_calls(conversation)
    if not calls:
        return None
    for row in await store.turns.find_by_call(owner, calls[0]):
        if row.graph == graph and (continued := build_continued(row, conversation)) is not None:
            return continued
    return None


def build_continued(row: TurnRow, conversation: Conversation) -> Continue | None:
    """Build how that turn goes on with the results that this request ends with; None: they are not what it waits
    for."""
    handover = cast("Handover | None", (row.request or {}).get(HANDOVER_KEY))
    begun = conversation.open_exchange
    if handover is None or row.thread is None or begun is None:
        return None
    if set(handover["calls"]) != set(_find_latest_calls(conversation)):
        return None
    sent = conversation.messages[begun.start : begun.end]
    results = {str(message.get("tool_call_id")): message for message in sent if message.get("role") == "tool"}
    if results.keys().isdisjoint(handover["calls"]):
        return None
    return Continue(row=row, handover=handover, results=results)


async def read_checkpoint(checkpoints: Checkpoints, continued: Continue) -> CheckpointTuple | None:
    """Read where the graph was; None: it is not kept any more."""
    return await checkpoints.aget_tuple(_build_config(continued.row.thread or continued.row.id))


async def copy_checkpoint(checkpoints: Checkpoints, source: CheckpointTuple, thread: str) -> None:
    """Copy a checkpoint to a new thread: the same results may come again, and go on from there once more."""
    checkpoints.hold(thread, is_new=True)
    versions = source.checkpoint["channel_versions"]
    await checkpoints.aput(_build_config(thread), source.checkpoint, source.metadata, versions)


def explain_changed_graph(continued: Continue, plan: GraphPlan, source: CheckpointTuple) -> str | None:
    """Explain why this graph cannot go on from there, in words for the person; None: it can."""
    node = continued.handover["node"]
    if node not in plan.spec.nodes:
        why = f"the node {node!r} that asked for them is not in it any more. Nothing was run."
        return f"The graph {plan.id!r} was changed while your client ran its tools, and {why}"
    return explain_stale_value(plan, source.checkpoint["channel_values"])


def build_entry(continued: Continue, plan: GraphPlan, state: Mapping[str, Any]) -> Command[Any]:
    """Build what the graph goes on with behind its last checkpoint, whose state this is: in the node that runs the
    calls of the model, which has none left to run, or in the agent."""
    handover = continued.handover
    node = handover["node"]
    messages: Sequence[AnyMessage] = state.get("messages", ())
    update: dict[str, Any] = {"messages": _build_results(continued, messages)}
    target = None
    if plan.spec.nodes[node].role == "agent":
        if plan.counts_visits:
            update["agent"] = node  # the same visit
    else:
        target = plan.find_tools_node(node)
    if target is not None and plan.counts_visits and _has_run(state, {*handover["calls"], *handover["unreadable"]}):
        visits: Mapping[str, int] = state.get("visits", {})  # it has been there for the other calls of the round
        update["visits"] = {**visits, target: visits.get(target, 1) - 1}
    return Command(update=update, goto=target or node)


def _build_config(thread: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}


def _find_latest_calls(conversation: Conversation) -> Sequence[str]:
    """Find the latest tool calls of the exchange that the client goes on with."""
    begun = conversation.open_exchange
    if begun is None:
        return ()
    sent = conversation.messages[begun.start : begun.end]
    return next((ids for message in reversed(sent) if (ids := client_call_ids([message]))), ())


def _build_results(continued: Continue, messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Build the results that are new, or that the client has changed since, and what was done after them."""
    handover, results = continued.handover, continued.results
    known = [message for message in messages if isinstance(message, ToolMessage)]
    again = [
        built
        for message in known
        if (message.id or "").startswith(CLIENT_RESULT) and message.tool_call_id in results
        and (built := _build_result(message.tool_call_id, results)).content != message.content
    ]  # fmt: skip
    new = [_build_result(call, results) for call in (*handover["calls"], *handover["unreadable"])]
    return [*again, *new, *_convert_later(continued.later, messages)]


def _convert_later(later: Sequence[Message], messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """Convert what was done after the results; the turn that was cut off has the calls before them too."""
    known = {
        call["id"]
        for message in messages
        if isinstance(message, AIMessage)
        for call in [*message.tool_calls, *message.invalid_tool_calls]
    }
    return cast(
        "Sequence[AnyMessage]",
        convert_to_messages(
            [
                {name: message[name] for name in CONVERTED_FIELDS if name in message}
                for message in later
                if known.isdisjoint([*client_call_ids([message]), message.get("tool_call_id")])
            ]
        ),
    )


def _build_result(call_id: str, results: Mapping[str, Message]) -> ToolMessage:
    content = find_result(call_id, results).get("content")
    text = cast("Any", content if isinstance(content, list) else str(content or ""))
    return ToolMessage(text, tool_call_id=call_id, id=f"{CLIENT_RESULT}{call_id}")


def _list_results(state: Mapping[str, Any]) -> set[str]:
    messages: Sequence[AnyMessage] = state.get("messages", ())
    return {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}


def _has_run(state: Mapping[str, Any], others: set[str]) -> bool:
    """Whether the latest round had calls of servers' tools too."""
    answer = find_last_answer(cast("Any", state))
    return answer is not None and any(call["id"] not in others for call in answer.tool_calls)
