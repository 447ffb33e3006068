"""The whole facade inside the test's event loop, on a real port: real HTTP, a scripted model, a real MCP server."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import uvicorn
import yaml
from starlette.routing import BaseRoute
from support.scripted_model import ScriptedModel

from server.app import create_app
from server.demo.model.serving import GuestServer
from server.settings import Settings

ADMIN, DEVELOPER = "ilk_admin-of-the-tests", "ilk_developer-of-the-tests"
KEYS = {"INTERLOCK_ADMIN_KEY": ADMIN, "INTERLOCK_DEVELOPER_KEY": DEVELOPER}

ACCESS: dict[str, Any] = {
    "roles": {
        "admin": {"allow": ["*"], "ask": [{"tool": "files/write", "expires": "15m"}]},
        "developer": {"allow": [{"tool": "files/echo", "when": 'args.text != "secret"'}]},
    },
    "keys": [
        {"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"},
        {"name": "developer", "role": "developer", "env": "INTERLOCK_DEVELOPER_KEY"},
    ],
}

ASSISTANT: dict[str, Any] = {
    "description": "Answers with the help of your tools.",
    "start": "agent",
    "nodes": {
        "agent": {
            "type": "model",
            "prompt": "You help {{ caller.user }}.",
            "tools": ["*"],
            "next": [{"when": "size(tool_calls) > 0", "to": "check"}, {"to": "end"}],
        },
        "check": {"type": "permission", "next": "act"},
        "act": {"type": "tools", "next": "agent"},
    },
}


def write_configs(
    folder: Path,
    model_url: str,
    servers: Mapping[str, Any],
    *,
    access: Mapping[str, Any] = ACCESS,
    graphs: Mapping[str, Any] | None = None,
    **models: Any,
) -> Path:
    """A config folder; `models` are further settings of gateway.yaml's `models`."""
    (folder / "graphs").mkdir(parents=True, exist_ok=True)
    gateway = {"models": {"base_url": model_url, "api_key": "sk-of-the-tests", "default": "scripted", **models}}
    files = {"gateway.yaml": gateway, "servers.yaml": {"mcpServers": dict(servers)}, "access.yaml": dict(access)}
    for name, graph in (graphs or {"assistant": ASSISTANT}).items():
        files[f"graphs/{name}.yaml"] = dict(graph)
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def add_to_gateway(folder: Path, **settings: Any) -> Path:
    """Add keys to gateway.yaml, such as `leave_grace="1ms"`: calls are stopped at once when the client leaves."""
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **settings}, sort_keys=False))
    return folder


@dataclass(frozen=True)
class Facade:
    """A running facade. `url` ends in /v1."""

    url: str
    http: httpx.AsyncClient

    def client(self, key: str = ADMIN) -> openai.AsyncOpenAI:
        """The official client."""
        return openai.AsyncOpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=30)

    async def ready(self, key: str | None = ADMIN) -> httpx.Response:
        """What GET /ready answers to whoever shows this key; None: none."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return await self.http.get(f"{self.url.removesuffix('/v1')}/ready", headers=headers)

    async def ask(
        self, *messages: Any, key: str = ADMIN, headers: Mapping[str, str] | None = None, **body: Any
    ) -> httpx.Response:
        """One request; strings are user messages."""
        return await self.http.post(
            f"{self.url}/chat/completions",
            json={"model": "assistant", "messages": [as_message(message) for message in messages], **body},
            headers={"authorization": f"Bearer {key}", **(headers or {})},
        )

    async def say(self, *messages: Any, key: str = ADMIN, **body: Any) -> str:
        """The answer's text."""
        response = await self.ask(*messages, key=key, **body)
        assert response.status_code == 200, response.text
        return response.json()["choices"][0]["message"]["content"]

    async def stream(
        self, *messages: Any, key: str = ADMIN, headers: Mapping[str, str] | None = None, **body: Any
    ) -> str:
        """The raw stream of one request."""
        response = await self.http.post(
            f"{self.url}/chat/completions",
            json={"model": "assistant", "stream": True, "messages": [as_message(m) for m in messages], **body},
            headers={"authorization": f"Bearer {key}", **(headers or {})},
        )
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        return response.text

    @asynccontextmanager
    async def streaming(
        self, *messages: Any, key: str = ADMIN, headers: Mapping[str, str] | None = None, **body: Any
    ) -> AsyncGenerator[AsyncIterator[str]]:
        """The lines of one request's stream, as they come."""
        async with self.http.stream(
            "POST",
            f"{self.url}/chat/completions",
            json={"model": "assistant", "stream": True, "messages": [as_message(m) for m in messages], **body},
            headers={"authorization": f"Bearer {key}", **(headers or {})},
        ) as response:
            assert response.status_code == 200
            yield (line + "\n" async for line in response.aiter_lines())


def as_message(message: Any) -> dict[str, Any]:
    return {"role": "user", "content": message} if isinstance(message, str) else message


def said(text: str) -> dict[str, Any]:
    """An assistant message, as clients resend it."""
    return {"role": "assistant", "content": text}


def events(raw: str) -> list[dict[str, Any]]:
    """The JSON of each event of a stream."""
    return [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]


def content(raw: str) -> str:
    """The text of a stream."""
    return "".join(
        choice["delta"].get("content") or "" for event in events(raw) for choice in event.get("choices") or ()
    )


@asynccontextmanager
async def serving(
    configs: Path, data: Path, *, routes: Sequence[BaseRoute] = (), **settings: Any
) -> AsyncGenerator[Facade]:
    """The facade while the block lasts, with further `routes`. Its environment is the test's: set keys with
    monkeypatch."""
    app = create_app(Settings(configs=configs, data=data, **settings))
    app.router.routes[:0] = routes
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = GuestServer(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                if task.done():
                    await task
                    raise RuntimeError("the facade did not start; see the log above")
                await asyncio.sleep(0.005)
            async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
                yield Facade(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", http)
        finally:
            server.should_exit = True
            await task


__all__ = [
    "ADMIN",
    "DEVELOPER",
    "KEYS",
    "Facade",
    "ScriptedModel",
    "add_to_gateway",
    "content",
    "events",
    "said",
    "serving",
    "write_configs",
]
