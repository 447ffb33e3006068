"""What it costs to decide about one tool call: `.venv/bin/python bench/policy_cost.py` prints microseconds.

A role with N rules, by itself and through what it includes: exact names, patterns over one server's tools and over all
servers', three of four with a condition. The bodies of our own functions are measured apart, at the end.
"""

from __future__ import annotations

import tempfile
import time
import timeit
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import Any

import yaml

from graphs.config.loader import load
from graphs.expressions.functions import FUNCTIONS
from graphs.policy.rules import Caller, CallFacts, Policy, ToolFacts

SIZES = (1, 10, 100, 200, 1000)
SERVERS = 20
TOOLS = ("read_file", "write_file", "list_tables", "query", "execute", "search", "create_issue", "delete_row")
CONDITIONS = (
    'args.path.startsWith("/workspace/project-{n}/")',
    'now.getHours("Europe/Berlin") >= 7 && now.getHours("Europe/Berlin") < {n}',
    "turn.calls > {n} && turn.rounds < 100",
    'caller.user == "person-{n}" && args.limit <= 100',
    'args.sql.contains("table_{n}") || size(args.sql) > 10000',
    'graph == "graph-{n}" && node == "agent"',
)
ARGS = {
    "path": "/workspace/shop/orders.csv",
    "limit": 50,
    "sql": "select name from staff where id = 7",
    "text": "x" * 2000,
}
BODIES: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("path_within", ("/workspace/shop/orders.csv", "/workspace")),
    ("sql_read_only", ("select name, count(*) from staff join sales using (id) where day > '2026-01-01' group by 1",)),
    ("sql_tables", ("select name, count(*) from staff join sales using (id) where day > '2026-01-01' group by 1",)),
    ("host", ("https://files.example.com:8443/a/b?c=d",)),
    ("public_url", ("https://93.184.216.34/a/b",)),
    ("full_match", ("orders-2026-08.csv", "[a-z]+-[0-9]{4}-[0-9]{2}[.]csv")),
)


def mixed() -> Iterator[tuple[str, Any]]:
    """Rules as people write them, each with the list it stands in. No condition is true of the call that is measured,
    so all that speak of its tool are evaluated."""
    for n in count():
        server, tool = f"server-{n % SERVERS}", TOOLS[(n // 3) % len(TOOLS)]
        when = CONDITIONS[n % len(CONDITIONS)].replace("{n}", str(n + 2000))
        kind = ("deny", "ask", "allow", "allow")[(n // 4) % 4]
        match n % 4:
            case 0:
                yield "allow", f"server-{n % SERVERS}/only_{n}"
            case 1:
                yield kind, {"tool": [f"{server}/{tool}", f"{server}/other_{n}"], "when": when}
            case 2:
                yield kind, {"tool": f"{server}/{tool.partition('_')[0]}*", "when": when}
            case _:
                yield kind, {"tool": f"*/{tool.partition('_')[0]}_{n % 7}*" if n % 8 == 3 else "*", "when": when}


def all_relevant() -> Iterator[tuple[str, Any]]:
    """The worst there is: every rule speaks of every tool and has a condition of its own."""
    for n in count():
        when = CONDITIONS[n % len(CONDITIONS)].replace("{n}", str(n + 2000))
        yield ("deny", "ask", "allow")[n % 3], {"tool": "*", "when": when}


def policy_of(rules: Iterator[tuple[str, Any]], size: int, folder: Path) -> Policy:
    """The rules as a role and two that it includes, through a file as any other."""
    roles: dict[str, dict[str, Any]] = {name: {} for name in ("role", "one", "two")}
    roles["role"]["include"] = ["one", "two"]
    for at, (decision, rule) in enumerate(islice(rules, size)):
        roles[("role", "one", "two")[at % 3]].setdefault(decision, []).append(rule)
    folder.mkdir(exist_ok=True)
    (folder / "access.yaml").write_text(yaml.safe_dump({"roles": roles, "keys": []}))
    (folder / "servers.yaml").write_text("mcpServers: {}\n")
    return load(folder, {}).policy


def facts(tool: str) -> CallFacts:
    return CallFacts(
        call_id="call_1",
        tool=ToolFacts(server="server-1", name=tool),
        args=ARGS,
        graph="assistant",
        node="agent",
        rounds=2,
        calls=3,
        now=datetime(2026, 8, 3, 3, 0, tzinfo=UTC),
    )


def microseconds(work: Callable[[], object], times: int) -> float:
    """Of processor time, the best of five: what else the machine does is not what is measured."""
    return min(timeit.repeat(work, number=times, repeat=5, timer=time.process_time)) / times * 1e6


def row(rules: Callable[[], Iterator[tuple[str, Any]]], size: int, folder: Path) -> tuple[float, float]:
    """One decision about a tool that was decided about before, and about one that never was."""
    policy = policy_of(rules(), size, folder)
    caller = Caller(user="ann", role="role", key="laptop")
    known = facts("read_file")
    invented = iter([facts(f"read_{n}") for n in range(5 * 200)])
    again = microseconds(lambda: policy.decide(caller, known), max(50, 20_000 // size))
    return again, microseconds(lambda: policy.decide(caller, next(invented)), 200)


def bodies() -> Mapping[str, float]:
    """Our own functions, without CEL around them and without a network."""

    def of(name: str, given: tuple[Any, ...]) -> float:
        body = FUNCTIONS[name].body
        return microseconds(lambda: body(*given), 500)

    return {name: of(name, given) for name, given in BODIES}


def main() -> None:
    print(f"{'microseconds':>14}  {'mixed rules':>11}  {'new tool':>8}  {'all speak of it':>15}  {'new tool':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            mix, first = row(mixed, size, Path(folder) / "mixed")
            worst, worst_first = row(all_relevant, size, Path(folder) / "worst")
            print(f"{size:>8} rules  {mix:>11.1f}  {first:>8.1f}  {worst:>15.1f}  {worst_first:>8.1f}")
    print("\nbodies of functions, each call:")
    for name, cost in bodies().items():
        print(f"{name:>14}  {cost:>11.1f}")


if __name__ == "__main__":
    main()
