"""The call node: calls one tool with arguments from variables, through the permission check, without a model.

To LangGraph it is three nodes, so that a pause for a person comes back to the very call that was asked for: NAME builds
the call, NAME.permission decides it, NAME.run runs it and reads the result. The call is in no message of the
conversation, so no model sees it; its id comes from the turn, the node and the attempt, so a turn that begins again
finds in the journal what it has done already.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, cast

import orjson
from langchain_core.messages import AIMessage, AnyMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from graphs.config.spec.node_types import CallNodeSpec
from graphs.errors import FailureKind, NodeFailure
from graphs.expressions import ANY, TypeMismatch, VarType
from graphs.nodes.base import NodeSite, Services
from graphs.nodes.node_cache import CallCache
from graphs.nodes.permission import PermissionNode
from graphs.nodes.state import OWN_CALL, TASK, Claims, Context, InnerTask, OwnCall, State, find_origin, mint_call_id
from graphs.nodes.tools import CachedResult, ToolsNode
from graphs.nodes.values import NodeValues
from graphs.store.tool_journal import Claim, ClaimResult
from graphs.text import truncate
from graphs.tools.names import make_model_name

_LONGEST_MESSAGE = 4_000
"""Characters of a failure: what a tool says of it may be as long as any result."""


class CallNode:
    """Builds the call."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._site = site
        self._spec = cast(CallNodeSpec, site.spec)
        self._services = services
        self._values = NodeValues(site, services)
        self._model_name = make_model_name(*self._spec.tool.split("/", 1))

    async def run(self, state: State, runtime: Runtime[Context]) -> Mapping[str, Any]:
        """Build the call, with its arguments filled in. Raises NodeFailure."""
        context = self._services.find_context(runtime)
        args = await self._values.fill_in(self._spec.args, ("args",), state, context)
        if not isinstance(args, dict):
            raise self._values.build_failure("args", "the arguments of a tool are an object, and this is none")
        counts = count_own_visit(state, self._site.name)
        # Studio's threads hold many turns, and nothing takes them up.
        turn = find_origin(context.thread) if context.claims is not None else mint_call_id()
        task = cast("InnerTask | None", cast("Mapping[str, Any]", state).get(TASK))
        place = (counts[self._site.name],) if task is None else (task["visit"], task["key"])
        key = _build_call_id(f"{turn}{context.place}", self._site.name, *place)
        call = ToolCall(name=self._model_name, args=cast("dict[str, Any]", args), id=key, type="tool_call")
        return {"own_call": OwnCall(request=AIMessage("", tool_calls=[call]), verdicts={}, counts=counts)}


def count_own_visit(state: State, name: str) -> dict[str, int]:
    """Count one more visit of a node that makes calls; return how often each was come to in this turn."""
    counts = own["counts"] if (own := state.get("own_call")) is not None else {}
    return {**counts, name: counts.get(name, 0) + 1}


