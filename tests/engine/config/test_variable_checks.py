"""No variable is read before it is written: the analysis, held against what runs of random graphs do."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.configs import loaded

from graphs.config.loader import Snapshot
from graphs.errors import ConfigError


def load_graph(folder: Path, graph: dict[str, Any]) -> Snapshot:
    return loaded(folder, {"graphs/assistant.yaml": yaml.safe_dump(graph, sort_keys=False)})


def find_problems(folder: Path, graph: dict[str, Any]) -> list[str]:
    """What is wrong with a graph, without the places."""
    try:
        load_graph(folder, graph)
    except ConfigError as error:
        return [problem.message for problem in error.problems]
    return []


def say(text: str, to: Any = "end") -> dict[str, Any]:
    return {"type": "reply", "text": text, "next": to}


FOUND = {"fields": {"title?": "string", "size?": "int"}}
ASK = {"type": "model", "into": "found"}


@pytest.mark.parametrize(
    "ways",
    [
        [{"when": "has(found.title)", "to": "say"}, {"to": "end"}],
        [{"when": "!has(found.title)", "to": "end"}, {"to": "say"}],
        [{"when": "'title' in found && has(found.size)", "to": "say"}, {"to": "end"}],
        [{"when": "!(has(found.title) && has(found.size)) || found.size > 3", "to": "end"}, {"to": "say"}],
        [{"when": "has(found.title) ? found.title == 'x' : false", "to": "end"}, {"to": "end"}],
    ],
)
def test_a_field_that_was_asked_for_may_be_read(ways: list[dict[str, str]], tmp_path: Path) -> None:
    nodes = {"ask": {**ASK, "next": ways}, "say": say("{{ found.title }}")}
    if all(way["to"] != "say" for way in ways):
        del nodes["say"]
    assert find_problems(tmp_path, {"vars": {"found": FOUND}, "start": "ask", "nodes": nodes}) == []


@pytest.mark.parametrize(
    "ways",
    [
        [{"when": "has(found.size)", "to": "say"}, {"to": "end"}],
        [{"when": "has(found.title) || has(found.size)", "to": "say"}, {"to": "end"}],
        [{"when": "!has(found.title) && has(found.size)", "to": "end"}, {"to": "say"}],
        [{"when": "found.title == 'x'", "to": "end"}, {"to": "end"}],
    ],
)
def test_a_field_that_was_not_asked_for_may_not(ways: list[dict[str, str]], tmp_path: Path) -> None:
    nodes = {"ask": {**ASK, "next": ways}, "say": say("{{ found.title }}")}
    if all(way["to"] != "say" for way in ways):
        del nodes["say"]
    [problem] = find_problems(tmp_path, {"vars": {"found": FOUND}, "start": "ask", "nodes": nodes})
    assert problem == "'found.title' may be absent; read it only where has(found.title) is true"


def test_what_was_asked_is_forgotten_when_the_variable_is_written_again(tmp_path: Path) -> None:
    graph = {
        "vars": {"found": FOUND},
        "start": "ask",
        "nodes": {
            "ask": {**ASK, "next": [{"when": "has(found.title)", "to": "again"}, {"to": "end"}]},
            "again": {**ASK, "next": "say"},
            "say": say("{{ found.title }}"),
        },
    }
    assert len(find_problems(tmp_path, graph)) == 1


def test_a_recall_that_may_find_nothing_writes_nothing_for_sure(tmp_path: Path) -> None:
    recall = {"type": "memory", "recall": {"key": "k"}, "into": "found", "next": "say"}
    nodes = {"know": recall, "say": say("{{ json(found) }}")}
    early = "'found' has no value yet on the way know → say here; give it a default, or write it before"
    assert find_problems(tmp_path / "a", {"vars": {"found": FOUND}, "start": "know", "nodes": nodes}) == [early]
    with_default = {"found": {"type": FOUND, "default": {}}}
    assert find_problems(tmp_path / "b", {"vars": with_default, "start": "know", "nodes": nodes}) == []
    before = {**nodes, "ask": {**ASK, "next": "know"}}
    assert find_problems(tmp_path / "c", {"vars": {"found": FOUND}, "start": "ask", "nodes": before}) == []
    search = {**nodes, "know": {**recall, "recall": "{{ message }}"}}
    assert find_problems(tmp_path / "d", {"vars": {"found": "any[]"}, "start": "know", "nodes": search}) == []


def test_what_was_asked_is_forgotten_where_something_may_be_recalled(tmp_path: Path) -> None:
    nodes = {
        "ask": {**ASK, "next": [{"when": "has(found.title)", "to": "know"}, {"to": "end"}]},
        "know": {"type": "memory", "recall": {"key": "k"}, "into": "found", "next": "say"},
        "say": say("{{ found.title }}"),
    }
    [problem] = find_problems(tmp_path, {"vars": {"found": FOUND}, "start": "ask", "nodes": nodes})
    assert problem.startswith("'found.title' may be absent")


def test_a_field_of_an_item_is_asked_for_too(tmp_path: Path) -> None:
    def check(when: str) -> list[str]:
        ways = [{"when": when, "to": "say"}, {"to": "end"}]
        graph = {
            "vars": {"rows": {"list": FOUND}},
            "start": "ask",
            "nodes": {"ask": {"type": "model", "into": "rows", "next": ways}, "say": say("{{ rows[0].title }}")},
        }
        return find_problems(tmp_path, graph)

    assert check("size(rows) > 0 && has(rows[0].title)") == []
    assert check("has(rows[1].title)") == [
        "'rows[0].title' may be absent; read it only where has(rows[0].title) is true"
    ]


NAMES = ("a", "b", "c")
NODES = ("one", "two", "three", "four")


@st.composite
def build_graph(draw: st.DrawFn) -> dict[str, Any]:
    """A graph of nodes that write and read three variables, with ways back and forth."""
    nodes: dict[str, Any] = {}
    for at, name in enumerate(NODES):
        kind = draw(st.sampled_from(("write", "read")))
        variable = draw(st.sampled_from(NAMES))
        ways = draw(st.lists(st.sampled_from((*NODES, "end")), min_size=1, max_size=2))
        branches: list[dict[str, str]] = [
            {"when": f"visits < 3 && coin != {at}", "to": to} for at, to in enumerate(ways)
        ]
        branches.append({"to": "end"})
        node: dict[str, Any] = {"next": branches}
        if kind == "write":
            nodes[name] = {"type": "set", "set": {variable: "visits"}, **node}
        else:
            nodes[name] = {"type": "set", "set": {"coin": f"{variable} > 1 ? 1 : 0"}, **node}
    return {
        "vars": {**dict.fromkeys(NAMES, "int"), "coin": {"type": "int", "default": 0}},
        "start": "one",
        "nodes": nodes,
    }


def walk(snapshot: Snapshot, chance: random.Random) -> None:
    """Go one way through the graph, as a run could; fails where a variable is read that nobody wrote."""
    plan = snapshot.graphs["assistant"]
    values: dict[str, Any] = {"coin": 0}
    at = plan.spec.start
    for _ in range(30):
        if at == "end":
            return
        for path, expression in plan.expressions.items():
            if path[0] == at:
                assert expression.names - {"visits"} <= values.keys(), f"{at} reads {expression.text}"
        values |= dict.fromkeys(plan.spec.nodes[at].locate_outputs().values(), 1)
        at = chance.choice(plan.branches[at]).to


@given(graph=build_graph(), seed=st.integers(0, 1000))
def test_no_run_of_a_graph_that_passes_reads_a_variable_too_early(
    graph: dict[str, Any], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("graph")
    if found := find_problems(folder, graph):
        # A node that nothing leads to is said first: what it would read is not looked at.
        assert all("has no value yet" in each or "no path from" in each for each in found)
        return
    snapshot = load_graph(folder, graph)
    for turn in range(20):
        walk(snapshot, random.Random(seed + turn))


@given(graph=build_graph())
def test_a_refused_read_names_a_way_on_which_nobody_writes_it(
    graph: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    for problem in find_problems(tmp_path_factory.mktemp("graph"), graph):
        if " on the way " not in problem:
            continue
        name = problem.split("'")[1]
        way = problem.split(" on the way ")[1].split(" here")[0].split(" → ")
        assert way[0] == graph["start"]
        for one, other in itertools.pairwise(way):
            assert other in [branch["to"] for branch in graph["nodes"][one]["next"]]
            assert name not in graph["nodes"][one]["set"]
