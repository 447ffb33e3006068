"""Studio's development server as the tests start it, both ways, and what its clients send."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from support.processes import Process, free_port, running

ROOT = Path(__file__).resolve().parent.parent.parent
INTERLOCK = Path(sys.executable).with_name("interlock")
STUDIO = "https://smith.langchain.com"


@dataclass(frozen=True)
class Studio:
    """A running server. `path` is the token before every path, "" where there is none."""

    process: Process
    port: int
    path: str = ""

    @property
    def address(self) -> str:
        """What Studio's page is given as its base."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    def client(self, **headers: str) -> httpx.Client:
        """A client that keeps no connection."""
        limits = httpx.Limits(max_keepalive_connections=0)
        # Without `verify`, or each client would read the certificates of the world anew.
        return httpx.Client(
            base_url=self.address, timeout=60, trust_env=False, verify=False, headers=headers, limits=limits
        )


@contextmanager
def interlock_studio(folder: Path, configs: Path, env: Mapping[str, str] | None = None) -> Iterator[Studio]:
    """`interlock studio` while the block lasts."""
    port = free_port()
    command = [INTERLOCK, "studio", "--configs", configs, "--port", str(port)]
    with running("interlock studio", command, folder / "studio.log", env=environment(folder, env), cwd=folder) as one:
        address = one.wait_for_line(rf"^studio {STUDIO}/studio/\?baseUrl=(\S+)$", timeout=120)[1]
        yield Studio(one, port, address.removeprefix(f"http://127.0.0.1:{port}"))


@contextmanager
def langgraph_dev(folder: Path, *args: str, env: Mapping[str, str] | None = None) -> Iterator[Studio]:
    """Plain `langgraph dev` with the checkout's own langgraph.json."""
    port = free_port()
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--config", ROOT / "langgraph.json", "--no-browser"]
    command += ["--no-reload", "--port", str(port), *args]
    env = {"INTERLOCK_CONFIGS": str(ROOT / "configs"), **(env or {})}
    with running("langgraph dev", command, folder / "dev.log", env=environment(folder, env), cwd=folder) as one:
        yield Studio(one, port)


def environment(folder: Path, env: Mapping[str, str] | None) -> dict[str, str]:
    own = {"INTERLOCK_DATA": str(folder / "data"), "INTERLOCK_DEMO_DELAY": "0", "LANGSMITH_TRACING": "false"}
    return {**own, "LANGGRAPH_NO_VERSION_CHECK": "true", **(env or {})}


def human(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}
