"""The embeddings of a memory node: made by the model that `memory.embed` names, and of no use where that fails.

Nothing is lost then: an entry is kept without its vector and gets one at a later search, and a search goes by words.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from graphs.errors import ModelError
from graphs.llm.embeddings import MOST_TEXTS, Embeddings
from graphs.nodes.base import NodeSite, Services
from graphs.nodes.state import Context, State
from graphs.store.memories import MemoryEntry, MemoryPlace, MemoryVectors
from graphs.store.memory_vectors import MOST_CHARACTERS, Vector, write_embedded_text
from graphs.telemetry.instrument import record_model_call
from graphs.telemetry.token_count import begin_call_count

log = logging.getLogger(__name__)

REFUSALS = frozenset({400, 413, 422})
"""Statuses of an endpoint that does not take these texts; another request of the same texts changes nothing."""
MOST_REQUESTS = 8
"""Requests of one search for entries that have no vector."""
MOST_REFUSED = 256
"""Texts that are remembered as refused."""


class _Refused(Exception):
    """The endpoint does not take these texts."""


class MemoryEmbedding:
    """The embeddings of the entries of one graph, and of what is searched for among them."""

    def __init__(self, site: NodeSite, services: Services, model: str) -> None:
        self._site = site
        self._services = services
        self._model = model
        self._refused: set[str] = set()
        """Texts of entries that the endpoint does not take."""

    async def embed_values(self, values: Mapping[str, Any], state: State, context: Context) -> MemoryVectors | None:
        """Embed values that are about to be remembered, by their keys: as many as one request takes. None: they cannot
        be embedded now."""
        keys = [*values][:MOST_TEXTS]
        texts = [write_embedded_text(key, values[key]) for key in keys]
        try:
            vectors = await self._embed(texts, state, context, instead="the entries are kept without vectors")
        except _Refused:
            return None
        return (
            None if vectors is None else MemoryVectors(model=self._model, vectors=dict(zip(keys, vectors, strict=True)))
        )

    async def search(
        self, place: MemoryPlace, text: str, ttl: float, state: State, context: Context
    ) -> tuple[MemoryEntry, ...]:
        """Find the entries that are nearest to a text in meaning, best first. Entries without a vector get one, as many
        as one request takes; what is left of them is searched by words, and where nothing can be embedded all is."""
        memories = self._services.store.memories
        vectors = None
        if text.strip():
            if context.claims is not None:
                await context.claims.pass_gate()
            with suppress(_Refused):
                vectors = await self._embed(
                    [text[:MOST_CHARACTERS]], state, context, instead="the memory is searched by words"
                )
        if vectors is None:
            return await memories.search(place, text, ttl)
        [wanted] = vectors
        await self._add_missing_vectors(place, ttl, len(wanted), state, context)
        return await memories.search_nearest(place, text, ttl, self._model, wanted)

    async def _add_missing_vectors(
        self, place: MemoryPlace, ttl: float, dimensions: int, state: State, context: Context
    ) -> None:
        memories = self._services.store.memories
        most = MOST_TEXTS + len(self._refused)
        listed = await memories.list_without_vector(place, ttl, self._model, dimensions, most)
        texts = {write_embedded_text(entry.key, entry.value): entry for entry in listed}
        wanted = [text for text in texts if text not in self._refused][:MOST_TEXTS]
        if not wanted:
            return
        vectors = await self._embed_in_parts(wanted, state, context)
        if vectors:
            made = [(texts[text], vector) for text, vector in vectors.items()]
            await memories.add_vectors(place, self._model, made)

    async def _embed_in_parts(self, texts: Sequence[str], state: State, context: Context) -> Mapping[str, Vector]:
        """Embed texts of which one may be what the endpoint refuses: too long for the model, or too many at once. What
        is refused is asked again in halves; a text that is refused alone is not asked again by this process."""
        made: dict[str, Vector] = {}
        waiting = [texts]
        for _ in range(MOST_REQUESTS):
            if not waiting:
                break
            part = waiting.pop(0)
            try:
                vectors = await self._embed(part, state, context, instead=f"{len(part)} entries are searched by words")
            except _Refused:
                middle = len(part) // 2
                if middle:
                    waiting += [part[:middle], part[middle:]]
                elif len(self._refused) < MOST_REFUSED:
                    self._refused.update(part)
                continue
            if vectors is None:
                break
            made |= dict(zip(part, vectors, strict=True))
        return made

    async def _embed(
        self, texts: Sequence[str], state: State, context: Context, *, instead: str
    ) -> Sequence[Vector] | None:
        """Embed texts, and count what it took. None where that fails or the turn has no tokens left: the log says so,
        and what is done instead. Raises _Refused where it is several texts, or one, that the endpoint does not take."""
        if self._has_reached_token_limit(state, context):
            graph, node = self._site.plan.id, self._site.name
            log.warning("graph %s, node %s: the tokens of the turn are used up; %s", graph, node, instead)
            return None
        try:
            return (await self._ask(texts, context)).vectors
        except ModelError as error:
            # Not the endpoint's words: they may quote what people wrote.
            log.warning(
                "graph %s, node %s, embedding model %s: %s (status %s); %s",
                self._site.plan.id,
                self._site.name,
                self._model,
                error.kind,
                error.status,
                instead,
            )
            if error.status in REFUSALS:
                raise _Refused from None
            return None

    def _has_reached_token_limit(self, state: State, context: Context) -> bool:
        most = (context.limits or self._site.plan.spec.limits).tokens
        if most is None:
            return False
        earlier = state.get("token_use")
        context.turn_tokens.begin(earlier["tokens"] if earlier is not None else 0)
        return context.turn_tokens.tokens >= most

    async def _ask(self, texts: Sequence[str], context: Context) -> Embeddings:
        services, graph = self._services, self._site.plan.id
        turn_tokens = context.turn_tokens if context.turn_tokens.has_begun else None
        request = {"model": self._model, "input": texts}
        count = begin_call_count(request, [context.token_count, turn_tokens])
        with record_model_call(services.metrics, graph, request, services.model.base_url, count) as span:
            embeddings = await services.model.embed(self._model, texts, key=context.key)
            span.usage = embeddings.usage
        return embeddings
