"""Limits where several processes answer: the workers of one start, and replicas that share nothing but PostgreSQL."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from support.facade import ACCESS, write_configs
from support.gateway import ADMIN_KEY, Gateway, gateway
from support.scripted_model import ScriptedModel

pytestmark = pytest.mark.timeout(180)  # whole programs start here, on machines that may be busy

ONE_ROLE = {
    "roles": {"admin": {"allow": ["*"], "limits": {"requests_per_minute": 10}}},
    "keys": ACCESS["keys"][:1],
}


@pytest.fixture
def scripted() -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        model.respond(lambda _: "Hello.")
        yield model


@pytest.fixture(params=["two workers, SQLite", "two replicas, PostgreSQL"])
def addresses(request: pytest.FixtureRequest, scripted: ScriptedModel, tmp_path: Path) -> Iterator[list[str]]:
    """Where to send requests; behind them are two processes."""
    configs = write_configs(tmp_path / "configs", scripted.url, {}, access=ONE_ROLE)
    if request.param == "two workers, SQLite":
        with gateway(configs, tmp_path / "data", options=["--workers", "2"]) as served:
            yield [served.url]
        return
    env = {"INTERLOCK_STORAGE": request.getfixturevalue("postgres_url")}
    starts = [gateway(configs, tmp_path / name, env) for name in ("one", "two")]
    with ThreadPoolExecutor(2) as starters, ExitStack() as stack:
        starting = [starters.submit(start.__enter__) for start in starts]
        for start in starts:
            stack.push(start)
        replicas: list[Gateway] = [started.result() for started in starting]
        yield [replica.url for replica in replicas]


async def test_of_64_requests_at_once_exactly_ten_get_through(addresses: list[str], scripted: ScriptedModel) -> None:
    body = {"model": "assistant", "messages": [{"role": "user", "content": "go"}]}
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(timeout=50, trust_env=False, headers=headers, limits=limits) as http:
        answers = await asyncio.gather(
            *(
                http.post(f"{addresses[n % len(addresses)]}/chat/completions", json={**body, "stream": n % 3 == 0})
                for n in range(64)
            )
        )
    assert Counter(answer.status_code for answer in answers) == {200: 10, 429: 54}
    assert len(scripted.requests) == 10
    assert all(0 < int(answer.headers["retry-after"]) <= 60 for answer in answers if answer.status_code == 429)
