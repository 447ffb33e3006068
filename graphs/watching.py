"""Notices that a person saved a file of the config folder."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from watchfiles import Change, awatch  # pyright: ignore[reportUnknownVariableType]

log = logging.getLogger(__name__)

QUIET = 100
"""Milliseconds without a further change that end a save: editors write, rename and touch."""
LOOK = 10_000
"""Milliseconds between two looks at a folder of which nothing is heard: some file systems (NFS) tell nobody."""
AGAIN = 2.0
"""Seconds until a folder that could not be watched (it was moved away) is tried again."""

Signature = Mapping[str, tuple[int, int, int]]
"""Inode, size and time (nanoseconds) of each config file, by path."""


def matters(_: Change, path: str) -> bool:
    """Whether a change may be one of a config file. Kubernetes swaps a whole folder by a link called `..data`."""
    name = Path(path).name
    return name.endswith((".yaml", ".yml")) or name == "..data" or "." not in name


async def saves(folder: Path, seen: Signature) -> AsyncIterator[None]:
    """Something for each save since the files were as `seen`. Never ends."""
    while True:
        now = await asyncio.to_thread(signature, folder)
        if now != seen:
            seen = now
            yield
        try:
            async for changes in awatch(
                folder, watch_filter=matters, debounce=4 * QUIET, step=QUIET, rust_timeout=LOOK, yield_on_timeout=True
            ):
                now = await asyncio.to_thread(signature, folder)
                if changes or now != seen:
                    seen = now
                    yield
        except FileNotFoundError:
            log.warning("%s is gone, so its changes are not seen; waiting for it to come back", folder)
        await asyncio.sleep(AGAIN)


def signature(folder: Path) -> Signature:
    """What tells that a file was saved."""
    found: dict[str, tuple[int, int, int]] = {}
    for path in (*folder.glob("*.y*ml"), *folder.glob("graphs/*.y*ml")):
        try:
            status = path.stat()
        except OSError:
            continue
        found[str(path)] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found
