"""Everything that is measured, running: the scripted model, the floors, and Interlock with everything on."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench.configs import Configs, write
from bench.load import Scenario, Target
from bench.processes import Program, direct, free_port, program

KEY = "ilk_the-key-of-the-benchmark"
FLOORS = {"plain": "plain bytes (aiohttp)", "lean": "lean LangGraph", "chat": "LangGraph + ChatOpenAI"}
"""The floors by their path in `bench.floor`."""
INTERLOCK = "Interlock"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Somebody to ask, and the program that is asked."""

    target: Target
    program: Program
    has_tools: bool = True
    has_workflows: bool = True
    """Whether it has the graphs that are more than the loop of model and tools."""
    ready_seconds: float = 0.0
    """From its start until it was ready."""
    data: Path | None = None
    """Where it keeps its files."""

    def can_answer(self, scenario: Scenario) -> bool:
        """Whether it does what is asked for."""
        return self.has_workflows if scenario.graph else self.has_tools or not scenario.rounds


@dataclass(frozen=True)
class Upstream:
    """The scripted model and MCP server, running at an address without a path."""

    address: str

    def counts(self) -> dict[str, int]:
        """What it was asked so far."""
        with direct().open(f"{self.address}/stats", timeout=10) as answer:
            return orjson.loads(answer.read())


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for the files of a measurement."""
    with tempfile.TemporaryDirectory(prefix="interlock-bench-") as made:
        yield Path(made)


@contextmanager
def upstream(home: Path) -> Iterator[Upstream]:
    """The scripted model and MCP server."""
    port = free_port()
    command = [sys.executable, "-m", "bench.upstream", "--port", str(port)]
    with program(command, home / "upstream.log") as running:
        address = f"http://127.0.0.1:{port}"
        running.wait_for(f"{address}/stats")
        yield Upstream(address)


@contextmanager
def floors(home: Path, upstream: Upstream, *, tools: int = 1) -> Iterator[dict[str, Measured]]:
    """The floors, all in one process, by name; the MCP server offers so many tools."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.floor:app", "--port", str(port), "--log-level", "warning"]
    env = {"UPSTREAM": f"{upstream.address}/v1", "MCP_URL": f"{upstream.address}/mcp/{tools}"}
    with program([*command, "--loop", "uvloop", "--http", "httptools"], home / "floors.log", env) as running:
        running.wait_for(f"http://127.0.0.1:{port}/health")
        yield {
            name: Measured(
                target=Target(name=FLOORS[name], url=f"http://127.0.0.1:{port}/{name}/v1"),
                program=running,
                has_tools=name != "plain",
                has_workflows=name == "lean",
            )
            for name in FLOORS
        }


@contextmanager
def interlock(
    home: Path, upstream: Upstream, configs: Configs | None = None, *, workers: int = 1, name: str = INTERLOCK
) -> Iterator[Measured]:
    """`interlock serve` on a folder of configs, entered once it is ready and its MCP server is up."""
    port = free_port()
    place = home / f"interlock-{port}"
    chosen = configs or Configs()
    write(chosen, place / "configs", upstream.address)
    data = place / "data"
    data.mkdir()
    command = [Path(sys.executable).with_name("interlock"), "serve", "--configs", place / "configs"]
    env = {"INTERLOCK_DATA": str(data), "INTERLOCK_BENCH_KEY": KEY, "INTERLOCK_MODEL": "fake"}
    options = ["--port", str(port), "--workers", str(workers)]
    with program([*command, *options], place / "interlock.log", env) as running:
        ready = running.wait_for(f"http://127.0.0.1:{port}/ready", all_up, KEY)
        target = Target(name=name, url=f"http://127.0.0.1:{port}/v1", key=KEY, model=chosen.model)
        yield Measured(target=target, program=running, ready_seconds=ready, data=data)


def all_up(ready: bytes) -> bool:
    """Whether Interlock says that every MCP server is up."""
    return all(server["status"] == "up" for server in orjson.loads(ready)["servers"].values())
