"""What `interlock turn` prints: the steps of one turn as lines, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime

from graphs.diagnostics.audit_reader import open_store
from graphs.diagnostics.turn_path import TurnPath, load_turn_path
from graphs.telemetry.path import ERROR_WAY, ModelCallRecord, StepRecord, StepWay
from server.cli.audit_output import find_storage
from server.cli.output import escape_line
from server.settings import Settings


async def read_turn(settings: Settings, turn: str | None) -> TurnPath:
    """Read the way of a turn; None: the newest. Raises ConfigError, NoTurn and StorageError."""
    async with open_store(find_storage(settings), settings.data) as store:
        return await load_turn_path(store, turn)


def format_text(found: TurnPath) -> Iterator[str]:
    """Format it for people."""
    when = "" if found.began is None else datetime.fromtimestamp(found.began).strftime("%Y-%m-%d %H:%M:%S")
    took = "" if found.began is None or found.ended is None else format_seconds(found.ended - found.began)
    yield escape_line("  ".join(filter(None, (f"turn {found.turn}", found.graph, found.status, when, took))))
    if found.path is None:
        yield "its way was not recorded"
        return
    steps = found.path["steps"]
    names = [step["node"] if step["graph"] == found.graph else f"{step['graph']}/{step['node']}" for step in steps]
    width = max(map(len, names), default=0)
    types = max((len(step["type"]) for step in steps), default=0)
    start = found.began if found.began is not None else (steps[0]["began"] if steps else 0.0)
    for name, step in zip(names, steps, strict=True):
        seconds = "?" if step["seconds"] is None else format_seconds(step["seconds"])
        offset = f"+{format_seconds(max(0.0, step['began'] - start))}"
        line = f"{offset:>10}  {name:<{width}}  {step['type']:<{types}}  {seconds:>8}  {describe_step(step)}"
        yield escape_line(line.rstrip())
        for call in step.get("models", ()):
            yield escape_line(f"{'':10}    {describe_model_call(call)}")
        if more := step.get("more_models"):
            yield f"{'':10}    and {more:,} more"
    if more := found.path["more"]:
        yield f"{'':10}  and {more:,} more"
    yield f"{found.path['prompt']:,} tokens in, {found.path['completion']:,} out"


def describe_step(step: StepRecord) -> str:
    """Describe what happened in a step beside its time."""
    facts: list[str] = []
    if step["seconds"] is None:
        facts.append("its end was not recorded")
    if step.get("paused"):
        facts.append("waits for a person")
    if "waited" in step:
        facts.append(f"waited {format_seconds(step['waited'])} for a person")
    if "tasks" in step:
        failed = step.get("failed")
        facts.append(f"{count(step['tasks'], 'task')}{f', {failed} failed' if failed else ''}")
    if "retries" in step:
        facts.append(count(step["retries"], "further attempt"))
    if "error" in step:
        facts.append(f"failed ({step['error']})")
    if "way" in step:
        facts.append(describe_way(step["way"]))
    return "; ".join(facts)


def describe_way(way: StepWay) -> str:
    """Describe the way on, and why it was taken as far as that is known."""
    if way["at"] == ERROR_WAY:
        return f"on_error → {way['to']}"
    if "value" in way:
        return f"{way['value']} → {way['to']}"
    return f"way {way['at'] + 1} of {way['of']} → {way['to']}" if way["of"] > 1 else f"→ {way['to']}"


def describe_model_call(call: ModelCallRecord) -> str:
    """Describe one model call."""
    tokens = f", {call['prompt']:,} tokens in, {call['completion'] or 0:,} out" if call["prompt"] is not None else ""
    ended = "" if call["outcome"] == "ok" else f", {call['outcome']}"
    return f"{call['model']}  {format_seconds(call['seconds'])}{tokens}{ended}"


def format_seconds(seconds: float) -> str:
    """Format a length of time, as exactly as it is worth."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def count(number: int, thing: str) -> str:
    """Count things in words."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def format_json(found: TurnPath) -> Iterator[str]:
    """Format it for programs."""
    yield json.dumps(asdict(found), indent=2)


FORMATS: Mapping[str, Callable[[TurnPath], Iterator[str]]] = {"text": format_text, "json": format_json}
