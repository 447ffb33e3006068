"""Format what `interlock access` prints: the matrix as a table, CSV or JSON, and the explanation of one call."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from graphs.config.loader import Snapshot
from graphs.config.spec.identities import LiteLLMKeysSpec, OidcSpec
from graphs.diagnostics.access_matrix import AccessCell, AccessMatrix, Candidate
from graphs.diagnostics.explain import Explanation, RoleRuling
from graphs.errors import NotAllowed
from server.auth.role_mapping import find_role
from server.cli.options import TableFormat
from server.cli.output import escape_line, format_csv_line

Holders = Mapping[str, Sequence[str]]
"""Role → what stands for it: names of keys, and what others say of theirs."""

COLUMNS = ("role", "tool", "decision", "rule", "may", "user_role", "keys")
COLOURS = {"allow": "green", "ask": "yellow", "deny": "red", "depends": "cyan"}
WIDTH = 120
"""Columns of a table that goes to a file or another program."""


def list_holders(snapshot: Snapshot) -> Holders:
    """List who has which role: keys of access.yaml, and what LiteLLM and issuers may say of theirs."""
    found: dict[str, list[str]] = {role: [] for role in snapshot.policy.roles}
    for key in snapshot.keys:
        found[key.role].append(f"{key.name} (forwards users)" if key.forwards_users else key.name)
    if snapshot.identities.litellm is not None:
        add_external(found, "litellm", snapshot.identities.litellm)
    for issuer in snapshot.identities.oidc:
        add_external(found, f"oidc {issuer.issuer}", issuer)
    return found


def add_external(found: dict[str, list[str]], who: str, spec: LiteLLMKeysSpec | OidcSpec) -> None:
    """Add the values of the field that names the role, each to the role it gives."""
    known = list(found)
    for value in spec.roles or known:
        found[find_role({spec.role_from: value}, spec.role_from, spec.roles, known, None)].append(
            f"{who} {spec.role_from}={value}"
        )
    try:
        found[find_role({}, spec.role_from, spec.roles, known, spec.default)].append(f"{who}, any other")
    except NotAllowed:
        return


def format_csv(found: AccessMatrix, keys: Holders) -> Iterator[str]:
    """Format one line per cell, under the names of the columns."""
    yield format_csv_line(COLUMNS)
    for cell in found.cells:
        values = (
            cell.role,
            cell.tool,
            cell.decision,
            cell.rule,
            " ".join(cell.possible_decisions),
            cell.narrowed_by or "",
        )
        yield format_csv_line([escape_line(value) for value in (*values, "; ".join(keys[cell.role]))])


def format_json(found: AccessMatrix, keys: Holders) -> Iterator[str]:
    """Format all cells as one JSON list."""
    cells = [
        {
            "role": cell.role,
            "user_role": cell.narrowed_by,
            "tool": cell.tool,
            "decision": cell.decision,
            "may": list(cell.possible_decisions),
            "rule": cell.rule,
            "rules": [format_candidate(candidate) for candidate in cell.candidates],
            "otherwise": "deny" if cell.has_default_deny else None,
            "keys": list(keys[cell.role]),
        }
        for cell in found.cells
    ]
    yield json.dumps(cells, indent=2)


def format_candidate(candidate: Candidate) -> dict[str, Any]:
    rule = candidate.rule
    return {
        "decision": rule.decision,
        "pattern": rule.pattern,
        "when": None if rule.when is None else rule.when.text,
        "always": candidate.always,
        "where": rule.where,
        "role": rule.role,
        "of": candidate.source_role,
        "approver": rule.approver,
        "expires": rule.expires,
        "reason": rule.reason,
    }


def format_table(found: AccessMatrix, keys: Holders) -> Iterator[str]:
    """Format the matrix as a table for people, and beneath it who has which role."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("role", "tool", "decision"):
        table.add_column(name, overflow="fold", no_wrap=name == "decision")
    table.add_column("rule", overflow="fold", ratio=1)
    for cell, following in zip(found.cells, [*found.cells[1:], None], strict=True):
        role = cell.role if cell.narrowed_by is None else f"{cell.role} for {cell.narrowed_by}"
        table.add_row(
            Text(escape_line(role)),
            Text(escape_line(cell.tool)),
            Text(cell.decision, style=COLOURS[cell.decision]),
            Text("\n".join(escape_line(line) for line in format_rules(cell))),
            end_section=following is None or following.role != cell.role,
        )
    # Rich takes a terminal's own width, and what COLUMNS says of one.
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if known else WIDTH)
    with console.capture() as captured:
        console.print(table)
    yield from (line.rstrip() for line in captured.get().rstrip().splitlines())
    yield ""
    for role in dict.fromkeys(cell.role for cell in found.cells):
        yield escape_line(f"keys of {role}: {'; '.join(keys[role]) or 'none'}")


