"""Every node is reached and has a way to `end`: what `check` says of it, held against runs of random graphs.

Each run is steered: the person's message holds a token for each way that is to be taken, the conditions look for it,
and the model and the tools answer or fail as the way needs it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.configs import write_configs

from graphs.config import compile_graph
from graphs.config.graph_checks import GraphOutline
from graphs.config.loader import Snapshot, load
from graphs.config.source import Path as SourcePath
from graphs.errors import ConfigError
from graphs.runtime import compiler
from graphs.telemetry.path import ERROR_WAY, GraphPath, Step
from graphs.testing.case_run import CaseRun, open_case_runner

Graph = dict[str, Any]
Way = tuple[str, int]
"""A node, and the place of a way among those under its `next`; ERROR_WAY: its `on_error`."""

ACCESS = 'roles:\n  dev: {allow: ["*"]}\n'
NAMES = ("one", "two", "three", "four", "five")
KINDS = ("set", "reply", "agent", "value", "choice", "call", "map", "parallel")
FIELDS: dict[str, Any] = {
    "set": {"type": "set", "set": {"n": "visits"}},
    "reply": {"type": "reply", "text": "x"},
    "agent": {"type": "agent"},
    "value": {"type": "model", "into": "n"},
    "choice": {"type": "model", "into": "kind"},
    "call": {"type": "call"},
    "map": {"type": "map", "over": "[1, 2]", "do": {"type": "model", "input": "{{ item }}"}, "into": "all"},
    "parallel": {"type": "parallel", "into": "both"},
}
VARIABLES: dict[str, Any] = {
    "n": {"type": "int", "default": 0},
    "kind": {"type": ["x", "y"], "default": "x"},
    "all": {"type": "int[]", "default": []},
    "both": {"type": {"fields": {"a": "int", "b": "any"}}, "default": {"a": 0, "b": 0}},
}
INNER = {"map": ("do",), "parallel": ("a", "b")}
MOST_STEPS = 10
"""Steps by chance of a run, and beyond those that its limits give it, where it would go round for ever."""


@st.composite
def build_graph(draw: st.DrawFn, *, is_free: bool = False) -> Graph:
    """A graph of which each node leads here and there. `is_free`: also where no way leads to the end."""
    nodes: Graph = {}
    for at, name in enumerate(NAMES):
        kind = draw(st.sampled_from(KINDS))
        anywhere = st.sampled_from(NAMES if is_free and draw(st.booleans()) else (*NAMES, "end"))
        onwards = anywhere if is_free else st.sampled_from((*NAMES[at + 1 :], "end"))
        node = {**FIELDS[kind]}
        if kind == "choice":
            node["next"] = {"x": draw(anywhere), "y": draw(onwards)}
        else:
            ways = draw(st.lists(anywhere, max_size=2))
            when = f'visits < 9 && message.contains("{name}" + string(visits)'
            node["next"] = [{"when": f'{when} + ":{at};")', "to": to} for at, to in enumerate(ways)]
            node["next"].append({"to": draw(onwards)})
        if kind == "call":
            node["tool"] = f"t/{name}"
        if kind == "parallel":
            node["branches"] = {"a": {"type": "model", "input": "x"}, "b": {"type": "call", "tool": f"t/{name}"}}
        if kind in ("value", "call", "map", "parallel") and draw(st.booleans()):
            node["on_error"] = draw(anywhere)
        nodes[name] = node
    return {"vars": VARIABLES, "limits": {"rounds": 6} if is_free else {}, "start": NAMES[0], "nodes": nodes}


def remove_unreached(graph: Graph) -> Graph:
    """The graph without the nodes to which its ways do not lead."""
    nodes = {name: graph["nodes"][name] for name in NAMES if find_way(graph, graph["start"], name) is not None}
    return {**graph, "nodes": nodes}


def list_ways(node: Graph) -> list[tuple[int, str]]:
    """The ways on from a node, each with where it leads: where it fails first, so that such ways are taken often."""
    on = node["next"]
    ways = [*enumerate(on.values())] if isinstance(on, dict) else [(at, way["to"]) for at, way in enumerate(on)]
    return [(ERROR_WAY, node["on_error"]), *ways] if "on_error" in node else ways


def find_way(graph: Graph, start: str, goal: str) -> list[Way] | None:
    """A shortest way from one node to another, or to the end; None: there is none."""
    found: dict[str, list[Way]] = {start: []}
    waiting = [start]
    for name in waiting:  # which grows meanwhile
        if name == goal:
            return found[name]
        for at, to in list_ways(graph["nodes"][name]) if name != "end" else ():
            if to not in found:
                found[to] = [*found[name], (name, at)]
                waiting.append(to)
    return None


def follow(graph: Graph, ways: Iterable[Way]) -> list[str]:
    """The nodes behind these ways."""
    return [dict(list_ways(graph["nodes"][name]))[at] for name, at in ways]


def build_case(graph: Graph, ways: Sequence[Way]) -> Graph:
    """What the person, the model and the tools must say so that a run takes these ways."""
    tokens: list[str] = []
    answers: dict[str, list[Any]] = {}
    results: dict[str, list[Any]] = {}
    visits = dict.fromkeys(graph["nodes"], 0)
    for name, at in ways:
        node = graph["nodes"][name]
        visits[name] += 1
        tokens.append(f"{name}{visits[name]}:{at};")
        number = ["no number", "none again"] if at == ERROR_WAY else ["7"]
        match node["type"]:
            case "agent":
                answers.setdefault(name, []).append("words")
            case "model":
                choice = ["x", "y"][at] if node["into"] == "kind" else None
                answers.setdefault(name, []).extend([choice] if choice else number)
            case "map":
                answers.setdefault(f"{name}.do", []).extend([*number, "7"])
            case "parallel":
                answers.setdefault(f"{name}.a", []).extend(number)
                results.setdefault(f"t/{name}", []).append({"result": "x"})
            case "call":
                results.setdefault(f"t/{name}", []).append({"error": "no"} if at == ERROR_WAY else {"result": "x"})
            case _:
                pass
    return {
        "say": " ".join(tokens) or "Go.",
        "model": answers,
        "tools": results,
        "expect": {"calls": []},
    }


def load_graph(folder: Path, graph: Graph, cases: Sequence[Graph] = ()) -> Snapshot:
    files = {"access.yaml": ACCESS, "graphs/assistant.yaml": yaml.safe_dump(graph, sort_keys=False)}
    if cases:
        named = {f"case {at}": case for at, case in enumerate(cases)}
        files["graphs/assistant.test.yaml"] = yaml.safe_dump({"as": {"role": "dev"}, "cases": named})
    return load(write_configs(folder, files), {}, with_cases=bool(cases))


def find_problems(folder: Path, graph: Graph) -> list[str]:
    try:
        load_graph(folder, graph)
    except ConfigError as error:
        return [problem.message for problem in error.problems]
    return []


@dataclass
class Walk:
    """What one run did."""

    run: CaseRun
    entered: list[str]
    """The nodes that began, those inside others by their paths."""

    def has_ended(self, graph: Graph) -> bool:
        """Whether a way led to the end: not where a limit or a failure ended it."""
        step = self.run.path.steps[-1]
        if step.way is not None:
            return step.way["to"] == "end"
        # A way that is the only one is not chosen.
        return step.failure is None and graph["nodes"][step.node]["next"] == [{"to": "end"}]


async def run_cases(folder: Path, graph: Graph, cases: Sequence[Graph]) -> list[Walk]:
    """Run these cases in the engine."""
    snapshot = load_graph(folder, graph, cases)
    entered: list[str] = []
    enter = GraphPath.enter

    def note(self: GraphPath, graph: str, node: str, type: str, now: float) -> Step:
        entered.append(node)
        return enter(self, graph, node, type, now)

    walks: list[Walk] = []
    [file] = snapshot.case_files
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GraphPath, "enter", note)
        async with open_case_runner(snapshot) as runner:
            for case in file.cases:
                entered.clear()
                walks.append(Walk(await runner.run(file, case), [*entered]))
    return walks


def choose_ways(graph: Graph) -> list[list[Way]]:
    """Ways from the start to the end that go through every node."""
    chosen: list[list[Way]] = []
    left = {*graph["nodes"]} - {graph["start"]}
    for name in (graph["start"], *graph["nodes"]):
        there, back = find_way(graph, graph["start"], name), find_way(graph, name, "end")
        assert there is not None, f"{name} is not reached"
        assert back is not None, f"{name} has no way to the end"
        if name in left or not chosen:
            chosen.append([*there, *back])
            left -= {*follow(graph, chosen[-1])}
    return chosen


@given(graph=build_graph().map(remove_unreached))
@settings(max_examples=18)
async def test_every_node_of_a_graph_that_passes_is_entered_by_a_run_that_ends(
    graph: Graph, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("graph")
    if problems := find_problems(folder, graph):
        assert all("goes round" in problem for problem in problems)
        return
    ways = choose_ways(graph)
    cases = [build_case(graph, way) for way in ways]
    for way, walk in zip(ways, await run_cases(folder, graph, cases), strict=True):
        assert walk.run.faults == []
        assert walk.run.route == [graph["start"], *follow(graph, way)]
        assert walk.has_ended(graph)
        inner = {f"{name}.{part}" for name, _ in way for part in INNER.get(graph["nodes"][name]["type"], ())}
        assert inner <= {*walk.entered}


def list_unreached(problems: Iterable[str]) -> set[str]:
    """The nodes of which `check` says that nothing leads there."""
    found = (re.match("no path from 'one' leads to node '(.+?)'", problem) for problem in problems)
    return {match[1] for match in found if match is not None}


def list_stuck(problems: Iterable[str]) -> set[str]:
    """The nodes of which `check` says that they have no way to the end."""
    found = (re.match("no path leads from nodes? (.+) to 'end'", problem) for problem in problems)
    return {name for match in found if match is not None for name in re.findall("'(.+?)'", match[1])}


def wander(graph: Graph, chance: random.Random, at: str) -> list[Way]:
    """A way that goes on from a node by chance."""
    ways: list[Way] = []
    while at != "end" and len(ways) < MOST_STEPS:
        taken, to = chance.choice(list_ways(graph["nodes"][at]))
        ways.append((at, taken))
        at = to
    return ways


def find_no_mistakes(outline: GraphOutline) -> Iterator[tuple[SourcePath, str]]:
    """In place of the check."""
    return iter(())


@given(graph=build_graph(is_free=True), seed=st.integers(0, 1000))
@settings(max_examples=18)
async def test_a_node_that_fails_the_check_is_never_entered_or_never_ends(
    graph: Graph, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """They run as if nothing were wrong with their shape."""
    folder = tmp_path_factory.mktemp("graph")
    problems = find_problems(folder, graph)
    unreached, stuck = list_unreached(problems), list_stuck(problems)
    reached = {name for name in NAMES if find_way(graph, "one", name) is not None}
    assert unreached == {*NAMES} - reached
    assert stuck == {name for name in reached if find_way(graph, name, "end") is None}
    if not unreached and not stuck:
        return
    chance = random.Random(seed)
    ways = [[*(find_way(graph, "one", name) or ()), *wander(graph, chance, name)] for name in ("one", *sorted(stuck))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compile_graph, "find_mistakes", find_no_mistakes)
        patch.setattr(compiler, "MOST_BOUNDED_STEPS", MOST_STEPS)
        walks = await run_cases(folder, graph, [build_case(graph, way) for way in ways])
    for walk in walks:
        assert unreached.isdisjoint(name.partition(".")[0] for name in walk.entered)
        assert stuck.isdisjoint(walk.entered) or not walk.has_ended(graph)
    assert stuck <= {name for walk in walks for name in walk.entered}
