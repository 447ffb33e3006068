"""`make bench` and what follows it: nothing for the table of CPU per request, `growth`, `scale` or `soak`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from bench import growth, markdown, scale, soak
from bench import table as compared
from bench.machine import facts, told
from bench.results import DOCS, PAGE, block, keep, keep_growth, save, write_into
from bench.table import TARGETS, WORDS

Output = Annotated[Path | None, typer.Option(help="Where results go. Without it, a whole run's go to docs/bench.")]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def table(
    context: typer.Context,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each asks every target in turn.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of load for each target in each round.")] = 2.0,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 16,
    turns: Annotated[int, typer.Option(min=1, help="Requests of one conversation; 1 sends no history.")] = 4,
    only: Annotated[str, typer.Option(help="Scenarios, comma separated.")] = ",".join(WORDS),
    targets: Annotated[str, typer.Option(help="Who is asked, comma separated.")] = ",".join(TARGETS),
    output: Output = None,
) -> None:
    """CPU ms per request of the serving process, beside the floors in the same run."""
    if context.invoked_subcommand:
        return
    plan = compared.Plan(
        rounds=rounds,
        seconds=seconds,
        concurrency=concurrency,
        turns=turns,
        only=chosen(only, WORDS),
        targets=chosen(targets, TARGETS),
    )
    uvloop.run(run_table(plan, output))


def chosen(text: str, known: Collection[str]) -> list[str]:
    """The names in a list with commas. Raises BadParameter for one that is not known."""
    names = text.split(",")
    if unknown := set(names) - set(known):
        raise typer.BadParameter(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return names


@app.command("growth")
def grow(
    only: Annotated[str, typer.Option(help="What grows, comma separated.")] = ",".join(growth.GROWING),
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of load for each point.")] = 2.0,
    output: Output = None,
) -> None:
    """What a request costs as there is more of something."""
    names = chosen(only, growth.GROWING)
    uvloop.run(run_growth(names, seconds, output or (DOCS if set(names) == set(growth.GROWING) else None)))


async def run_growth(only: Sequence[str], seconds: float, output: Path | None) -> None:
    made = facts()
    typer.echo(told(made) + "\n")
    found: list[growth.Growth] = []
    async for one in growth.measure(only, seconds):
        found.append(one)
        for name, line in one.series.items():
            values = "  ".join(f"{x:,}: {y:.2f}" for x, y in line)
            typer.echo(
                f"{one.name:10} {name:18} {values}   {one.unit}; last step as the power {growth.steepness(line)}"
            )
    kept = {"machine": made, "growth": [asdict(one) for one in found]}
    if output:
        keep_growth(found, kept, output)
    if output == DOCS:
        write_into(PAGE, "growth", markdown.growth(kept))


@app.command("scale")
def many(
    streams: Annotated[str, typer.Option(help="How many paced streams at once, comma separated.")] = "16,64,256",
    workers: Annotated[int, typer.Option(min=1, help="Workers of the second Interlock; 1: there is none.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each asks every target in turn.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of load for each target in each round.")] = 3.0,
    spread: Annotated[
        bool, typer.Option(help="Streams begin one after the other, not all at the same moment.")
    ] = False,
    idle: Annotated[int, typer.Option(min=1, help="Streams that wait, and conversations, to see their memory.")] = 400,
    output: Output = None,
) -> None:
    """Many streams at once, and what each costs in memory."""
    plan = scale.Plan(
        streams=tuple(int(count) for count in streams.split(",")),
        workers=workers,
        rounds=rounds,
        seconds=seconds,
        spread=spread,
        idle=idle,
    )
    uvloop.run(run_scale(plan, output or (DOCS if plan == scale.Plan() else None)))


async def run_scale(plan: scale.Plan, output: Path | None) -> None:
    made = facts()
    typer.echo(told(made) + "\n")
    found: list[scale.Pace] = []
    async for paces in scale.paces(plan):
        found += paces
        for one in scale.added(paces):
            typer.echo(one)
    remembered = await scale.memory(plan.idle)
    for item in remembered:
        stored = f", {item.stored / 1e3:.1f} kB on disk" if item.stored is not None else ""
        typer.echo(
            f"{item.target:22} {item.idle_stream / 1e3:.1f} kB a waiting stream; a conversation that is over: "
            f"{item.conversation / 1e3:.1f} kB in memory{stored}"
        )
    content: dict[str, Any] = {
        "machine": made,
        "plan": asdict(plan),
        "paces": [asdict(one) for one in found],
        "memory": [asdict(one) for one in remembered],
    }
    if output:
        save(output / "scale.json", content)
    if output == DOCS:
        write_into(PAGE, "scale", markdown.scale(content))


@app.command("soak")
def long(
    turns: Annotated[int, typer.Option(min=20, help="How many turns.")] = soak.TURNS,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 16,
    output: Output = None,
) -> None:
    """Turn after turn: whether memory, files or the cost of a turn grow."""
    uvloop.run(run_soak(turns, concurrency, output or (DOCS if turns >= soak.TURNS else None)))


async def run_soak(turns: int, concurrency: int, output: Path | None) -> None:
    made = facts()
    typer.echo(told(made) + "\n")
    looks: list[soak.Look] = []
    async for look in soak.soak(turns, concurrency):
        looks.append(look)
        typer.echo(
            f"{look.turns:7,} turns  {look.resident / 1e6:7.1f} MB resident  {look.stored / 1e6:7.1f} MB stored  "
            f"{look.files} files  {look.threads} threads  {look.cpu_ms:.2f} ms CPU a turn  {look.per_second:.0f}/s  "
            f"{look.errors} errors"
        )
    kept = {"machine": made, "looks": [asdict(look) for look in looks]}
    if output:
        save(output / "soak.json", kept)
    if output == DOCS:
        write_into(PAGE, "soak", markdown.soak(kept))


async def run_table(plan: compared.Plan, output: Path | None) -> None:
    made = facts()
    typer.echo(told(made) + "\n")
    cells: list[compared.Cell] = []
    async for column in compared.measure(plan):
        cells += column
        for cell in column:
            spread = " ".join(f"{value:.2f}" for value in cell.rounds)
            typer.echo(
                f"{cell.scenario:12} {cell.target:24} {cell.cpu_ms:8.2f} ms CPU  ({spread})  {cell.per_second:7.1f}/s  "
                f"p50 {cell.p50_ms:.1f} ms  p95 {cell.p95_ms:.1f} ms  {cell.requests} requests"
            )
            if cell.tool_calls != (
                calls := next(one.rounds for one in compared.SCENARIOS if one.name == cell.scenario)
            ):
                typer.echo(f"{'':12} {cell.tool_calls:g} tool calls a request instead of {calls}: not comparable")
            for error, count in cell.errors.items():
                typer.echo(f"{'':12} {count} times: {error}")
    kept = compared.results(cells, plan, made)
    typer.echo("\n" + compared.markdown(kept))
    if output:
        keep(kept, output)
    elif plan.whole:
        keep(kept, DOCS)
        write_into(PAGE, "results", block(kept))


if __name__ == "__main__":
    app(prog_name="make bench")
