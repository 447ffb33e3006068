"""What a request costs as there is more of something: messages, tools, rules, graphs, bytes of a result."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.configs import Configs
from bench.load import Client, Scenario, Talk, load
from bench.targets import FLOORS, INTERLOCK, Measured, Upstream, floors, folder, interlock, upstream

LEAN = FLOORS["lean"]
TOOL = Scenario(name="tool", rounds=1)
CHAT = Scenario(name="chat")
MESSAGES = (1, 11, 31, 101, 201, 351, 501)
TOOLS = (1, 10, 100, 300, 1000)
RULES = (1, 10, 100, 300, 1000)
GRAPHS = (1, 10, 100, 300)
BYTES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
GROWING = ("messages", "bytes", "tools", "rules", "graphs")
REPEATS = 24
"""How often a request of a long conversation is sent again to be measured."""
CONCURRENCY = 4


Line = list[tuple[float, float]]
"""How many there were, and what it cost."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What was measured as one number grew."""

    name: str
    of: str
    """What there is more of."""
    unit: str
    series: Mapping[str, Line]


async def measure(only: Sequence[str], seconds: float) -> AsyncIterator[Growth]:
    """Each kind of growth, in turn."""
    with ExitStack() as stack:
        home = stack.enter_context(folder())
        served = stack.enter_context(upstream(home))
        if "messages" in only or "bytes" in only:
            with floors(home, served) as running, interlock(home, served) as ours:
                if "messages" in only:
                    yield await messages([running["lean"], ours])
                if "bytes" in only:
                    yield await sizes([running["lean"], ours], seconds)
        starts: dict[str, Line] = {}
        work: dict[str, Line] = {}
        for kind in ("tools", "rules", "graphs"):
            if kind in only:
                yield await configured(
                    kind, home, served, seconds, starts.setdefault(kind, []), work.setdefault(kind, [])
                )
        if starts:
            of = "tools, rules or graphs"
            yield Growth(name="start", of=of, unit="seconds from start to ready", series=starts)
            yield Growth(name="start_cpu", of=of, unit="CPU seconds from start to ready", series=work)


KINDS = {"tools": (TOOLS, TOOL), "rules": (RULES, TOOL), "graphs": (GRAPHS, CHAT)}
"""What a folder of configs may have more of, how much, and what is asked then."""


async def configured(kind: str, home: Path, served: Upstream, seconds: float, starts: Line, work: Line) -> Growth:
    """The cost of a request as the configs grow; the start's seconds, and its processor time, go to the other two."""
    counts, scenario = KINDS[kind]
    series: dict[str, Line] = {}
    for count in counts:
        if kind == "tools":
            with floors(home, served, tools=count) as running:
                series.setdefault(LEAN, []).append((count, await cost(running["lean"], scenario, seconds)))
        with interlock(home, served, Configs(**{kind: count})) as ours:
            starts.append((count, round(ours.ready_seconds, 2)))
            work.append((count, round(ours.program.cpu(), 2)))
            series.setdefault(INTERLOCK, []).append((count, await cost(ours, scenario, seconds)))
    return Growth(name=kind, of=kind, unit="CPU ms a request", series=series)


async def sizes(asked: Sequence[Measured], seconds: float, steps: Sequence[int] = BYTES) -> Growth:
    """As tool results grow."""
    series: dict[str, Line] = {one.target.name: [] for one in asked}
    for size in steps:
        for one in asked:
            scenario = Scenario(name="bytes", rounds=1, size=size, turns=1)
            series[one.target.name].append((size, await cost(one, scenario, seconds)))
    return Growth(name="bytes", of="bytes of a tool result", unit="CPU ms a request", series=series)


async def messages(asked: Sequence[Measured], lengths: Sequence[int] = MESSAGES) -> Growth:
    """As a conversation grows, in which every turn calls a tool: it is held turn after turn, and at some lengths the
    same request is sent again and again."""
    series: dict[str, Line] = {}
    for one in asked:
        await load(one.target, TOOL, concurrency=1, seconds=5, limit=32)
        talk, client = Talk(one.target, TOOL), Client(one.target)
        line = series.setdefault(one.target.name, [])
        while len(talk.messages) < lengths[-1]:
            await answered(client, talk)
            if len(talk.messages) + 1 in lengths:
                before = one.program.cpu()
                for _ in range(REPEATS):
                    await answered(client, talk)
                line.append((len(talk.messages) + 1, round((one.program.cpu() - before) * 1e3 / REPEATS, 2)))
            talk.go_on()
        client.close()
    return Growth(name="messages", of="messages of the conversation", unit="CPU ms a request", series=series)


async def answered(client: Client, talk: Talk) -> None:
    """Asks once. Raises LoadFailed."""
    error = await client.post(talk.body(), talk.headers)
    if error is not None:
        raise LoadFailed(error)


async def cost(one: Measured, scenario: Scenario, seconds: float) -> float:
    """CPU ms per request. Raises LoadFailed."""
    await load(one.target, scenario, concurrency=CONCURRENCY, seconds=seconds, limit=16)
    before = one.program.cpu()
    sample = await load(one.target, scenario, concurrency=CONCURRENCY, seconds=seconds)
    if sample.errors or not sample.answers:
        raise LoadFailed(f"{one.target.name}: {dict(sample.errors)}")
    return round((one.program.cpu() - before) * 1e3 / sample.answers, 2)


class LoadFailed(Exception):
    """A target answered with an error where none was asked for."""


def steepness(line: Line) -> float:
    """The power with which the cost grew over the last step: 1 is with the number, 2 with its square."""
    (x1, y1), (x2, y2) = line[-2:]
    return round(math.log(y2 / y1) / math.log(x2 / x1), 2)
