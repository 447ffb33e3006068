"""The model node: asks LiteLLM for the next message, offering the tools that the caller's role may see."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from langchain_core.messages import AIMessage, InvalidToolCall, ToolCall
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from graphs.events import (
    AnnotationsAdded,
    FinishReason,
    LogprobsDelta,
    ModelFinished,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
)
from graphs.llm.call_arguments import ArgumentReader, UnreadableArguments
from graphs.llm.call_names import OfferedNames
from graphs.llm.endpoint_messages import add_note, build_endpoint_messages
from graphs.llm.provider_fields import CallFields, build_provider_fields
from graphs.llm.stream import Answer, PieceKind
from graphs.nodes.base import NodeSite, Services, ToolAccess, find_emitter
from graphs.nodes.model_call import ModelCall
from graphs.nodes.state import Context, State, mint_call_id
from graphs.policy.caller import Caller
from graphs.policy.patterns import matches_any
from graphs.telemetry.instrument import record_first_text
from graphs.tools.names import list_name_forms
from graphs.tools.portable import build_openai_tool
from graphs.tools.toolset import Toolset

log = logging.getLogger(__name__)


@dataclass
class ToolSchemas:
    """The schemas of one set of tools, as models are shown them."""

    version: int
    schemas: Mapping[str, dict[str, Any]]
    by_role: dict[tuple[str, ...], list[dict[str, Any]]] = field(
        default_factory=dict[tuple[str, ...], list[dict[str, Any]]]
    )


class ToolOffer:
    """The tools that a model node shows to a role, as OpenAI tool objects; computed once for each set of tools."""

    def __init__(self, patterns: Sequence[str], services: Services) -> None:
        self._patterns = tuple(patterns)
        self._services = services
        self._schemas: WeakKeyDictionary[Toolset, ToolSchemas] = WeakKeyDictionary()

    def list_schemas(self, tools: Toolset, caller: Caller) -> list[dict[str, Any]]:
        """List what this caller is shown of these tools, in the order of their names."""
        shown = self._schemas.get(tools)
        if shown is None or shown.version != tools.version:
            longest = self._services.snapshot.gateway.tools.max_description
            schemas = {
                name: build_openai_tool(served, longest)
                for name, served in sorted(tools.tools.items())
                if matches_any(self._patterns, served.people_name)
            }
            self._schemas[tools] = shown = ToolSchemas(tools.version, schemas)
        offered = shown.by_role.get(caller.roles)
        if offered is None:
            policy = self._services.snapshot.policy
            offered = [
                schema
                for name, schema in shown.schemas.items()
                if (served := tools.tools.get(name)) and policy.may_see_tool(caller, served.server, served.name)
            ]
            shown.by_role[caller.roles] = offered
        return offered


class ModelNode:
    """Asks LiteLLM for the next message, and puts the tool calls of the answer into the state."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._site = site
        self._services = services
        self._call = ModelCall(site, services)
        self._offer = ToolOffer([*site.spec.locate_tool_patterns().values()], services)
        self._access = ToolAccess(site.plan.spec, services)

    async def run(self, state: State, runtime: Runtime[Context], config: RunnableConfig) -> Mapping[str, Any]:
        """Ask the model once, sending the answer out as it comes. Raises NodeFailure where the prompt cannot be
        evaluated, and ModelError."""
        services = self._services
        context = services.find_context(runtime)
        emit = find_emitter(context, runtime.stream_writer)
        model_round = await self._call.begin(state, context)
        reached = model_round.reached
        messages = await self._call.build_messages(state, context)
        tools = await self._access.open_tools(context)
        request = self._build_request(messages, tools, context, model_round.number, reached)
        emitter = AnswerEmitter(emit, new_paragraph=bool(state.get("messages")))

        async def ask(model: str, note: str = "") -> Answer:
            sent = build_endpoint_messages(request["messages"], model)
            sent = add_note(sent, note) if note else sent
            return await self._call.ask_model(
                {"model": model, **request, "messages": sent}, emitter, context, runtime, config
            )

        model, answer = await self._call.ask_models(self._call.choose_model(context), ask, emitter, context)
        if reached:
            answer.calls.clear()
            emitter.add_text("text", f"{emitter.build_gap()}_{reached}_")
        elif answer.is_silent:
            if answer.reason == "stop":  # a limit or a filter that left no words would leave none again
                again = partial(ask, note=WORDS_WANTED)
                model, answer = await self._call.ask_models(model, again, emitter, context)
            fill_silence(answer, emitter)
        find_name = build_name_finder(request.get("tools", ()), tools, context.client_names)
        message = build_message(answer, model, find_name)
        if context.claims is None:
            calls = [call["id"] or "" for call in message.tool_calls]
            services.attestations.note(context.thread, self._site.plan.id, self._site.name, calls)
        return {
            "messages": [message],
            "asker": self._site.name,
            "verdicts": {},
            **model_round.build_changes(state, context),
        }

    def _build_request(
        self, messages: list[Mapping[str, Any]], tools: Toolset, context: Context, rounds: int, reached: str | None
    ) -> dict[str, Any]:
        """Build what the model is asked, whichever it is, with the tools that it may use now.

        `reached` is the limit that leaves it none.
        """
        request: dict[str, Any] = {**self._call.params, **context.params}
        if reached:
            messages = add_note(messages, build_last_answer_instruction(reached))
        elif schemas := [*self._offer.list_schemas(tools, context.caller), *context.client_tools]:
            request["tools"] = schemas
        if not reached and (troubles := tools.troubles):
            messages.append({"role": "system", "content": describe_troubles(troubles)})
        request["messages"] = messages
        if "tools" not in request:
            request.pop("tool_choice", None)
            request.pop("parallel_tool_calls", None)
        elif rounds and request.get("tool_choice") != "none":
            # What was forced was forced once: the model must be free to answer after it.
            request.pop("tool_choice", None)
        return request


