"""Names by which models call tools: short, plain, and never shared by two tools."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container

_LONGEST = 64
_DIGEST = 16
_PLAIN = re.compile(rf"[a-zA-Z0-9_-]{{1,{_LONGEST}}}")
_MARK = re.compile(r"_[0-9a-f]{16}\Z")


def make_people_name(server: str, tool: str) -> str:
    """Make the name `server/tool`, as people and rules write it."""
    return f"{server}/{tool}"


def list_name_forms(server: str, tool: str) -> list[str]:
    """List the forms in which people and other programs write a tool's name together with its server's."""
    return [f"{server}{between}{tool}" for between in ("/", ".", ":", "__")]


def may_belong_to_server(name: str, server: str) -> bool:
    """Whether a tool of this server may have this name for models, whatever tools it has."""
    return name.startswith(f"{server}__"[: _LONGEST - _DIGEST - 1])


def make_model_name(server: str, tool: str) -> str:
    """Make the name `server__tool` in the letters that every model API takes, at most 64 of them.

    The name depends on this tool alone, so it stays the same whatever other servers come and go. Where the plain form
    would be too long, hold other characters, or could be read as another tool's name, it is shortened and a digest of
    the real name added; a plain name that looks as if it carried one gets one too, so the two kinds never meet.
    """
    plain = f"{server}__{tool}"
    if _PLAIN.fullmatch(plain) and not _MARK.search(plain) and plain.split("__", 1) == [server, tool]:
        return plain
    digest = hashlib.sha256(make_people_name(server, tool).encode()).hexdigest()[:_DIGEST]
    letters = re.sub(r"[^a-zA-Z0-9_-]", "_", plain)
    return f"{letters[: _LONGEST - len(digest) - 1]}_{digest}"


def parse_model_name(name: str, servers: Container[str]) -> str | None:
    """Parse `server/tool` from a plain name of a tool of one of these servers; None for any other name."""
    server, _, tool = name.partition("__")
    return make_people_name(server, tool) if server in servers and make_model_name(server, tool) == name else None
