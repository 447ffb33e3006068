"""`interlock notify`: tries what `notifications` of gateway.yaml names."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from graphs.errors import ConfigError
from server.cli.options import Configs, load_settings, report_error
from server.cli.output import escape_lines

# ruff: noqa: PLC0415  what needs the engine loads it itself: `--help` does not

notify = typer.Typer(
    name="notify", help="Notifications of approvals and questions: tries their destinations.", no_args_is_help=True
)


@notify.callback()
def _keep_subcommands() -> None:  # pyright: ignore[reportUnusedFunction]  with one command alone, typer would drop its name
    """Notifications of approvals and questions: tries their destinations."""


@notify.command("test")
def send_test(
    destination: Annotated[
        str | None, typer.Argument(metavar="[DESTINATION]", help="One destination.", show_default="all")
    ] = None,
    configs: Configs = None,
) -> None:
    """Sends a test message to each destination of gateway.yaml. Exit 0: sent; 1: one failed; 2: usage."""
    from graphs.config.environment import build_environment
    from graphs.config.loader import load
    from graphs.diagnostics.notification_check import send_test_messages

    settings = load_settings(configs)
    try:
        snapshot = load(settings.configs, build_environment(os.environ, settings.data))
    except ConfigError as error:
        raise report_error(error) from None
    spec = snapshot.gateway.notifications
    if spec is None:
        typer.echo("gateway.yaml has no `notifications`, so there is nothing to try", err=True)
        raise typer.Exit(2)
    if destination is not None:
        if destination not in spec.destinations:
            known = ", ".join(spec.destinations)
            typer.echo(f"there is no destination {destination!r} in gateway.yaml; there is {known}", err=True)
            raise typer.Exit(2)
        spec = spec.model_copy(update={"destinations": {destination: spec.destinations[destination]}})
    trials = asyncio.run(send_test_messages(snapshot, spec))
    for trial in trials:
        label = "ok  " if trial.sound else "FAIL"
        typer.echo(escape_lines(f"{label} {trial.position}: {trial.name}: {trial.message}"))
    if not all(trial.sound for trial in trials):
        raise typer.Exit(1)
