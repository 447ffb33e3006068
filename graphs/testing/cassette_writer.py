"""Make the cassette of one case from what was said in it, without the secrets, and write it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from mcp.types import CallToolResult, TextContent

from graphs.config.compile_cassettes import Cassette
from graphs.config.reader import read_spec
from graphs.config.source import parse_yaml
from graphs.config.spec.cassettes import CassetteSpec
from graphs.llm.call_pieces import RawCall
from graphs.redaction import Redaction
from graphs.testing.recorder import AnswerRecord, CaseRecorder, ResultRecord
from graphs.testing.yaml_text import dump_yaml
from graphs.text import make_storable
from graphs.tools.tool import ServedTool

HEADER = (
    "# What the model and the tools really said in a test, without secrets: written by `interlock test --record`,\n"
    "# replayed by `interlock test`.\n"
)


class CannotRecord(Exception):
    """What was said cannot be kept in a cassette; the text says why."""


class CassetteBuilder:
    """Makes the content of one cassette. `tools` are those that were called, by `server/tool`."""

    def __init__(self, recorder: CaseRecorder, tools: Mapping[str, ServedTool], redaction: Redaction) -> None:
        self._recorder = recorder
        self._tools = tools
        self._by_model_name = {served.model_name: served for served in tools.values()}
        self._redaction = redaction.extend(self._collect_hidden(redaction))

    def build(self) -> dict[str, Any]:
        """Build its data: the answers by node, and the tools with their results."""
        model: dict[str, list[Any]] = {}
        for record in self._recorder.list_answers():
            model.setdefault(record.node, []).append(self._build_answer(record))
        tools = {name: self._build_tool(served) for name, served in sorted(self._tools.items())}
        return {"model": model, "tools": tools}

    def _collect_hidden(self, redaction: Redaction) -> set[str]:
        """Collect what stands under names of secrets: the same value may stand elsewhere too."""
        found: set[str] = set()
        for record in self._recorder.results:
            served = self._tools.get(record.tool)
            found |= redaction.collect_hidden(record.args, served.secrets if served is not None else None)
            found |= redaction.collect_hidden(record.result.structuredContent)
            for data in map(parse_object, read_texts(record.result)):
                found |= redaction.collect_hidden(data)
        for record in self._recorder.list_answers():
            for call in record.answer.calls if record.answer is not None else ():
                served = self._by_model_name.get(call.name)
                args = parse_object(call.arguments)
                found |= redaction.collect_hidden(args, served.secrets if served is not None else None)
        return found

    def _build_answer(self, record: AnswerRecord) -> Any:
        answer = record.answer
        if answer is None:
            return ""
        text = self._clean(answer.text)
        calls = [self._build_call(call) for call in answer.calls]
        more = {"refusal": self._clean(record.refusal)} if record.refusal else {}
        more |= {"reason": answer.reason} if answer.reason in ("length", "content_filter") else {}
        if text and not calls and not more:
            return text
        return ({"text": text} if text else {}) | ({"calls": calls} if calls else {}) | more

    def _build_call(self, call: RawCall) -> dict[str, Any]:
        served = self._by_model_name.get(call.name)
        args = parse_object(call.arguments)
        if call.problem or args is None:
            return {call.name: self._clean(call.arguments)}
        name = served.people_name if served is not None else call.name
        return {name: self._redaction.copy_whole(args, served.secrets if served is not None else None)}

    def _build_tool(self, served: ServedTool) -> dict[str, Any]:
        said: dict[str, Any] = {"digest": served.definition}
        said |= {"read_only": True} if served.read_only else {"destructive": served.destructive}
        said |= {"idempotent": True} if served.idempotent and not served.read_only else {}
        properties = cast("Mapping[str, Any]", served.input_schema["properties"])
        said |= {"arguments": [*properties]} if properties else {}
        results = [
            self._build_result(record, served) for record in self._recorder.results if record.tool == served.people_name
        ]
        return said | ({"results": results} if results else {})

    def _build_result(self, record: ResultRecord, served: ServedTool) -> dict[str, Any]:
        args = {"args": self._redaction.copy_whole(record.args, served.secrets)}
        text = "\n".join(read_texts(record.result))
        if record.result.isError:
            return args | {"error": self._clean(text)}
        data = record.result.structuredContent
        if data is None:
            return args | {"result": self._clean(text)}
        copied = {"result": self._redaction.copy_whole(data)}
        return args | copied if parse_object(text) == data else args | copied | {"text": self._clean(text)}

    def _clean(self, text: str) -> str:
        return make_storable(self._redaction.copy_whole(text))


def read_texts(result: CallToolResult) -> list[str]:
    """Read the texts of a result; a picture is named in their place, since a cassette holds none."""
    return [block.text if isinstance(block, TextContent) else f"[{block.type}]" for block in result.content]


def parse_object(text: str) -> dict[str, Any] | None:
    """Parse the JSON object that a text is; None where it is none."""
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        return cast("dict[str, Any]", found) if isinstance(found, dict) else None
    return None


def render_cassette(data: Mapping[str, Any], file: str) -> tuple[str, Cassette]:
    """Write the data as YAML, and read it back as every test will. Raises CannotRecord where that does not give the
    same."""
    text = HEADER + dump_yaml(data)
    source = parse_yaml(text, file, {})
    reading = read_spec(source, CassetteSpec)
    problems = [*reading.problems]
    if reading.spec is None or problems or source.data != data:
        why = str(problems[0].message) if problems else "it would read as something else"
        raise CannotRecord(f"what was said cannot be kept as YAML: {why}")
    return text, Cassette(reading.spec, reading.source)


def write_cassette(path: Path, text: str) -> None:
    """Write a cassette as a whole, or leave what is there. Raises CannotRecord."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            new.write_text(text, encoding="utf-8")
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise CannotRecord(f"{path} cannot be written: {error.strerror}") from None
