"""The model node with `into`: asks a model for a value, silently, and puts it into a variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from graphs.config.spec.node_types import ModelNodeSpec
from graphs.errors import ModelError, NodeFailure
from graphs.events import ModelFinished
from graphs.expressions import ANY, VarType
from graphs.llm.endpoint_messages import add_note, build_endpoint_messages
from graphs.llm.stream import Answer, PieceKind
from graphs.llm.structured_answers import AnswerForm, StructuredAnswer, UnreadableAnswer
from graphs.nodes.base import NodeSite, Services, find_emitter
from graphs.nodes.model import WORDS_WANTED
from graphs.nodes.model_call import ModelCall
from graphs.nodes.node_cache import NodeCache
from graphs.nodes.state import Context, State

ANSWER_FIELDS = frozenset(
    (
        *("response_format", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"),
        *("stop", "logprobs", "top_logprobs", "n", "modalities", "audio", "prediction", "web_search_options"),
        *("max_tokens", "max_completion_tokens"),
    )
)
"""Fields of the client's request that are about the answer that it gets, which this is not."""


class StructuredModelNode:
    """Asks a model for the value of a variable. Nothing of it is said."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        spec = cast(ModelNodeSpec, site.spec)
        assert spec.into is not None  # noqa: S101  else it is the other node
        variable = site.plan.find_output(spec.into)
        self._variable = spec.into
        self._services = services
        self._site = site
        self._call = ModelCall(site, services)
        self._cache = NodeCache(site, services, spec.cache) if spec.cache is not None else None
        self._question = ValueQuestion(site, self._call, spec.into, variable.type if variable is not None else ANY)

    async def run(self, state: State, runtime: Runtime[Context], config: RunnableConfig) -> Mapping[str, Any]:
        """Ask for the value, and once more where the answer does not fit. Raises NodeFailure and ModelError."""
        context = self._services.find_context(runtime)
        model_round = await self._call.begin(state, context)
        if model_round.reached:
            raise NodeFailure(f"node {self._site.name!r} has no round left. {model_round.reached}", kind="limit")
        messages = await self._call.build_messages(state, context)
        key = None
        if self._cache is not None:
            key = self._cache.build_key(context, *self._question.describe(messages, context))
            if (found := self._cache.find(key)) is not None:
                self._cache.count_hit()
                # A round like any other, so that no circle goes on for ever.
                return {self._variable: found["value"], **model_round.build_changes(state, context)}
        listener = SilentListener(find_emitter(context, runtime.stream_writer))
        value = await self._question.ask(messages, listener, context, runtime, config)
        if self._cache is not None and key is not None:
            self._cache.keep(key, {"value": value})
        return {self._variable: value, **model_round.build_changes(state, context)}


class ValueQuestion:
    """How a model is asked for a value of one type. Built once for each node and snapshot."""

    def __init__(self, site: NodeSite, call: ModelCall, variable: str, type_: VarType) -> None:
        self._site = site
        self._call = call
        self._variable = variable
        self._type = type_
        self._structured = StructuredAnswer(type_) if not type_.is_plain_text else None
        self._forms: dict[str, AnswerForm] = {}
        """By model: the form that its endpoint takes, where it refused the first one."""

    async def ask(
        self,
        messages: list[Mapping[str, Any]],
        listener: SilentListener,
        context: Context,
        runtime: Runtime[Context],
        config: RunnableConfig,
    ) -> Any:
        """Ask for the value, and once more where the answer does not fit. Raises NodeFailure and ModelError."""
        problem = ""
        model = self._call.choose_model(context)
        for _ in range(2):
            ask = partial(self._ask_in_form, messages, listener, context, runtime, config)
            model, answer = await self._call.ask_models(model, ask, listener, context)
            try:
                return self._read_value(answer)
            except UnreadableAnswer as error:
                problem = str(error)
                if answer.text.strip():
                    messages = [*messages, {"role": "assistant", "content": answer.text}]
                correction = self._structured.build_correction(problem) if self._structured else WORDS_WANTED
                messages = add_note(messages, correction)
        name = self._site.name
        why = f"node {name!r}: the model's answer for {self._variable!r} {problem}, and neither did its second fit"
        raise NodeFailure(why, kind="invalid")

    def describe(self, messages: Sequence[Mapping[str, Any]], context: Context) -> tuple[object, ...]:
        """Describe all that an answer depends on: the model that is asked first, what it sees, and how it is asked."""
        return self._call.choose_model(context), messages, self._build_params(context)

    def _build_params(self, context: Context) -> dict[str, Any]:
        params = {name: value for name, value in context.params.items() if name not in ANSWER_FIELDS}
        return {**params, **self._call.params}

    def _read_value(self, answer: Answer) -> Any:
        if self._structured is not None:
            return self._structured.read_value(answer)
        if answer.is_silent or answer.has_refusal:
            raise UnreadableAnswer("holds no words")
        return self._type.fit(answer.text)

    async def _ask_in_form(
        self,
        messages: list[Mapping[str, Any]],
        listener: SilentListener,
        context: Context,
        runtime: Runtime[Context],
        config: RunnableConfig,
        model: str,
    ) -> Answer:
        request: dict[str, Any] = {"model": model, **self._build_params(context)}
        request["messages"] = build_endpoint_messages(messages, model)
        if self._structured is None:
            return await self._call.ask_model(request, listener, context, runtime, config)
        form = self._forms.get(model, self._structured.first_form)
        try:
            fields = self._structured.build_fields(form)
            return await self._call.ask_model({**request, **fields}, listener, context, runtime, config)
        except ModelError as error:
            if form != "schema" or error.status not in (400, 404, 422, 501):
                raise
            # Perhaps the form is what it refused; where it is not, it says so again.
            answer = await self._call.ask_model(
                {**request, **self._structured.build_fields("function")}, listener, context, runtime, config
            )
            self._forms[model] = "function"
            return answer


class SilentListener:
    """Takes an answer that nobody is to read; only its use of tokens is told."""

    is_heard = False

    def __init__(self, emit: Any) -> None:
        self._emit = emit

    def finish(self, model: str, answer: Answer) -> None:
        """Emit the end of one model call."""
        self._emit(ModelFinished(model, answer.usage, "stop"))

    def add_text(self, kind: PieceKind, text: str) -> None:
        """Pass over a piece of text."""

    def add_annotations(self, annotations: bytes) -> None:
        """Pass over where the text comes from."""

    def add_logprobs(self, logprobs: Mapping[str, bytes]) -> None:
        """Pass over how likely the last piece was."""
