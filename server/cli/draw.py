"""`interlock draw`: chooses graphs and a format, and writes the drawings."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path, PurePath
from urllib.parse import quote

from graphs.diagnostics.drawing import Direction, GraphShape, render_mermaid, render_png, render_svg
from server.cli.options import DrawingFormat

ENDINGS: Mapping[str, DrawingFormat] = {".mmd": "mermaid", ".mermaid": "mermaid", ".svg": "svg", ".png": "png"}


class CannotDraw(Exception):
    """What was asked for cannot be done; the text says what to ask for instead."""


def choose_shapes(shapes: Mapping[str, GraphShape | None], graph: str | None) -> dict[str, GraphShape]:
    """Choose the graphs to draw, by file: the one of that name or file, or all. Raises CannotDraw."""
    wanted = PurePath(graph).stem if graph and PurePath(graph).suffix in (".yaml", ".yml") else graph
    found = {file: shape for file, shape in shapes.items() if wanted is None or PurePath(file).stem == wanted}
    if not found:
        there = [PurePath(file).stem for file in shapes]
        raise CannotDraw(f"there is no graph {wanted!r}; there is {', '.join(there)}")
    readable = {file: shape for file, shape in found.items() if shape is not None}
    if not readable:
        raise CannotDraw(f"{', '.join(found)}: no nodes can be read, so there is nothing to draw")
    return readable


def choose_format(wanted: DrawingFormat | None, output: str | None) -> DrawingFormat:
    """Choose the format that was asked for, or that the ending of the output file says. Raises CannotDraw."""
    ending = PurePath(output).suffix.lower() if output is not None and not is_folder(output) else ""
    said = ENDINGS.get(ending)
    if wanted is None and said is None and output is not None and not is_folder(output):
        fault = f"{ending!r} says no format" if ending else "the name has no ending"
        raise CannotDraw(f"{output}: {fault}; use {', '.join(ENDINGS)}, or say --format")
    if wanted is not None and said is not None and wanted != said:
        raise CannotDraw(f"{output}: the ending says {said} and --format says {wanted}; say one of them")
    return wanted or said or "mermaid"


def is_folder(output: str) -> bool:
    return output.endswith("/") or Path(output).is_dir()


def write(
    shapes: Mapping[str, GraphShape], kind: DrawingFormat, output: str | None, direction: Direction | None
) -> list[Path]:
    """Write the drawings to a file, into a folder, or to stdout; return the files that were written. In a folder, each
    leads to the others.

    Raises CannotDraw, also where the file cannot be written.
    """
    if output is None or not is_folder(output):
        content = join_drawings(shapes, kind, direction)
        if output is None:
            if kind == "png" and sys.stdout.isatty():
                raise CannotDraw("a PNG is no text for a terminal; name a file: --output graph.png")
            sys.stdout.buffer.write(content)
            return []
        return [save_file(Path(output), content)]
    ending = next(ending for ending, each in ENDINGS.items() if each == kind)
    names = {PurePath(file).stem: f"{PurePath(file).stem}{ending}" for file in shapes}
    links = {name: quote(drawing) for name, drawing in names.items()}
    return [
        save_file(Path(output) / names[PurePath(file).stem], render_shape(file, shape, kind, direction, links))
        for file, shape in shapes.items()
    ]


def join_drawings(shapes: Mapping[str, GraphShape], kind: DrawingFormat, direction: Direction | None) -> bytes:
    """Join all drawings in one file, which only Mermaid's text allows."""
    if len(shapes) > 1 and kind != "mermaid":
        names = ", ".join(PurePath(file).stem for file in shapes)
        raise CannotDraw(f"there are {len(shapes)} graphs ({names}); name one, or a folder: --output drawings/")
    return b"\n".join(render_shape(file, shape, kind, direction, {}) for file, shape in shapes.items())


def render_shape(
    file: str, shape: GraphShape, kind: DrawingFormat, direction: Direction | None, links: Mapping[str, str]
) -> bytes:
    match kind:
        case "mermaid":
            return f"%% {' '.join(file.split())}\n{render_mermaid(shape, direction=direction)}".encode()
        case "svg":
            return render_svg(shape, direction=direction or "down", links=links).encode()
        case "png":
            return render_png(shape, direction=direction or "down")


def save_file(path: Path, content: bytes) -> Path:
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise CannotDraw(f"{path}: cannot be written: {error.strerror}") from error
    return path
