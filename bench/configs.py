"""A folder of configs as a busy team has it: the shipped graph, one MCP server, and an access file of many rules."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from graphs.config.loader import find_shipped_configs

GRAPH = "assistant"
WORKFLOWS = Path(__file__).with_name("graphs")
"""Graphs with variables and with a map; `lean.py` has the same ones, written by hand."""


@dataclass(frozen=True, kw_only=True)
class Configs:
    """What the folder holds."""

    rules: int = 200
    graphs: int = 1
    tools: int = 1
    workflows: bool = False
    """Whether the graphs of `WORKFLOWS` are there too."""

    @property
    def model(self) -> str:
        """The graph that is asked."""
        return GRAPH


def write(configs: Configs, folder: Path, upstream: str) -> None:
    """Makes the folder. `upstream` is the address of the scripted model and MCP server."""
    (folder / "graphs").mkdir(parents=True)
    gateway = {"models": {"base_url": f"{upstream}/v1", "api_key": "x", "default": "fake"}, "default_graph": GRAPH}
    servers = {"mcpServers": {"bench": {"url": f"{upstream}/mcp/{configs.tools}"}}}
    keys = [{"name": "bench", "role": "team", "env": "INTERLOCK_BENCH_KEY"}]
    access = {"roles": roles(configs.rules), "keys": keys}
    for name, content in (("gateway", gateway), ("servers", servers), ("access", access)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False, width=120))
    shipped = find_shipped_configs() / "graphs" / f"{GRAPH}.yaml"
    shutil.copy(shipped, folder / "graphs")
    for number in range(1, configs.graphs):
        shutil.copy(shipped, folder / "graphs" / f"{GRAPH}-{number:03}.yaml")
    if configs.workflows:
        shutil.copytree(WORKFLOWS, folder / "graphs", dirs_exist_ok=True)


def roles(rules: int) -> dict[str, Any]:
    """A role with so many rules, most of them in one that it includes, as several teams would write them: of ten, two
    deny and two ask, half have a condition, and each tenth concerns every tool, so has to be looked at for every call.
    """
    everyone: dict[str, list[Any]] = {"allow": [], "ask": [], "deny": []}
    for kind, rule in generated(rules - 1):
        everyone[kind].append(rule)
    allowed = {"tool": "bench/*", "when": 'size(args.message) < 10000 && caller.role == "team"'}
    return {"everyone": everyone, "team": {"include": ["everyone"], "allow": [allowed]}}


def generated(count: int) -> Iterator[tuple[str, Any]]:
    """So many rules and the list that each belongs to. None of them concerns the call that is measured in the end."""
    for number in range(count):
        server, tool = f"team-{number // 10 % 10}", f"tool_{number:03}"
        match number % 10:
            case 0:
                yield "deny", {"tool": "*", "when": f'args.message == "forbidden {number}"'}
            case 1:
                yield "deny", f"{server}/delete_{tool}"
            case 2:
                yield "ask", {"tool": f"{server}/write_{tool}", "expires": "15m"}
            case 3:
                yield "ask", {"tool": f"{server}/{tool}_*", "when": "size(args.items) > 100", "reason": "many at once"}
            case 4:
                yield "allow", {"tool": f"{server}/read_{tool}", "when": f'path_within(args.path, "/srv/{server}")'}
            case 5:
                yield "allow", {"tool": [f"{server}/query_{tool}", f"{server}/explain_{tool}"],
                                "when": "sql_read_only(args.sql)"}  # fmt: skip
            case 6:
                yield "allow", {"tool": f"{server}/fetch_{tool}", "when": "public_url(args.url)"}
            case _:
                yield "allow", f"{server}/list_{tool}"
