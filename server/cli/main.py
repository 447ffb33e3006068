"""The command `interlock`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from graphs.config.environment import build_environment
from graphs.errors import ConfigError, InterlockError, describe_missing_folder
from server.cli.access import access
from server.cli.audit import audit
from server.cli.backup import backup, restore
from server.cli.graph import graph
from server.cli.notify import notify
from server.cli.open_webui import open_webui
from server.cli.options import (
    Configs,
    DiffFormat,
    DrawingDirection,
    DrawingFormat,
    load_settings,
    print_problems,
    report_error,
    silence_engine_log,
)
from server.cli.output import escape_lines, format_schema
from server.cli.progress import show_progress
from server.cli.run_tests import run_tests
from server.cli.turn import turn

# ruff: noqa: PLC0415  each command loads what it needs: the engine takes seconds, and `--help` needs none of it

app = typer.Typer(
    help="YAML graphs, served as chat models whose MCP tools really run, each call checked first.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(access)
app.add_typer(audit)
app.add_typer(graph)
app.add_typer(notify)


@app.command()
def serve(
    configs: Configs = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8080,
    workers: Annotated[int, typer.Option(min=1, help="How many processes serve.")] = 1,
    log: Annotated[
        Literal["text", "json"] | None,
        typer.Option(help="How to log: for the eye, or a JSON object a line.", show_default="text"),
    ] = None,
) -> None:
    """Serves the graphs as an OpenAI-compatible API."""
    from server.cli.serve import CannotServe, serve_forever

    try:
        settings = load_settings(configs) if log is None else load_settings(configs).model_copy(update={"log": log})
        serve_forever(settings, host=host, port=port, workers=workers)
    except (InterlockError, CannotServe) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


@app.command()
def init(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="The folder to write; the same as --configs.")
    ] = None,
    configs: Configs = None,
) -> None:
    """Writes a config folder to begin with, and leaves what is there as it is. Exit 0: it is there; 1: it cannot be."""
    from server.cli.init import describe_next_steps, make_folder
    from server.cli.new_files import CannotWrite

    chosen = load_settings(folder or configs).configs
    try:
        beginning = make_folder(chosen)
    except CannotWrite as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    for path in beginning.made:
        typer.echo(path)
    for path in beginning.kept:
        typer.echo(f"{path} is there already, and stays as it is", err=True)
    for line in describe_next_steps(chosen, beginning.made):
        typer.echo(line, err=True)


@app.command()
def check(
    path: Annotated[
        Path | None,
        typer.Argument(help="The folder, the same as --configs; or one file of it, to hear of that one alone."),
    ] = None,
    configs: Configs = None,
    excerpts: Annotated[
        bool | None,
        typer.Option(
            "--excerpts/--no-excerpts",
            help="Show the line of each problem too, with a caret under the place; it goes to stderr.",
            show_default="shown, unless another program reads the problems",
        ),
    ] = None,
    connect: Annotated[
        bool, typer.Option("--connect", help="Start the MCP servers too, and hold patterns and arguments against them.")
    ] = False,
    patience: Annotated[float, typer.Option(min=0.1, help="With --connect: seconds that a server gets.")] = 45.0,
) -> None:
    """Reads all config files and prints every problem as FILE:LINE:COL: message. Exit 0: none; 1: some; 2: usage."""
    from server.cli.check import CannotCheck, check_files, choose_target

    settings = load_settings(configs)
    try:
        target = choose_target(path, settings.configs, is_given=configs is not None)
    except CannotCheck as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    env = build_environment(os.environ, settings.data)
    found = check_files(target, env, patience=patience if connect else None)
    print_problems(found.problems, excerpts)
    for note in found.notes:
        typer.echo(escape_lines(note), err=True)
    if not found.sound:
        raise typer.Exit(1)


app.command("test")(run_tests)
app.command()(turn)
app.command()(backup)
app.command()(restore)


@app.command()
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A config folder, or a revision of git.")],
    new: Annotated[
        str | None, typer.Argument(metavar="[NEW]", help="The same.", show_default="the config folder as it is now")
    ] = None,
    format: Annotated[DiffFormat, typer.Option(help="text; md: for a review; json.")] = "text",
    fail_on: Annotated[Literal["rights"] | None, typer.Option(help="Exit with 1 if anybody may do more.")] = None,
    configs: Configs = None,
) -> None:
    """Says what a change of the files means: graphs, texts, variables, and who may call which tools.

    A revision is that of the folder --configs. Exit 0: said; 1: with --fail-on; 2: files or usage.
    """
    from server.cli.diff import CannotCompare, SideBroken, compare_sides
    from server.cli.diff_output import FORMATS

    settings = load_settings(configs)
    try:
        found = compare_sides(old, new, settings.configs, build_environment(os.environ, settings.data))
    except CannotCompare as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except SideBroken as error:
        for problem in error.problems:
            typer.echo(escape_lines(f"{error.name}: {problem}"), err=True)
        typer.echo("nothing was compared: mend this first", err=True)
        raise typer.Exit(2) from None
    for line in FORMATS[format](found):
        typer.echo(line)
    if fail_on == "rights" and (count := sum(change.widens_rights for change in found)):
        typer.echo(f"--fail-on rights: {count} {'change' if count == 1 else 'changes'} may give more rights", err=True)
        raise typer.Exit(1)


@app.command()
def doctor(
    configs: Configs = None,
    patience: Annotated[float, typer.Option(min=0.1, help="Seconds that an MCP server gets to come up.")] = 45.0,
) -> None:
    """Tries everything that the files name, and sends no notification. Exit 0: all is well; 1: it is not."""
    from graphs.config.loader import load
    from graphs.diagnostics.doctor import examine

    chosen = load_settings(configs)
    env = build_environment(os.environ, chosen.data)
    try:
        snapshot = load(chosen.configs, env)
    except ConfigError as error:
        raise report_error(error) from None
    silence_engine_log()
    with show_progress() as waiting:
        trials = examine(snapshot, env, storage=chosen.storage, data=chosen.data, patience=patience, waiting=waiting)
        findings = asyncio.run(trials)
    for finding in findings:
        typer.echo(escape_lines(str(finding)))
    if not all(finding.sound for finding in findings):
        raise typer.Exit(1)


@app.command()
def draw(
    graph: Annotated[str | None, typer.Argument(help="A graph, by its name or file; without it, all.")] = None,
    format: Annotated[
        DrawingFormat | None, typer.Option(help="Default: what the ending of --output says, or mermaid.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="A file (.mmd, .svg, .png), or a folder for one file a graph. Default: stdout.")
    ] = None,
    direction: Annotated[
        DrawingDirection | None, typer.Option(help="Where it leads. Default: down; in Mermaid, what fits the graph.")
    ] = None,
    expand: Annotated[
        bool, typer.Option(help="Draws nodes that are several to LangGraph as these: agents, calls, map and parallel.")
    ] = False,
    configs: Configs = None,
) -> None:
    """Draws graphs as Mermaid, SVG or PNG, with what is wrong in them. Exit 0: drawn; 1: with problems; 2: usage."""
    from graphs.config.loader import load
    from graphs.diagnostics.drawing import expand_shape, read_shapes
    from server.cli.draw import CannotDraw, choose_format, choose_shapes, write

    settings = load_settings(configs)
    if not settings.configs.is_dir():
        typer.echo(describe_missing_folder(settings.configs), err=True)
        raise typer.Exit(2)
    env = build_environment(os.environ, settings.data)
    sound = True
    try:
        load(settings.configs, env)
    except ConfigError as error:
        sound = False
        for problem in sorted((*error.problems, *error.doubts)):
            typer.echo(str(problem), err=True)
    try:
        shapes = choose_shapes(read_shapes(settings.configs, env), graph)
        if expand:
            shapes = {file: expand_shape(shape) for file, shape in shapes.items()}
        for path in write(shapes, choose_format(format, output), output, direction):
            typer.echo(path)
    except CannotDraw as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2 if sound else 1) from None
    except OSError:
        # The folder cannot be read, which `load` has said already.
        raise typer.Exit(1) from None
    if not sound:
        raise typer.Exit(1)


@app.command()
def schema(
    name: Annotated[
        str | None, typer.Argument(help="gateway, servers, access, graph or test: prints that one.")
    ] = None,
    configs: Configs = None,
) -> None:
    """Writes the JSON Schemas of all kinds of config file into the folder's schemas/, for editors."""
    from graphs.config.spec.schemas import build_schemas

    made = build_schemas()
    if name is not None:
        if name not in made:
            typer.echo(f"there is no schema {name!r}; there is {', '.join(made)}", err=True)
            raise typer.Exit(2)
        typer.echo(format_schema(made[name]), nl=False)
        return
    folder = load_settings(configs).configs / "schemas"
    folder.mkdir(parents=True, exist_ok=True)
    for kind, content in made.items():
        (folder / f"{kind}.json").write_text(format_schema(content))
        typer.echo(f"{folder / kind}.json")


