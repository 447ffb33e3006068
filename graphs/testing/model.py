"""The model endpoint of a test: the answers of the case or its cassette, read by the reader that reads those of
LiteLLM."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.config import get_config
from pydantic import SecretStr

from graphs.config.spec.cases import AnswerSpec
from graphs.config.spec.cassettes import RecordedAnswerSpec
from graphs.errors import InterlockError
from graphs.llm.client import ChatModel
from graphs.llm.embeddings import Embeddings
from graphs.llm.endpoint_errors import build_model_error
from graphs.llm.stream import Answer, Flow, Listener, StreamReader
from graphs.telemetry.token_count import CallTokenCount
from graphs.testing.embeddings import embed_words
from graphs.testing.script import ServiceScript
from graphs.tools.names import make_model_name

NOWHERE = "http://model.invalid/v1"
"""The address of the endpoint, which nothing asks."""
OVERLOADED = 503
"""The HTTP status of a failure that a case says."""


class ScriptedModel(ChatModel):
    """Answers each request with what the case has for the node that asks. Nothing leaves the process."""

    def __init__(self, script: ServiceScript) -> None:
        super().__init__(NOWHERE, SecretStr(""), silence=60.0)
        self._script = script

    async def list_models(self) -> list[str]:
        """List no models: a case asks for a graph."""
        return []

    async def embed(self, model: str, texts: Sequence[str], *, key: SecretStr | None = None) -> Embeddings:
        """Embed texts by their words, whatever the model."""
        return Embeddings(vectors=[embed_words(text) for text in texts], usage=None)

    async def stream(
        self,
        request: Mapping[str, Any],
        listener: Listener,
        *,
        key: SecretStr | None = None,
        token_count: CallTokenCount | None = None,
        flow: Flow | None = None,
    ) -> Answer:
        """Pass on the next answer. Raises ModelError where it fails, and InterlockError where the case has none."""
        answer = self._script.take_answer(find_asking_nodes())
        if answer is None:
            raise InterlockError("The test has no answer of the model left.")
        if isinstance(answer, AnswerSpec) and answer.error is not None:
            body = json.dumps({"error": {"message": answer.error}}).encode()
            raise build_model_error(OVERLOADED, {}, body, self.base_url)
        reader = StreamReader(listener, token_count)
        reader.read_whole_answer(json.dumps(build_completion(answer)).encode())
        return reader.build_answer()


def find_asking_nodes() -> list[str]:
    """Find the node that this code runs in, and the nodes around it, the innermost first."""
    return [place.partition(":")[0] for place in reversed(find_asking_places())]


def find_asking_places() -> tuple[str, ...]:
    """Find the task of LangGraph that this code runs in behind those around it, each as `NODE:ID`."""
    places = str(get_config().get("metadata", {}).get("langgraph_checkpoint_ns", ""))
    return tuple(place for place in places.split("|") if place)


def build_completion(answer: AnswerSpec | RecordedAnswerSpec) -> dict[str, Any]:
    """Build the chat completion that says this, as OpenAI writes it."""
    written = [(name, args) for call in answer.calls for name, args in call.items()]
    message: dict[str, Any] = {"role": "assistant"}
    reason = "tool_calls" if written else "stop"
    if isinstance(answer, RecordedAnswerSpec):
        message |= {"content": answer.text or None, "refusal": answer.refusal or None}
        reason = answer.reason if answer.reason != "stop" else reason
    else:
        message["content"] = answer.render_text() or None
    if calls := build_calls(written):
        message["tool_calls"] = calls
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
    }


def build_calls(written: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Build tool calls from names and arguments; a name without a server is the model's own, and a text is what it
    wrote in place of an object."""
    return [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {
                "name": make_model_name(*name.split("/", 1)) if "/" in name else name,
                "arguments": args if isinstance(args, str) else json.dumps(args),
            },
        }
        for number, (name, args) in enumerate(written)
    ]