class CallPermissionNode:
    """Decides the call."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._site = site
        self._services = services
        self._node = PermissionNode(site, services)

    async def run(self, state: State, runtime: Runtime[Context]) -> Mapping[str, Any]:
        """Decide the call, waiting for a person where a rule leaves it to one."""
        own = _find_own_call(state, self._site.name)
        context = self._services.find_context(runtime)
        inner = _detach_client(context, runtime, state)
        decided = await self._node.run(_view_call(state, own, self._site.name), inner)
        # What the person said instead of deciding: whatever comes of the call, they said it.
        added = [] if context.addendum is None else [context.addendum]
        decided_call = OwnCall(request=own["request"], verdicts=decided["verdicts"], counts=own["counts"])
        return {"own_call": decided_call, "messages": added}


class CallRunNode:
    """Runs the call and reads its result. What comes of an attempt that failed is told by a NodeFailure."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        spec = cast(CallNodeSpec, site.spec)
        self._site = site
        self._spec = spec
        self._services = services
        self._permission = PermissionNode(site, services)
        self._tools = ToolsNode(site, services)
        self._values = NodeValues(site, services)
        self._cache = CallCache(site, services, spec.cache) if spec.cache is not None else None
        self._model_name = make_model_name(*spec.tool.split("/", 1))
        self._until = spec.retry.until if spec.retry is not None else None
        self._has_use = spec.into is not None or self._until is not None
        variable = site.plan.find_output(spec.into) if spec.into is not None and spec.pick is None else None
        self._type = variable.type if variable is not None else ANY

    async def run(self, state: State, runtime: Runtime[Context], config: RunnableConfig) -> Mapping[str, Any]:
        """Run one attempt. Raises NodeFailure."""
        context = self._services.find_context(runtime)
        info = runtime.execution_info
        attempt = info.node_attempt if info is not None else 1
        own, before = _find_own_call(state, self._site.name), state.get("calls", 0) + attempt - 1
        inner = _detach_client(context, runtime, state)
        state = {**state, "calls": before}
        if attempt > 1:
            # A call of its own, which the rules look at anew: an approval is for one call.
            own = _renew_call(own, attempt)
            decided = await self._permission.run(_view_call(state, own, self._site.name), inner)
            own = OwnCall(request=own["request"], verdicts=decided["verdicts"], counts=own["counts"])
        view = _view_call(state, own, self._site.name)
        key, cached = await self._find_cached_result(own, context)
        try:
            async with asyncio.timeout(self._spec.timeout):
                answered = await self._tools.answer_calls(view, inner, config, cached)
        except TimeoutError:
            if self._spec.timeout is None:
                raise
            why = (
                f"{self._spec.tool} took longer than {self._spec.timeout:g} seconds. Whether it took effect is unknown."
            )
            raise self._build_failure(why, "timeout", before + 1, context) from None
        [result] = [message for message in answered.messages if isinstance(message, ToolMessage)]
        calls = answered.calls
        if result.status == "error":
            raise self._explain(result, own, calls, context)
        try:
            written = await self._read_result(result, attempt, state, context)
        except NodeFailure as failure:
            raise NodeFailure(
                str(failure), kind=failure.kind, is_repeatable=failure.is_repeatable, calls=calls
            ) from failure
        if self._cache is not None and cached is not None and result is cached.message:
            self._cache.count_hit()
        elif self._cache is not None and key is not None and result.tool_call_id in answered.ran_by_rule:
            self._cache.keep(key, result)
        return {**written, "calls": calls, "own_call": own}

    async def _find_cached_result(self, own: OwnCall, context: Context) -> tuple[str | None, CachedResult | None]:
        """Find the key under which the call's result is kept, None: it is not, and the one that is there."""
        if self._cache is None or context.trial is not None:
            return None, None
        [call] = own["request"].tool_calls
        key = await self._cache.build_key(call, context)
        return key, None if key is None else self._cache.find(key, call)

    def _explain(self, result: ToolMessage, own: OwnCall, calls: int, context: Context) -> NodeFailure:
        """Explain why there is no result."""
        verdict = next(iter(own["verdicts"].values()), None)
        kind = "tool" if verdict is None or verdict["decision"] == "allow" else verdict.get("denial", "denied")
        text = result.text
        if kind == "tool" and not text.startswith(self._spec.tool):
            text = f"{self._spec.tool} failed: {text}"
        return self._build_failure(text, kind, calls, context)

    def _build_failure(self, text: str, kind: FailureKind, calls: int, context: Context) -> NodeFailure:
        served = self._services.find_tools(context).find(self._model_name)
        is_repeatable = kind in ("tool", "timeout") and (served is None or served.idempotent) and not context.is_dry_run
        return NodeFailure(truncate(text, _LONGEST_MESSAGE), kind=kind, is_repeatable=is_repeatable, calls=calls)

    async def _read_result(
        self, message: ToolMessage, attempt: int, state: State, context: Context
    ) -> Mapping[str, Any]:
        """Read what goes into the variable. Raises NodeFailure."""
        if not self._has_use:
            return {}
        into = self._spec.into
        try:
            result = ANY.fit(read_result(message, self._type))
        except TypeMismatch as error:
            raise self._values.build_failure("tool", f"the result of {self._spec.tool} {error}") from error
        own = {"result": result}
        if self._until is not None:
            reached = await self._values.evaluate("retry", "until", state=state, context=context, own=own)
            if reached is not True:
                times = "once" if attempt == 1 else f"{attempt} times"
                why = f"{self._spec.tool} was called {times}, and {self._until} was never true"
                raise NodeFailure(why, kind="timeout", is_repeatable=True)
        if into is None:
            return {}
        if self._spec.pick is not None:
            result = await self._values.evaluate("pick", state=state, context=context, own=own)
        try:
            return {into: self._values.fit(into, result)}
        except TypeMismatch as error:
            raise self._values.build_unfit("pick" if self._spec.pick else "into", into, error) from error


