"""Tool sizes: what the models of each role are shown of tools, in numbers, and what vendors are known to refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from graphs.config.loader import Snapshot
from graphs.config.spec.node import MODEL_ROLES
from graphs.diagnostics.probe import ServerProbe
from graphs.errors import Position, list_some
from graphs.policy.patterns import matches_any
from graphs.telemetry.token_count import CHARACTERS_PER_TOKEN
from graphs.tools.portable import build_openai_tool
from graphs.tools.tool import ServedTool

MOST_TOOLS = 128
"""Tools of one request that OpenAI takes."""
LONGEST_DESCRIPTION = 1024
"""Characters of a tool's description that OpenAI takes."""
SMALL_CONTEXT = 32_768
"""Tokens of the whole context of many models that people run themselves."""
_MOST_NAMES = 5


@dataclass(frozen=True, kw_only=True)
class SizeLine:
    """One line for a person."""

    position: Position
    subject: str
    message: str
    is_remark: bool = False
    """Whether it tells of something that some vendor refuses. Others take it, so nothing is wrong for certain."""


def describe_sizes(snapshot: Snapshot, seen: Sequence[ServerProbe]) -> Iterator[SizeLine]:
    """Yield what each role's models are shown of the tools of the servers that are up; nothing where none is."""
    served = {tool.model_name: tool for server in seen if server.up for tool in server.served}
    if not any(server.up for server in seen):
        return
    longest = snapshot.gateway.tools.max_description
    sizes = {name: len(orjson.dumps(build_openai_tool(tool, longest))) for name, tool in served.items()}
    shown: set[str] = set()
    for role, position in snapshot.role_positions.items():
        away = [one.name for one in seen if not one.up and snapshot.policy.may_role_reach_server(role, one.name)]
        unknown = f"; not counted: {list_some(away, _MOST_NAMES)}" if away else ""
        offers = _list_offers(snapshot, role, served)
        if not offers:
            yield SizeLine(position=position, subject="roles", message=f"{role}: may use no graph that asks a model")
        for names, askers in offers.items():
            shown |= set(names)
            # With the commas and brackets around them.
            size = sum(sizes[name] for name in names) + len(names) + 1
            counted = f"{_count_tools(len(names))} shown to models of {list_some(askers, _MOST_NAMES)}"
            numbers = f": {size:,} bytes, about {_estimate_tokens(size):,} tokens of each request" if names else ""
            yield SizeLine(position=position, subject="roles", message=f"{role}: {counted}{numbers}{unknown}")
            for remark in _find_excesses(len(names), _estimate_tokens(size)):
                yield SizeLine(position=position, subject="roles", message=f"{role}: {remark}", is_remark=True)
    for server in seen:
        for remark in _find_refused(snapshot, [tool for tool in server.served if tool.model_name in shown]):
            yield SizeLine(position=server.position, subject=server.name, message=remark, is_remark=True)


def _list_offers(
    snapshot: Snapshot, role: str, served: Mapping[str, ServedTool]
) -> Mapping[tuple[str, ...], Sequence[str]]:
    """List the different sets of tools that the role's models are shown, each with the graphs and nodes that do."""
    offers: dict[tuple[str, ...], list[str]] = {}
    policy = snapshot.policy
    for graph, plan in snapshot.graphs.items():
        nodes = {name: node for name, node in plan.nodes.items() if node.role in MODEL_ROLES}
        for name, node in nodes.items() if policy.may_role_use_graph(role, graph) else ():
            patterns = [*node.locate_tool_patterns().values()]
            names = tuple(
                tool.model_name
                for tool in served.values()
                if matches_any(patterns, tool.people_name) and policy.may_role_see_tool(role, tool.server, tool.name)
            )
            offers.setdefault(names, []).append(f"graph {graph}" if len(nodes) == 1 else f"graph {graph}, node {name}")
    return offers


def _estimate_tokens(size: int) -> int:
    return -(-size // CHARACTERS_PER_TOKEN)


def _count_tools(count: int) -> str:
    return f"{count} tool is" if count == 1 else f"{count} tools are"


def _find_excesses(count: int, tokens: int) -> Iterator[str]:
    """Find what is too much of a set of tools for some vendors or models."""
    cure = "choose fewer with 'include' or 'exclude' in servers.yaml, 'tools' of the graph's node, or the role's rules"
    if count > MOST_TOOLS:
        yield f"OpenAI refuses every request with more than {MOST_TOOLS} tools, and these are {count}; {cure}"
    if tokens > SMALL_CONTEXT:
        yield f"the tools alone fill the context of a model that takes {SMALL_CONTEXT:,} tokens; {cure}"


def _find_refused(snapshot: Snapshot, tools: Sequence[ServedTool]) -> Iterator[str]:
    """Find tools of one server for which some vendor refuses the whole request. No name is too long: longer ones are
    shortened."""
    longest = snapshot.gateway.tools.max_description
    long = [tool.name for tool in tools if min(len(tool.description), longest) > LONGEST_DESCRIPTION]
    if long:
        yield (
            f"OpenAI refuses every request with a description of more than {LONGEST_DESCRIPTION:,} characters, as of "
            f"{list_some(long, _MOST_NAMES)}; write 'tools: {{max_description: {LONGEST_DESCRIPTION}}}' in gateway.yaml"
        )
    if odd := [tool.model_name for tool in tools if not re.match(r"[A-Za-z_]", tool.model_name)]:
        yield (
            f"Google's Vertex AI refuses names of tools that do not begin with a letter, as {odd[0]}; give the server "
            "a name that does"
        )
