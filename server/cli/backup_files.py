"""Archives of backups in a folder: their names, how one gets there whole, and which are deleted."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO

NAME = re.compile(r"interlock-\d{8}T\d{6}Z\.tar\.gz")
WORK_PREFIX = ".interlock-backup-"
LEFTOVER_SECONDS = 24 * 3600.0
"""Age at which the working folder of a backup is one that was killed."""
SIGNALLED = 128
"""Exit code of a program that a signal ended, without the signal's number."""


class CannotBackUp(Exception):
    """The target is no place for a backup; the message is for the person who named it."""


def choose_file(target: Path) -> Path:
    """Choose the file of a new backup: `target`, or in a folder a name with the time. Raises CannotBackUp."""
    if target.is_dir():
        target /= f"interlock-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz"
    elif not target.parent.is_dir():
        raise CannotBackUp(f"there is no folder {target.parent}; make it first")
    if target.exists():
        raise CannotBackUp(f"{target} exists, and a backup replaces none: name another file, or a folder")
    return target


@contextmanager
def open_whole(target: Path) -> Generator[tuple[IO[bytes], Path]]:
    """Open a file, for its owner alone, that gets the name `target` at the end of the block, and none if the block
    raises; and an empty folder for work on the same disk. What killed ones left there is deleted first, which makes
    room. Raises OSError."""
    delete_leftovers(target.parent)
    with tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=target.parent) as name:
        work = Path(name) / "work"
        work.mkdir(mode=0o700)
        part = Path(name) / target.name
        part.touch(mode=0o600)
        with part.open("wb") as stream:
            yield stream, work
            stream.flush()
            os.fsync(stream.fileno())
        part.rename(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def open_stdout() -> Generator[tuple[IO[bytes], Path]]:
    """Open standard output, for a pipe that encrypts; and an empty folder for work among the temporary files. Raises
    CannotBackUp for a terminal."""
    if sys.stdout.isatty():
        raise CannotBackUp("- writes the archive to standard output, which is a terminal: name a file, or pipe it on")
    with tempfile.TemporaryDirectory(prefix=WORK_PREFIX) as work:
        yield sys.stdout.buffer, Path(work)
        sys.stdout.buffer.flush()


def delete_leftovers(folder: Path) -> None:
    """Delete the working folders that killed backups left in a folder. Raises OSError."""
    for work in folder.glob(f"{WORK_PREFIX}*"):
        if time.time() - work.stat().st_mtime > LEFTOVER_SECONDS:
            shutil.rmtree(work, ignore_errors=True)


def delete_older(new: Path, keep: int) -> list[Path]:
    """Delete the backups beside the backup `new` but the newest, so that `keep` stay with it; return the deleted ones.

    The newest are those whose names have the latest times; `new` stays also where the clock was ahead before. Files of
    other names stay. Raises OSError.
    """
    others = sorted(
        (file for file in new.parent.iterdir() if NAME.fullmatch(file.name) and file.name != new.name),
        key=lambda file: file.name,
    )
    older = others[: max(len(others) - (keep - 1), 0)]
    for file in older:
        file.unlink(missing_ok=True)
    return older


@contextmanager
def end_by_exception() -> Generator[None]:
    """While the block lasts, let SIGTERM and SIGHUP end it by SystemExit, with the exit code that shells give to them:
    temporary folders are deleted then. Call it in the main thread."""

    def end(number: int, _: FrameType | None) -> None:
        for later in before:
            signal.signal(later, signal.SIG_IGN)  # else a second one would cut the deletion short
        raise SystemExit(SIGNALLED + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        for number, handler in before.items():
            if handler != signal.SIG_IGN:  # nohup
                signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