def read_result(message: ToolMessage, wanted: VarType) -> Any:
    """Read the result of a tool as data: its text where a text is wanted, else its structured content, else its text as
    JSON where that is what it holds.

    A bare value that a server had to wrap into an object, as `{"result": VALUE}`, is the value.
    """
    text = str(message.text)  # LangChain's is a class of its own, which orjson does not take
    if wanted.kind in ("string", "enum"):
        return text
    artifact = cast("Mapping[str, Any]", message.artifact or {})
    fields = cast("dict[str, Any] | None", artifact.get("structured_content"))
    if fields is not None:
        return fields["result"] if fields.keys() == {"result"} else fields
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    # Where anything may stand, a text that could be read as a number stays a text.
    is_data = wanted.kind != "any" or type(value) in (dict, list)
    return value if is_data else text


def _find_own_call(state: State, name: str) -> OwnCall:
    own = state.get("own_call")
    if own is None:  # Studio lets people write the state in the name of a node
        raise NodeFailure(f"there is no call for node {name!r} to make", kind="invalid")
    return own


def _view_call(state: State, own: OwnCall, name: str) -> State:
    """Return the state as the permission check and the tools see it: with this one call."""
    return {**state, "messages": [own["request"]], "verdicts": own["verdicts"], "asker": name}


def _detach_client(context: Context, runtime: Runtime[Context], state: State) -> Runtime[Context]:
    """Return the runtime without what a client has to do with calls: its tools may have the name of ours, and the
    conversation knows nothing of this one."""
    claims = OwnClaims(context.claims, state.get("messages", [])) if context.claims is not None else None
    return runtime.override(context=replace(context, client_names=frozenset(), addendum=None, claims=claims))


class CallTask:
    """Makes a call from its building to its result in one go, as a task of several: what a pause or a death repeats
    comes to the same call."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._build = CallNode(site, services)
        self._decide = CallPermissionNode(site, services)
        self._make = CallRunNode(site, services)

    async def run(self, state: State, runtime: Runtime[Context], config: RunnableConfig) -> Mapping[str, Any]:
        """Make the call. Raises NodeFailure."""
        state = cast(State, {**state, **await self._build.run(state, runtime)})
        info = runtime.execution_info
        decided: Mapping[str, Any] = {}
        if info is None or info.node_attempt == 1:  # a further attempt decides its own call
            decided = await self._decide.run(state, runtime)
        made = await self._make.run(cast(State, {**state, **decided}), runtime, config)
        return {**decided, **made}


class OwnClaims:
    """Claims calls that stand in no message of their turn."""

    def __init__(self, claims: Claims, messages: Sequence[AnyMessage]) -> None:
        self._claims = claims
        self._messages = messages
        """The turn's own so far."""

    async def claim(self, calls: Sequence[Claim], messages: Sequence[AnyMessage]) -> Mapping[str, ClaimResult]:
        """Decide for each call, by call id, whether to run it."""
        return await self._claims.claim(calls, self._messages)

    def hold_calls(self) -> AbstractContextManager[None]:
        """Let calls be claimed and run to their end while the block lasts, although the client may leave."""
        return self._claims.hold_calls()

    async def pass_gate(self) -> None:
        """Go on where the client is still there; else the turn ends here."""
        await self._claims.pass_gate()


def _renew_call(own: OwnCall, attempt: int) -> OwnCall:
    """Build the same call once more, for a further attempt."""
    [call] = own["request"].tool_calls
    again = ToolCall(name=call["name"], args=call["args"], id=_build_call_id(call["id"], attempt), type="tool_call")
    return {**own, "request": AIMessage("", tool_calls=[again]), "verdicts": {}}


def _build_call_id(*parts: object) -> str:
    """Build the id of a call that is the same whenever its turn comes to it; nobody who does not know the turn can
    guess it."""
    return f"{OWN_CALL}{hashlib.sha256('/'.join(map(str, parts)).encode()).hexdigest()[:32]}"
