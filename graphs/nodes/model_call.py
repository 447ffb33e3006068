"""One call of a model for a node: what it is sent, how it is asked, and what operators learn of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_ai_message_chunks
from langchain_core.runnables import RunnableConfig
from langgraph.pregel._messages import StreamMessagesHandler  # pyright: ignore[reportPrivateUsage]
from langgraph.runtime import Runtime

from graphs.config.spec.graph import LimitsSpec
from graphs.config.spec.node_types import AgentNodeSpec, ModelNodeSpec
from graphs.errors import ModelError
from graphs.events import TokenUsage
from graphs.llm.call_pieces import RawCall
from graphs.llm.endpoint_messages import add_note
from graphs.llm.provider_fields import CallFields
from graphs.llm.stream import REASONS, Answer, Listener, build_length_error, read_count
from graphs.nodes.base import NodeSite, Services
from graphs.nodes.state import Context, State, build_token_use
from graphs.nodes.values import NodeValues
from graphs.policy.limits import Limit, limit_turn_calls
from graphs.telemetry.instrument import record_model_call
from graphs.telemetry.token_count import begin_call_count

log = logging.getLogger(__name__)

ALREADY_SAID = "What stands above was said to the person in this turn already. Go on with your part."


class AnswerListener(Listener, Protocol):
    """The receiver of an answer that learns of its end too."""

    @property
    def is_heard(self) -> bool:
        """Whether a person has heard anything of it."""
        ...

    def finish(self, model: str, answer: Answer) -> None:
        """Take the end of one model call."""
        ...


@dataclass(frozen=True, slots=True)
class ModelRound:
    """Where in its turn a model is asked."""

    number: int
    """Model calls of the turn before this one."""
    started: float
    """When the turn began, in seconds since the epoch."""
    reached: str | None
    """The limit that is used up, in words for people; None: there is room."""
    ends_turn: bool
    """The answer is the last of the turn whatever else its graph would do, since its tokens are used up."""

    def build_changes(self, state: State, context: Context) -> dict[str, Any]:
        """Build what changes in the state once the model has answered."""
        use = build_token_use(state, context, is_last_answer=self.ends_turn)
        return {"rounds": self.number + 1, "started": self.started, **use}


class ModelCall:
    """What all calls of one node's model have in common. Built once for each node and snapshot."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        spec = cast("ModelNodeSpec | AgentNodeSpec", site.spec)
        own_params = {"temperature": spec.temperature, "max_tokens": spec.max_tokens}
        self.params: Mapping[str, Any] = {name: value for name, value in own_params.items() if value is not None}
        """What the node says of the request."""
        self._site = site
        self._services = services
        self._model = spec.model
        self._fallback = spec.fallback
        self._has_input = (site.name, "input") in site.plan.templates
        self._is_agent = spec.role == "agent"
        self._values = NodeValues(site, services)
        self._limits = site.plan.spec.limits

    async def begin(self, state: State, context: Context) -> ModelRound:
        """Go on where the client is still there and takes what is said; find what is left of the turn's limits."""
        if context.claims is not None:
            await context.claims.pass_gate()
        if context.flow is not None and context.flow.full:
            await context.flow.wait_for_room()
        rounds = state.get("rounds", 0)
        now = time.time()
        started = max(state.get("started") or now, context.started)
        role_limit = self._services.snapshot.policy.find_turn_call_limit(context.caller.roles)
        limits = context.limits or self._limits
        reached = find_reached_limit(limits, role_limit, state, now - started)
        used_up = self._find_reached_token_limit(state, context)
        return ModelRound(rounds, started, reached or used_up, ends_turn=used_up is not None)

    def _find_reached_token_limit(self, state: State, context: Context) -> str | None:
        most = (context.limits or self._limits).tokens
        if most is None:
            return None
        earlier = state.get("token_use")
        context.turn_tokens.begin(earlier["tokens"] if earlier is not None else 0)
        if context.turn_tokens.tokens < most:
            return None
        return f"Stopped here: the limit of {most:,} tokens in one turn is reached."

    def choose_model(self, context: Context) -> str:
        """Choose the model: the node's, the one that was asked for, or the gateway's."""
        return self._model or context.model or self._services.snapshot.gateway.models.default

    async def build_messages(self, state: State, context: Context, *, note: str = "") -> list[Mapping[str, Any]]:
        """Build the messages: the prompt, then the node's `input` or the conversation, then what was added to it: by
        the turn, or of an agent with `input` by itself. `note`: what the model is told last. Raises NodeFailure."""
        messages: list[Mapping[str, Any]] = []
        around: State = state
        if context.outer_messages is not None:
            around = {**state, "messages": [*context.outer_messages]}
        if (prompt := await self._values.render("prompt", around, context)) is not None:
            messages.append({"role": "system", "content": prompt})
        if self._has_input:
            seen = await self._values.render("input", around, context)
            messages.append({"role": "user", "content": seen or ""})
            if not self._is_agent:
                return messages
        else:
            messages += context.history
        if own := state.get("messages"):
            messages += self._services.model.convert_messages(own)
            if note:
                return add_note(messages, note)
            # Many endpoints refuse a conversation that ends with the assistant's words, or go on in the middle of them.
            if isinstance(own[-1], AIMessage) and not (own[-1].tool_calls or own[-1].invalid_tool_calls):
                messages = add_note(messages, ALREADY_SAID)
        return messages

    async def ask_models(
        self, model: str, ask: Callable[[str], Awaitable[Answer]], listener: AnswerListener, context: Context
    ) -> tuple[str, Answer]:
        """Ask a model, and where it fails before anything was heard the node's fallbacks, in order.

        `ask` asks the model of that name. Returns the model that answered, and its answer. Raises ModelError.
        """
        failures: list[tuple[str, ModelError]] = []
        for name in self._list_models(model, context):
            if failures:
                graph, node = self._site.plan.id, self._site.name
                log.warning("graph %s, node %s: asking %s instead of %s", graph, node, name, failures[-1][0])
            try:
                return name, await ask(name)
            except ModelError as error:
                if listener.is_heard or not may_another_answer(error):
                    raise
                failures.append((name, error))
        raise join_failures(failures)

    def _list_models(self, model: str, context: Context) -> Iterator[str]:
        """List the models to ask. A fallback is for those whose role may use it: it gives nobody a model that they
        could not ask for themselves."""
        yield model
        policy = self._services.snapshot.policy
        for name in self._fallback:
            if name != model and policy.may_use_model(context.caller, name):
                yield name

    async def ask_model(
        self,
        request: Mapping[str, Any],
        listener: AnswerListener,
        context: Context,
        runtime: Runtime[Context],
        config: RunnableConfig,
    ) -> Answer:
        """Ask the model, and count what it took. Raises ModelError."""
        info = runtime.execution_info
        try:
            answer = await self._send(request, listener, context, config)
        except ModelError as error:
            tries = info.node_attempt if info is not None else 1
            # Not the endpoint's words: they may quote what people wrote.
            log.warning(
                "graph %s, node %s, model %s: %s (status %s), try %d%s",
                self._site.plan.id,
                self._site.name,
                request["model"],
                error.kind,
                error.status,
                tries,
                "; a failure that may pass" if error.retryable else "",
            )
            raise error.count_tries(tries) from error
        listener.finish(request["model"], answer)
        return answer

    async def _send(
        self, request: Mapping[str, Any], listener: Listener, context: Context, config: RunnableConfig
    ) -> Answer:
        services = self._services
        turn_tokens = context.turn_tokens if context.turn_tokens.has_begun else None
        count = begin_call_count(request, [context.token_count, turn_tokens])
        with record_model_call(services.metrics, self._site.plan.id, request, services.model.base_url, count) as span:
            if has_token_handler(config):
                answer = await ask_through_langchain(services, request, config, self._limits.seconds)
            else:
                answer = await services.model.stream(
                    request, listener, key=context.key, token_count=span.token_count, flow=context.flow
                )
            span.usage, span.reason = answer.usage, "tool_calls" if answer.calls else answer.reason
        return answer


