"""`interlock init`: a config folder to begin with."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from graphs.config.loader import FILES, find_shipped_configs, list_graph_files, list_own_graph_files
from graphs.config.spec.schemas import build_schemas
from server.cli.new_files import write_new_file
from server.cli.output import format_schema
from server.cli.own_command import describe_own_command

ENV_EXAMPLE = """\
# The variables that the files of this folder read. Copy this file to .env beside it, fill in what you need, and load it
# where `interlock serve` runs:
#   set -a; . {file}; set +a
# A secret may be in a file of its own: LITELLM_API_KEY_FILE=/run/secrets/litellm instead of LITELLM_API_KEY.

# LiteLLM, or any other OpenAI-compatible endpoint: its address, its key, and the model for nodes that name none.
# Without an address, the built-in demo model answers; it has no intelligence.
LITELLM_BASE_URL=
LITELLM_API_KEY=
INTERLOCK_MODEL=

# The keys of access.yaml, which clients show as their API key. While all of them are unset, `interlock serve` makes
# keys, prints them, and lets nobody in from other machines.
INTERLOCK_ADMIN_KEY=
INTERLOCK_DEVELOPER_KEY=

# The database. Empty: SQLite in data/; or postgresql://…
INTERLOCK_STORAGE=
"""


@dataclass(frozen=True)
class Beginning:
    """What there is now to begin with."""

    made: tuple[Path, ...]
    kept: tuple[Path, ...]
    """What was there before, and is as it was."""


def make_folder(folder: Path) -> Beginning:
    """Write every file that the folder lacks. Raises CannotWrite."""
    kept = list_own_graph_files(folder / "graphs")
    made: list[Path] = []
    graphs = [path for path in list_graph_files(folder) if path not in kept]
    for path, text in collect_files(folder, graphs).items():
        (made if write_new_file(folder / path, text) else kept).append(folder / path)
    return Beginning(tuple(made), tuple(kept))


def collect_files(folder: Path, graphs: Iterable[Path]) -> Mapping[str, str]:
    """Collect the files of this folder by their paths in it, those of people first, with these shipped graphs."""
    shipped = find_shipped_configs()
    names = [*FILES, *(f"graphs/{path.name}" for path in graphs)]
    return {
        **{name: (shipped / name).read_text(encoding="utf-8") for name in names},
        ".env.example": ENV_EXAMPLE.replace("{file}", quote_sourced_file(folder / ".env")),
        ".gitignore": ".env\n",
        **{f"schemas/{kind}.json": format_schema(content) for kind, content in build_schemas().items()},
    }


def quote_sourced_file(file: Path) -> str:
    """Quote a file for the shell's `.`, which looks for a bare name elsewhere."""
    return shlex.quote(str(file) if len(file.parts) > 1 else f"./{file}")


def describe_next_steps(folder: Path, made: tuple[Path, ...]) -> Iterator[str]:
    """Say how to go on, with a key for the first client where access.yaml is new."""
    quoted, command = shlex.quote(str(folder)), describe_own_command()
    yield f"Look for mistakes:  {command} check {quoted}"
    if folder / "access.yaml" in made:
        yield f"Serve it:           INTERLOCK_ADMIN_KEY=ilk_{secrets.token_urlsafe(32)} \\"
        yield f"                      {command} serve --configs {quoted}"
        yield "The key is new and shown this once; your client shows it as its API key. access.yaml names its variable."
    else:
        yield f"Serve it:           {command} serve --configs {quoted}"