@app.command()
def chat(
    message: Annotated[list[str] | None, typer.Argument(help="One question; without it, a conversation.")] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Where Interlock serves.", show_default="the `interlock serve` of this folder, or port 8080"),
    ] = None,
    model: Annotated[str | None, typer.Option(help="A graph or model of its list.", show_default="assistant")] = None,
    key: Annotated[str, typer.Option(envvar="INTERLOCK_KEY", help="Default: a key of that `interlock serve`.")] = "",
    continues: Annotated[bool, typer.Option("--continue", help="Go on with the conversation that was left.")] = False,
    configs: Configs = None,
) -> None:
    """Talks to a running Interlock in the terminal, showing tool calls as they happen."""
    from server.cli.chat.gateway_client import ChatFailed
    from server.cli.chat.server_choice import choose_server
    from server.cli.chat.start import run_chat

    data, question = load_settings(configs).data, " ".join(message or [])
    try:
        server = choose_server(url, key, data, os.environ)
        asyncio.run(run_chat(server, model, question, continues=continues))
    except ChatFailed as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo()


app.command("open-webui")(open_webui)


@app.command()
def studio(
    configs: Configs = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port of the development server.")] = 2024,
    browser: Annotated[bool, typer.Option(help="Open Studio in a browser.")] = False,
    token: Annotated[
        bool, typer.Option(help="Answer only who has the local token, which the address for Studio carries.")
    ] = True,
) -> None:
    """Opens the graphs in LangGraph Studio: writes a langgraph.json for them and starts `langgraph dev` with it."""
    from server.cli.serve import CannotServe
    from server.cli.studio import run_studio

    try:
        raise typer.Exit(run_studio(load_settings(configs), host=host, port=port, browser=browser, token=token))
    except InterlockError as error:
        raise report_error(error) from None
    except CannotServe as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
