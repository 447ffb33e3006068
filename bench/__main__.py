"""`make bench`: the table of CPU per request."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from bench.facts import facts, told
from bench.growth import GROWING, Growth, steepness
from bench.growth import measure as measure_growth
from bench.kept import DOCS, into_readme, keep, keep_growth
from bench.table import SCENARIOS, TARGETS, WORDS, Cell, Plan, markdown, measure, results

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
    output: Annotated[
        Path | None,
        typer.Option(help="Where results go. Without it, a whole run's go to docs/bench and into the README."),
    ] = None,
) -> None:
    """CPU ms per request of the serving process, beside the floors in the same run."""
    if context.invoked_subcommand:
        return
    plan = Plan(
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


@app.command()
def growth(
    only: Annotated[str, typer.Option(help="What grows, comma separated.")] = ",".join(GROWING),
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of load for each point.")] = 2.0,
    output: Annotated[Path, typer.Option(help="Where the results go.")] = DOCS,
) -> None:
    """What a request costs as there is more of something."""
    uvloop.run(run_growth(chosen(only, GROWING), seconds, output))


async def run_growth(only: Sequence[str], seconds: float, output: Path) -> None:
    made = facts()
    typer.echo(told(made) + "\n")
    found: list[Growth] = []
    async for one in measure_growth(only, seconds):
        found.append(one)
        for name, line in one.series.items():
            values = "  ".join(f"{x:,}: {y:.2f}" for x, y in line)
            typer.echo(f"{one.name:10} {name:18} {values}   {one.unit}; last step as the power {steepness(line)}")
    if set(only) == set(GROWING) or output != DOCS:
        keep_growth(found, made, output)


async def run_table(plan: Plan, output: Path | None) -> None:
    made = facts()
    typer.echo(told(made) + "\n")
    cells: list[Cell] = []
    async for column in measure(plan):
        cells += column
        for cell in column:
            spread = " ".join(f"{value:.2f}" for value in cell.rounds)
            typer.echo(
                f"{cell.scenario:12} {cell.target:24} {cell.cpu_ms:8.2f} ms CPU  ({spread})  {cell.per_second:7.1f}/s  "
                f"p50 {cell.p50_ms:.1f} ms  p95 {cell.p95_ms:.1f} ms  {cell.requests} requests"
            )
            if cell.tool_calls != (calls := next(one.rounds for one in SCENARIOS if one.name == cell.scenario)):
                typer.echo(f"{'':12} {cell.tool_calls:g} tool calls a request instead of {calls}: not comparable")
            for error, count in cell.errors.items():
                typer.echo(f"{'':12} {count} times: {error}")
    kept = results(cells, plan, made)
    typer.echo("\n" + markdown(kept))
    if output:
        keep(kept, output)
    elif plan.whole:
        keep(kept, DOCS)
        into_readme(kept)


if __name__ == "__main__":
    app(prog_name="make bench")
