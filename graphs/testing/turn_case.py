"""Make a case of a turn that really happened, and say in it what the record does not have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

from graphs.config.graph_input import INPUT_NODE
from graphs.config.loader import Snapshot
from graphs.config.spec.cases import ANY_NODE
from graphs.config.spec.node import END
from graphs.config.spec.node_types import AgentNodeSpec, ModelNodeSpec
from graphs.diagnostics.turn_path import join_row_paths
from graphs.llm.messages import calls_of
from graphs.runtime.turn_recorder import LONGEST_QUESTION
from graphs.store.audit.record import AuditRecord
from graphs.store.digests import compute_call_digest
from graphs.testing.case_run import list_verdicts
from graphs.testing.turn_record import TurnRecording
from graphs.testing.yaml_text import dump_yaml
from graphs.text import escape_invisible, make_storable
from graphs.tools.names import parse_model_name

_DECISIONS = {"approved": "approve", "rejected": "reject"}


def write_turn_case(recording: TurnRecording, snapshot: Snapshot) -> str:
    """Write a file of tests with one case of this turn, without secrets."""
    return _CaseMaker(recording, snapshot).write()


class _CaseMaker:
    def __init__(self, recording: TurnRecording, snapshot: Snapshot) -> None:
        self._recording = recording
        self._snapshot = snapshot
        self._first, self._last = recording.rows[0], recording.rows[-1]
        self._plan = snapshot.graphs.get(self._last.graph)
        self._decisions: dict[str, AuditRecord] = {}
        for record in recording.audit:
            if record.kind == "decision":
                self._decisions.setdefault(record.call_id, record)
        self._redaction = snapshot.redaction.extend(self._collect_hidden())
        self._remarks: list[str] = []

    def write(self) -> str:
        name = f"turn {self._last.id}"
        text = dump_yaml({"cases": {name: self._build()}})
        head, _, rest = text.partition("\n")
        title, _, body = rest.partition("\n")
        began = self._first.story["began"] if self._first.story is not None else self._first.created
        when = datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%d %H:%M UTC")
        lines = [f"Made of a turn of {when}. What the record of it does not have:", *self._list_remarks()]
        comments = "".join(f"    # {escape_invisible(self._redaction.copy_whole(line))}\n" for line in lines)
        return f"{head}\n{title}\n{comments}{body}"

    def _build(self) -> dict[str, Any]:
        case: dict[str, Any] = {"graph": self._last.graph, **self._build_tester()}
        case["say"] = self._clean(self._first.story["question"]) if self._first.story is not None else ""
        case |= {"model": model} if (model := self._build_model()) else {}
        case |= {"tools": tools} if (tools := self._build_tools()) else {}
        case |= {"answers": answers} if (answers := self._build_answers()) else {}
        case |= {"approvals": approvals} if (approvals := self._build_approvals()) else {}
        return case | {"expect": self._build_expectations()}

    def _build_tester(self) -> dict[str, Any]:
        record = next((record for record in self._recording.audit if record.kind in ("decision", "call")), None)
        if record is None:
            self._remarks.append("who asked, and by which role, since nothing was decided: add 'as: {role: ROLE}'")
            return {}
        role, _, narrowed = record.role.partition(" & ")
        if narrowed:
            self._remarks.append(f"two roles for a case: rights were those that {role} and {narrowed} both have")
        return {"as": {"role": role, "user": record.user}}

    def _build_model(self) -> dict[str, Any]:
        answers: dict[str, list[Any]] = {}
        for row in self._recording.rows:
            for message in row.messages:
                if message.get("role") == "assistant" and (calls := [*self._iter_calls(message)]):
                    node = next((record.node for _, _, record in calls if record is not None), "") or ANY_NODE
                    written = [{name: self._redaction.copy_whole(args)} for name, args, _ in calls]
                    answers.setdefault(node.partition(".")[0], []).append({"calls": written})
        if self._last.text.strip() and self._last.status == "finished":
            nodes = self._list_asking_nodes(speaking=True)
            answers.setdefault(nodes[0] if len(nodes) == 1 else ANY_NODE, []).append(self._clean(self._last.text))
        return answers

    def _iter_calls(self, message: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], AuditRecord | None]]:
        for call in calls_of(message):
            function = cast("Mapping[str, Any]", call.get("function") or {})
            record = self._decisions.get(str(call.get("id")))
            model_name = str(function.get("name") or "")
            name = record.tool if record is not None else parse_model_name(model_name, self._snapshot.servers)
            args = _parse_arguments(str(function.get("arguments") or ""))
            if name is None or "/" not in name or args is None:
                self._remarks.append(
                    f"a form for a call of {model_name!r}: it is no tool of a server, or has no readable arguments"
                )
            else:
                yield name, args, record

    def _build_tools(self) -> dict[str, list[Any]]:
        tools: dict[str, list[Any]] = {}
        arguments = dict(self._iter_arguments())
        for record in self._list_ran():
            args = arguments.get(record.call_id) or _read_own_arguments(record)
            if args is None:
                self._add_once(f"all arguments of {record.tool}, as the graph called it: any are answered")
            outcome = self._recording.outcomes.get(record.call_id)
            stored = outcome.result if outcome is not None else None
            if outcome is None or stored is None:
                self._add_once(f"what a call of {record.tool} gave: add it under 'tools'")
                continue
            said = self._clean(_read_text(stored.get("content")))
            data = self._redaction.copy_whole(_read_data(stored))
            end = {"error": said} if outcome.failed else {"result": data or said}
            # With a secret left out, they would not be those of the call any more.
            is_open = args is None or self._redaction.copy_whole(args) != args
            tools.setdefault(record.tool, []).append(({} if is_open else {"args": args}) | end)
        return tools

    def _iter_arguments(self) -> Iterator[tuple[str, dict[str, Any] | None]]:
        """List the arguments of the calls that models asked for, by call id."""
        for row in self._recording.rows:
            for message in row.messages:
                for call in calls_of(message):
                    yield str(call.get("id")), _parse_arguments(str(call["function"].get("arguments") or ""))

    def _build_answers(self) -> dict[str, list[Any]]:
        answers: dict[str, list[Any]] = {}
        for question in self._recording.questions:
            answers.setdefault(question.node, []).append(self._redaction.copy_whole(question.value))
        return answers

    def _build_approvals(self) -> dict[str, str]:
        approvals: dict[str, str] = {}
        for approval in self._recording.approvals.values():
            decision = _DECISIONS.get(approval.status)
            if decision is None:
                self._remarks.append(f"a decision on {approval.tool}: its approval is {approval.status}")
            elif approvals.setdefault(approval.tool, decision) != decision:
                self._remarks.append(f"one decision on {approval.tool}: some calls were approved, others rejected")
        return approvals

    def _build_expectations(self) -> dict[str, Any]:
        verdicts: dict[str, list[str]] = {}
        for verdict in list_verdicts(self._recording.audit):
            verdicts.setdefault(verdict.tool, []).append(verdict.verdict)
        calls = [record.tool for record in self._list_ran()]
        route = self._build_route()
        return ({"route": route} if route else {}) | {"calls": calls} | ({"verdicts": verdicts} if verdicts else {})

    def _build_route(self) -> list[str]:
        """Build the nodes that the turn came to; none where not all are known, or the files of today lack some."""
        path = join_row_paths(self._recording.rows)
        if path is None or path["more"] or any(step["seconds"] is None for step in path["steps"]):
            return []
        steps = [step for step in path["steps"] if step["graph"] == self._last.graph]
        route = [step["node"] for step in steps if step["node"] != INPUT_NODE]
        if self._plan is None or not self._plan.spec.nodes.keys() >= set(route):
            return []
        last = path["steps"][-1]
        has_ended = self._last.status == "finished" and ("error" not in last or "way" in last)
        return [*route, END] if has_ended else route

    def _list_ran(self) -> list[AuditRecord]:
        return [record for record in self._recording.audit if record.kind == "call" and record.outcome != "stopped"]

    def _list_cached_tools(self) -> dict[str, None]:
        """List the tools whose results were those of earlier calls."""
        return {record.tool: None for record in self._recording.audit if record.outcome == "cached"}

    def _list_asking_nodes(self, *, speaking: bool) -> list[str]:
        """List the nodes that ask a model: those that speak, or those that give a value."""
        nodes = self._plan.spec.nodes.items() if self._plan is not None else ()
        return [
            name
            for name, node in nodes
            if isinstance(node, AgentNodeSpec | ModelNodeSpec)
            and (not isinstance(node, ModelNodeSpec) or node.into is None) == speaking
        ]

    def _list_remarks(self) -> list[str]:
        return [f"- {remark}" for remark in (*self._remarks, *self._iter_remarks())]

    def _iter_remarks(self) -> Iterator[str]:
        """List what no record has, and what this one lacks."""
        first, last = self._first, self._last
        way = "" if self._build_route() else "the way through the graph, and "
        yield f"{way}the variables at its end"
        yield "the words before tool calls apart from the answer, which stands here as a whole"
        if first.parent is not None:
            yield "the conversation before it: put the messages before it into 'say', and their answers under 'model'"
        if first.story is None or len(first.story["question"]) >= LONGEST_QUESTION:
            yield f"the end of what was said: only its first {LONGEST_QUESTION} characters are recorded"
        for node in self._list_asking_nodes(speaking=False):
            yield f"what node {node!r} was answered: add it under 'model: {node}', as often as it asked"
        for tool in self._list_cached_tools():
            yield f"what {tool} gave, since that was in the cache: add it under 'tools', and the call under 'calls'"
        if self._plan is None:
            yield f"the graph {last.graph!r}, which is gone from these files"
        if last.status != "finished":
            yield f"an end: the turn is {last.status}"
        snapshots = {record.snapshot for record in self._recording.audit} - {self._snapshot.id, ""}
        if snapshots:
            yield f"the files of today ({self._snapshot.id}): it ran under {', '.join(sorted(snapshots))}"

    def _add_once(self, remark: str) -> None:
        if remark not in self._remarks:
            self._remarks.append(remark)

    def _collect_hidden(self) -> set[str]:
        redaction = self._snapshot.redaction
        found: set[str] = set()
        for _, args in self._iter_arguments():
            found |= redaction.collect_hidden(args)
        for outcome in self._recording.outcomes.values():
            if outcome.result is not None:
                found |= redaction.collect_hidden(outcome.result.get("artifact"))
                found |= redaction.collect_hidden(_parse_arguments(_read_text(outcome.result.get("content"))))
        return found

    def _clean(self, text: str) -> str:
        return make_storable(self._redaction.copy_whole(text))


def _read_own_arguments(record: AuditRecord) -> dict[str, Any] | None:
    """Read the arguments of a call that no message has from the audit; None where its copy is not the whole."""
    if record.args is None or compute_call_digest(record.tool, record.args) != record.args_digest:
        return None
    return {**record.args}


def _parse_arguments(text: str) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        return cast("dict[str, Any]", found) if isinstance(found, dict) else None
    return None


def _read_text(content: object) -> str:
    """Read the text of a stored result; a picture is named in its place."""
    if isinstance(content, str):
        return content
    blocks = cast("Sequence[Mapping[str, Any]]", content) if isinstance(content, list) else ()
    return "\n".join(str(block.get("text") or f"[{block.get('type')}]") for block in blocks)


def _read_data(stored: Mapping[str, Any]) -> dict[str, Any] | None:
    artifact = stored.get("artifact")
    data = cast("Mapping[str, Any]", artifact).get("structured_content") if isinstance(artifact, dict) else None
    return cast("dict[str, Any]", data) if isinstance(data, dict) else None
