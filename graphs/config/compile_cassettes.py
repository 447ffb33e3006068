"""Check the cassettes that cases name: the shape of each file, and that no two cases share one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphs.config.reader import ParsedFile
from graphs.config.source import Path, Source
from graphs.config.spec.cassettes import CassetteSpec
from graphs.errors import Position, Problem
from graphs.policy import patterns


@dataclass(frozen=True)
class Cassette:
    """One cassette without mistakes."""

    spec: CassetteSpec
    source: Source

    @property
    def file(self) -> str:
        """Its name in the config folder, such as `graphs/cassettes/release.yaml`."""
        return self.source.file

    def find_position(self, *path: str | int) -> Position:
        """Return where something in it stands."""
        return self.source.find_position(path)


def compile_cassette(
    reading: ParsedFile[CassetteSpec], servers: Sequence[str]
) -> tuple[Cassette | None, list[Problem]]:
    """Check the names in one cassette; there is no result if there are problems."""
    if reading.spec is None:
        return None, []
    problems: list[Problem] = []
    for tool in reading.spec.tools:
        path: Path = ("tools", tool)
        if (wrong := _find_tool_fault(tool, servers)) is not None and not reading.source.is_broken(path):
            problems.append(reading.source.build_problem(path, wrong))
    if problems or not reading.is_complete:
        return None, problems
    return Cassette(reading.spec, reading.source), []


def _find_tool_fault(tool: str, servers: Sequence[str]) -> str | None:
    server, _, own = tool.partition("/")
    if not own or not patterns.is_server_name(server):
        return f"{tool!r} is no name of a tool; tools are written server/tool, such as 'database/query'"
    return patterns.find_misspelt_server(tool, servers)
