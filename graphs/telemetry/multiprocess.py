"""A folder in which the worker processes of one start count together, in prometheus_client's files.

Importing this module does not import prometheus_client, which reads the environment when it is loaded.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder; it must be in the environment that workers are started with."""
PREFIX = "metrics-"


@contextmanager
def share_metrics(data: Path) -> Generator[None]:
    """Have the processes that are started inside the block count in one folder below `data`; remove it afterwards."""
    data.mkdir(parents=True, exist_ok=True)
    remove_stale_folders(data)
    before = os.environ.get(FOLDER_VARIABLE)
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=data.resolve())
    os.environ[FOLDER_VARIABLE] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ[FOLDER_VARIABLE]
        else:
            os.environ[FOLDER_VARIABLE] = before


def remove_stale_folders(data: Path) -> None:
    """Remove the folders of starts that were killed. In a container every start may have the same process id."""
    for folder in data.glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and (int(pid) == os.getpid() or not is_process_alive(int(pid))):
            shutil.rmtree(folder, ignore_errors=True)


def is_process_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
