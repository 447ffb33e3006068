"""CPU ms per request of the serving process: the floors and Interlock in turn, round after round, in one run."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.configs import Configs
from bench.lean import ITEMS
from bench.load import Sample, Scenario, load, quantile
from bench.targets import FLOORS, INTERLOCK, Measured, Upstream, floors, folder, interlock, upstream

SCENARIOS = (
    Scenario(name="chat"),
    Scenario(name="stream", stream=True, chunks=200),
    Scenario(name="tool", rounds=1),
    Scenario(name="tool_stream", stream=True, rounds=1),
    Scenario(name="variables", graph="variables", rounds=1),
    Scenario(name="map", graph="map", rounds=ITEMS, chunks=ITEMS),
)
WORDS = {
    "chat": "chat, 20 chunks, not streamed",
    "stream": "stream, 200 chunks",
    "tool": "tool: 2 model calls, 1 MCP call",
    "tool_stream": "tool, streamed",
    "variables": "5 nodes with variables: 1 model call, 1 MCP call",
    "map": f"map: {ITEMS} MCP calls at the same time",
}
BOUNDS = {"chat": 2.5, "stream": 1.2, "tool": 2.0, "tool_stream": 2.0, "variables": 2.5, "map": 1.5}
"""How many times the lean floor's CPU a request of Interlock's may cost."""
TARGETS = (*FLOORS, "interlock")
BASE = FLOORS["lean"]
WARM_UP = 64
"""Requests that each target answers before it is measured."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    rounds: int = 5
    seconds: float = 2.0
    """Of load, for each target in each round."""
    concurrency: int = 16
    turns: int = 4
    only: Sequence[str] = tuple(WORDS)
    targets: Sequence[str] = TARGETS

    @property
    def whole(self) -> bool:
        """Whether the outcome may stand in the documentation."""
        all_asked = set(self.only) == set(WORDS) and set(self.targets) == set(TARGETS)
        return all_asked and self.rounds >= 5 and self.seconds >= 1 and self.turns > 1


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One scenario at one target: medians of the rounds."""

    scenario: str
    target: str
    requests: int
    errors: Mapping[str, int]
    tool_calls: float
    """Calls per request that arrived at the MCP server."""
    cpu_ms: float
    """Per request, of the serving process with its threads and children."""
    rounds: Sequence[float]
    """The same of each round."""
    per_second: float
    p50_ms: float
    p95_ms: float
    first_ms: float | None
    """To the first token; streams only."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One load on one target."""

    sample: Sample
    cpu: float
    """Seconds of processor time that it took there."""
    calls: int
    """Tool calls that arrived at the MCP server."""

    @property
    def cpu_ms(self) -> float:
        """Per request."""
        return self.cpu * 1e3 / max(1, self.sample.answers)


async def measure(plan: Plan) -> AsyncIterator[list[Cell]]:
    """Starts everything and measures; yields the cells of one scenario after the other."""
    with ExitStack() as stack:
        home = stack.enter_context(folder())
        served = stack.enter_context(upstream(home))
        running = stack.enter_context(floors(home, served))
        asked = [running[name] for name in FLOORS if name in plan.targets]
        if "interlock" in plan.targets:
            asked.append(stack.enter_context(interlock(home, served, Configs(workflows=True))))
        for scenario in SCENARIOS:
            if scenario.name in plan.only:
                yield await compare(replace(scenario, turns=plan.turns), asked, served, plan)


async def compare(scenario: Scenario, asked: Sequence[Measured], served: Upstream, plan: Plan) -> list[Cell]:
    """One scenario at every target that can do it, in turn, so that what else the machine does concerns all alike."""
    able = [one for one in asked if one.can_answer(scenario)]
    for one in able:
        await load(one.target, scenario, concurrency=8, seconds=plan.seconds, limit=WARM_UP)
    seen: dict[str, list[Round]] = {one.target.name: [] for one in able}
    for _ in range(plan.rounds):
        for one in able:
            calls, before = served.counts()["mcp_calls"], one.program.cpu()
            sample = await load(one.target, scenario, concurrency=plan.concurrency, seconds=plan.seconds)
            cpu, calls = one.program.cpu() - before, served.counts()["mcp_calls"] - calls
            seen[one.target.name].append(Round(sample=sample, cpu=cpu, calls=calls))
    return [cell(scenario, name, rounds) for name, rounds in seen.items()]


def cell(scenario: Scenario, target: str, rounds: Sequence[Round]) -> Cell:
    samples = [one.sample for one in rounds]
    errors = sum((sample.errors for sample in samples), Counter[str]())
    requests = sum(sample.answers for sample in samples)
    return Cell(
        scenario=scenario.name,
        target=target,
        requests=requests,
        errors=dict(errors.most_common(3)),
        tool_calls=round(sum(one.calls for one in rounds) / max(1, requests), 3),
        cpu_ms=round(statistics.median(one.cpu_ms for one in rounds), 3),
        rounds=[round(one.cpu_ms, 3) for one in rounds],
        per_second=round(statistics.median(sample.answers / sample.seconds for sample in samples), 1),
        p50_ms=round(statistics.median(quantile(sample.total, 0.5) for sample in samples), 2),
        p95_ms=round(statistics.median(quantile(sample.total, 0.95) for sample in samples), 2),
        first_ms=round(statistics.median(quantile(sample.first, 0.5) for sample in samples), 2)
        if scenario.stream
        else None,
    )


def ratio(cells: Sequence[Cell], scenario: str, target: str = INTERLOCK) -> float | None:
    """How many times the lean floor's CPU a request costs there."""
    cpu = {cell.target: cell.cpu_ms for cell in cells if cell.scenario == scenario}
    return cpu[target] / cpu[BASE] if target in cpu and BASE in cpu else None


def results(cells: Sequence[Cell], plan: Plan, made: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a run, as JSON."""
    ratios = {name: round(found, 2) for name in plan.only if (found := ratio(cells, name)) is not None}
    return {
        "machine": made,
        "plan": asdict(plan),
        "cells": [asdict(cell) for cell in cells],
        "ratios": ratios,
        "bounds": {name: BOUNDS[name] for name in ratios},
    }


def markdown(kept: Mapping[str, Any]) -> str:
    """The table of what is kept of a run."""
    targets = [*FLOORS.values(), INTERLOCK]
    cpu = {(cell["scenario"], cell["target"]): cell["cpu_ms"] for cell in kept["cells"]}
    head = ["CPU ms per request", *targets[:-1], f"**{INTERLOCK}**", "times lean", "at most"]
    rows: list[list[str]] = []
    for scenario, words in WORDS.items():
        if (scenario, BASE) not in cpu:
            continue
        figures = [f"{cpu[scenario, name]:.2f}" if (scenario, name) in cpu else "–" for name in targets]
        times, bound = kept["ratios"][scenario], kept["bounds"][scenario]
        verdict = f"{bound:g} {'holds' if times <= bound else '**missed**'}"
        rows.append([words, *figures[:-1], f"**{figures[-1]}**", f"{times:.2f}", verdict])
    return rows_of(head, rows)


def rows_of(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose first column is words and whose others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
