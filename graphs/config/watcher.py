"""Watch a config folder for files that a person saves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

from watchfiles import Change, awatch  # pyright: ignore[reportUnknownVariableType]

from graphs.config.environment import Stamp, read_stamp
from graphs.config.python_code import PYTHON_FOLDER
from graphs.config.schema_files import is_schema_file
from graphs.config.spec.cases import is_case_file

log = logging.getLogger(__name__)

QUIET_MS = 100
"""Milliseconds without a further change that end a save: editors write, rename and touch."""
POLL_INTERVAL_MS = 10_000
"""Milliseconds between two looks at a folder of which nothing is heard: some file systems (NFS) tell nobody."""
RETRY_DELAY = 2.0
"""Seconds until a folder that could not be watched (it was moved away) is tried again."""

_SCHEMA_PATTERNS = ("*.schema.*", "*/*.schema.*", "graphs/*/**/*.schema.*")
"""Where schema files are looked for where no change is heard of; elsewhere a config folder may hold anything."""

Signature = Mapping[str, Stamp]
"""The state of each config file, by path."""


def may_be_config(_: Change, path: str) -> bool:
    """Whether a change may be one of a config file. Kubernetes swaps a whole folder by a link called `..data`."""
    name = Path(path).name
    if name.endswith(".py"):
        return Path(path).parent.name == PYTHON_FOLDER
    if is_case_file(name):  # a test is not served
        return False
    return name.endswith((".yaml", ".yml")) or is_schema_file(name) or name == "..data" or "." not in name


async def watch_saves(folder: Path, last: Signature, secrets: Mapping[str, Stamp] | None = None) -> AsyncIterator[None]:
    """Yield once for each save since the files had the signature `last`, and for each change of a secret's file.

    Never ends. `secrets` are the files of secrets with their last stamps; the mapping may grow meanwhile.

    Files of secrets are looked at now and then: they are replaced by links far away, in folders that may be huge.
    """
    known: Mapping[str, Stamp] = {} if secrets is None else secrets
    last = {**last, **known}
    while True:
        now = await asyncio.to_thread(compute_signature, folder, [*known])
        if now != last:
            last = now
            yield
        try:
            async for changes in awatch(
                folder,
                watch_filter=may_be_config,
                debounce=4 * QUIET_MS,
                step=QUIET_MS,
                rust_timeout=POLL_INTERVAL_MS,
                yield_on_timeout=True,
            ):
                now = await asyncio.to_thread(compute_signature, folder, [*known])
                if changes or now != last:
                    last = now
                    yield
        except FileNotFoundError:
            log.warning("%s is gone, so its changes are not seen; waiting for it to come back", folder)
        await asyncio.sleep(RETRY_DELAY)


def compute_signature(folder: Path, secrets: Iterable[str] = ()) -> Signature:
    """Compute the stamps of all config files, and of the files of `secrets`."""
    files = (*folder.glob("*.y*ml"), *folder.glob("graphs/*.y*ml"), *folder.glob(f"{PYTHON_FOLDER}/*.py"))
    files += tuple(path for pattern in _SCHEMA_PATTERNS for path in folder.glob(pattern) if is_schema_file(path.name))
    configs = (str(path) for path in files if not is_case_file(path.name))
    found = {path: state for path in configs if any(state := read_stamp(path))}
    return {**found, **{path: read_stamp(path) for path in secrets}}
