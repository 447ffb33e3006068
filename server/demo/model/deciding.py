"""The next move: the tool calls that are still missing, or the answer.

The steps are read from the question each time, and the results found so far are matched to them, so nothing needs to be
remembered between two requests.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from server.demo.model import wording
from server.demo.model.queries import count_in
from server.demo.model.questions import is_about_earlier, parse_stages
from server.demo.model.reading import ParsedChat, PastCall, PlannedCall
from server.demo.model.steps import (
    CountThere,
    Execute,
    ListFiles,
    ListTables,
    Measure,
    Query,
    ReadFile,
    ReadFound,
    Stage,
    Step,
    Unknown,
    WriteFile,
    WriteFound,
)
from server.demo.model.tasks import answer_task
from server.demo.results import ListingResult, WriteResult

COUNTRY = re.compile(r"\bcountry\b[^:\n]{0,20}:\s*([^\W\d_][\w' -]*)", re.IGNORECASE)


@dataclass(frozen=True)
class ModelReply:
    """The next move: either words, or calls by the names of this request."""

    text: str = ""
    calls: tuple[PlannedCall, ...] = ()


@dataclass(frozen=True)
class Trouble:
    """A step that cannot be taken, and why."""

    text: str


Finding = PastCall | Trouble


def decide(conversation: ParsedChat) -> ModelReply:
    """Decide the next move in a conversation."""
    if (task := answer_task(conversation.question)) is not None:
        return ModelReply(task)
    if conversation.undecided:
        return ModelReply(f"{wording.INTRODUCTION} Nothing waits for that decision here.")
    if conversation.earlier_calls and is_about_earlier(conversation.question):
        return ModelReply(
            "From what the tools answered earlier in this conversation:\n\n"
            + _describe_findings(conversation.earlier_calls)
        )
    plan = parse_stages(conversation.question)
    if not plan:
        return ModelReply(wording.format_introduction(conversation))
    return _follow(plan, conversation)


def _follow(plan: Sequence[Stage], conversation: ParsedChat) -> ModelReply:
    unused = list(conversation.past_calls)
    findings: list[Finding] = []
    for stage in plan:
        found: list[Finding] = []
        missing: list[PlannedCall] = []
        for step in stage:
            wanted = _plan_calls(step, findings)
            if isinstance(wanted, Trouble):
                found.append(wanted)
                continue
            for call in wanted:
                if (made := _take(unused, call)) is not None:
                    found.append(made)
                elif call.tool in conversation.tool_names:
                    missing.append(PlannedCall(conversation.tool_names[call.tool], call.args))
                else:
                    found.append(_explain_missing_tool(call, conversation))
        if missing:
            return ModelReply(calls=tuple(missing if conversation.parallel else missing[:1]))
        findings.extend(found)
    return ModelReply(_describe_findings(findings))


def _take(unused: list[PastCall], call: PlannedCall) -> PastCall | None:
    # The same call first. Failing that the next of the same tool: a person may have changed the arguments.
    same = [made for made in unused if made.call == call] or [made for made in unused if made.call.tool == call.tool]
    if not same:
        return None
    unused.remove(same[0])
    return same[0]


def _explain_missing_tool(call: PlannedCall, conversation: ParsedChat) -> Trouble:
    offered = ", ".join(f"`{name}`" for name in conversation.tool_names.values()) or "no tools at all"
    return Trouble(f"For this I would need a tool named `{call.tool}`; this request offers me {offered}.")


def _describe_findings(findings: Sequence[Finding]) -> str:
    return "\n\n".join(
        finding.text if isinstance(finding, Trouble) else wording.describe_call(finding) for finding in findings
    )


def _plan_calls(step: Step, findings: Sequence[Finding]) -> list[PlannedCall] | Trouble:
    match step:
        case ListFiles(path=path):
            return [PlannedCall("list_directory", {"path": path})]
        case ReadFile(path=path):
            return [PlannedCall("read_file", {"path": path})]
        case ReadFound():
            return _plan_reads(step, findings)
        case WriteFile(path=path, content=content):
            return [PlannedCall("write_file", {"path": path, "content": content})]
        case WriteFound(path=path):
            if not any(isinstance(finding, PastCall) and not wording.has_failed(finding) for finding in findings):
                return Trouble(f"I found nothing that I could write to `{path}`.")
            return [PlannedCall("write_file", {"path": path, "content": _describe_findings(findings) + "\n"})]
        case ListTables():
            return [PlannedCall("list_tables", {})]
        case Query(sql=sql):
            return [PlannedCall("query", {"sql": sql})]
        case CountThere():
            return _plan_count(findings)
        case Execute(sql=sql):
            return [PlannedCall("execute", {"sql": sql})]
        case Measure():
            return [PlannedCall("metrics", {})]
        case Unknown(text=text):
            return Trouble(f"No rule of mine fits “{text}”.")
        case _:
            assert_never(step)


def _plan_reads(step: ReadFound, findings: Sequence[Finding]) -> list[PlannedCall] | Trouble:
    for finding in reversed(findings):
        match wording.parse_answer(finding) if isinstance(finding, PastCall) else None:
            case WriteResult(path=path):
                return [PlannedCall("read_file", {"path": path})]
            case ListingResult(path=folder, entries=entries):
                paths = [f"{folder.rstrip('/')}/{entry.name}" for entry in entries if entry.type == "file"]
                position = step.which or 0
                chosen = paths if step.every else paths[position:][:1]
                if not chosen:
                    return Trouble(f"`{folder}` does not hold that many files, so I could not read the one you mean.")
                return [PlannedCall("read_file", {"path": path}) for path in chosen]
            case _:
                continue
    return Trouble("I know of no file to read: the step before gave me no list.")


def _plan_count(findings: Sequence[Finding]) -> list[PlannedCall] | Trouble:
    for finding in reversed(findings):
        if isinstance(finding, PastCall) and (match := COUNTRY.search(finding.result)) is not None:
            return [PlannedCall("query", {"sql": count_in(match[1].strip())})]
    return Trouble("I could not count there: nothing that was read names a country, such as “country: Portugal”.")
