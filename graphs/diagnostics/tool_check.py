"""The tool check: what the files say of tools, against the tools that servers really offer."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from graphs.config.loader import Snapshot
from graphs.config.references import Pattern, ToolReference
from graphs.diagnostics.probe import ServerProbe
from graphs.diagnostics.tool_catalog import MOST_LISTED
from graphs.errors import Problem, did_you_mean, list_some
from graphs.policy.patterns import matches

_OPEN_KEYWORDS = ("patternProperties", "allOf", "anyOf", "oneOf", "$ref")
"""What else a schema may say of arguments: those that it does not list may then be right too."""


@dataclass(frozen=True, kw_only=True)
class ToolCheck:
    """The result of the tool check."""

    problems: tuple[Problem, ...]
    unchecked: Mapping[str, tuple[str, ...]]
    """By server that nobody could look at: where the patterns stand that only its tools could have matched."""


def check_tools(snapshot: Snapshot, seen: Sequence[ServerProbe]) -> ToolCheck:
    """Check every pattern, and every argument named in a condition, against the tools of the servers that are up."""
    return _Checker(snapshot, seen).check()


class _Checker:
    def __init__(self, snapshot: Snapshot, seen: Sequence[ServerProbe]) -> None:
        self.snapshot = snapshot
        self.servers = seen
        self.tools = {f"{server.name}/{tool}": schema for server in seen for tool, schema in server.tools.items()}
        self.reading = {str(tool) for server in seen for tool in server.tool_facts if tool.read_only}
        self.unwanted = [f"{server.name}/{tool}" for server in seen for tool in server.unwanted]
        self.configured = list(snapshot.server_positions)
        self.down = [server.name for server in seen if not server.up]
        self.disabled = [name for name in self.configured if name not in snapshot.servers]
        self.unchecked: dict[str, list[str]] = {}

    def check(self) -> ToolCheck:
        problems = [problem for mention in self.snapshot.tool_references for problem in self._check_mention(mention)]
        problems += [
            self.snapshot.build_problem(server.position, f"{server.name}: {reason}")
            for server in self.servers
            for reason in server.left_out
        ]
        problems += [problem for server in self.servers for problem in self._check_selection(server)]
        return ToolCheck(
            problems=tuple(sorted(problems)),
            unchecked={server: tuple(places) for server, places in self.unchecked.items()},
        )

    def _check_selection(self, server: ServerProbe) -> Iterator[Problem]:
        """Check the patterns under `include` and `exclude` of a server."""
        own = sorted([*server.tools, *server.unwanted])
        for pattern in self.snapshot.server_patterns[server.name]:
            if pattern.text in server.unmatched:
                shown = repr(pattern.text)
                if pattern.text != pattern.raw_text:
                    shown = f"{pattern.raw_text!r}, with its variables filled in"
                hint = _suggest_nearest(pattern.text, own) or f"; there is {list_some(own, MOST_LISTED)}"
                names = ". Here stand names without their server" if "/" in pattern.text else ""
                message = f"no tool of {server.name} matches {shown}{hint}{names}"
                yield self.snapshot.build_problem(pattern.position, message)

    def _check_mention(self, mention: ToolReference) -> Iterator[Problem]:
        certain = True
        found: dict[str, Mapping[str, Any]] = {}
        for pattern in mention.patterns:
            matched = {name: schema for name, schema in self.tools.items() if matches(pattern.text, name)}
            found |= matched
            hidden = self._find_hidden_servers(pattern.text)
            certain = certain and not hidden
            if matched or not pattern.text.strip("*/"):
                # What speaks of everything is right whatever there is.
                continue
            for server in hidden:
                self.unchecked.setdefault(server, []).append(str(pattern.position))
            # A shipped rule about tools that this folder has not is nobody's mistake.
            if not hidden and not mention.is_shipped:
                yield self.snapshot.build_problem(pattern.position, self._describe_unmatched(pattern))
        if certain and found:
            yield from self._check_arguments(mention, found)
        if mention.cache is not None:
            for tool in found.keys() - self.reading:
                message = f"{tool} does not say that it only reads, so its results cannot be used again; remove 'cache'"
                yield self.snapshot.build_problem(mention.cache, message)

    def _find_hidden_servers(self, pattern: str) -> list[str]:
        """Find the servers whose tools are not known now, and of which the pattern may speak."""
        by_name = [server for server in self.disabled if pattern.startswith(f"{server}/")]
        return by_name + [server for server in self.down if _may_match(pattern, server)]

    def _describe_unmatched(self, pattern: Pattern) -> str:
        server, _, _ = pattern.text.partition("/")
        if pattern.text != pattern.raw_text:
            return f"no tool of any server matches {pattern.raw_text!r}, with its variables filled in"
        if not set("*?") & set(server) and server not in self.configured:
            hint = did_you_mean(server, self.configured) or f"; there is {list_some(self.configured, MOST_LISTED)}"
            return f"no server is called {server!r}, so {pattern.text!r} matches no tool{hint}"
        message = f"no tool of any server matches {pattern.text!r}"
        if unwanted := [name for name in self.unwanted if matches(pattern.text, name)]:
            is_one = len(unwanted) == 1
            return (
                f"{message}: {list_some(unwanted, MOST_LISTED)} {'is' if is_one else 'are'} left out by 'include' or "
                f"'exclude' of {'its' if is_one else 'their'} server in servers.yaml"
            )
        if hint := _suggest_nearest(pattern.text, self.tools):
            return message + hint
        own = [name for name in self.tools if name.startswith(f"{server}/")]
        return f"{message}; there is {list_some(own or self.tools, MOST_LISTED)}"

    def _check_arguments(self, mention: ToolReference, found: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
        """Check the arguments that a condition names, or that a node gives: a rule about several tools may use what
        only some of them take."""
        if mention.is_call:
            for tool, schema in found.items():
                yield from self._check_required(mention, tool, schema)
        if any(_is_open(schema) for schema in found.values()):
            return
        known = list(dict.fromkeys(name for schema in found.values() for name in _read_properties(schema)))
        who = next(iter(found)) if len(found) == 1 else f"none of the {len(found)} tools of this rule"
        takes = "takes no" if len(found) == 1 else "takes an"
        for name, position in mention.arguments.items():
            if name not in known:
                choices = f"there is {list_some(known, MOST_LISTED)}{did_you_mean(name, known)}"
                yield self.snapshot.build_problem(position, f"{who} {takes} argument {name!r}; {choices}")

    def _check_required(self, mention: ToolReference, tool: str, schema: Mapping[str, Any]) -> Iterator[Problem]:
        """Check that a node gives its tool what this cannot do without."""
        required = cast("list[object]", schema.get("required")) if isinstance(schema.get("required"), list) else []
        missing = [repr(name) for name in required if isinstance(name, str) and name not in mention.arguments]
        if missing:
            them = "it" if len(missing) == 1 else "them"
            message = f"{tool} must be given {' and '.join(missing)}; write {them} under 'args'"
            yield self.snapshot.build_problem(mention.patterns[0].position, message)


def _may_match(pattern: str, server: str) -> bool:
    """Whether the pattern could match some tool of the server, whatever its tools are called."""
    return any(matches(pattern[:end], f"{server}/") for end in range(1, len(pattern) + 1))


def _suggest_nearest(pattern: str, tools: Iterable[str]) -> str:
    """Suggest the nearest tool, or the nearest pattern of the same form that does match one."""
    before, star, after = pattern.partition("*")
    if "*" in after or "?" in pattern:
        return ""
    if not star:
        return did_you_mean(pattern, tools)
    long_enough = [name for name in tools if len(name) >= len(before) + len(after)]
    formed = {f"{name[: len(before)]}*{name[len(name) - len(after) :]}" for name in long_enough}
    near = difflib.get_close_matches(pattern, sorted(formed), n=1, cutoff=0.75)
    return f". Did you mean {near[0]!r}?" if near else ""


def _read_properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found = schema.get("properties")
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}


def _is_open(schema: Mapping[str, Any]) -> bool:
    """Whether the tool may take arguments that its schema does not list."""
    more = schema.get("additionalProperties", False)
    return not _read_properties(schema) or more not in (False, None) or any(word in schema for word in _OPEN_KEYWORDS)
