"""What graphs remember beyond a turn: values by key, for one owner in one graph, and the search among them.

Not LangGraph's `AsyncSqliteStore` and `AsyncPostgresStore`, which were tried: SQLite's gives entries whose time is over
until they are swept, a search without embeddings takes no notice of what is searched for, a namespace holds no period
(an owner may be an e-mail address), and nothing can bound how much there is in one transaction with the write. Each
would also bring connections of its own to a database that has them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    and_,
    bindparam,
    delete,
    func,
    not_,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from graphs.config.spec.graph import MemoryScope
from graphs.errors import InterlockError
from graphs.store.backends import locks
from graphs.store.backends.base import Database
from graphs.store.memory_search import find_best, list_words
from graphs.store.memory_vectors import FLOAT_BYTES, Vector, find_nearest, pack_vector, take_turns
from graphs.store.tables import AnyRow, AnySelect, memories
from graphs.text import dump_json

MOST_ENTRIES = 1_000
"""Entries of one owner in one graph."""
MOST_BYTES = 16_384
"""Bytes of one value, as JSON in UTF-8."""
LONGEST_KEY = 200
"""Characters."""
MOST_FOUND = 10
"""Entries that a search gives."""
PRUNE_BATCH = 5_000
"""Entries that are deleted in one transaction."""


class MemoryLimit(InterlockError):
    """More than may be remembered: too many entries, a value that is too large, a key that is too long."""


@dataclass(frozen=True, kw_only=True)
class MemoryPlace:
    """Whose entries these are: nothing is read or written across places."""

    graph: str
    scope: MemoryScope
    owner: str
    """The person or key, with the scope `chat` their chat too; empty with the scope `graph`."""


@dataclass(frozen=True, kw_only=True)
class MemoryEntry:
    """One value that is remembered."""

    key: str
    value: Any
    written: float
    """Seconds since the epoch."""


@dataclass(frozen=True, kw_only=True)
class MemoryVectors:
    """Vectors of entries, by their keys, and the model that made them."""

    model: str
    vectors: Mapping[str, Vector]


_KEY = (memories.c.owner, memories.c.graph, memories.c.scope, memories.c.key)
_PLACE: ColumnElement[bool] = and_(
    memories.c.owner == bindparam("which_owner"),
    memories.c.graph == bindparam("which_graph"),
    memories.c.scope == bindparam("which_scope"),
)
_IN_TIME = memories.c.written > bindparam("since")
_ENTRY = (memories.c.key, memories.c.value, memories.c.written)
_GET: AnySelect = select(*_ENTRY).where(_PLACE, memories.c.key == bindparam("which_key"), _IN_TIME)
_LIST: AnySelect = select(*_ENTRY).where(_PLACE, _IN_TIME).order_by(memories.c.key)
_GET_SOME: AnySelect = select(*_ENTRY).where(_PLACE, memories.c.key.in_(bindparam("which_keys", expanding=True)))
_LIST_WORDS: AnySelect = select(memories.c.key, memories.c.words, memories.c.written).where(_PLACE, _IN_TIME)
_HAS_NO_VECTOR = or_(
    memories.c.embedding.is_(None),
    memories.c.embedding_model != bindparam("which_model"),
    memories.c.embedded != memories.c.written,
    func.length(memories.c.embedding) != bindparam("which_size"),
)
_LIST_VECTORS: AnySelect = select(memories.c.key, memories.c.embedding, memories.c.written).where(
    _PLACE, _IN_TIME, not_(_HAS_NO_VECTOR)
)
_LIST_OTHER_WORDS = _LIST_WORDS.where(_HAS_NO_VECTOR)
_LIST_WITHOUT_VECTOR: AnySelect = (
    select(*_ENTRY)
    .where(_PLACE, _IN_TIME, _HAS_NO_VECTOR)
    .order_by(memories.c.written.desc(), memories.c.key)
    .limit(bindparam("most"))
)
# Not of a value that was written meanwhile.
_ADD_VECTOR = update(memories).where(
    _PLACE, memories.c.key == bindparam("which_key"), memories.c.written == bindparam("which_written")
)
_COUNT: AnySelect = select(func.count()).where(_PLACE)
_ADD = insert(memories)
_PUT = _ADD.on_conflict_do_update(
    index_elements=["owner", "graph", "scope", "key"],
    set_={
        name: _ADD.excluded[name]
        for name in ("value", "words", "written", "expires", "embedding", "embedding_model", "embedded")
    },
)
_FORGET = delete(memories).where(_PLACE, memories.c.key.in_(bindparam("which_keys", expanding=True)))
_FORGET_ALL = delete(memories).where(_PLACE)
_FORGET_EXPIRED = delete(memories).where(_PLACE, memories.c.expires < bindparam("now"))


class Memories:
    """The memories in one store. What was written before the last `ttl` seconds is not found."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recall(self, place: MemoryPlace, key: str, ttl: float) -> MemoryEntry | None:
        """Find the entry of this key; None: there is none."""
        values = {**_bind(place), "which_key": key, "since": time.time() - ttl}
        row = await self._database.read(lambda connection: connection.execute(_GET, values).first(), brief=True)
        return None if row is None else _from_row(row)

    async def search(self, place: MemoryPlace, text: str, ttl: float) -> tuple[MemoryEntry, ...]:
        """Find the entries that have a word of this text, best first, at most `MOST_FOUND`."""
        wanted = list_words(text)
        values = {**_bind(place), "since": time.time() - ttl}

        def work(connection: Connection) -> tuple[MemoryEntry, ...]:
            keys = find_best(wanted, connection.execute(_LIST_WORDS, values).all(), MOST_FOUND)
            return _get_some(connection, place, keys)

        return await self._database.read(work) if wanted else ()

    async def search_nearest(
        self, place: MemoryPlace, text: str, ttl: float, model: str, vector: Vector
    ) -> tuple[MemoryEntry, ...]:
        """Find the entries whose vectors are nearest to the one that this model made of this text, best first, at most
        `MOST_FOUND`. Those without a vector of it are found by the text's words, and take turns with the others."""
        wanted = list_words(text)
        values = {**_bind(place), **_bind_vectors(model, len(vector)), "since": time.time() - ttl}

        def work(connection: Connection) -> tuple[MemoryEntry, ...]:
            near = find_nearest(vector, connection.execute(_LIST_VECTORS, values).all(), MOST_FOUND)
            others = find_best(wanted, connection.execute(_LIST_OTHER_WORDS, values).all(), MOST_FOUND)
            return _get_some(connection, place, take_turns(near, others, MOST_FOUND))

        return await self._database.read(work)

    async def list_without_vector(
        self, place: MemoryPlace, ttl: float, model: str, dimensions: int, most: int
    ) -> tuple[MemoryEntry, ...]:
        """List entries that have no vector of so many dimensions by this model, the newest first."""
        values = {**_bind(place), **_bind_vectors(model, dimensions), "since": time.time() - ttl, "most": most}
        rows = await self._database.read(lambda connection: connection.execute(_LIST_WITHOUT_VECTOR, values).all())
        return tuple(map(_from_row, rows))

    async def add_vectors(self, place: MemoryPlace, model: str, vectors: Sequence[tuple[MemoryEntry, Vector]]) -> None:
        """Keep vectors of entries as they were read: of one that was written or forgotten meanwhile, nothing."""
        rows = [
            {
                **_bind(place),
                "which_key": entry.key,
                "which_written": entry.written,
                "embedding": pack_vector(vector),
                "embedding_model": model,
                "embedded": entry.written,
            }
            for entry, vector in sorted(vectors, key=lambda pair: pair[0].key)
        ]

        def work(connection: Connection) -> None:
            locks.hold(connection, _name_lock(place))
            connection.execute(_ADD_VECTOR, rows)

        if rows:
            await self._database.write(work)

    async def list(self, place: MemoryPlace, ttl: float) -> tuple[MemoryEntry, ...]:
        """List all entries, by key."""
        values = {**_bind(place), "since": time.time() - ttl}
        rows = await self._database.read(lambda connection: connection.execute(_LIST, values).all())
        return tuple(map(_from_row, rows))

    async def remember(
        self, place: MemoryPlace, entries: Mapping[str, Any], ttl: float, vectors: MemoryVectors | None = None
    ) -> None:
        """Keep these values, JSON all of them, in place of what their keys had, with the vectors that there are. Doing
        it again changes nothing but the time. All of them are kept or none. Raises MemoryLimit."""
        now = time.time()
        rows = [
            {
                **_own(place),
                **_build_row(key, value),
                **_build_vector(key, vectors, now),
                "written": now,
                "expires": now + ttl,
            }
            for key, value in sorted(entries.items())
        ]

        def work(connection: Connection) -> None:
            # Two that add an entry at the same time would both find room for the last one.
            locks.hold(connection, _name_lock(place))
            connection.execute(_FORGET_EXPIRED, {**_bind(place), "now": now})
            connection.execute(_PUT, rows)
            if cast("int", connection.scalar(_COUNT, _bind(place))) > MOST_ENTRIES:
                raise MemoryLimit(
                    f"{MOST_ENTRIES:,} entries are remembered here, and there is no room for more; forget some first"
                )

        await self._database.write(work)

    async def forget(self, place: MemoryPlace, keys: Sequence[str]) -> None:
        """Delete the entries of these keys, those that there are."""
        values = {**_bind(place), "which_keys": [*keys]}
        await self._database.write(lambda connection: connection.execute(_FORGET, values))

    async def forget_all(self, place: MemoryPlace) -> None:
        """Delete every entry of a place."""
        await self._database.write(lambda connection: connection.execute(_FORGET_ALL, _bind(place)))

    async def prune(self, now: float, ttls: Mapping[str, float]) -> int:
        """Delete what is over: by the time that it was written with, and by what the files say now, by graph. Returns
        how many entries there were."""
        over = [memories.c.expires < now]
        over += [and_(memories.c.graph == graph, memories.c.written < now - ttl) for graph, ttl in ttls.items()]
        total = 0
        for which in over:
            some = select(*_KEY).where(which).limit(PRUNE_BATCH)
            statement = delete(memories).where(tuple_(*_KEY).in_(some))
            count = PRUNE_BATCH
            while count == PRUNE_BATCH:
                count = await self._delete(statement)
                total += count
        return total

    async def _delete(self, statement: Delete) -> int:
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


