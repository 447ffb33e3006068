"""What a case has its model and its tools say, handed out while the case runs; and what turned out to be missing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

from graphs.config.compile_cases import CasePlan
from graphs.config.spec.cases import ANY_NODE, AnswerSpec, ApprovalWord, HintsSpec, ToolResultSpec
from graphs.config.spec.cassettes import RecordedAnswerSpec, RecordedResultSpec
from graphs.events import PendingQuestion
from graphs.runtime.question_text import LEFT_OUT
from graphs.text import dump_canonical_json

_LONGEST_ARGUMENTS = 300


class ServiceScript(Protocol):
    """What the model and the tools of a case say."""

    def take_answer(self, nodes: Sequence[str]) -> AnswerSpec | RecordedAnswerSpec | None:
        """Take the next answer for a node, given with those around it, the innermost first; None where there is
        none."""
        ...

    def take_result(self, tool: str, args: Mapping[str, Any]) -> ToolResultSpec | RecordedResultSpec | None:
        """Take what a call gives; None where nothing says it."""
        ...

    def list_tools(self) -> Mapping[str, Mapping[str, Sequence[str]]]:
        """List the tools that there are, by server: each with the names of its arguments."""
        ...

    def find_hints(self, tool: str) -> HintsSpec | None:
        """Find what a tool says of itself; None: nothing."""
        ...


class CaseScript:
    """The answers and results of one case. Answers are used up; the last result that fits a call is given again."""

    def __init__(self, case: CasePlan, hints: Mapping[str, HintsSpec]) -> None:
        self.case = case
        self._hints = hints
        self.faults: list[str] = []
        """What the case does not say and would have to, in words; the first is what to add first."""
        self._answers = {node: [*answers] for node, answers in case.spec.model.items()}
        self._replies = {node: [*replies] for node, replies in case.spec.answers.items()}
        self._open_replies: dict[str, dict[str, Any]] = {}
        """The fields of an object that the person has not been asked for yet, by question."""
        self._asked: dict[str, int] = {}
        self._used: set[tuple[str, int]] = set()

    def take_answer(self, nodes: Sequence[str]) -> AnswerSpec | None:
        """Take the next answer for a node: its own, or else one for any. None, with a fault, where none is left.

        `nodes` are the node and those around it, the innermost first.
        """
        node = nodes[-1] if nodes else ANY_NODE
        self._asked[node] = self._asked.get(node, 0) + 1
        for name in (*nodes, ANY_NODE):
            if answers := self._answers.get(name):
                return answers.pop(0)
        known = next((name for name in (*nodes, ANY_NODE) if name in self._answers), node)
        times = "" if self._asked[node] == 1 else f" for the {format_ordinal(self._asked[node])} time"
        what = "the next one" if known in self._answers else "what it answers"
        self.faults.append(
            f"node {node!r} asks its model{times}, and no answer is left; add {what} under 'model: {known}'"
        )
        return None

    def take_result(self, tool: str, args: Mapping[str, Any]) -> ToolResultSpec | None:
        """Take what a call gives: the first result for these arguments, or any, that was not given yet, else the last
        one. None, with a fault, where the case says none."""
        results = self.case.spec.tools.get(tool, [])
        fitting = [at for at, entry in enumerate(results) if entry.args is not None and _is_same(entry.args, args)]
        fitting = fitting or [at for at, entry in enumerate(results) if entry.args is None]
        if fitting:
            at = next((at for at in fitting if (tool, at) not in self._used), fitting[-1])
            self._used.add((tool, at))
            return results[at]
        if tool in self.case.spec.tools:
            self.faults.append(
                f"{tool} is called with {shorten_json(args)}, which none of its entries answers; add one with these "
                f"'args', or one without 'args', under 'tools: {tool}'"
            )
        else:
            self.faults.append(
                f"{tool} is called with {shorten_json(args)}, and the case does not say what it gives; add "
                f"'{tool}: [{{result: …}}]' under 'tools'"
            )
        return None

    def take_decision(self, tool: str, rule: str) -> ApprovalWord | None:
        """Take what a person decides on a call. None, with a fault, where the case does not say it."""
        decision = self.case.spec.approvals.get(tool)
        if decision is None:
            self.faults.append(
                f"a person would be asked about {tool} ({rule}), and the case does not say what they decide; add "
                f"'{tool}: approve' or '{tool}: reject' under 'approvals'"
            )
        return decision

    def take_reply(self, question: PendingQuestion) -> Any:
        """Take what a person answers to what a question asks first. None, with a fault, where the case does not say
        it."""
        field, node = question.open_fields[0], question.node
        fields = self._open_replies.get(question.question_id, {})
        if field.name not in fields:  # it is asked first, or what was answered does not fit
            if not (replies := self._replies.get(node)):
                more = "once more, and no answer is left; add the next one" if node in self._replies else ""
                what = more or "and the case does not say what they answer; add it"
                asked = f"{question.text} ({field.name})" if field.name else question.text
                self.faults.append(f"node {node!r} asks a person {asked!r}, {what} under 'answers: {node}'")
                return None
            reply = replies.pop(0)
            given = cast("dict[str, Any]", reply) if isinstance(reply, dict) else None
            if not field.name or given is None or question.role is not None:
                return cast("object", reply)
            fields = {**given}
        value = fields.pop(field.name, None)
        self._open_replies[question.question_id] = fields | {
            other.name: fields.get(other.name) for other in question.open_fields[1:]
        }
        if value is None and not field.is_optional:
            where = f"under 'answers: {node}'"
            self.faults.append(
                f"node {node!r} asks a person for {field.name!r}, which the answer {where} does not have"
            )
        return LEFT_OUT if value is None and field.is_optional else value

    def find_hints(self, tool: str) -> HintsSpec | None:
        """Find what the file says that a tool says of itself."""
        return self._hints.get(tool)

    def list_tools(self) -> Mapping[str, Mapping[str, list[str]]]:
        """List the tools that the case names, by server: each with the arguments that it is named with."""
        found: dict[str, dict[str, list[str]]] = {}
        for name, args in self._iter_tools():
            server, _, tool = name.partition("/")
            known = found.setdefault(server, {}).setdefault(tool, [])
            known += [each for each in args if each not in known]
        return found

    def _iter_tools(self) -> Iterator[tuple[str, Sequence[str]]]:
        spec = self.case.spec
        for tool, entries in spec.tools.items():
            for entry in entries:
                yield tool, [*(entry.args or ())]
        for answers in spec.model.values():
            for answer in answers:
                for call in answer.calls:
                    for tool, args in call.items():
                        yield tool, [*args]
        for tool in (*spec.approvals, *spec.expect.verdicts, *(spec.expect.calls or ())):
            yield tool, ()


def shorten_json(value: Any) -> str:
    """Write a value as JSON for people, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_ARGUMENTS else f"{text[:_LONGEST_ARGUMENTS]}…"


def _is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    # As JSON: to Python, 1 and true are the same.
    return dump_canonical_json(one) == dump_canonical_json(other)


def format_ordinal(number: int) -> str:
    """Write `2nd`."""
    ending = "th" if 10 < number % 100 < 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