def may_another_answer(error: ModelError) -> bool:
    """Whether another model may answer where this one failed.

    What an endpoint refuses of one model (it is not there, its context is too short, it does not know a field) may be
    right for another, and a refusal costs no tokens. A key is the same for all: one that is refused has to be seen to,
    and not to be covered up by whatever the next model costs.
    """
    return error.kind != "authentication"


def join_failures(failures: Sequence[tuple[str, ModelError]]) -> ModelError:
    """Return the first model's failure, with what the others said in its words: it is worth another attempt where one
    of them is."""
    (_, first), *others = failures
    if not others:
        return first
    words = [str(first), *(f"Instead, {name} was asked: {error}" for name, error in others)]
    return ModelError(
        " ".join(f"{each.removesuffix('.')}." for each in words),
        kind=first.kind,
        status=first.status,
        retry_after=first.retry_after,
        code=first.code,
        param=first.param,
        retryable=any(error.retryable for _, error in failures),
    )


def find_reached_limit(limits: LimitsSpec, role: Limit | None, state: State, elapsed: float) -> str | None:
    """Find the limit that makes this model call the turn's last, in words for people; None: there is room. `elapsed`:
    seconds of the turn."""
    rounds, calls = state.get("rounds", 0), state.get("calls", 0)
    if rounds >= limits.rounds:
        return f"Stopped here: the limit of {limits.rounds} rounds of tool calls in one turn is reached."
    most, whose = limit_turn_calls(limits.tool_calls, role)
    if calls >= most:
        return f"Stopped here: the limit of {most} tool calls in one turn{whose} is reached."
    if rounds >= state.get("most_rounds", limits.rounds):
        return "Stopped here: the rounds of tool calls that this part of the turn may have are used up."
    if calls >= state.get("most_calls", most):
        return "Stopped here: the tool calls that this part of the turn may have are used up."
    if elapsed >= limits.seconds:
        return f"Stopped here: the limit of {limits.seconds:g} seconds for one turn is reached."
    return None


