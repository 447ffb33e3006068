"""Liveness of the processes that share a store: each holds a lock, which the system releases when it dies."""

from __future__ import annotations

import fcntl
import os
import resource
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")

DEAD_RETENTION = 3600.0
"""Seconds for which a process that was found dead is remembered; its turns may be taken up for less."""


HIGH_DESCRIPTOR = 4096
"""More files than a process mostly has open."""


class ThreadRunner(Protocol):
    """Runs a function on a thread that may wait."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Return what `work` returns."""
        ...


class Workers(Protocol):
    """The processes that share one store. A process that cannot be seen to live counts as dead, so whoever takes over
    from one makes sure by a write that the other notices."""

    id: str
    """This process."""

    def is_quiet(self) -> bool:
        """Whether certainly no process died lately, so that nobody needs to look for what it left. Called for every
        turn, so it may not wait."""
        ...

    def is_alone(self) -> bool:
        """Whether certainly no other process shares the store, as `is_quiet` saw it last. May not wait either."""
        ...

    async def is_alive(self, worker: str, patience: float = 0.0) -> bool:
        """Whether that process lives. One that seems to live may just have died, so it is asked about again for
        `patience` seconds."""
        ...

    async def prune(self) -> None:
        """Delete what is known of processes that died long ago."""
        ...


class FileWorkers:
    """One locked file for each process, in a folder beside the database: for processes of one machine.

    `flock` belongs to the open file, so two stores in one process are two workers, and a child process inherits none
    (Python opens files so that children do not get them).
    """

    def __init__(self, folder: Path, run_on_thread: ThreadRunner) -> None:
        """Take this process's lock, on a thread that may wait. Raises OSError where the folder cannot be used."""
        self._run_on_thread = run_on_thread
        self.id = uuid.uuid4().hex
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = folder / f"{self.id}.lock"
        # Under another name until it is locked: nobody may see it unlocked and believe its process dead.
        unready = folder / f"{self.id}.new"
        self._descriptor = raise_descriptor(os.open(unready, os.O_RDWR | os.O_CREAT, 0o600))
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())
        unready.rename(self._file)
        self._others: dict[str, int] = {}
        self._has_dead = False
        self._read_at = 0

    def is_quiet(self) -> bool:
        """Whether certainly no process died lately. Takes a microsecond or two for each: the folder is read when it has
        changed."""
        changed = os.stat(self._folder).st_mtime_ns
        # The clock of files is coarse: two changes may have one time.
        if changed != self._read_at or time.time_ns() - changed < 10**9:
            self._read_at = changed
            self._read_folder()
        for name, descriptor in list(self._others.items()):
            if not is_locked(descriptor):
                mark_dead(self._folder / name)
                os.close(self._others.pop(name))
                self._has_dead = True
        return not self._has_dead

    def is_alone(self) -> bool:
        """See Workers."""
        return not self._others

    def _read_folder(self) -> None:
        names = set(os.listdir(self._folder)) - {self._file.name}
        self._has_dead = any(name.endswith(".dead") for name in names)
        for name in self._others.keys() - names:
            os.close(self._others.pop(name))
        for name in names - self._others.keys():
            if name.endswith(".lock") and (descriptor := open_lock_file(self._folder / name)) is not None:
                self._others[name] = descriptor

    async def is_alive(self, worker: str, patience: float = 0.0) -> bool:
        """Whether that process lives. `patience` is not needed: the system releases the lock as it closes a process's
        connections."""
        if worker == self.id:
            return True
        return await self._run_on_thread(lambda: self._is_alive(worker))

    async def prune(self) -> None:
        """Delete the lock files of processes that died long ago."""
        await self._run_on_thread(self._prune)

    def _is_alive(self, worker: str) -> bool:
        if (descriptor := open_lock_file(self._folder / f"{worker}.lock")) is None:
            return False
        try:
            return is_locked(descriptor)
        finally:
            os.close(descriptor)

    def _prune(self) -> None:
        for grave in self._folder.glob("*.dead"):
            if time.time() - grave.stat().st_mtime > DEAD_RETENTION:
                grave.unlink(missing_ok=True)

    def close(self) -> None:
        """Release this process's lock: it ends, and leaves nothing undone."""
        self._file.unlink(missing_ok=True)
        for descriptor in (self._descriptor, *self._others.values()):
            os.close(descriptor)
        self._others.clear()


def raise_descriptor(descriptor: int) -> int:
    """Move an open file to a high descriptor.

    Linux closes the files of a dying process from the highest number down: so nobody sees its connections end, and asks
    again elsewhere, before its lock is gone (measured with a low number: up to 20 ms on a busy machine).
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        return fcntl.fcntl(
            descriptor, fcntl.F_DUPFD_CLOEXEC, min(most, HIGH_DESCRIPTOR) - 1 if most > 0 else HIGH_DESCRIPTOR
        )
    finally:
        os.close(descriptor)


def open_lock_file(file: Path) -> int | None:
    """Open the lock file; None where there is none."""
    try:
        return os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return None


def is_locked(descriptor: int) -> bool:
    """Whether another process holds the file. Tried with a shared lock, so that two that try do not see each other."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def mark_dead(file: Path) -> None:
    """Note when a process was found dead."""
    try:
        os.utime(file)
        file.rename(file.with_suffix(".dead"))
    except FileNotFoundError:
        return  # somebody else was faster