class AnswerEmitter:
    """Emits the pieces of a model's answer as events, its text apart from that of the round before."""

    def __init__(self, emit: Any, *, new_paragraph: bool) -> None:
        self._emit = emit
        self._new_paragraph = new_paragraph
        self._has_text = False
        self.is_heard = False

    def finish(self, model: str, answer: Answer) -> None:
        """Emit the end of one model call."""
        self._emit(ModelFinished(model, answer.usage, answer.reason))

    def build_gap(self) -> str:
        """Build what goes between the model's text and a remark of ours."""
        return "\n\n" if self._has_text else ""

    def add_text(self, kind: PieceKind, text: str) -> None:
        """Emit the next piece of text."""
        self.is_heard = True
        if kind != "text":
            self._emit(ReasoningDelta(text) if kind == "reasoning" else RefusalDelta(text))
            return
        first = not self._has_text
        if first:
            self._has_text = True
            record_first_text()
        self._emit(TextDelta(text, new_paragraph=first and self._new_paragraph))

    def add_annotations(self, annotations: bytes) -> None:
        """Emit where the text comes from."""
        self.is_heard = True
        self._emit(AnnotationsAdded(annotations))

    def add_logprobs(self, logprobs: Mapping[str, bytes]) -> None:
        """Emit how likely the last piece was."""
        self._emit(LogprobsDelta(logprobs))


def fill_silence(answer: Answer, emitter: AnswerEmitter) -> None:
    """Say why there is no answer instead of nothing."""
    if answer.is_silent:
        answer.text = f"_{SILENCE[answer.reason]}_"
        emitter.add_text("text", f"{emitter.build_gap()}{answer.text}")


WORDS_WANTED = "Your answer held no words and no tool call. Answer now, in words, from what you have."
SILENCE: Mapping[FinishReason, str] = {
    "stop": "The model gave no answer, though it was asked twice. Please ask again, perhaps in other words.",
    "length": "The model reached its length limit before its answer began: all of it went into thoughts. Allow longer "
    "answers (`max_tokens`), or ask for less at once.",
    "content_filter": "A filter of the model endpoint held the whole answer back.",
}
"""What is said of an answer without a word, by how it ended."""


def build_last_answer_instruction(reached: str) -> str:
    """Tell the model that it can use no more tools."""
    return f"{reached} No more tools can be used. Answer now from what you have, and say what is missing."


def describe_troubles(troubles: Mapping[str, str]) -> str:
    """Tell the model which servers are not there for this caller: it may be asked why."""
    return "\n".join(f"The tools of {server!r} are missing: the server {why}." for server, why in troubles.items())


def list_offered_forms(
    schemas: Sequence[Mapping[str, Any]], tools: Toolset, client_names: Collection[str]
) -> Iterator[tuple[str, str]]:
    """List the forms in which each offered tool may be written, each with the name that was offered."""
    served_tools = tools.tools
    for schema in schemas:
        name = str(schema["function"]["name"])
        yield name, name
        if name not in client_names and (served := served_tools.get(name)):
            for form in list_name_forms(served.server, served.name):
                yield form, name


def build_name_finder(
    schemas: Sequence[Mapping[str, Any]], tools: Toolset, client_names: Collection[str]
) -> Callable[[str], str]:
    """Build what finds the tool that a model means by a name, among those that its request offered. A name that is a
    tool's as it stands means that one, offered or not."""
    offered = OfferedNames(partial(list_offered_forms, schemas, tools, client_names))

    def find_name(written: str) -> str:
        is_known = written in client_names or tools.find(written) is not None
        return written if is_known else offered.find_meant(written)

    return find_name


def build_message(answer: Answer, model: str, find_name: Callable[[str], str]) -> AIMessage:
    """Build the message that the state keeps: call ids are ours, so that nobody can guess or replay them. What the
    endpoint must get back of its own stands beside it. `find_name` finds the tool that the model means by a name."""
    calls: list[ToolCall] = []
    carried: dict[str, CallFields] = {}
    reader = ArgumentReader()
    invalid: list[InvalidToolCall] = []
    for call in answer.calls:
        identity = mint_call_id()
        carried[identity] = call.carried
        name, args = call.name, None
        if call.problem:
            problem = f"what arrived of it can be read in more than one way ({call.problem}); ask for it once more"
        else:
            name, problem = find_name(name), ""
            try:
                args = reader.read(call.arguments)
            except UnreadableArguments as error:
                problem = f"its arguments are not a JSON object ({error}); send them again, corrected"
        if args is not None:
            calls.append(ToolCall(name=name, args=args, id=identity, type="tool_call"))
        else:
            invalid.append(
                InvalidToolCall(name=name, args=call.arguments, id=identity, error=problem, type="invalid_tool_call")
            )
    return AIMessage(
        content=answer.text,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        additional_kwargs=build_provider_fields(model, answer.carried, carried),
    )
