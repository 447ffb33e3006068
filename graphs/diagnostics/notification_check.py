"""Trials of the destinations of notifications: whether each can be reached, and whether a test message arrives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import httpx

from graphs.config.http_transport import OutboundTransport
from graphs.config.loader import Snapshot
from graphs.config.spec.notifications import DestinationSpec, NotificationsSpec
from graphs.errors import Position
from graphs.notifications.channels import probe, send
from graphs.notifications.channels.failures import SendFailed
from graphs.notifications.channels.http import build_transport
from graphs.notifications.message import build_test_message


@dataclass(frozen=True, kw_only=True)
class DestinationTrial:
    """What came of a trial of one destination."""

    name: str
    position: Position
    sound: bool
    message: str


async def probe_destinations(snapshot: Snapshot) -> Sequence[DestinationTrial]:
    """Connect to every destination, log in where that is needed, and send nothing."""

    async def try_one(_: str, destination: DestinationSpec, transport: OutboundTransport) -> str:
        return await probe(destination, transport)

    return await _try_all(snapshot, snapshot.gateway.notifications, try_one)


async def send_test_messages(snapshot: Snapshot, spec: NotificationsSpec) -> Sequence[DestinationTrial]:
    """Send one test message to each destination of `spec`, once."""

    async def try_one(name: str, destination: DestinationSpec, transport: OutboundTransport) -> str:
        await send(destination, build_test_message(spec, name, time.time()), transport)
        return "a test message was sent"

    return await _try_all(snapshot, spec, try_one)


async def _try_all(
    snapshot: Snapshot,
    spec: NotificationsSpec | None,
    try_one: Callable[[str, DestinationSpec, OutboundTransport], Awaitable[str]],
) -> Sequence[DestinationTrial]:
    if spec is None:
        return ()

    async def build_trial(name: str, destination: DestinationSpec, transport: OutboundTransport) -> DestinationTrial:
        try:
            sound, message = True, await try_one(name, destination, transport)
        except SendFailed as error:
            sound, message = False, str(error)
        except Exception as error:  # noqa: BLE001  the results of the others stand; its own words may hold an address
            sound, message = False, f"cannot be tried: {type(error).__name__}, a fault of Interlock's own"
        position = snapshot.destination_positions[name]
        return DestinationTrial(name=name, position=position, sound=sound, message=message)

    async with build_transport(await asyncio.to_thread(httpx.create_ssl_context)) as transport:
        return await asyncio.gather(*(build_trial(name, one, transport) for name, one in spec.destinations.items()))
