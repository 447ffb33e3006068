"""`interlock graph`: new graphs, by themselves or like one from the shelf."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from graphs.errors import describe_missing_folder
from server.cli.options import Configs, load_settings

# ruff: noqa: PLC0415  what reads config files loads that itself: `--help` does not

graph = typer.Typer(name="graph", help="Makes new graphs.", no_args_is_help=True)


class CannotMake(Exception):
    """What was asked for cannot be made; the text says what to ask for instead."""


@dataclass(frozen=True)
class ShelfGraph:
    """A graph that a new one may be like."""

    file: Path
    description: str

    @property
    def test(self) -> Path:
        """The tests beside it, which need not be there."""
        return self.file.with_suffix(".test.yaml")


@graph.command()
def new(
    name: Annotated[str, typer.Argument(help="What it is called: the name of its file, and in the model list.")],
    like: Annotated[
        str | None,
        typer.Option(help="A graph of the shelf; any other word shows what there is.", show_default="assistant"),
    ] = None,
    configs: Configs = None,
) -> None:
    """Writes a new graph, with its tests if the shelf has some. Exit 0: written; 1: it is there already; 2: usage."""
    from graphs.config.loader import list_own_graph_files
    from server.cli.new_files import CannotWrite, write_new_file

    folder = load_settings(configs).configs
    try:
        wanted = read_name(name)
        files = collect_files(folder, wanted, choose_shelf_graph(like))
    except CannotMake as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    if there := [path for path in (*files, folder / "graphs" / f"{wanted}.yml") if os.path.lexists(path)]:
        typer.echo(f"{there[0]} is there already and stays as it is; choose another name, or remove it", err=True)
        raise typer.Exit(1)
    is_first = not list_own_graph_files(folder / "graphs")
    try:
        for path, text in files.items():
            write_new_file(path, text)
            typer.echo(path)
    except CannotWrite as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if is_first:
        typer.echo(describe_default(folder / "gateway.yaml", wanted), err=True)
    typer.echo(f"Look for mistakes: interlock check {shlex.quote(str(next(iter(files))))}", err=True)


def describe_default(gateway: Path, name: str) -> str:
    """Say what becomes of the shipped graph beside the first one of a folder, and how to make this one the default."""
    if gateway.exists():
        end = f"in {gateway}, write: default_graph: {name}"
        return f"{name} is the first graph of this folder, so the shipped one stands in no longer; {end}"
    end = f"for {name} to be the default, write {gateway} with the line: default_graph: {name}"
    return f"{name} is the first graph of this folder; the shipped one stays beside it, as the default; {end}"


def read_name(text: str) -> str:
    """Read the name of a graph, also where its file is named. Raises CannotMake."""
    from graphs.policy import patterns

    name = re.sub(r"\.ya?ml$", "", text)
    if not patterns.is_id(name):
        raise CannotMake(f"{name!r} is no name for a graph; use letters, digits, '.', '_' and '-'")
    if name.endswith(".test"):
        raise CannotMake(f"{name!r} ends in '.test', which is the ending of a graph's tests; choose another name")
    if name.endswith(".schema"):
        raise CannotMake(f"{name!r} ends in '.schema', which is the ending of a schema file; choose another name")
    return name


def list_shelf() -> Mapping[str, ShelfGraph]:
    """List the graphs that a new one may be like, by name: the shipped ones, then the shelf."""
    import yaml

    from graphs.config.loader import find_shipped_configs, list_own_graph_files

    folders = (find_shipped_configs() / "graphs", find_shipped_configs() / "shelf")
    files = [path for folder in folders for path in list_own_graph_files(folder)]
    return {
        path.stem: ShelfGraph(path, str(yaml.safe_load(path.read_text(encoding="utf-8")).get("description", "")))
        for path in files
    }


def choose_shelf_graph(like: str | None) -> ShelfGraph:
    """Choose what a new graph is like. Raises CannotMake with all that there is."""
    from graphs.errors import did_you_mean

    known = list_shelf()
    if like is None:
        return next(iter(known.values()))
    if like not in known:
        shelf = "\n".join(f"  {name}: {each.description}" for name, each in known.items())
        raise CannotMake(f"the shelf has no graph {like!r}{did_you_mean(like, known)}\n{shelf}")
    return known[like]


def collect_files(folder: Path, name: str, model: ShelfGraph) -> Mapping[Path, str]:
    """Collect the files to write: the graph, its tests where there are some, and those of the shelf that it runs, as
    far as they are not there. Raises CannotMake."""
    if not folder.is_dir():
        raise CannotMake(describe_missing_folder(folder))
    files = {folder / "graphs" / f"{name}.yaml": model.file.read_text(encoding="utf-8")}
    if model.test.exists():
        # Tests may name the graph that they are about.
        old = re.compile(rf"(\bgraph: *['\"]?){re.escape(model.file.stem)}(?![\w.-])")
        tests = old.sub(rf"\g<1>{name}", model.test.read_text(encoding="utf-8"))
        files[folder / "graphs" / f"{name}.test.yaml"] = tests
    for other in list_run_graphs(model):
        target = folder / "graphs" / other.file.name
        if not os.path.lexists(target):
            files[target] = other.file.read_text(encoding="utf-8")
            if other.test.exists() and not os.path.lexists(target.with_suffix(".test.yaml")):
                files[target.with_suffix(".test.yaml")] = other.test.read_text(encoding="utf-8")
    return files


def list_run_graphs(model: ShelfGraph) -> list[ShelfGraph]:
    """List the graphs of the shelf that this one runs, and those that they run."""
    import yaml

    from graphs.config.spec.graph import get_graph_spec

    known = list_shelf()
    found: dict[str, ShelfGraph] = {}
    waiting = [model]
    while waiting:
        spec = get_graph_spec().model_validate(yaml.safe_load(waiting.pop().file.read_text(encoding="utf-8")))
        names = [name for node in spec.list_all_nodes().values() for name in node.locate_graphs().values()]
        for name in names:
            if name in known and name not in found:
                found[name] = known[name]
                waiting.append(known[name])
    return [*found.values()]
