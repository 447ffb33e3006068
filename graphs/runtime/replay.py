"""An answer that ended and never got to its client, kept so that it can be said again: its texts, its tool calls in
their order, its end. The texts and the calls stand in the turn's row, the results in the journal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import ToolMessage

from graphs.events import (
    ClientCall,
    ClientCalls,
    Event,
    Finished,
    FinishReason,
    TextDelta,
    TokenUsage,
    ToolFinished,
    ToolRefused,
    ToolStarted,
)
from graphs.llm.messages import calls_of, text_of
from graphs.nodes.tools import build_earlier_result, build_tool_finished
from graphs.store.tool_journal import ClaimResult
from graphs.store.turns import TurnRow

REPLAY_KEY = "replay"
"""Where it stands in a row's `request`."""


class ReplayScript:
    """What an answer says, in order, as it is said."""

    def __init__(self) -> None:
        self._steps: list[Any] = []

    def add_text(self, text: str) -> None:
        """Add the next piece of text; a row keeps no NUL."""
        length = len(text) - text.count("\0")
        if self._steps and isinstance(self._steps[-1], int):
            self._steps[-1] += length
        else:
            self._steps.append(length)

    def add(self, event: Event) -> None:
        """Add what else the client sees of the answer."""
        match event:
            case ToolStarted(call_id, tool):
                self._steps.append(["started", call_id, tool])
            case ToolFinished(call_id, tool):
                self._steps.append(["finished", call_id, tool])
            case ToolRefused(call_id, tool, _, reason):
                self._steps.append(["refused", call_id, tool, reason])
            case _:
                pass

    def close(self, reason: FinishReason, usage: TokenUsage, calls: Sequence[ClientCall]) -> dict[str, Any]:
        """Return all of it as JSON, with how it ended."""
        return {
            "steps": self._steps,
            "reason": reason,
            "usage": [usage.prompt, usage.completion, usage.details],
            "calls": [[call.call_id, call.name, call.arguments] for call in calls],
        }


def list_replayed_calls(row: TurnRow) -> list[str]:
    """List the ids of the calls whose results are said again."""
    return [step[1] for step in _read_steps(row) if not isinstance(step, int) and step[0] == "finished"]


def replay(row: TurnRow, results: Mapping[str, ClaimResult]) -> Iterator[Event]:
    """Say once more what the turn said. `results` is what the journal knows of the calls of `list_replayed_calls`."""
    kept: Mapping[str, Any] = (row.request or {})[REPLAY_KEY]
    args = {str(call["id"]): _parse_arguments(call) for message in row.messages for call in calls_of(message)}
    texts = {str(message.get("tool_call_id")): text_of(message) for message in row.messages}
    # The answer before it in the same exchange stands in front, and the client has that.
    at = len(row.text) - sum(step for step in _read_steps(row) if isinstance(step, int))
    for step in _read_steps(row):
        if isinstance(step, int):
            yield TextDelta(row.text[at : at + step])
            at += step
            continue
        kind, call_id, tool, *rest = step
        if kind == "started":
            yield ToolStarted(call_id, tool, args.get(call_id, {}))
        elif kind == "refused":
            yield ToolRefused(call_id, tool, args.get(call_id, {}), rest[0])
        elif (known := results.get(call_id)) is not None:
            yield build_tool_finished(build_earlier_result(known, call_id, tool), tool)
        else:
            yield build_tool_finished(ToolMessage(texts.get(call_id, ""), tool_call_id=call_id), tool)
    if kept["calls"]:
        yield ClientCalls(tuple(ClientCall(*call) for call in kept["calls"]))
    yield Finished(kept["reason"], TokenUsage(*kept["usage"]))


def _read_steps(row: TurnRow) -> Sequence[Any]:
    return cast("Sequence[Any]", (row.request or {})[REPLAY_KEY]["steps"])


def _parse_arguments(call: Mapping[str, Any]) -> Mapping[str, Any]:
    text = call["function"]["arguments"]
    try:
        args = json.loads(text)
    except ValueError:
        args = None
    return cast("Mapping[str, Any]", args) if isinstance(args, dict) else {"text": text}
