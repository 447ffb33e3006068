"""Many at once: paced streams beside the lean floor's, and the memory of a stream that waits and of a conversation."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.load import Client, Sample, Scenario, Talk, Target, load, quantile
from bench.targets import FLOORS, INTERLOCK, Measured, Upstream, floors, folder, interlock, upstream

PACED = Scenario(name="paced", stream=True, chunks=50, delay=20)
"""As a model that says fifty tokens a second."""
DIRECT = "the model itself"
LEAN = FLOORS["lean"]
BOUND = 1.2
"""How many times what the lean floor adds Interlock may add."""
WAITING = Scenario(name="waiting", stream=True, chunks=1, first=600_000)
CONVERSATION = Scenario(name="conversation", rounds=1)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    streams: Sequence[int] = (16, 64, 256)
    workers: int = 2
    """Of the second Interlock; 1: there is none."""
    rounds: int = 3
    seconds: float = 3.0
    spread: bool = False
    """The clients begin one after the other while a stream lasts, not all at the same moment."""
    idle: int = 400
    """Streams that wait, and conversations, to see their memory."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """So many paced streams at once at one target; the p95 of each round, and of these the median. Times in ms."""

    target: str
    streams: int
    answers: int
    errors: int
    whole: float
    """From the request to the end of the answer."""
    first: float
    """From the request to the first token."""
    pause: float
    """The longest pause of a stream between two arrivals."""
    cpu_ms: float | None
    """Per stream, of the serving process; not of the model."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What one more costs, in bytes."""

    target: str
    idle_stream: int
    """Resident, of a stream that waits for its model."""
    conversation: int
    """Resident, of a conversation of four turns with a tool call each, once it is over."""
    stored: int | None
    """On disk, of such a conversation."""


async def paces(plan: Plan) -> AsyncIterator[list[Pace]]:
    """For each number of streams: the model itself, the lean floor, and Interlock with one worker and with several."""
    with ExitStack() as stack:
        home = stack.enter_context(folder())
        served = stack.enter_context(upstream(home))
        asked: list[tuple[Target, Measured | None]] = [
            (Target(name=DIRECT, url=f"{served.address}/v1"), None),
            *(
                (one.target, one)
                for one in [
                    stack.enter_context(floors(home, served))["lean"],
                    stack.enter_context(interlock(home, served)),
                    *several(stack, home, served, plan.workers),
                ]
            ),
        ]
        for count in plan.streams:
            yield await at_once(count, asked, plan)


def several(stack: ExitStack, home: Path, served: Upstream, workers: int) -> list[Measured]:
    """Interlock with so many workers; nothing for one."""
    if workers == 1:
        return []
    return [stack.enter_context(interlock(home, served, workers=workers, name=f"{INTERLOCK}, {workers} workers"))]


async def at_once(count: int, asked: Sequence[tuple[Target, Measured | None]], plan: Plan) -> list[Pace]:
    """So many streams at a time at every target, in turn."""
    seen: list[list[tuple[Sample, float]]] = [[] for _ in asked]
    for target, _ in asked:
        await load(target, Scenario(name="warm-up", stream=True), concurrency=16, seconds=1, limit=64)
    for _ in range(plan.rounds):
        for (target, measured), samples in zip(asked, seen, strict=True):
            before = measured.program.cpu() if measured else 0.0
            spread = PACED.chunks * PACED.delay / 1e3 if plan.spread else 0.0
            sample = await load(target, PACED, concurrency=count, seconds=plan.seconds, spread=spread)
            samples.append((sample, (measured.program.cpu() if measured else 0.0) - before))
    return [
        pace(target, count, samples, measured is not None)
        for (target, measured), samples in zip(asked, seen, strict=True)
    ]


def pace(target: Target, count: int, seen: Sequence[tuple[Sample, float]], measured: bool) -> Pace:
    def middle(values: Sequence[Sequence[float]]) -> float:
        return round(statistics.median(quantile(found, 0.95) for found in values), 1)

    cpu = statistics.median(used * 1e3 / max(1, sample.answers) for sample, used in seen)
    samples = [sample for sample, _ in seen]
    return Pace(
        target=target.name,
        streams=count,
        answers=sum(sample.answers for sample in samples),
        errors=sum(sample.errors.total() for sample in samples),
        whole=middle([sample.total for sample in samples]),
        first=middle([sample.first for sample in samples]),
        pause=middle([sample.gaps for sample in samples]),
        cpu_ms=round(cpu, 2) if measured else None,
    )


def added(paces: Sequence[Pace]) -> Iterator[str]:
    """A line for each target, with what it adds to the model's own p95, and how many times what the lean floor adds."""
    direct = next(one for one in paces if one.target == DIRECT)
    lean = next(one for one in paces if one.target == LEAN)
    for one in paces:
        words = f"{one.streams:4} streams  {one.target:22} p95: "
        parts: list[str] = []
        for name in ("whole", "first", "pause"):
            mine, floor, base = (getattr(found, name) for found in (one, lean, direct))
            if one is direct:
                parts.append(f"{name} {base:.0f} ms")
                continue
            times = (mine - base) / max(1.0, floor - base)
            verdict = "" if one is lean else f" ({times:.2f} x lean{'' if times <= BOUND else ', too much'})"
            parts.append(f"{name} {mine - base:+.0f} ms{verdict}")
        cpu = f"  {one.cpu_ms:.2f} ms CPU" if one.cpu_ms is not None else ""
        yield f"{words}{', '.join(parts)}{cpu}  {one.answers} answers, {one.errors} errors"


async def memory(idle: int) -> list[Memory]:
    """What a waiting stream and a conversation that is over leave in memory, at the lean floor and at Interlock."""
    with ExitStack() as stack:
        home = stack.enter_context(folder())
        served = stack.enter_context(upstream(home))
        lean, ours = stack.enter_context(floors(home, served))["lean"], stack.enter_context(interlock(home, served))
        return [await remembered(one, idle, idle) for one in (lean, ours)]


async def remembered(one: Measured, streams: int, conversations: int) -> Memory:
    turns = CONVERSATION.turns
    await load(one.target, CONVERSATION, concurrency=16, seconds=60, limit=conversations * turns // 4)
    before, stored = one.program.memory(), size(one.data)
    await load(one.target, CONVERSATION, concurrency=16, seconds=600, limit=conversations * turns)
    conversation, on_disk = one.program.memory() - before, size(one.data) - stored
    before = one.program.memory()
    clients = [Client(one.target) for _ in range(streams)]
    waiting = [asyncio.create_task(ask(client, one.target)) for client in clients]
    await settled(one)
    stream = one.program.memory() - before
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for client in clients:
        client.close()
    return Memory(
        target=one.target.name,
        idle_stream=round(stream / streams),
        conversation=round(conversation / conversations),
        stored=round(on_disk / conversations) if one.data else None,
    )


async def ask(client: Client, target: Target) -> None:
    talk = Talk(target, WAITING)
    await client.post(talk.body(), talk.headers)


async def settled(one: Measured) -> None:
    """Returns once the memory has stayed the same for a second, because all streams wait."""
    last, since = -1, 0
    while since < 10:
        await asyncio.sleep(0.1)
        now = one.program.memory()
        last, since = now, since + 1 if abs(now - last) < 100_000 else 0


def size(data: Path | None) -> int:
    """Bytes of the files of a store."""
    return sum(file.stat().st_size for file in data.glob("*.db*")) if data else 0
