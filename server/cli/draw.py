"""`interlock draw`: which graphs, in which format, and where to."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Literal

from graphs.diagnostics.drawing import Shape, mermaid, png, svg

Format = Literal["mermaid", "svg", "png"]

ENDINGS: Mapping[str, Format] = {".mmd": "mermaid", ".mermaid": "mermaid", ".svg": "svg", ".png": "png"}


class CannotDraw(Exception):
    """What was asked for cannot be done, and what to ask for instead."""


def chosen(shapes: Mapping[str, Shape | None], graph: str | None) -> dict[str, Shape]:
    """The graphs to draw, by file: the one of that name or file, or all. Raises CannotDraw."""
    wanted = PurePath(graph).stem if graph and PurePath(graph).suffix in (".yaml", ".yml") else graph
    found = {file: shape for file, shape in shapes.items() if wanted is None or PurePath(file).stem == wanted}
    if not found:
        there = [PurePath(file).stem for file in shapes]
        raise CannotDraw(f"there is no graph {wanted!r}; there is {', '.join(there)}")
    readable = {file: shape for file, shape in found.items() if shape is not None}
    if not readable:
        raise CannotDraw(f"{', '.join(found)}: no nodes can be read, so there is nothing to draw")
    return readable


def chosen_format(wanted: Format | None, output: str | None) -> Format:
    """The format that was asked for, or that the ending of the output file says. Raises CannotDraw."""
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


def write(shapes: Mapping[str, Shape], kind: Format, output: str | None) -> list[Path]:
    """Writes the drawings: to a file, into a folder, or to stdout; the files that were written.

    Raises CannotDraw, also where the file cannot be written.
    """
    if output is None or not is_folder(output):
        content = together(shapes, kind)
        if output is None:
            if kind == "png" and sys.stdout.isatty():
                raise CannotDraw("a PNG is no text for a terminal; name a file: --output graph.png")
            sys.stdout.buffer.write(content)
            return []
        return [saved(Path(output), content)]
    ending = next(ending for ending, each in ENDINGS.items() if each == kind)
    return [
        saved(Path(output) / f"{PurePath(file).stem}{ending}", drawn(file, shape, kind))
        for file, shape in shapes.items()
    ]


def together(shapes: Mapping[str, Shape], kind: Format) -> bytes:
    """All in one file, which only Mermaid's text allows."""
    if len(shapes) > 1 and kind != "mermaid":
        names = ", ".join(PurePath(file).stem for file in shapes)
        raise CannotDraw(f"there are {len(shapes)} graphs ({names}); name one, or a folder: --output drawings/")
    return b"\n".join(drawn(file, shape, kind) for file, shape in shapes.items())


def drawn(file: str, shape: Shape, kind: Format) -> bytes:
    match kind:
        case "mermaid":
            return f"%% {' '.join(file.split())}\n{mermaid(shape)}".encode()
        case "svg":
            return svg(shape).encode()
        case "png":
            return png(shape)


def saved(path: Path, content: bytes) -> Path:
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise CannotDraw(f"{path}: cannot be written: {error.strerror}") from error
    return path
