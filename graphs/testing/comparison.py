"""Hold what a case expects against what happened in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphs.config.spec.cases import ANY_NODES
from graphs.testing.case_run import CallRecord, CaseRun
from graphs.text import dump_canonical_json

NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One expectation that does not hold, in words."""

    key: str
    """`route`, `vars.rows`."""
    expected: str
    found: str


def find_differences(run: CaseRun) -> list[Difference]:
    """Find every expectation that does not hold. A run that did not come to its end is not held against any."""
    if run.faults:
        return []
    return [
        *_compare_route(run),
        *_compare_calls(run),
        *_compare_verdicts(run),
        *_compare_vars(run),
        *_compare_memory(run),
        *_compare_answer(run),
    ]


def has_passed(run: CaseRun) -> bool:
    """Whether a case ran to its end and all that it expects holds."""
    return not run.faults and not find_differences(run)


def matches_route(expected: Sequence[str], route: Sequence[str]) -> bool:
    """Whether a route is as expected; `...` stands for any nodes in between, none included."""
    places = {0}
    for step in expected:
        if step == ANY_NODES:
            places = {*range(min(places), len(route) + 1)} if places else places
        else:
            places = {place + 1 for place in places if place < len(route) and route[place] == step}
    return len(route) in places


def describe_route(route: Sequence[str]) -> str:
    """Write a route for people."""
    return " → ".join(route) or NOTHING


def describe_call(record: CallRecord) -> str:
    """Write a verdict with the rule that gave it."""
    return f"{record.verdict}: {record.rule}"


def _compare_route(run: CaseRun) -> Iterator[Difference]:
    expected = run.case.spec.expect.route
    if expected is not None and not matches_route(expected, run.route):
        yield Difference(key="route", expected=describe_route(expected), found=describe_route(run.route))


def _compare_calls(run: CaseRun) -> Iterator[Difference]:
    expected = run.case.spec.expect.calls
    if expected is not None and expected != run.calls:
        yield Difference(key="calls", expected=", ".join(expected) or NOTHING, found=", ".join(run.calls) or NOTHING)


def _compare_verdicts(run: CaseRun) -> Iterator[Difference]:
    for tool, expected in run.case.spec.expect.verdicts.items():
        records = [record for record in run.verdicts if record.tool == tool]
        words = [record.verdict for record in records]
        wanted = expected * len(words) if len(expected) == 1 and words else expected
        if words != wanted:
            found = "; ".join(map(describe_call, records)) or "no call of it"
            yield Difference(key=f"verdicts of {tool}", expected=", ".join(wanted), found=found)


def _compare_vars(run: CaseRun) -> Iterator[Difference]:
    found = run.variables
    for name, expected in run.case.spec.expect.vars.items():
        if name not in found:
            yield Difference(key=f"vars.{name}", expected=_write(expected), found="no value")
        elif dump_canonical_json(found[name]) != dump_canonical_json(expected):
            yield Difference(key=f"vars.{name}", expected=_write(expected), found=_write(found[name]))


def _compare_memory(run: CaseRun) -> Iterator[Difference]:
    expected = run.case.spec.expect.memory
    if expected is not None and dump_canonical_json(expected) != dump_canonical_json(run.memory):
        yield Difference(key="memory", expected=_write(expected), found=_write(run.memory))


def _compare_answer(run: CaseRun) -> Iterator[Difference]:
    condition = run.case.answer
    if condition is None:
        return
    holds, why = condition.compute_outcome(
        {
            "answer": run.answer,
            "vars": run.variables,
            "calls": run.calls,
            "verdicts": {record.tool: record.verdict for record in run.verdicts},
            "route": run.route,
        }
    )
    if not holds:
        found = json.dumps(run.answer, ensure_ascii=False)
        yield Difference(key="answer", expected=condition.text, found=f"{found} ({why})" if why else found)


def _write(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def list_facts(run: CaseRun) -> Mapping[str, str]:
    """List what happened in a case, for people who look for why it failed."""
    facts = {"way": describe_route(run.route)}
    if run.verdicts:
        facts["verdicts"] = "; ".join(f"{record.tool} {describe_call(record)}" for record in run.verdicts)
    if run.calls:
        facts["calls"] = ", ".join(run.calls)
    if run.answer:
        facts["answer"] = json.dumps(run.answer, ensure_ascii=False)
    return facts
