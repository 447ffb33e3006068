"""Read the graphs of a folder for drawing, whatever is wrong with its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from graphs.config.loader import list_graph_files
from graphs.config.reader import read_spec
from graphs.config.source import parse_yaml
from graphs.config.spec.graph import get_graph_spec
from graphs.diagnostics.drawing.shape import GraphShape, read_shape


def read_shapes(folder: Path, env: Mapping[str, str]) -> Mapping[str, GraphShape | None]:
    """Read what there is to draw, by file (`graphs/assistant.yaml`); None: no graph can be read from the file.

    What is wrong with the files is reported by `load`, not here. Raises OSError where the folder cannot be read.
    """
    return {f"graphs/{path.name}": _read_shape_file(path, env) for path in list_graph_files(folder)}


def _read_shape_file(path: Path, env: Mapping[str, str]) -> GraphShape | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    reading = read_spec(parse_yaml(text, path.name, env), get_graph_spec())
    shape = read_shape(
        path.stem,
        reading.original.data,
        reading.original.raw_texts,
        reading.spec.limits if reading.spec else None,
    )
    return shape if shape.nodes else None
