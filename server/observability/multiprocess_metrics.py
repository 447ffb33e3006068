"""Metrics that the workers of one start share: prometheus_client's files, in a folder that is this start's alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client reads it when it is loaded: it must be in the environment that workers are started with."""
PREFIX = "metrics-"


@contextmanager
def share_metrics(data: Path) -> Generator[None]:
    """Have processes that are started while the block lasts count in one folder below `data`, which is removed
    afterwards."""
    data.mkdir(parents=True, exist_ok=True)
    remove_stale_folders(data)
    before = os.environ.get(FOLDER)
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=data.resolve())
    os.environ[FOLDER] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ[FOLDER]
        else:
            os.environ[FOLDER] = before


def remove_stale_folders(data: Path) -> None:
    """Remove the folders of starts that were killed. In a container every start may have the same process id."""
    for folder in data.glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and (int(pid) == os.getpid() or not is_alive(int(pid))):
            shutil.rmtree(folder, ignore_errors=True)


def is_alive(pid: int) -> bool:
    """Tell whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
