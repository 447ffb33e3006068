"""One running Interlock, with every server that is tried in its one servers.yaml."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from support.processes import Process, free_port, running

from graphs.config.loader import find_shipped_configs

KEY = "ilk_the-key-of-the-compatibility-run"
MODEL = "assistant"
"""The shipped graph."""
PATIENCE = 120.0
"""Seconds that the servers have to come up."""


@dataclass(frozen=True)
class Gateway:
    """A running Interlock. `url` ends in /v1."""

    url: str
    process: Process

    def servers(self) -> dict[str, Any]:
        """What GET /ready says of each server."""
        address = self.url.removesuffix("/v1") + "/ready"
        headers = {"authorization": f"Bearer {KEY}"}
        return httpx.get(address, headers=headers, trust_env=False, timeout=30).json()["servers"]

    def settle(self, down: Collection[str]) -> dict[str, Any]:
        """The servers, once all are up but those that are to be down, and these are; or after PATIENCE, as they are."""
        deadline = time.monotonic() + PATIENCE
        while True:
            servers = self.servers()
            wanted = {name: "down" if name in down else "up" for name in servers}
            late = time.monotonic() > deadline
            if late or all(servers[name]["status"] == status for name, status in wanted.items()):
                return servers
            time.sleep(0.5)

    def reason(self, server: str) -> str:
        """Why a server is down, as the log says it: with the program's last words, which GET /ready leaves out."""
        found = re.search(rf"MCP server {server} is down: (.*)", self.process.text())
        return found[1] if found else ""

    def ask(self, prompt: str) -> str:
        """The answer of one turn."""
        answer = httpx.post(
            f"{self.url}/chat/completions",
            json={"model": MODEL, "messages": [{"role": "user", "content": prompt}]},
            headers={"authorization": f"Bearer {KEY}"},
            trust_env=False,
            timeout=180,
        )
        if answer.status_code != 200:
            return f"HTTP {answer.status_code}: {answer.text}"
        return answer.json()["choices"][0]["message"]["content"] or ""


@contextmanager
def gateway(folder: Path, model: str, servers: Mapping[str, Any]) -> Iterator[Gateway]:
    """Serves these servers' entries to one key that may use all of their tools."""
    configs = folder / "configs"
    (configs / "graphs").mkdir(parents=True)
    shutil.copy(find_shipped_configs() / "graphs" / f"{MODEL}.yaml", configs / "graphs")
    files = {
        "gateway": {"models": {"base_url": model, "api_key": "none", "default": "scripted"}, "default_graph": MODEL},
        "servers": {"mcpServers": dict(servers)},
        "access": {
            "roles": {"team": {"allow": ["*"]}},
            "keys": [{"name": "compat", "role": "team", "env": "INTERLOCK_COMPAT_KEY"}],
        },
    }
    for name, content in files.items():
        (configs / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    port = free_port()
    program = Path(sys.executable).with_name("interlock")
    command = [program, "serve", "--configs", configs, "--host", "127.0.0.1", "--port", str(port)]
    env = {"INTERLOCK_COMPAT_KEY": KEY, "INTERLOCK_DATA": str(folder / "data")}
    with running("interlock serve", command, folder / "interlock.log", env=env, cwd=folder) as process:
        process.wait_for_url(f"http://127.0.0.1:{port}/health")
        yield Gateway(f"http://127.0.0.1:{port}/v1", process)
