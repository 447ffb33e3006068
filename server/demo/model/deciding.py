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
from server.demo.model.questions import asks_for_earlier, stages
from server.demo.model.reading import Call, Conversation, Exchange
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
from server.demo.results import Listing, Written

COUNTRY = re.compile(r"\bcountry\b[^:\n]{0,20}:\s*([^\W\d_][\w' -]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """Either words, or calls by the names of this request."""

    text: str = ""
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True)
class Trouble:
    """A step that cannot be taken, and why."""

    text: str


Finding = Exchange | Trouble


def decide(conversation: Conversation) -> Reply:
    """The next move in a conversation."""
    if (task := answer_task(conversation.question)) is not None:
        return Reply(task)
    if conversation.undecided:
        return Reply(f"{wording.INTRODUCTION} Nothing waits for that decision here.")
    if conversation.earlier and asks_for_earlier(conversation.question):
        return Reply("From what the tools answered earlier in this conversation:\n\n" + _words(conversation.earlier))
    plan = stages(conversation.question)
    if not plan:
        return Reply(wording.introduction(conversation))
    return _follow(plan, conversation)


def _follow(plan: Sequence[Stage], conversation: Conversation) -> Reply:
    unused = list(conversation.exchanges)
    findings: list[Finding] = []
    for stage in plan:
        found: list[Finding] = []
        missing: list[Call] = []
        for step in stage:
            wanted = _calls(step, findings)
            if isinstance(wanted, Trouble):
                found.append(wanted)
                continue
            for call in wanted:
                if (made := _take(unused, call)) is not None:
                    found.append(made)
                elif call.tool in conversation.offered:
                    missing.append(Call(conversation.offered[call.tool], call.args))
                else:
                    found.append(_not_offered(call, conversation))
        if missing:
            return Reply(calls=tuple(missing if conversation.parallel else missing[:1]))
        findings.extend(found)
    return Reply(_words(findings))


def _take(unused: list[Exchange], call: Call) -> Exchange | None:
    # The same call first. Failing that the next of the same tool: a person may have changed the arguments.
    same = [made for made in unused if made.call == call] or [made for made in unused if made.call.tool == call.tool]
    if not same:
        return None
    unused.remove(same[0])
    return same[0]


def _not_offered(call: Call, conversation: Conversation) -> Trouble:
    offered = ", ".join(f"`{name}`" for name in conversation.offered.values()) or "no tools at all"
    return Trouble(f"For this I would need a tool named `{call.tool}`; this request offers me {offered}.")


def _words(findings: Sequence[Finding]) -> str:
    return "\n\n".join(
        finding.text if isinstance(finding, Trouble) else wording.exchange(finding) for finding in findings
    )


def _calls(step: Step, findings: Sequence[Finding]) -> list[Call] | Trouble:
    match step:
        case ListFiles(path=path):
            return [Call("list_directory", {"path": path})]
        case ReadFile(path=path):
            return [Call("read_file", {"path": path})]
        case ReadFound():
            return _read_found(step, findings)
        case WriteFile(path=path, content=content):
            return [Call("write_file", {"path": path, "content": content})]
        case WriteFound(path=path):
            if not any(isinstance(finding, Exchange) and not wording.failed(finding) for finding in findings):
                return Trouble(f"I found nothing that I could write to `{path}`.")
            return [Call("write_file", {"path": path, "content": _words(findings) + "\n"})]
        case ListTables():
            return [Call("list_tables", {})]
        case Query(sql=sql):
            return [Call("query", {"sql": sql})]
        case CountThere():
            return _count_there(findings)
        case Execute(sql=sql):
            return [Call("execute", {"sql": sql})]
        case Measure():
            return [Call("metrics", {})]
        case Unknown(text=text):
            return Trouble(f"No rule of mine fits “{text}”.")
        case _:
            assert_never(step)


def _read_found(step: ReadFound, findings: Sequence[Finding]) -> list[Call] | Trouble:
    for finding in reversed(findings):
        match wording.answer(finding) if isinstance(finding, Exchange) else None:
            case Written(path=path):
                return [Call("read_file", {"path": path})]
            case Listing(path=folder, entries=entries):
                paths = [f"{folder.rstrip('/')}/{entry.name}" for entry in entries if entry.type == "file"]
                position = step.which or 0
                chosen = paths if step.every else paths[position:][:1]
                if not chosen:
                    return Trouble(f"`{folder}` does not hold that many files, so I could not read the one you mean.")
                return [Call("read_file", {"path": path}) for path in chosen]
            case _:
                continue
    return Trouble("I know of no file to read: the step before gave me no list.")


def _count_there(findings: Sequence[Finding]) -> list[Call] | Trouble:
    for finding in reversed(findings):
        if isinstance(finding, Exchange) and (match := COUNTRY.search(finding.result)) is not None:
            return [Call("query", {"sql": count_in(match[1].strip())})]
    return Trouble("I could not count there: nothing that was read names a country, such as “country: Portugal”.")
