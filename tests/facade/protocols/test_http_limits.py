"""`http:` of gateway.yaml where it takes effect: proxies, IPv6, reloads and the words of a refusal, over sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml
from support.facade import ADMIN

from server.app import create_app
from server.demo.model.serving import GuestServer
from server.protocols.http.protocol import LimitedHttpProtocol
from server.settings import Settings


def write_http(configs: Path, **http: Any) -> None:
    file = configs / "gateway.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "http": http}))


@asynccontextmanager
async def limited(configs: Path, data: Path, host: str = "127.0.0.1") -> AsyncGenerator[str]:
    """The facade behind the protocol that `interlock serve` uses; its address."""
    app = create_app(Settings(configs=configs, data=data))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        config = uvicorn.Config(
            app, log_config=None, access_log=False, http=LimitedHttpProtocol, ws="none", proxy_headers=False
        )
        server = GuestServer(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                assert not task.done()
                await asyncio.sleep(0.005)
            port = listener.getsockname()[1]
            yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        finally:
            server.should_exit = True
            await task


async def statuses(root: str, count: int, key: str = "sk-none", **headers: str) -> list[int]:
    async with httpx.AsyncClient(trust_env=False) as http:
        return [
            (await http.get(f"{root}/v1/models", headers={"authorization": f"Bearer {key}", **headers})).status_code
            for _ in range(count)
        ]


async def test_people_behind_a_trusted_proxy_are_told_apart(configs: Path, tmp_path: Path, keys: None) -> None:
    write_http(configs, trusted_proxies=["127.0.0.1"], failed_keys=2)
    async with limited(configs, tmp_path / "data") as root:
        assert await statuses(root, 3, **{"x-forwarded-for": "192.0.2.1"}) == [401, 401, 429]
        assert await statuses(root, 1, **{"x-forwarded-for": "9.9.9.9, 192.0.2.1"}) == [429]
        assert await statuses(root, 1, forwarded="for=192.0.2.1") == [429]
        assert await statuses(root, 1, **{"x-forwarded-for": "192.0.2.2"}) == [401]
        assert await statuses(root, 1, ADMIN, **{"x-forwarded-for": "192.0.2.1"}) == [200]
        assert await statuses(root, 3, **{"x-forwarded-for": "192.0.2.1"}) == [401, 401, 401]


async def test_headers_that_contradict_each_other_buy_no_guesses(configs: Path, tmp_path: Path, keys: None) -> None:
    write_http(configs, trusted_proxies=["127.0.0.1"], failed_keys=2)
    async with limited(configs, tmp_path / "data") as root:
        # The proxy itself shows a valid key, and so does one whose own proxy writes the other header.
        assert await statuses(root, 1, ADMIN) == [200]
        honest = {"x-forwarded-for": "192.0.2.2", "forwarded": "for=10.0.0.1"}
        assert await statuses(root, 1, ADMIN, **honest) == [200]
        found = [
            (await statuses(root, 1, **{"x-forwarded-for": "192.0.2.1", "forwarded": f"for=9.9.9.{number}"}))[0]
            for number in range(5)
        ]
        assert found == [401, 401, 429, 429, 429]
        # Nobody else waits for that, and valid keys get in.
        assert await statuses(root, 1, ADMIN, **honest) == [200]
        assert await statuses(root, 1, **{"x-forwarded-for": "192.0.2.2"}) == [401]
        assert await statuses(root, 3) == [401, 401, 401]


async def test_nobody_else_is_believed(configs: Path, tmp_path: Path, keys: None) -> None:
    write_http(configs, failed_keys=2)
    async with limited(configs, tmp_path / "data") as root:
        found = [(await statuses(root, 1, **{"x-forwarded-for": f"192.0.2.{number}"}))[0] for number in range(4)]
        assert found == [401, 401, 429, 429]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_ipv6_has_the_same_limits(configs: Path, tmp_path: Path, keys: None) -> None:
    write_http(configs, failed_keys=2, header_size="4KiB")
    async with limited(configs, tmp_path / "data", "::1") as root:
        assert await statuses(root, 3) == [401, 401, 429]
        assert await statuses(root, 1, **{"x-long": "a" * 5000}) == [431]
        assert await statuses(root, 1, ADMIN) == [200]


async def test_limits_are_reloaded(configs: Path, tmp_path: Path, keys: None) -> None:
    async with limited(configs, tmp_path / "data") as root:
        assert await statuses(root, 1, ADMIN, **{"x-long": "a" * 5000}) == [200]
        write_http(configs, header_size="4KiB")
        async with asyncio.timeout(20):
            while await statuses(root, 1, ADMIN, **{"x-long": "a" * 5000}) != [431]:
                await asyncio.sleep(0.05)
        assert await statuses(root, 1, ADMIN) == [200]


async def test_a_refusal_is_an_error_of_openais_form(configs: Path, tmp_path: Path, keys: None) -> None:
    async with limited(configs, tmp_path / "data") as root, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{root}/health?{'a' * 9000}")
        assert answer.status_code == 414
        assert answer.headers["connection"] == "close"
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert answer.json()["error"]["message"] == "The path and query are longer than 8192 bytes."


async def test_an_upgrade_is_not_made(configs: Path, tmp_path: Path, keys: None) -> None:
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-key": "a", "sec-websocket-version": "13"}
    async with limited(configs, tmp_path / "data") as root, httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{root}/health", headers=upgrade)).status_code == 200
        assert (await http.get(f"{root}/health", headers={**upgrade, "upgrade": "h2c"})).status_code == 200
        assert (await http.get(f"{root}/health")).status_code == 200