def has_token_handler(config: RunnableConfig) -> bool:
    """Whether somebody listens to LangChain's token callbacks (`stream_mode="messages"`, as Studio does)."""
    callbacks = config.get("callbacks")
    handlers = callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or []
    return any(isinstance(handler, StreamMessagesHandler) for handler in handlers)


async def ask_through_langchain(
    services: Services, request: Mapping[str, Any], config: RunnableConfig, seconds: float
) -> Answer:
    """Send the request through ChatOpenAI, so that LangChain's callbacks see every token.

    Raises ModelError, and TimeoutError after `seconds`.
    """
    options = {name: value for name, value in request.items() if name != "messages"}
    if marks := await services.model.litellm.build_marks():
        options["extra_body"] = marks
    # Chunks are added up at the end: added one by one, each would copy all before it.
    chunks: list[AIMessageChunk] = []
    length = 0
    longest = services.snapshot.gateway.models.max_answer
    async with asyncio.timeout(seconds):
        async for chunk in services.model.langchain.astream(request["messages"], config, **options):
            chunks.append(chunk)
            length += len(chunk.text) + sum(len(piece["args"] or "") for piece in chunk.tool_call_chunks)
            if length > longest:
                raise build_length_error(longest, has_output=True)
    if not chunks:
        return Answer()
    collected = add_ai_message_chunks(*chunks) if len(chunks) > 1 else chunks[0]
    usage = collected.usage_metadata or UsageMetadata(input_tokens=0, output_tokens=0, total_tokens=0)
    prompt, completion = read_count(usage["input_tokens"]), read_count(usage["output_tokens"])
    return Answer(
        text=collected.text,
        calls=[
            RawCall(
                chunk["id"] or "",
                chunk["name"] or "",
                chunk["args"] or "",
                carried=CallFields(id=chunk["id"]) if chunk["id"] else CallFields(),
            )
            for chunk in collected.tool_call_chunks
        ],
        reason=REASONS.get(str(collected.response_metadata.get("finish_reason")), "stop"),
        usage=TokenUsage() if prompt is None or completion is None else TokenUsage(prompt, completion),
    )