def format_rules(cell: AccessCell) -> Iterator[str]:
    """Format the rules of a cell, the shortest that names them."""
    several = len({candidate.source_role for candidate in cell.candidates}) > 1
    for candidate in cell.candidates:
        rule = candidate.rule
        words = f"{rule.decision} {rule.pattern}"
        words += f" by {rule.approver}" if rule.approver else ""
        words += f" when {rule.when.text}" if rule.when is not None and not candidate.always else ""
        origin = f"{rule.where}, role {rule.role}" if several or rule.role != cell.role else rule.where
        yield f"{words} ({origin})"
    if cell.has_default_deny:
        yield "otherwise deny" if cell.candidates else cell.rule


FORMATS: Mapping[TableFormat, Callable[[AccessMatrix, Holders], Iterator[str]]] = {
    "table": format_table,
    "csv": format_csv,
    "json": format_json,
}


def format_explanation_json(found: Explanation) -> dict[str, Any]:
    """Format the explanation for programs."""
    verdict, caller, facts = found.verdict, found.caller, found.facts
    return {
        "decision": verdict.decision,
        "rule": verdict.rule,
        "where": None if verdict.source_rule is None else verdict.source_rule.where,
        "approver": verdict.approver,
        "expires": verdict.expires,
        "reason": verdict.reason,
        "shown": found.hidden is None,
        "hidden": found.hidden,
        "caller": {
            "role": caller.role,
            "user_role": caller.narrowed_by,
            "key": caller.key,
            "user": caller.user,
            "email": caller.email,
        },
        "tool": str(facts.tool),
        "args": facts.args,
        "graph": facts.graph,
        "node": facts.node,
        "now": facts.now.isoformat(),
        "turn": {"rounds": facts.rounds, "calls": facts.calls},
        "roles": [format_ruling(ruling) for ruling in found.rulings],
    }


def format_ruling(ruling: RoleRuling) -> dict[str, Any]:
    return {
        "role": ruling.role,
        "decision": ruling.verdict.decision,
        "rule": ruling.verdict.rule,
        "rules": [
            {
                "decision": trial.rule.decision,
                "pattern": trial.rule.pattern,
                "when": None if trial.rule.when is None else trial.rule.when.text,
                "where": trial.rule.where,
                "role": trial.rule.role,
                "by_way_of": list(trial.include_path),
                "outcome": trial.outcome,
                "why": trial.reason,
            }
            for trial in ruling.trials
        ],
    }


def format_explanation_text(found: Explanation) -> Iterator[str]:
    """Format the explanation for people."""
    verdict, caller, facts = found.verdict, found.caller, found.facts
    yield f"{verdict.decision}: {verdict.rule}"
    if verdict.reason:
        yield f"  {verdict.reason}"
    if verdict.decision == "ask":
        lasts = f", within {verdict.expires:g} s" if verdict.expires is not None else ""
        yield f"  {f'the role {verdict.approver}' if verdict.approver else 'whoever asks'} decides{lasts}"
    yield ""
    yield f"call:   {facts.tool} {json.dumps(facts.args, ensure_ascii=False)}"
    who = f"role {caller.role}" + (f", narrowed by role {caller.narrowed_by}" if len(caller.roles) > 1 else "")
    who += f", key {caller.key}" if caller.key else ""
    who += f", user {caller.user}" if caller.user else ""
    yield f"caller: {who}{f' <{caller.email}>' if caller.email else ''}"
    yield (
        f"turn:   graph {facts.graph}, node {facts.node}, now {facts.now.isoformat()}, rounds {facts.rounds},"
        f" calls {facts.calls}"
    )
    yield f"model:  {'is shown the tool' if found.hidden is None else f'is not shown the tool: {found.hidden}'}"
    for ruling in found.rulings:
        yield ""
        yield f"rules of role {ruling.role}, the first that holds decides; it says {ruling.verdict.decision}:"
        for trial in ruling.trials:
            rule = trial.rule
            origin = f", included: {' > '.join(trial.include_path)}" if len(trial.include_path) > 1 else ""
            yield f"{'>' if trial.outcome == 'decides' else ' '} {rule.where}  {rule.decision} {rule.pattern!r}{origin}"
            yield f"      {trial.reason}"
        if ruling.verdict.source_rule is None:
            yield f"> {ruling.verdict.rule}"
