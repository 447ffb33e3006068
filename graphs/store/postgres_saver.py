"""LangGraph's own PostgreSQL saver, on the store's pool and threads.

LangGraph's `PostgresSaver` holds a lock around its one connection (or pool), and `AsyncPostgresSaver` leaves a
connection in the middle of a statement when its task is cancelled. So there is one for each operation here, around a
connection of our pool: that costs microseconds. All of its operations are upserts, so they may be repeated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.base import BasePostgresSaver
from sqlalchemy import Connection, inspect, text

from graphs.store.saver import Saver, made_at

T = TypeVar("T")


class WithDriver(Protocol):
    """Runs a function of a connection that commits each statement, on another thread."""

    def __call__(self, work: Callable[[psycopg.Connection[Any]], T], /) -> Awaitable[T]:
        """What `work` returns."""
        ...


class PostgresCheckpoints(BasePostgresSaver, Saver):
    """Keeps checkpoints; asynchronous methods only."""

    def __init__(self, with_driver: WithDriver) -> None:
        super().__init__()
        self._with_driver = with_driver

    def _run(self, work: Callable[[PostgresSaver], T]) -> Awaitable[T]:
        return self._with_driver(lambda connection: work(PostgresSaver(connection, serde=self.serde)))

    async def athreads_before(self, moment: float) -> list[str]:
        def work(connection: psycopg.Connection[Any]) -> list[str]:
            rows = connection.execute("SELECT thread_id, max(checkpoint_id) FROM checkpoints GROUP BY thread_id")
            return [thread for thread, newest in rows if made_at(newest) < moment]

        return await self._with_driver(work)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._run(lambda saver: saver.get_tuple(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        found = await self._run(lambda saver: list(saver.list(config, filter=filter, before=before, limit=limit)))
        for item in found:
            yield item

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._run(lambda saver: saver.put(config, checkpoint, metadata, new_versions))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self._run(lambda saver: saver.put_writes(config, writes, task_id, task_path))

    async def adelete_thread(self, thread_id: str) -> None:
        await self._run(lambda saver: saver.delete_thread(thread_id))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return await self._run(lambda saver: saver.get_delta_channel_history(config=config, channels=channels))


def is_set_up(connection: Connection) -> bool:
    """Whether LangGraph's tables are there, in the shape that this version of it knows, or a newer one."""
    if not inspect(connection).has_table("checkpoint_migrations"):
        return False
    version = connection.scalar(text("SELECT max(v) FROM checkpoint_migrations"))
    return version is not None and version >= len(BasePostgresSaver.MIGRATIONS) - 1


def set_up(connection: psycopg.Connection[Any]) -> None:
    """Makes or migrates LangGraph's tables, on a connection that commits each statement, by one process at a time."""
    PostgresSaver(connection).setup()
