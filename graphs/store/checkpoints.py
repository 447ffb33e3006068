"""LangGraph's checkpoints, written no earlier than anybody could need them.

A checkpoint serves whoever goes on with a turn, and a turn can be found only once it has a row: from its first tool
call on, or from its wait for a person. So the newest checkpoint of a turn that runs stays in memory, and is written
in the very transaction that makes the row, claims the next tool calls or begins the wait; a turn without tool calls
writes none. Measured, a checkpoint in SQLite at every step costs more than the whole rest of a graph's step.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.sqlite import SqliteSaver
from sqlalchemy import Connection, text

from graphs.store.backends.base import Database

_GREGORIAN_OFFSET = 0x01B21DD213814000
"""1970 in the count of a UUID: steps of 100 ns since 1582-10-15."""

TransactionWork = Callable[[Connection], None]
"""Something to do in a transaction under way. Done twice it must be the same as once."""


@dataclass(slots=True)
class _PendingCheckpoint:
    """The newest checkpoint of one thread, and the writes of the tasks that began from it."""

    put: tuple[RunnableConfig, Checkpoint, CheckpointMetadata] | None = None
    versions: ChannelVersions = field(default_factory=dict[str, str | int | float])
    """Channels that changed since what the database has."""
    writes: dict[str, list[tuple[RunnableConfig, Sequence[tuple[str, Any]], str, str]]] = field(
        default_factory=dict[str, list[tuple[RunnableConfig, Sequence[tuple[str, Any]], str, str]]]
    )
    """By the checkpoint's id."""


@dataclass(slots=True)
class _HeldThread:
    """One thread that this process runs."""

    stored: bool
    """The database may have something of it."""
    pending: dict[str, _PendingCheckpoint] = field(default_factory=dict[str, _PendingCheckpoint])
    """By namespace; what the database does not have."""


class Checkpoints(BaseCheckpointSaver[str]):
    """Keeps checkpoints; asynchronous methods only. Threads that nobody holds are written and read at once."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._threads: dict[str, _HeldThread] = {}

    def hold(self, thread: str, *, is_new: bool) -> None:
        """Keep this thread's checkpoints in memory until `prepare_save` writes them. `is_new`: the thread is a new
        one."""
        self._threads.setdefault(thread, _HeldThread(stored=not is_new))

    def prepare_save(self, thread: str) -> TransactionWork:
        """Build the work that writes what the database does not have of this thread."""
        held = self._threads.get(thread)
        if held is None or not held.pending:
            return _do_nothing
        newest, serde = held.pending, self.serde
        held.pending, held.stored = {}, True

        def work(connection: Connection) -> None:
            saver = self._database.make_checkpointer(connection, serde)
            for item in newest.values():
                _write(saver, item)

        return work

    async def save(self, thread: str) -> None:
        """Write what the database does not have of this thread, in a transaction of its own."""
        if (work := self.prepare_save(thread)) is not _do_nothing:
            await self._database.write(work)

    def release(self, thread: str) -> None:
        """Forget what is in memory of this thread: its turn no longer runs here."""
        self._threads.pop(thread, None)

    def prepare_delete(self, thread: str) -> TransactionWork:
        """Release the thread, and build the work that deletes what the database has of it."""
        held = self._threads.pop(thread, None)
        if held is not None and not held.stored:
            return _do_nothing
        return lambda connection: self._database.make_checkpointer(connection, self.serde).delete_thread(thread)

    async def find_threads_before(self, moment: float) -> list[str]:
        """Find threads whose newest checkpoint is older than `moment` (seconds since the epoch)."""

        def work(connection: Connection) -> list[str]:
            rows = connection.execute(text("SELECT thread_id, max(checkpoint_id) FROM checkpoints GROUP BY thread_id"))
            return [thread for thread, newest in rows if parse_creation_time(newest) < moment]

        return await self._database.read(work)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        thread = _read_thread(config)
        held = self._threads.get(thread)
        if held is not None and not held.pending and not held.stored:
            return None
        await self.save(thread)
        return await self._database.read(lambda connection: self._make_saver(connection).get_tuple(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        found = await self._database.read(
            lambda connection: list(
                self._make_saver(connection).list(config, filter=filter, before=before, limit=limit)
            )
        )
        for item in found:
            yield item

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        held = self._threads.get(_read_thread(config))
        if held is None:
            return await self._database.write(
                lambda connection: self._make_saver(connection).put(config, checkpoint, metadata, new_versions)
            )
        namespace = _read_namespace(config)
        newest = held.pending.setdefault(namespace, _PendingCheckpoint())
        newest.put = (config, checkpoint, metadata)
        newest.versions = {**newest.versions, **new_versions}
        newest.writes = {id: kept for id, kept in newest.writes.items() if id == checkpoint["id"]}
        return {
            "configurable": {
                "thread_id": _read_thread(config),
                "checkpoint_ns": namespace,
                "checkpoint_id": checkpoint["id"],
            }
        }

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        held = self._threads.get(_read_thread(config))
        if held is None:
            await self._database.write(
                lambda connection: self._make_saver(connection).put_writes(config, writes, task_id, task_path)
            )
            return
        newest = held.pending.setdefault(_read_namespace(config), _PendingCheckpoint())
        id = str(config.get("configurable", {}).get("checkpoint_id", ""))
        newest.writes.setdefault(id, []).append((config, writes, task_id, task_path))

    # LangGraph asks for it at the start of every run, and finding it out takes longer than all else there.
    aput_writes.__signature__ = signature(aput_writes)  # pyright: ignore[reportFunctionMemberAccess]

    async def adelete_thread(self, thread_id: str) -> None:
        await self._database.write(self.prepare_delete(thread_id))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return await self._database.read(
            lambda connection: self._make_saver(connection).get_delta_channel_history(config=config, channels=channels)
        )

    def get_next_version(self, current: str | None, channel: None) -> str:
        # Both of LangGraph's savers count versions in this way.
        return SqliteSaver.get_next_version(cast(SqliteSaver, self), current, channel)

    def _make_saver(self, connection: Connection) -> BaseCheckpointSaver[str]:
        return self._database.make_checkpointer(connection, self.serde)


def parse_creation_time(checkpoint_id: str) -> float:
    """Read when a checkpoint was made, in seconds since the epoch: its id is a UUID of version 6 (RFC 9562, section
    5.6)."""
    digits = checkpoint_id.replace("-", "")
    return (int(digits[:12] + digits[13:16], 16) - _GREGORIAN_OFFSET) / 1e7


def _write(saver: BaseCheckpointSaver[str], newest: _PendingCheckpoint) -> None:
    # A checkpoint whose parent was never written is the first of its thread, as far as the database knows.
    if newest.put is not None:
        config, checkpoint, metadata = newest.put
        saver.put(config, checkpoint, metadata, newest.versions)
    for kept in newest.writes.values():
        for config, writes, task_id, task_path in kept:
            saver.put_writes(config, writes, task_id, task_path)


def _do_nothing(connection: Connection) -> None:
    pass


def _read_thread(config: RunnableConfig) -> str:
    return str(config.get("configurable", {})["thread_id"])


def _read_namespace(config: RunnableConfig) -> str:
    return str(config.get("configurable", {}).get("checkpoint_ns", ""))
