"""What a cassette has the model and the tools say: each entry once, and only what it was recorded for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast

from graphs.config.compile_cassettes import Cassette
from graphs.config.spec.cases import ANY_NODE, HintsSpec
from graphs.config.spec.cassettes import RecordedAnswerSpec, RecordedResultSpec
from graphs.redaction import REDACTED
from graphs.testing.script import format_ordinal, shorten_json
from graphs.text import dump_canonical_json


class CassetteScript:
    """The entries of one cassette. What it has nothing for is added to `faults`, in words.

    `renew` is the command that records it anew. `tools` are those that the graph may call besides those recorded.
    """

    def __init__(self, cassette: Cassette, renew: str, tools: Collection[str], faults: list[str]) -> None:
        self._cassette = cassette
        self._renew = renew
        self._more_tools = tools
        self._faults = faults
        self._asked: Counter[str] = Counter()
        self._used: dict[str, set[int]] = {tool: set() for tool in cassette.spec.tools}

    def take_answer(self, nodes: Sequence[str]) -> RecordedAnswerSpec | None:
        """Take the next answer of a node. None, with a fault, where none is left."""
        node = nodes[-1] if nodes else ANY_NODE
        answers = self._cassette.spec.model.get(node, [])
        at = self._asked[node]
        self._asked[node] += 1
        if at < len(answers):
            return answers[at]
        times = "" if at == 0 else f" for the {format_ordinal(at + 1)} time"
        has = f"has {len(answers)} of its answers" if answers else "has no answer of it"
        self._faults.append(f"node {node!r} asks its model{times}, and {self._cassette.file} {has}; {self._say_how()}")
        return None

    def take_result(self, tool: str, args: Mapping[str, Any]) -> RecordedResultSpec | None:
        """Take what a call gave: the first result for these arguments that was not given yet. None, with a fault, where
        there is none."""
        recorded = self._cassette.spec.tools.get(tool)
        results = recorded.results if recorded is not None else []
        fitting = [at for at, entry in enumerate(results) if is_recorded_value(entry.args, args)]
        for at in fitting:
            if at not in self._used[tool]:
                self._used[tool].add(at)
                return results[at]
        if fitting:
            what = f"for the {format_ordinal(len(fitting) + 1)} time, and {self._cassette.file} has it {len(fitting)}×"
        elif results:
            what = f"and {self._cassette.file} has no such call, but {shorten_json(results[0].args)}"
        else:
            what = f"and {self._cassette.file} has no call of it"
        self._faults.append(f"{tool} is called with {shorten_json(args)}, {what}; {self._say_how()}")
        return None

    def list_tools(self) -> Mapping[str, Mapping[str, Sequence[str]]]:
        """List the tools that were recorded, and the others that the graph calls, by server."""
        found: dict[str, dict[str, Sequence[str]]] = {}
        for name in dict.fromkeys((*self._cassette.spec.tools, *self._more_tools)):
            server, _, tool = name.partition("/")
            recorded = self._cassette.spec.tools.get(name)
            found.setdefault(server, {})[tool] = recorded.arguments if recorded is not None else []
        return found

    def find_hints(self, tool: str) -> HintsSpec | None:
        """Find what a tool said of itself when it was recorded."""
        return self._cassette.spec.tools.get(tool)

    def list_leftovers(self) -> list[str]:
        """List the entries that nothing has asked for, in words: the first of each node and tool."""
        return [f"{what}; {self._say_how()}" for what in self._iter_leftovers()]

    def _iter_leftovers(self) -> Iterator[str]:
        for node, answers in self._cassette.spec.model.items():
            if (at := self._asked[node]) < len(answers):
                place = self._cassette.find_position("model", node, at)
                yield f"{place}: node {node!r} no longer asks for this answer{_count_more(len(answers) - at - 1)}"
        for tool, recorded in self._cassette.spec.tools.items():
            unused = [at for at in range(len(recorded.results)) if at not in self._used[tool]]
            if unused:
                place = self._cassette.find_position("tools", tool, "results", unused[0])
                args = shorten_json(recorded.results[unused[0]].args)
                yield f"{place}: {tool} is no longer called with {args}{_count_more(len(unused) - 1)}"

    def _say_how(self) -> str:
        return f"if that is meant, record it anew: {self._renew}"


def is_recorded_value(recorded: Any, value: Any) -> bool:
    """Whether a value is the one that was recorded; what was a secret then may be anything now."""
    match recorded, value:
        case str(), _ if recorded == REDACTED:
            return True
        case str(), str() if REDACTED in recorded:
            return re.fullmatch(".*".join(map(re.escape, recorded.split(REDACTED))), value, re.DOTALL) is not None
        case dict(), dict():
            one, other = cast("dict[str, Any]", recorded), cast("dict[str, Any]", value)
            return one.keys() == other.keys() and all(is_recorded_value(one[name], other[name]) for name in one)
        case list(), list():
            items, others = cast("list[Any]", recorded), cast("list[Any]", value)
            return len(items) == len(others) and all(map(is_recorded_value, items, others))
        case _:
            # As JSON: to Python, 1 and true are the same.
            return dump_canonical_json(recorded) == dump_canonical_json(value)


def _count_more(number: int) -> str:
    return f", and {number} more" if number else ""