def _get_some(connection: Connection, place: MemoryPlace, keys: Sequence[str]) -> tuple[MemoryEntry, ...]:
    rows = connection.execute(_GET_SOME, {**_bind(place), "which_keys": keys}).all() if keys else ()
    found = {row[0]: _from_row(row) for row in rows}
    return tuple(found[key] for key in keys if key in found)


def _name_lock(place: MemoryPlace) -> str:
    return f"memories {place.owner} {place.graph} {place.scope}"


def _bind_vectors(model: str, dimensions: int) -> dict[str, Any]:
    return {"which_model": model, "which_size": dimensions * FLOAT_BYTES}


def _build_vector(key: str, vectors: MemoryVectors | None, written: float) -> dict[str, Any]:
    vector = vectors.vectors.get(key) if vectors is not None else None
    if vectors is None or vector is None:
        return {"embedding": None, "embedding_model": None, "embedded": None}
    return {"embedding": pack_vector(vector), "embedding_model": vectors.model, "embedded": written}


def _bind(place: MemoryPlace) -> dict[str, Any]:
    return {"which_owner": place.owner, "which_graph": place.graph, "which_scope": place.scope}


def _own(place: MemoryPlace) -> dict[str, Any]:
    return {"owner": place.owner, "graph": place.graph, "scope": place.scope}


def _build_row(key: str, value: Any) -> dict[str, Any]:
    if not key or len(key) > LONGEST_KEY:
        raise MemoryLimit(f"a key has 1 to {LONGEST_KEY} characters, and this one has {len(key):,}")
    if (size := len(dump_json(value).encode())) > MOST_BYTES:
        raise MemoryLimit(
            f"the value of {key!r} has {size:,} bytes, and at most {MOST_BYTES:,} are remembered; make it shorter first"
        )
    return {"key": key, "value": value, "words": " ".join(list_words(key, value))}


def _from_row(row: AnyRow) -> MemoryEntry:
    key, value, written = row
    return MemoryEntry(key=key, value=value, written=written)
