"""The worker that sends notifications, beside the turns: none of them waits for it.

What is to be sent stands in the store. Each process looks there once a second and claims a few rows for each
destination, so that a slow one holds up no other; a row goes to one process. Where a process dies while it sends, the
row is due again after `LEASE` for any: then a receiver may get it twice, with the same id.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import httpx

from graphs.config.http_transport import OutboundTransport
from graphs.config.loader import Snapshot
from graphs.config.spec.notifications import NotificationsSpec
from graphs.errors import StorageError
from graphs.notifications.channels import send
from graphs.notifications.channels.failures import SendFailed
from graphs.notifications.channels.http import build_transport
from graphs.notifications.message import build_message
from graphs.store.notifications import Notice
from graphs.store.store import Store
from graphs.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between two looks into the store."""
PAUSE = 10.0
"""Seconds before the next look after one that failed."""
MOST_AT_ONCE = 4
"""Messages under way to one destination: the whole queue of this process."""
LEASE = 90.0
"""Seconds after which a claimed row is due again; one attempt takes at most half of it."""
WAITS = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0, 7_200.0)
"""Seconds before each further attempt, to be read with a tenth more or less; then it is given up."""
GRACE = 5.0
"""Seconds that what is being sent gets at the end of the process."""
SWEEP = 30.0
"""Seconds between two looks for approved calls whose process died."""
SWEEP_WINDOW = 7 * 86_400.0
"""Seconds since they were asked for in which such calls are looked for."""


class NotificationWorker:
    """Sends what is due until its task is cancelled."""

    def __init__(self, store: Store, metrics: Metrics, find_snapshot: Callable[[], Snapshot]) -> None:
        self._store = store
        self._metrics = metrics
        self._find_snapshot = find_snapshot
        self._lanes: dict[str, asyncio.Task[None]] = {}
        """By destination: what is being sent there."""
        self._next_sweep = 0.0
        self._noted: NotificationsSpec | None = None
        """Whose addressees are noted in the store, since when is in `_since`."""
        self._since: Mapping[tuple[str, str], float] = {}
        self._is_ending = False

    async def run(self) -> None:
        """Look for what is due for ever. The outermost layer of its own task."""
        transport: OutboundTransport | None = None
        try:
            while True:
                pause = POLL
                try:
                    spec = self._find_snapshot().gateway.notifications
                    if spec is not None:
                        transport = transport or build_transport(await asyncio.to_thread(httpx.create_ssl_context))
                        await self._look(spec, transport)
                except StorageError as error:
                    log.warning("notifications wait for the storage: %s", error)
                    pause = PAUSE
                except Exception:
                    log.exception("notifications are held up")
                    pause = PAUSE
                await asyncio.sleep(pause)
        finally:
            await self._finish()
            if transport is not None:
                await transport.aclose()

    async def _look(self, spec: NotificationsSpec, transport: OutboundTransport) -> None:
        if spec is not self._noted:
            self._since, self._noted = await self._store.notifications.note_addressees(spec), spec
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP
            await self._report_stranded_calls(spec)
        self._lanes = {name: lane for name, lane in self._lanes.items() if not lane.done()}
        idle = [name for name in spec.destinations if name not in self._lanes]
        for name in await self._store.notifications.find_due(idle) if idle else ():
            self._lanes[name] = asyncio.create_task(self._empty_lane(name, transport), name=f"notify {name}")

    async def _empty_lane(self, destination: str, transport: OutboundTransport) -> None:
        """Send what is due for a destination, until nothing is."""
        try:
            while not self._is_ending and (claimed := await self._claim(destination)):
                await asyncio.gather(*(self._deliver(notice, transport) for notice in claimed))
        except StorageError as error:
            log.warning("notifications to %s wait for the storage: %s", destination, error)
        except Exception:
            log.exception("notifications to %s are held up", destination)
            await asyncio.sleep(PAUSE)

    async def _claim(self, destination: str) -> tuple[Notice, ...]:
        return await self._store.notifications.claim(destination, most=MOST_AT_ONCE, lease=LEASE)

    async def _deliver(self, notice: Notice, transport: OutboundTransport) -> None:
        """Send one, and note what came of it. What the storage cannot note is sent again once its lease is over."""
        try:
            await self._attempt(notice, transport)
        except StorageError as error:
            log.warning("what came of notification %s could not be noted: %s", notice.id, error)
        except Exception:
            log.exception("what came of notification %s could not be noted", notice.id)

    async def _attempt(self, notice: Notice, transport: OutboundTransport) -> None:
        snapshot = self._find_snapshot()
        spec = snapshot.gateway.notifications
        destination = spec.destinations.get(notice.destination) if spec is not None else None
        if spec is None or destination is None:  # the file has just changed; it stays in the store
            return
        if notice.addressees is not None:
            destination = destination.narrow(notice.addressees.split())
        try:
            message = await build_message(notice, self._store, snapshot, spec)
            if message is None or destination is None:
                await self._settle(notice, "dropped")
                return
            await send(destination, message, transport)
        except SendFailed as error:
            if destination is not None and error.remaining:
                left = [digest for digest, address in destination.addressees.items() if address in error.remaining]
                notice = replace(notice, addressees=" ".join(left))
            await self._retry_later(notice, error)
        except StorageError:
            raise
        except Exception:
            log.exception("notification %s cannot be sent", notice.id)
            await self._retry_later(notice, SendFailed("a fault of Interlock's own, see above"))
        else:
            await self._settle(notice, "sent")
            log.info("notification %s: %s sent to %s", notice.id, notice.event, notice.destination)

    async def _retry_later(self, notice: Notice, error: SendFailed) -> None:
        """Let it be tried again after a wait, or give it up."""
        if error.is_final or notice.attempts > len(WAITS):
            await self._settle(notice, "failed")
            log.error(
                "notification %s: %s to %s is given up after %d attempts: %s",
                notice.id,
                notice.event,
                notice.destination,
                notice.attempts,
                error,
            )
            return
        wait = max(WAITS[notice.attempts - 1] * random.uniform(0.9, 1.1), error.retry_after)  # noqa: S311
        await self._store.notifications.postpone(notice.id, time.time() + wait, notice.addressees)
        self._metrics.count_notification(notice.destination, notice.event, "retried")
        log.warning(
            "notification %s: %s to %s failed, and is tried again in %.0f seconds: %s",
            notice.id,
            notice.event,
            notice.destination,
            wait,
            error,
        )

    async def _settle(self, notice: Notice, outcome: Literal["sent", "dropped", "failed"]) -> None:
        await self._store.notifications.settle(notice.id, outcome)
        self._metrics.count_notification(notice.destination, notice.event, outcome)

    async def _report_stranded_calls(self, spec: NotificationsSpec) -> None:
        """Report the approved calls of processes that died: nobody else does, until the same is asked again."""
        own, since = self._store.workers.id, time.time() - SWEEP_WINDOW
        for call in await self._store.notifications.find_stranded_calls(own, since):
            if not await self._store.workers.is_alive(call.worker):
                await self._store.notifications.report_stranded_call(spec, call, self._since)

    async def _finish(self) -> None:
        """Give what is being sent a moment, so that it is not sent again."""
        self._is_ending = True
        lanes = [lane for lane in self._lanes.values() if not lane.done()]
        if not lanes:
            return
        _, late = await asyncio.wait(lanes, timeout=GRACE)
        for lane in late:
            lane.cancel()
        if late:
            await asyncio.wait(late)
