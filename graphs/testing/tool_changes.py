"""Hold the tools of today against those that a cassette was recorded with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from graphs.config.compile_cassettes import Cassette
from graphs.config.spec.cassettes import RecordedToolSpec
from graphs.testing.live import LiveServices
from graphs.tools.tool import ServedTool

_SHOWN = 12
"""Characters of a fingerprint that are shown."""


def list_tool_changes(cassette: Cassette, tools: Mapping[str, ServedTool], live: LiveServices, renew: str) -> list[str]:
    """List the tools that are not as they were recorded, in words. `renew`: the command that records them anew."""
    found: list[str] = []
    for name, recorded in cassette.spec.tools.items():
        place = cassette.find_position("tools", name)
        served = tools.get(name)
        if served is None:
            found.append(f"{place}: {name} was recorded, and {live.explain_absence(name)}")
        elif served.definition != recorded.digest:
            what = "; ".join(describe_changes(recorded, served))
            found.append(
                f"{place}: {name} is not the tool that was recorded, so nothing was run: {what}; look at it, then "
                f"record it anew: {renew}"
            )
    return found


def describe_changes(recorded: RecordedToolSpec, served: ServedTool) -> Iterator[str]:
    """Describe what is known to differ; at least the fingerprints do."""
    arguments = [*cast("Mapping[str, Any]", served.input_schema["properties"])]
    if arguments != recorded.arguments:
        yield f"it takes {list_names(arguments)} now, and took {list_names(recorded.arguments)}"
    if served.read_only != recorded.read_only:
        yield "it no longer says that it is read-only" if recorded.read_only else "it says now that it is read-only"
    shown = f"{served.definition[:_SHOWN]}…, recorded {recorded.digest[:_SHOWN]}…"
    yield f"the fingerprint of its description, arguments and hints is {shown}"


def list_names(names: list[str]) -> str:
    """List arguments for people."""
    return ", ".join(names) or "nothing"
