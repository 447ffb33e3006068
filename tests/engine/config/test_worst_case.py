"""The worst case of a turn: what `check` says of a graph, held against what turns of random graphs really do."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.configs import write_configs

from graphs.config.loader import Snapshot, load
from graphs.config.worst_case import WorstCase, compute_worst_case
from graphs.errors import ConfigError
from graphs.nodes.model_call import ModelCall
from graphs.testing.case_run import CaseRun, open_case_runner

ACCESS = 'roles:\n  dev: {allow: ["*"]}\n'


def load_graph(folder: Path, graph: dict[str, Any], cases: dict[str, Any] | None = None) -> Snapshot:
    files = {"access.yaml": ACCESS, "graphs/assistant.yaml": yaml.safe_dump(graph, sort_keys=False)}
    if cases is not None:
        files["graphs/assistant.test.yaml"] = yaml.safe_dump(cases, sort_keys=False)
    return load(write_configs(folder, files), {}, with_cases=cases is not None)


def measure(folder: Path, nodes: dict[str, Any], **rest: Any) -> WorstCase:
    graph = {"start": next(iter(nodes)), "nodes": nodes, **rest}
    return compute_worst_case(load_graph(folder, graph).graphs["assistant"])


def ask(to: Any = "end", **rest: Any) -> dict[str, Any]:
    return {"type": "model", "next": to, **rest}


def say(to: Any = "end") -> dict[str, Any]:
    return {"type": "reply", "text": "x", "next": to}


AGENT = {"type": "agent", "tools": ["*"], "next": "end"}
VARS = {"vars": {"n": {"type": "int", "default": 0}}}


def test_models_one_after_the_other_are_counted(tmp_path: Path) -> None:
    found = measure(tmp_path, {"a": ask("b"), "b": say("c"), "c": ask()})
    assert str(found) == "at most 2 model calls and no tool calls in a turn"


def test_the_attempts_of_a_call_are_calls_also_where_the_graph_says_them_for_all(tmp_path: Path) -> None:
    call = {"type": "call", "tool": "db/look", "next": "end"}
    nodes = {"a": {**call, "next": "b"}, "b": {**call, "retry": 1}}
    assert measure(tmp_path, nodes, defaults={"retry": 3}).tool_calls == 4


def test_a_limit_of_tokens_is_named_where_a_model_is_asked(tmp_path: Path) -> None:
    found = measure(tmp_path / "1", {"a": ask()}, limits={"tokens": 200_000})
    assert str(found) == "at most 1 model call and no tool calls in a turn (limits: 200,000 tokens)"
    assert "token" not in str(measure(tmp_path / "2", {"a": say()}, limits={"tokens": 200_000}))


def test_of_two_ways_the_costlier_one_counts(tmp_path: Path) -> None:
    nodes = {"a": ask([{"when": 'text == "x"', "to": "b"}, {"to": "c"}]), "b": ask("c"), "c": ask()}
    assert measure(tmp_path, nodes).model_calls == 3


def test_a_bounded_circle_is_counted_as_often_as_its_bound_says(tmp_path: Path) -> None:
    """Three models, of which two are asked once more each time that `visits` lets the last one lead back."""
    nodes = {
        "a": ask("b"),
        "b": ask("c"),
        "c": say([{"when": "visits < 3 && text != 'x'", "to": "b"}, {"when": "2 >= visits", "to": "a"}, {"to": "d"}]),
        "d": ask(),
    }
    assert measure(tmp_path, nodes, limits={"rounds": 100}).model_calls == 2 + 2 * 1 + 2 * 2 + 1
    cut = measure(tmp_path, nodes, limits={"rounds": 4})
    assert str(cut) == "at most 5 model calls and no tool calls in a turn (limits: 4 rounds and a last answer)"


def test_a_bound_that_is_never_met_costs_nothing(tmp_path: Path) -> None:
    assert measure(tmp_path, {"a": ask([{"when": "visits <= -1", "to": "a"}, {"to": "end"}])}).model_calls == 1


def test_an_agent_goes_up_to_the_limits_of_the_graph(tmp_path: Path) -> None:
    found = measure(tmp_path, {"a": AGENT}, limits={"rounds": 1, "tool_calls": 1})
    assert str(found) == (
        "at most 2 model calls and 1 tool call in a turn (limits: 1 round and a last answer, 1 tool call)"
    )
    nodes = {"a": ask({"x": "b", "y": "c"}, into="kind"), "b": AGENT, "c": say()}
    assert measure(tmp_path, nodes, vars={"kind": ["x", "y"]}).model_calls == 13


def test_calls_of_the_graph_are_counted_with_their_attempts(tmp_path: Path) -> None:
    nodes = {
        "a": {"type": "call", "tool": "files/read", "retry": 5, "next": "b"},
        "b": {"type": "call", "tool": "files/read", "next": [{"when": "visits < 3", "to": "b"}, {"to": "end"}]},
    }
    assert str(measure(tmp_path, nodes)) == "no model calls and at most 8 tool calls in a turn"


def test_a_model_that_fills_a_variable_gives_no_last_answer(tmp_path: Path) -> None:
    nodes = {"a": ask([{"when": "n < 5", "to": "a"}, {"to": "end"}], into="n")}
    assert str(measure(tmp_path, nodes, **VARS, limits={"rounds": 3})) == (
        "at most 3 model calls and no tool calls in a turn (limits: 3 rounds)"
    )


def test_calls_that_fail_count_although_they_use_up_no_round(tmp_path: Path) -> None:
    """Each round may fail its `b` before it: three rounds, the last answer, and a failure before each of the four."""
    nodes = {
        "b": ask("a", into="n", on_error="a"),
        "a": ask([{"when": 'text == "x"', "to": "b"}, {"to": "end"}]),
    }
    found = measure(tmp_path, nodes, **VARS, limits={"rounds": 3})
    assert found.model_calls == 3 + 1 + 4


def test_what_fails_inside_a_map_uses_up_no_round_in_a_circle_either(tmp_path: Path) -> None:
    bound = "visits < 3"
    judge = {"type": "map", "over": "[1, 2]", "do": {"type": "model"}, "into": "all", "at_most": 2, "on_error": "ask"}
    nodes = {
        "ask": {"type": "agent", "next": [{"when": bound, "to": "say"}, {"to": "end"}]},
        "say": {"type": "reply", "text": "x", "next": [{"when": bound, "to": "judge"}, {"to": "more"}]},
        "judge": {**judge, "next": "ask"},
        "more": {"type": "model", "next": "say"},
    }
    graph = {"vars": {"all": "int[]"}, "start": "ask", "nodes": nodes, "limits": {"rounds": 3}}
    worst = compute_worst_case(load_graph(tmp_path, graph).graphs["assistant"])
    # A turn that was run made five: two in the map, which failed, beside three rounds.
    assert worst.model_calls >= 2 + 3 + 1


def test_a_long_chain_and_a_wide_graph_take_no_time(tmp_path: Path) -> None:
    nodes: dict[str, Any] = {f"n{at}": ask(f"n{at + 1}", on_error=f"n{at + 2}") for at in range(300)}
    nodes |= {"n300": ask("n301"), "n301": ask()}
    found = measure(tmp_path, nodes, limits={"rounds": 1000})
    assert found.model_calls == 302


@pytest.mark.parametrize(
    ("node", "calls"),
    [
        ({**AGENT, "input": "x"}, 4 + 1),
        ({**AGENT, "into": "words"}, 4 + 1),
        ({**AGENT, "into": "n"}, 4 + 2),  # the last answer, and the question for its value
        ({**AGENT, "into": "n", "rounds": 1}, 1 + 2),
        ({"type": "map", "over": "[1, 2, 3]", "do": AGENT, "into": "all", "at_most": 3, "next": "end"}, 4 + 3 * 2 + 3),
        ({"type": "parallel", "branches": {"a": AGENT, "b": AGENT}, "into": "both", "next": "end"}, 4 + 2 * 2 + 2),
    ],
)
def test_each_agent_of_its_own_has_a_last_answer_and_may_fail(tmp_path: Path, node: dict[str, Any], calls: int) -> None:
    if (inner := node.get("do") or node.get("branches")) is not None:
        bare = {"type": "agent", "tools": ["*"]}
        node = {**node, **({"do": bare} if "do" in node else {"branches": dict.fromkeys(inner, bare)})}
    variables = {"n": "int", "words": "string", "all": "int[]", "both": {"fields": {"a": "int", "b": "int"}}}
    assert measure(tmp_path, {"a": node}, vars=variables, limits={"rounds": 4}).model_calls == calls


NODES = ("one", "two", "three", "four")


@st.composite
def build_graph(draw: st.DrawFn) -> dict[str, Any]:
    """A graph of models, agents, maps and texts that goes here and there by chance, and back as often as it may."""
    nodes: dict[str, Any] = {}
    for name in NODES:
        kind = draw(st.sampled_from(("model", "value", "agent", "reply", "own", "map")))
        branches: list[dict[str, str]] = []
        for to in draw(st.lists(st.sampled_from((*NODES, "end")), max_size=3)):
            chance = f"(visits * {draw(st.integers(1, 7))} + turn.rounds + {draw(st.integers(0, 9))}) % 3 > 0"
            bound = draw(st.sampled_from(("visits < 3", "visits <= 1", "5 > visits", "true")))
            branches.append({"when": f"{bound} && {chance}", "to": to})
        nodes[name] = {"next": [*branches, {"to": draw(st.sampled_from((*NODES, "end")))}]}
        match kind:
            case "reply":
                nodes[name] |= {"type": "reply", "text": "x"}
            case "value":
                nodes[name] |= {"type": "model", "into": "n"}
            case "agent":
                nodes[name] |= {"type": "agent", "tools": draw(st.sampled_from((["notes/*"], [])))}
            case "own":
                own = draw(st.sampled_from(({"into": "n"}, {"into": "n", "rounds": 1}, {"input": "x"})))
                nodes[name] |= {"type": "agent", "tools": ["notes/*"], **own}
            case "map":
                do = draw(st.sampled_from(({"type": "model"}, {"type": "agent", "tools": ["notes/*"]})))
                nodes[name] |= {"type": "map", "over": "[1, 2]", "do": do, "into": "all", "at_most": 2}
                nodes[name]["drop_errors"] = draw(st.booleans())
            case _:
                nodes[name] |= {"type": "model"}
        if kind != "reply" and draw(st.booleans()):
            nodes[name]["on_error"] = draw(st.sampled_from((*NODES, "end")))
    limits = {"rounds": draw(st.sampled_from((1, 3, 30))), "tool_calls": draw(st.integers(1, 6))}
    reached = ["one"]
    for name in reached:  # which grows meanwhile
        ways = [way["to"] for way in nodes[name]["next"]] + [nodes[name].get("on_error", "end")]
        reached += [way for way in dict.fromkeys(ways) if way != "end" and way not in reached]
    variables = {**VARS["vars"], "all": {"type": "int[]", "default": []}}
    return {"vars": variables, "start": "one", "nodes": {name: nodes[name] for name in reached}, "limits": limits}


CALLS: dict[str, Any] = {"calls": [{"notes/read": {}}, {"notes/read": {}}]}
ANSWERS: list[Any] = ["7", "7", "7", "no number", CALLS]


@given(graph=build_graph(), answers=st.lists(st.sampled_from(ANSWERS), min_size=30, max_size=60))
@settings(max_examples=100)
async def test_no_turn_of_a_random_graph_does_more_than_its_worst_case(
    graph: dict[str, Any], answers: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each runs in the engine. Where the answers are used up, every further call of the model fails."""
    case = {"say": "Go.", "model": {"any": answers}, "tools": {"notes/read": {"result": "x"}}, "expect": {"calls": []}}
    with contextlib.suppress(ConfigError):
        folder = tmp_path_factory.mktemp("graph")
        snapshot = load_graph(folder, graph, {"as": {"role": "dev"}, "cases": {"random": case}})
        await hold_to_worst_case(snapshot)


async def hold_to_worst_case(snapshot: Snapshot) -> None:
    run, model_calls = await run_case(snapshot)
    worst = compute_worst_case(snapshot.graphs["assistant"])
    assert model_calls <= worst.model_calls
    assert len(run.calls) <= worst.tool_calls
    assert "no branch of node" not in run.answer  # of the ways of each node that was left, one was taken


async def run_case(snapshot: Snapshot) -> tuple[CaseRun, int]:
    """Run the one case; returns how often its models were asked, too."""
    asked = 0
    build_messages = ModelCall.build_messages

    async def count(self: ModelCall, *arguments: Any, **keywords: Any) -> Any:
        nonlocal asked
        asked += 1
        return await build_messages(self, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ModelCall, "build_messages", count)
        [file] = snapshot.case_files
        async with open_case_runner(snapshot) as runner:
            run = await runner.run(file, file.cases[0])
    return run, asked
