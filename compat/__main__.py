"""`make compat`: other people's MCP servers and clients with this Interlock, and docs/compatibility.md of that."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from compat.clients import CLIENTS
from compat.report import PAGE, write_page
from compat.results import ClientResult, ServerResult
from compat.servers import SERVERS
from compat.trials import run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
NAMES = [one.name for one in (*SERVERS, *CLIENTS)]


@app.command()
def compat(
    only: Annotated[str, typer.Option(help="Servers and clients, comma separated.")] = ",".join(NAMES),
    renew: Annotated[
        bool, typer.Option("--renew", help="Install the newest versions of what is there already.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="The page. Without it, a whole run's is docs/compatibility.md.")
    ] = None,
) -> None:
    """Install, run and ask; exit 1 if anything does not work."""
    names = only.split(",")
    if unknown := set(names) - set(NAMES):
        raise typer.BadParameter(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    # Only for us: the programs that are started have paths of their own.
    os.environ.pop("PYTHONPATH", None)
    servers = [server for server in SERVERS if server.name in names]
    clients = [client for client in CLIENTS if client.name in names]
    found: list[ServerResult | ClientResult] = []
    for result in run(servers, clients, renew=renew, say=typer.echo):
        found.append(result)
        typer.echo(describe(result))
    page = write_page(found)
    if output or set(names) == set(NAMES):
        (output or PAGE).write_text(page, encoding="utf-8")
    else:
        typer.echo(page)
    if any(not works(result) for result in found):
        raise typer.Exit(1)


def works(result: ServerResult | ClientResult) -> bool:
    return result.works if isinstance(result, ServerResult) else not result.failures()


def describe(result: ServerResult | ClientResult) -> str:
    """One line, and what went wrong in full below it."""
    if isinstance(result, ServerResult):
        verdict = "as wanted" if result.works else "NOT as wanted"
        line = f"{result.server.name}: {verdict}; {result.status}, {result.tools} tools"
        details = [result.reason] if result.reason else []
        return "\n    ".join([line, *details, *([] if result.works else [result.answer[:1000]])])
    failures = [f"{way}: {why}" for way, why in result.failures().items()]
    return "\n    ".join([f"{result.client.name}: {'NOT as wanted' if failures else 'works'}", *failures])


if __name__ == "__main__":
    app(prog_name="make compat")
