"""Turn after turn, half of them with a tool call: whether memory, files or a turn's cost grow with what was before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass

from bench.load import Scenario, load
from bench.scale import size
from bench.targets import Measured, folder, interlock, upstream

TURNS = 50_000
STEPS = 10
"""How often is looked."""
KINDS = (Scenario(name="chat", stream=True), Scenario(name="tool", stream=True, rounds=1))


@dataclass(frozen=True, kw_only=True)
class Look:
    """How things stand after so many turns."""

    turns: int
    errors: int
    resident: int
    """Bytes of memory of the serving process."""
    stored: int
    """Bytes of the store's files."""
    files: int
    """Open file descriptors."""
    threads: int
    cpu_ms: float
    """Per turn since the look before."""
    per_second: float


async def soak(turns: int, concurrency: int) -> AsyncIterator[Look]:
    """Ten looks on the way, after a beginning that is not counted."""
    with ExitStack() as stack:
        home = stack.enter_context(folder())
        served = stack.enter_context(upstream(home))
        one = stack.enter_context(interlock(home, served))
        for kind in KINDS:
            await load(one.target, kind, concurrency=concurrency, seconds=10, limit=200)
        for step in range(1, STEPS + 1):
            yield await look(one, turns * step // STEPS, turns // STEPS, concurrency)


async def look(one: Measured, total: int, turns: int, concurrency: int) -> Look:
    """How things stand after `turns` more, `total` in all."""
    before = one.program.cpu()
    samples = [
        await load(one.target, kind, concurrency=concurrency, seconds=3600, limit=turns // len(KINDS)) for kind in KINDS
    ]
    answers = sum(sample.answers for sample in samples)
    family = one.program.family()
    return Look(
        turns=total,
        errors=sum(sample.errors.total() for sample in samples),
        resident=one.program.memory(),
        stored=size(one.data),
        files=sum(process.num_fds() for process in family),
        threads=sum(process.num_threads() for process in family),
        cpu_ms=round((one.program.cpu() - before) * 1e3 / max(1, answers), 2),
        per_second=round(answers / sum(sample.seconds for sample in samples), 1),
    )
