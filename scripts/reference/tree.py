"""The tree of docs/ARCHITECTURE.md: each package with its sentence, each module by its name."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

PAGE = Path("docs") / "ARCHITECTURE.md"
_BLOCK = re.compile(r"(?<=<!-- tree -->\n).*?(?=<!-- /tree -->)", re.DOTALL)
_WIDTH = 118


def insert_tree(page: str, root: Path) -> str:
    """The page with the tree as the repository is now. Raises ValueError where a package has no sentence."""
    lines = [line for package in ("graphs", "server") for line in _describe(root / package, root)]
    return _BLOCK.sub("```\n" + "\n".join(lines).replace("\\", "\\\\") + "\n```\n", page)


def _describe(folder: Path, root: Path, depth: int = 0) -> Iterator[str]:
    indent = "  " * depth
    name = f"{folder.relative_to(root) if not depth else folder.name}/"
    yield f"{indent}{name:<{26 - len(indent)}}{_read_sentence(folder / '__init__.py')}"
    modules = sorted(file.stem for file in folder.glob("*.py") if file.stem not in ("__init__", "__main__"))
    if modules:
        yield from textwrap.wrap(
            " ".join(modules), _WIDTH, initial_indent=indent + "  ", subsequent_indent=indent + "  "
        )
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from _describe(inner, root, depth + 1)


def _read_sentence(file: Path) -> str:
    """The first paragraph of a package's docstring."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not docstring:
        raise ValueError(f"{file} does not say what the package holds: write a docstring of one sentence")
    return " ".join(docstring.split("\n\n")[0].split())
