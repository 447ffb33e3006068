"""Ctrl-C while an answer comes: it ends the answer, not the chat."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


async def run_until_interrupted(work: Coroutine[Any, Any, None]) -> bool:
    """Run something; false where the person stopped it. Raises what it raises."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    before = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        await asyncio.wait([task])
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
        task.cancel()
    if task.cancelled():
        return False
    task.result()
    return True
