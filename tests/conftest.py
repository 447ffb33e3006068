"""Fixtures that many tests share: one MCP server process for the whole session, and a facade on top of it."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support.facade import KEYS, Facade, add_to_gateway, serving, write_configs
from support.postgres import Postgres, postgres
from support.pythons import MINORS, SETUP
from support.scripted_model import ScriptedModel
from support.tool_server import SERVER, Tools

from graphs.runtime import node_options
from graphs.store.store import Store


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.has_plugin("xdist"):
        config.pluginmanager.import_plugin("support.xdist_scheduler")
    # How long an example takes says how busy the machine is.
    settings.register_profile("busy", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says under which Pythons the set-up was made, where its tests ran."""
    ran = [
        value
        for report in terminalreporter.stats.get("passed", ())
        for name, value in report.user_properties
        if name == SETUP
    ]
    if ran:
        absent = [f"3.{minor}" for minor in MINORS if not any(value.startswith(f"3.{minor}.") for value in ran)]
        terminalreporter.write_line(f"{SETUP}: {', '.join(ran)}; not on this machine: {', '.join(absent) or 'none'}")


@pytest.fixture(scope="session")
def tools_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    log = tmp_path_factory.mktemp("tools") / "calls.log"
    env = {**os.environ, "PORT": "0"}
    with subprocess.Popen([sys.executable, str(SERVER), "http", str(log)], env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield Tools(f"http://127.0.0.1:{port}/mcp", log)
        process.kill()


@pytest.fixture
def tools(tools_process: Tools) -> Tools:
    """The server `files`; its log is empty at the start of the test."""
    tools_process.log.unlink(missing_ok=True)
    return tools_process


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    """The scripted model behind the facade."""
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that holds the keys of the tests' access.yaml."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is asked again as often as ever, but at once; for tests that do not measure the pauses."""
    policy = node_options.MODEL_RETRY._replace(initial_interval=0.001, jitter=False)
    monkeypatch.setattr(node_options, "MODEL_RETRY", policy)


@pytest.fixture
def configs(tmp_path: Path, model: ScriptedModel, tools: Tools) -> Path:
    """A config folder: one graph, one MCP server called `files`."""
    servers: dict[str, Any] = {"files": {"url": tools.url}}
    return write_configs(tmp_path / "configs", model.url, servers)


@pytest.fixture
async def facade(configs: Path, tmp_path: Path, keys: None) -> AsyncIterator[Facade]:
    """The facade on that folder."""
    async with serving(configs, tmp_path / "data") as running:
        yield running


@pytest.fixture
async def hasty(configs: Path, tmp_path: Path, keys: None) -> AsyncIterator[Facade]:
    """A facade that stops calls as soon as the client leaves."""
    async with serving(add_to_gateway(configs, leave_grace="1ms"), tmp_path / "data") as running:
        yield running


@pytest.fixture(scope="session")
def postgres_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One PostgreSQL for the whole session, whose database `ready` has the store's tables."""
    folder = tmp_path_factory.mktemp("postgres")
    with postgres(folder / "postgres.log") as server:
        server.run("CREATE DATABASE ready TEMPLATE template0 ENCODING 'UTF8'")
        asyncio.run(made(server.url_of("ready")))
        yield server


async def made(url: str) -> None:
    await (await Store.open(url, Path())).close()


numbers = itertools.count()


@pytest.fixture
def postgres_url(postgres_shared: Postgres) -> Iterator[str]:
    """The address of a database of this test's own, with empty tables."""
    with postgres_shared.database(f"test{next(numbers)}", "ready") as url:
        yield url


@pytest.fixture
def postgres_empty(postgres_shared: Postgres) -> Iterator[str]:
    """The address of a database of this test's own, with nothing in it."""
    with postgres_shared.database(f"test{next(numbers)}") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def new_storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store that is not made yet: of each kind in turn."""
    if request.param == "sqlite":
        return str(tmp_path / "new" / "interlock.db")
    return request.getfixturevalue("postgres_empty")


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store: of each kind in turn."""
    if request.param == "sqlite":
        return str(tmp_path / "data" / "interlock.db")
    return request.getfixturevalue("postgres_url")


@pytest.fixture
async def store(storage: str, tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(storage, tmp_path)
    yield store
    await store.close()
