"""Coverage: what each role may do with the tools of one server, a line each, so that a role without rules is
noticed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence

from graphs.config.loader import Snapshot
from graphs.diagnostics.access_matrix import AccessCell, build_cell
from graphs.diagnostics.probe import list_tool_facts
from graphs.errors import list_some
from graphs.policy.rules import Policy, ToolFacts
from graphs.tools.registry import ToolRegistry

DECISION_WORDS = {"allow": "allowed", "ask": "asked first", "depends": "depending on the call"}


async def describe_server(snapshot: Snapshot, tools: ToolRegistry, server: str) -> list[str]:
    """Describe the coverage of a server that is up, on a thread: thousands of tools take a while."""
    facts = list_tool_facts(snapshot, tools, server, tools.get_status()[server])
    return await asyncio.to_thread(describe_coverage, snapshot.policy, server, facts)


def describe_coverage(policy: Policy, server: str, tools: Sequence[ToolFacts]) -> list[str]:
    """Build a line for each role, in the order of access.yaml: `developer: 0 of 25 tools of tickets; no rule names
    them`."""
    return [f"{role}: {_describe(policy, role, server, tools)}" for role in policy.roles]


def _describe(policy: Policy, role: str, server: str, tools: Sequence[ToolFacts]) -> str:
    cells = [build_cell(policy, role, None, tool) for tool in tools]
    refused = [one for one in cells if one.decision == "deny"]
    usable = Counter(one.decision for one in cells if one.decision != "deny")
    count = f"{len(cells) - len(refused)} of {len(cells)} {'tool' if len(cells) == 1 else 'tools'} of {server}"
    ways = ", ".join(f"{usable[decision]} {words}" for decision, words in DECISION_WORDS.items() if usable[decision])
    return "; ".join([f"{count} ({ways})" if ways else count, *_explain_refusals(refused, len(cells))])


def _explain_refusals(refused: Sequence[AccessCell], total: int) -> Iterator[str]:
    """Say why the refused tools are refused."""
    nameless = [one for one in refused if not one.candidates]
    if nameless:
        them = "it" if total == 1 else "them"
        yield f"no rule names {them if len(nameless) == total else _list(nameless)}"
    for rule, number in Counter(one.rule for one in refused if one.candidates).items():
        yield f"{number} denied by {rule}"


def _list(cells: Sequence[AccessCell], most: int = 5) -> str:
    return list_some((one.tool.partition("/")[2] for one in cells), most)
