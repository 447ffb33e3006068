"""LangGraph's own SQLite saver, on the store's writing thread.

Its asyncio sister (`AsyncSqliteSaver`) hops to a thread and back for every statement, and when it was cancelled between
an insert and its commit it was seen to hold the file's write lock for good. Here each operation is one hop, and what
began always ends, whoever waits for it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.sqlite import SqliteSaver

from graphs.store.saver import Saver, made_at

T = TypeVar("T")


class OnThread(Protocol):
    """Runs a function on the thread that writes."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """What `work` returns."""
        ...


class SqliteCheckpoints(SqliteSaver, Saver):
    """Only the asynchronous methods are for use: the others block."""

    def __init__(self, connection: sqlite3.Connection, on_thread: OnThread) -> None:
        super().__init__(connection)
        self._on_thread = on_thread

    async def athreads_before(self, moment: float) -> list[str]:
        """Threads whose newest checkpoint is older than `moment` (seconds since the epoch)."""

        def work() -> list[str]:
            with self.cursor(transaction=False) as cursor:
                cursor.execute("SELECT thread_id, max(checkpoint_id) FROM checkpoints GROUP BY thread_id")
                return [thread for thread, newest in cursor.fetchall() if made_at(newest) < moment]

        return await self._on_thread(work)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._on_thread(lambda: self.get_tuple(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        found = await self._on_thread(lambda: list(self.list(config, filter=filter, before=before, limit=limit)))
        for item in found:
            yield item

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._on_thread(lambda: self.put(config, checkpoint, metadata, new_versions))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self._on_thread(lambda: self.put_writes(config, writes, task_id, task_path))

    async def adelete_thread(self, thread_id: str) -> None:
        await self._on_thread(lambda: self.delete_thread(thread_id))
