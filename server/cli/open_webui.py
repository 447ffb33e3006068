"""The command `interlock open-webui`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from graphs.errors import InterlockError
from server.cli.options import Configs, load_settings, report_error

# ruff: noqa: PLC0415  what needs more than the options loads it itself: `--help` does not


def open_webui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; a free one where it is taken.")] = 3000,
    url: Annotated[
        str | None,
        typer.Option(help="Where Interlock serves.", show_default="the `interlock serve` of this folder, or port 8080"),
    ] = None,
    key: Annotated[str, typer.Option(envvar="INTERLOCK_KEY", help="Default: a key of that `interlock serve`.")] = "",
    configs: Configs = None,
) -> None:
    """Opens a chat page on this machine, for you alone: Open WebUI, which uv gets where it is not installed."""
    from server.cli.chat.gateway_client import ChatFailed
    from server.cli.chat.server_choice import choose_server
    from server.cli.open_webui_program import run_open_webui

    data = load_settings(configs).data
    try:
        raise typer.Exit(run_open_webui(choose_server(url, key, data, os.environ), data, port))
    except ChatFailed as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except InterlockError as error:
        raise report_error(error) from None
