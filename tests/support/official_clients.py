"""The official `openai` clients, for Python and for Node, behind one face: what one does the other must do alike.

    client.create(messages=[…])                 # `chat.completions.create`; every method takes the request's fields
    client.stream(messages=[…])                 # the chunks
    client.turn("helper", messages=[…])         # one answer, taken by "create", "stream" or "helper" (`.stream()`)
    client.refused("create", messages=[…])      # the error that the client raised

Nothing is retried, so that what went wrong is seen.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import openai
from openai import OpenAI
from pydantic import BaseModel
from support.environments import node, node_environment
from support.gateway import ADMIN_KEY
from support.processes import plain_environment

SCRIPT = Path(__file__).with_name("official_client.mjs")
OLDEST_NODE = (22, 0)
"""What the client for Node asks for."""

HELPER_EVENTS = ("content.delta", "content.done", "tool_calls.function.arguments.done")

Way = Literal["create", "stream", "helper"]


class Forecast(BaseModel):
    """The structured answer that both clients know as a type of their own language."""

    city: str
    degrees: int


@dataclass(frozen=True)
class Outcome:
    """What a client returned, what it gave piece by piece before, and what it raised."""

    value: Any = None
    seen: list[Any] = field(default_factory=list)
    error: dict[str, Any] | None = None
    """kind (the class), status, code, param, type, message, retry_after."""


@dataclass(frozen=True)
class Turn:
    """One answer, the same whichever way it was taken."""

    message: dict[str, Any]
    """As the client resends it."""
    finish: str
    usage: dict[str, int] | None
    model: str

    @property
    def text(self) -> str:
        return self.message.get("content") or ""

    @property
    def calls(self) -> list[dict[str, Any]]:
        return self.message.get("tool_calls") or []

    def asked(self) -> list[tuple[str, Any]]:
        """Name and arguments of each call that the client is to run."""
        return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in self.calls]

    def answered(self, *results: str) -> list[dict[str, Any]]:
        """The messages that go on from here: the answer, and a result for each of its calls."""
        pairs = zip(self.calls, results, strict=True)
        return [
            self.message,
            *({"role": "tool", "tool_call_id": call["id"], "content": result} for call, result in pairs),
        ]


class OfficialClient(ABC):
    """One of the two clients, at one address that ends in /v1."""

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    def run(self, job: Mapping[str, Any]) -> Outcome:
        """Does one job: `do` says what, `url` and `key` where, `request` holds the body's fields."""

    def do(
        self,
        what: str,
        *,
        key: str = ADMIN_KEY,
        headers: Mapping[str, str] | None = None,
        job: Mapping[str, Any] | None = None,
        **request: Any,
    ) -> Outcome:
        """Does it, come what may. `job` are further settings of the job itself."""
        options = {"headers": dict(headers or {})}
        asked = {"model": "assistant", **request}
        return self.run({"do": what, "url": self.url, "key": key, "options": options, "request": asked, **(job or {})})

    def value(self, what: str, **how: Any) -> Any:
        """What the client returned; fails the test where it raised."""
        outcome = self.do(what, **how)
        assert outcome.error is None, outcome.error
        return outcome.value

    def seen(self, what: str, **how: Any) -> list[Any]:
        """What it gave piece by piece; fails the test where it raised."""
        outcome = self.do(what, **how)
        assert outcome.error is None, outcome.error
        return outcome.seen

    def refused(self, what: str, **how: Any) -> dict[str, Any]:
        """What the client raised; fails the test where it did not."""
        outcome = self.do(what, **how)
        assert outcome.error is not None, outcome
        return outcome.error

    def create(self, **how: Any) -> dict[str, Any]:
        return self.value("create", **how)

    def stream(self, **how: Any) -> list[dict[str, Any]]:
        return self.seen("stream", **how)

    def turn(self, way: Way, **how: Any) -> Turn:
        """One answer; streamed, its usage is asked for."""
        if way == "stream":
            return gathered(self.stream(stream_options={"include_usage": True}, **how))
        if way == "helper":
            return turn_of(self.value("helper", stream_options={"include_usage": True}, **how))
        return turn_of(self.create(**how))


def turn_of(completion: Mapping[str, Any]) -> Turn:
    [choice] = completion["choices"]
    return Turn(choice["message"], choice["finish_reason"], completion.get("usage"), completion["model"])


def gathered(chunks: list[dict[str, Any]]) -> Turn:
    """The chunks as a plain client puts them together, which is to say by index."""
    message: dict[str, Any] = {"role": "", "content": ""}
    calls: dict[int, dict[str, Any]] = {}
    finish: list[str] = []
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice["delta"]
            message["role"] += delta.get("role") or ""
            message["content"] += delta.get("content") or ""
            for piece in delta.get("tool_calls") or ():
                call = calls.setdefault(piece["index"], {"function": {"name": "", "arguments": ""}})
                call |= {name: piece[name] for name in ("id", "type") if piece.get(name)}
                for name, text in piece.get("function", {}).items():
                    call["function"][name] += text or ""
            if choice.get("finish_reason"):
                finish.append(choice["finish_reason"])
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    [reason] = finish
    return Turn(message, reason, chunks[-1].get("usage"), chunks[0]["model"])


