"""The `interlock serve` of this folder: it notes its address beside its data, and `interlock chat` reads it there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import TypeAdapter

FILE = "serve.json"
"""In the data folder. It holds no secret."""
DEFAULT_MODEL = "assistant"
"""What `interlock chat` asks where nobody names a model."""


@dataclass(frozen=True, kw_only=True)
class LocalServer:
    """A server of this machine."""

    url: str
    """Ends in `/v1`."""
    pid: int
    started: float
    """When its process began, in seconds since 1970: another process may get the same number later."""
    variables: tuple[str, ...]
    """The variables that its keys come from; none: it made its keys itself."""


NOTE = TypeAdapter(LocalServer)


def note_local_server(data: Path, url: str, variables: tuple[str, ...]) -> None:
    """Note that this process serves at `url`. The note of one that ended before is written over."""
    server = LocalServer(url=url, pid=os.getpid(), started=psutil.Process().create_time(), variables=variables)
    data.mkdir(parents=True, exist_ok=True)
    new = data / f".{FILE}.{server.pid}"
    new.write_bytes(NOTE.dump_json(server))
    new.replace(data / FILE)


def find_local_server(data: Path) -> LocalServer | None:
    """Find the server whose note is in the data folder; None where none is, or its process has ended."""
    try:
        server = NOTE.validate_json((data / FILE).read_bytes())
        return server if psutil.Process(server.pid).create_time() == server.started else None
    except (OSError, ValueError, psutil.Error):
        return None
