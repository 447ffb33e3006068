"""The tools and arguments that the files name, each with its place, to compare with the tools that there really are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from graphs.config.reader import ParsedFile
from graphs.config.server_checks import locate_server_patterns
from graphs.config.source import Path, Source
from graphs.config.spec.access import AccessSpec, RuleSpec
from graphs.config.spec.graph import GraphSpec
from graphs.config.spec.servers import ServersSpec
from graphs.errors import Position
from graphs.expressions import Condition


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """One pattern over `server/tool`, or over one server's own names."""

    text: str
    position: Position
    raw_text: str
    """As it stands in the file: what a variable filled in is for nobody to read."""


@dataclass(frozen=True, kw_only=True)
class ToolReference:
    """One rule of a role, or the tools that one node may use."""

    patterns: tuple[Pattern, ...]
    arguments: Mapping[str, Position] = field(default_factory=dict[str, Position])
    """The arguments of a call that its condition looks at, or that the node gives, each with its position."""
    is_call: bool = False
    """Whether these are all arguments of a call that the node makes."""
    cache: Position | None = None
    """Where the node says how long a result is used again; None: it does not."""
    is_shipped: bool = False
    """Whether it is a rule of the shipped access.yaml: such may be about servers that the folder does not have."""


def collect_rule_references(
    access: ParsedFile[AccessSpec], conditions: Mapping[Path, Condition], *, is_shipped: bool
) -> Iterator[ToolReference]:
    """Collect what the rules say of tools. `conditions` are those of the rules, by the rule's path."""
    for role, spec in access.spec.roles.items() if access.spec is not None else ():
        for decision, rules in (("allow", spec.allow), ("ask", spec.ask), ("deny", spec.deny)):
            for at, rule in enumerate(rules):
                path: Path = ("roles", role, decision, at)
                yield ToolReference(
                    patterns=_locate_patterns(
                        access.source, {(*path, "tool", index): pattern for index, pattern in enumerate(rule.tool)}
                    ),
                    arguments=_locate_arguments(access.source, path, rule, conditions.get(path)),
                    is_shipped=is_shipped,
                )


def collect_node_references(graph: ParsedFile[GraphSpec]) -> Iterator[ToolReference]:
    """Collect what the nodes of a graph say of tools."""
    spec = graph.spec
    for name, node in spec.list_all_nodes().items() if spec is not None else ():
        if spec is not None and (patterns := node.locate_tool_patterns()):
            place = spec.locate_node(name)
            places = {(*place, *path): pattern for path, pattern in patterns.items()}
            arguments = node.locate_arguments()
            yield ToolReference(
                patterns=_locate_patterns(graph.source, places),
                arguments={
                    argument: graph.source.find_position((*place, *path))
                    for path, argument in (arguments or {}).items()
                },
                is_call=arguments is not None,
                cache=graph.source.find_position((*place, "cache")) if node.find_cache_time() is not None else None,
            )


def collect_server_patterns(servers: ParsedFile[ServersSpec], name: str) -> tuple[Pattern, ...]:
    """Collect what the entry of a server says of its own tools."""
    return _locate_patterns(servers.source, locate_server_patterns(servers, name))


def _locate_patterns(source: Source, patterns: Mapping[Path, str]) -> tuple[Pattern, ...]:
    def find_raw_text(path: Path, pattern: str) -> str:
        # A rule may name a single pattern without a list around it.
        return source.raw_texts.get(path, source.raw_texts.get(path[:-1], pattern))

    return tuple(
        Pattern(text=pattern, position=source.find_position(path), raw_text=find_raw_text(path, pattern))
        for path, pattern in patterns.items()
    )


def _locate_arguments(
    source: Source, path: Path, rule: RuleSpec, condition: Condition | None
) -> Mapping[str, Position]:
    if condition is None or rule.when is None or (*path, "when") in source.raw_texts:
        return {}
    found: dict[str, Position] = {}
    for name, near in condition.arguments.items():
        at = rule.when.find(name, near)
        found[name] = source.build_text_problem((*path, "when"), at if at >= 0 else near, "").position
    return found