class PythonClient(OfficialClient):
    """The client of this environment."""

    def run(self, job: Mapping[str, Any]) -> Outcome:
        seen: list[Any] = []
        limits = {"max_retries": job.get("retries", 0), "timeout": job.get("timeout", 60)}
        with OpenAI(base_url=job["url"], api_key=job["key"], **limits) as client:
            try:
                value = getattr(self, f"_{job['do']}")(client, job, seen)
            except openai.APIError as error:
                return Outcome(None, seen, told(error))
        return Outcome(plain(value), seen)

    def _create(self, client: OpenAI, job: Mapping[str, Any], seen: list[Any]) -> Any:
        return client.chat.completions.create(**asked(job))

    def _stream(self, client: OpenAI, job: Mapping[str, Any], seen: list[Any]) -> None:
        with client.chat.completions.create(stream=True, **asked(job)) as stream:
            for chunk in stream:
                seen.append(plain(chunk))
                if job.get("leave") and chunk.choices[0].delta.content:
                    break

    def _raw(self, client: OpenAI, job: Mapping[str, Any], seen: list[Any]) -> Any:
        """The very bytes, as text."""
        with client.chat.completions.with_streaming_response.create(stream=True, **asked(job)) as response:
            kind = response.headers["content-type"]
            return {"status": response.status_code, "type": kind, "text": response.read().decode()}

    def _helper(self, client: OpenAI, job: Mapping[str, Any], seen: list[Any]) -> Any:
        with client.chat.completions.stream(**structured(job)) as stream:
            seen.extend(plain(event) for event in stream if event.type in HELPER_EVENTS)
            return stream.get_final_completion()

    def _parse(self, client: OpenAI, job: Mapping[str, Any], seen: list[Any]) -> Any:
        return client.chat.completions.parse(**structured(job))

    def _tools(self, client: OpenAI, job: Mapping[str, Any], seen: list[Any]) -> Any:
        """The conversation to its end, the caller's functions answered from `job["answers"]`.

        There is no runner in this client, so this is the loop of its manual: its own message objects are sent back.
        """
        request = asked(job)
        messages = request.pop("messages")
        while True:
            if job["streaming"]:
                with client.chat.completions.stream(messages=messages, **request) as stream:
                    message = stream.get_final_completion().choices[0].message
            else:
                message = client.chat.completions.parse(messages=messages, **request).choices[0].message
            messages.append(message)
            if not message.tool_calls:
                return message.content
            for call in message.tool_calls:
                name = call.function.name
                seen.append([name, call.function.parsed_arguments])
                messages.append({"role": "tool", "tool_call_id": call.id, "content": job["answers"][name]})

    def _models(self, client: OpenAI, job: Mapping[str, Any], seen: list[Any]) -> Any:
        return [model.id for model in client.models.list()]

    def _model(self, client: OpenAI, job: Mapping[str, Any], seen: list[Any]) -> Any:
        return client.models.retrieve(job["id"])


class NodeClient(OfficialClient):
    """The client for Node: `official_client.mjs`, which answers job after job."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        super().__init__(url)
        self._process = process

    def run(self, job: Mapping[str, Any]) -> Outcome:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the client for Node ended with {self._process.wait(10)}; its error output is above"
        return Outcome(**json.loads(line))


@contextmanager
def node_client(url: str, folder: Path) -> Iterator[NodeClient]:
    """The client for Node while the block lasts; skips the test where Node is missing."""
    runtime = node(OLDEST_NODE)
    # Modules are looked for beside the script that imports them, and the package is kept elsewhere.
    (folder / "node_modules").symlink_to(node_environment("openai-node", runtime) / "node_modules")
    script = shutil.copy(SCRIPT, folder)
    with subprocess.Popen(
        [runtime.node, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=plain_environment()
    ) as process:
        try:
            yield NodeClient(url, process)
        finally:
            process.kill()


def asked(job: Mapping[str, Any]) -> dict[str, Any]:
    return {**job["request"], "extra_headers": job["options"]["headers"]}


def structured(job: Mapping[str, Any]) -> dict[str, Any]:
    return asked(job) | ({"response_format": Forecast} if job.get("structured") else {})


def plain(value: Any) -> Any:
    """As it came over the wire: what was not sent is not there."""
    if not isinstance(value, BaseModel):
        return value
    # The client's own types do not say what `parsed` may hold, which pydantic would warn of.
    return cast("Any", value.model_dump(mode="json", exclude_unset=True, warnings=False))


def told(error: openai.APIError) -> dict[str, Any]:
    response = error.response if isinstance(error, openai.APIStatusError) else None
    return {
        "kind": type(error).__name__,
        "status": response.status_code if response is not None else None,
        "code": error.code,
        "param": error.param,
        "type": error.type,
        "message": error.message,
        "retry_after": response.headers.get("retry-after") if response is not None else None,
    }
