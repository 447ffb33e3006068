"""The graphs of a folder as they can be drawn, whatever is wrong with its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from graphs.config.loader import graph_files
from graphs.config.reader import read_spec
from graphs.config.source import read
from graphs.config.spec.graph import GraphSpec
from graphs.diagnostics.drawing.shape import Shape, read_shape


def sketches(folder: Path, env: Mapping[str, str]) -> Mapping[str, Shape | None]:
    """What there is to draw, by file (`graphs/assistant.yaml`); None for a file in which there is no graph to be read.

    What is wrong with the files is not told here but by `load`. Raises OSError where the folder cannot be read.
    """
    return {f"graphs/{path.name}": _sketch(path, env) for path in graph_files(folder)}


def _sketch(path: Path, env: Mapping[str, str]) -> Shape | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    reading = read_spec(read(text, path.name, env), GraphSpec)
    shape = read_shape(
        path.stem,
        reading.original.data,
        reading.original.written,
        reading.spec.limits if reading.spec else None,
    )
    return shape if shape.nodes else None
