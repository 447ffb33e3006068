"""The memory node: reads and writes what graphs remember beyond a turn."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from langgraph.runtime import Runtime

from graphs.config.graph_plan import GraphPlan
from graphs.config.spec.graph import MemorySpec
from graphs.config.spec.memory import KEY, MemoryNodeSpec
from graphs.errors import NodeFailure
from graphs.events import NodeNote
from graphs.expressions import ANY, TypeMismatch
from graphs.nodes.base import NodeSite, Services, find_emitter
from graphs.nodes.memory_embedding import MemoryEmbedding
from graphs.nodes.state import Context, State, build_token_use
from graphs.nodes.values import MISSING, NodeValues, read_variable
from graphs.store.memories import MemoryEntry, MemoryLimit, MemoryPlace
from graphs.store.store import Store


class MemoryNode:
    """Recalls a value into a variable, remembers values, or forgets them."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        self._site = site
        self._services = services
        self._spec = cast(MemoryNodeSpec, site.spec)
        self._memory = site.plan.spec.memory or MemorySpec()
        self._values = NodeValues(site, services)
        embed = self._memory.embed
        self._embedding = None if embed is None else MemoryEmbedding(site, services, embed)

    async def run(self, state: State, runtime: Runtime[Context]) -> Mapping[str, Any]:
        """Do the one thing that the node is for. Raises NodeFailure.

        A node that runs again, since its process was killed, writes what it wrote, and forgets what is gone.
        """
        context = self._services.find_context(runtime)
        place = await find_place(self._site.plan, context, self._services.store)
        match self._spec.recall:
            case str() as text:
                return await self._search(text, place, state, context)
            case None:
                pass
            case by_key:
                return await self._recall(by_key.key, place, state, context)
        if context.claims is not None:
            await context.claims.pass_gate()
        if context.trial is not None:  # no rule says whether both may
            find_emitter(context, runtime.stream_writer)(NodeNote(self._site.name, "nothing is remembered in a trial"))
            return {}
        if self._spec.remember is not None:
            await self._remember(self._spec.remember, place, state, context)
        for at, key in enumerate(self._spec.forget or ()):
            rendered = await self._values.render_text(("forget", at), key, state, context)
            await self._services.store.memories.forget(place, [rendered])
        return self._count_tokens(state, context)

    async def _recall(self, key: str, place: MemoryPlace, state: State, context: Context) -> Mapping[str, Any]:
        rendered = await self._values.render_text(("recall", "key"), key, state, context)
        entry = await self._services.store.memories.recall(place, rendered, self._memory.ttl)
        if entry is not None:
            return self._build_output(entry.value)
        # Its default is written out: ways for each value look at what the state holds.
        before = read_variable(self._site.plan, state, self._output)
        return {} if before is MISSING else {self._output: before}

    async def _search(self, text: str, place: MemoryPlace, state: State, context: Context) -> Mapping[str, Any]:
        rendered = await self._values.render_text(("recall",), text, state, context)
        ttl = self._memory.ttl
        if self._embedding is None:
            found = await self._services.store.memories.search(place, rendered, ttl)
        else:
            found = await self._embedding.search(place, rendered, ttl, state, context)
        return {**self._build_output([describe_entry(entry) for entry in found]), **self._count_tokens(state, context)}

    async def _remember(self, written: Mapping[str, str], place: MemoryPlace, state: State, context: Context) -> None:
        entries: dict[str, Any] = {}
        for key in written:
            rendered = await self._values.render_text(("remember", key, KEY), key, state, context)
            value = await self._values.evaluate("remember", key, state=state, context=context)
            try:
                entries[rendered] = ANY.fit(value)
            except TypeMismatch as error:
                raise self._values.build_failure(f"remember.{key}", f"the value {error}") from error
        vectors = await self._embedding.embed_values(entries, state, context) if self._embedding else None
        try:
            await self._services.store.memories.remember(place, entries, self._memory.ttl, vectors)
        except MemoryLimit as error:
            failure = self._values.build_failure("remember", str(error))
            raise NodeFailure(str(failure), kind="limit") from error

    def _count_tokens(self, state: State, context: Context) -> Mapping[str, Any]:
        return {} if self._embedding is None else build_token_use(state, context)

    @property
    def _output(self) -> str:
        return cast(str, self._spec.into)

    def _build_output(self, value: Any) -> Mapping[str, Any]:
        try:
            return {self._output: self._values.fit(self._output, value)}
        except TypeMismatch as error:
            raise self._values.build_unfit("into", self._output, error) from error


async def find_place(plan: GraphPlan, context: Context, store: Store) -> MemoryPlace:
    """Find whose memory a run of this graph uses.

    A person whom nobody vouches for is the key that was shown: a name that anybody can write opens no memory. A chat
    belongs to whose conversation it is, since the client names it; where it does not, it is known by its first turn.
    """
    scope = (plan.spec.memory or MemorySpec()).scope
    match scope:
        case "graph":
            owner = ""
        case "user":
            owner = context.verified_user or f"key:{context.caller.key}"
        case "chat":
            chat = context.chat or await _find_first_turn(context, store)
            # Its digest, since a client could name a chat so that it ends another owner's name.
            owner = f"{context.owner}/{hashlib.sha256(chat.encode()).hexdigest()}"
    return MemoryPlace(graph=plan.id, scope=scope, owner=owner)


async def _find_first_turn(context: Context, store: Store) -> str:
    """Find the turn with which this conversation began."""
    before = context.parent
    first = await store.turn_lookup.find_first(context.owner, before) if before is not None else None
    return first or context.turn


def describe_entry(entry: MemoryEntry) -> dict[str, Any]:
    """Describe what a search found, as a variable holds it."""
    when = datetime.fromtimestamp(entry.written, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"key": entry.key, "value": entry.value, "when": when}
