"""`interlock serve` as people start it: a process, a folder of configs, keys in the environment."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import openai
from support.processes import Process, free_port, running

ADMIN_KEY = "ilk_admin-of-the-tests"
DEVELOPER_KEY = "ilk_developer-of-the-tests"


@dataclass(frozen=True)
class Gateway:
    """A running Interlock. `url` ends in /v1."""

    url: str
    process: Process
    key: str = ADMIN_KEY
    """A key that is on."""

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    def client(self, key: str = ADMIN_KEY) -> openai.OpenAI:
        """The official client, without its own retries; use it in a `with`."""
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=60)

    def ready(self) -> dict[str, Any]:
        """What GET /ready says, whatever its status."""
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.get(f"{self.root}/ready", headers=headers, trust_env=False).json()


@contextmanager
def gateway(
    configs: Path,
    data: Path,
    env: Mapping[str, str] | None = None,
    port: int = 0,
    options: Sequence[str] = (),
    *,
    down: Collection[str] = (),
    showing: str = "INTERLOCK_ADMIN_KEY",
) -> Iterator[Gateway]:
    """Serves the folder while the block lasts, at the port or a free one; entered once every MCP server of it is up,
    and those that are to be `down` are.

    `options` are further ones of `interlock serve`; `showing` names the variable of a key that is on.
    """
    command = [Path(sys.executable).with_name("interlock"), "serve", "--configs", configs]
    port = port or free_port()
    keys = {"INTERLOCK_ADMIN_KEY": ADMIN_KEY, "INTERLOCK_DEVELOPER_KEY": DEVELOPER_KEY}
    settings = {"INTERLOCK_DATA": str(data), "PYTHONUNBUFFERED": "1", **keys, **(env or {})}
    key = settings[showing]
    data.mkdir(parents=True, exist_ok=True)
    options = ["--host", "127.0.0.1", "--port", str(port), *options]
    with running("interlock serve", [*command, *options], data / "serve.log", env=settings, cwd=data) as process:
        served = Gateway(f"http://127.0.0.1:{port}/v1", process, key)
        process.wait_for_json(f"{served.root}/ready", lambda ready: all_up(ready, down), key=served.key)
        yield served


class PinnedGateway:
    """One that is started at once, at a port that stays when it is restarted."""

    def __init__(
        self,
        configs: Path,
        data: Path,
        env: Mapping[str, str],
        port: int,
        *,
        down: Collection[str] = (),
        showing: str = "INTERLOCK_ADMIN_KEY",
    ) -> None:
        self.configs = configs
        self._stack = ExitStack()
        self._start = partial(gateway, configs, data, env, port, down=down, showing=showing)
        self.now = self._stack.enter_context(self._start())

    @property
    def url(self) -> str:
        """Ends in /v1."""
        return self.now.url

    def stop(self) -> None:
        self._stack.close()

    def restart(self) -> None:
        """Ends the process, and begins another one on the same data."""
        self.stop()
        self.now = self._stack.enter_context(self._start())


def all_up(ready: dict[str, Any], down: Collection[str] = ()) -> bool:
    return all(server["status"] == ("down" if name in down else "up") for name, server in ready["servers"].items())
