"""Tool calls that wait for a yes: shown as the gateway has them, decided in place."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from graphs.runtime.approval_text import (
    render_places,
    render_sentence,
    render_why,
    show_beginnings,
    show_whole,
)
from graphs.text import escape_invisible
from server.cli.chat.conversation import ChatPause
from server.cli.chat.gateway_client import GatewayClient
from server.cli.chat.line_prompt import LinePrompt

Decision = Literal["approve", "reject"]


async def decide_in_place(
    client: GatewayClient,
    console: Console,
    prompt: LinePrompt,
    approval_ids: Sequence[str],
    *,
    for_role: bool = False,
) -> str | None:
    """Ask about each of these calls. Returns the message that the turn goes on with; None: it goes on waiting.

    `for_role`: also about those that a role decides, which the person may have. Raises ChatFailed.
    """
    decisions: dict[str, Decision] = {}
    for id in approval_ids:
        entry = await client.get(f"/approvals/{id}")
        if entry["status"] != "pending":
            # Decided elsewhere, or expired: the gateway says so when the turn goes on.
            decisions[id] = "approve" if entry["status"] == "approved" else "reject"
            continue
        show_call(console, entry)
        if (obstacle := find_obstacle(entry, for_role=for_role)) is not None:
            console.print(Text(obstacle, "yellow"))
            return None
        try:
            decisions[id] = "approve" if await prompt.ask_yes("Run it?") else "reject"
        except (KeyboardInterrupt, EOFError):
            console.print(Text("It waits. /approve runs it, /reject does not; any other message gives it up.", "dim"))
            return None
    return await send_decisions(client, decisions)


async def send_decisions(client: GatewayClient, decisions: Mapping[str, Decision]) -> str | None:
    """Record all but the last decision, and return the message that says the last: with it, the turn goes on. None:
    there is none. Raises ChatFailed."""
    *others, last = decisions.items() or [("", "reject")]
    for id, decision in others:
        entry = await client.get(f"/approvals/{id}")
        if entry["status"] == "pending":
            await client.post(f"/approvals/{id}", {"decision": decision})
    id, decision = last
    return f"{decision} {id}" if id else None


async def find_pending(client: GatewayClient, pause: ChatPause) -> Sequence[Mapping[str, Any]]:
    """Find the calls that wait: those of this conversation, else all that this key may see. Raises ChatFailed."""
    found: Sequence[Mapping[str, Any]] = (await client.get("/approvals?status=pending"))["data"]
    return [entry for entry in found if entry["id"] in pause.approvals] or found


def show_call(console: Console, entry: Mapping[str, Any]) -> None:
    """Show the reason why it is asked about, what exactly would run, and by which rule."""
    args: Mapping[str, Any] = entry["args"]
    reason: str | None = entry.get("reason")  # a gateway from before it was sent says it in the rule
    console.print()
    if reason is not None:
        console.print(Text(render_sentence(reason)))
    console.print(
        Text.assemble((escape_invisible(entry["tool"]), "bold yellow"), " waits for approval ", (entry["id"], "dim"))
    )
    whole = show_whole(args)
    console.print(Padding(Text(show_beginnings(args) if whole is None else whole), (0, 0, 0, 2)))
    console.print(Text(f"{render_why(entry['rule'], reason)}{describe_end(entry)}", "dim"))


def describe_end(entry: Mapping[str, Any]) -> str:
    """Say until when a call waits; empty: for ever."""
    if entry["expires"] is None:
        return ""
    return f" Open until {time.strftime('%Y-%m-%d %H:%M:%S %Z', time.localtime(entry['expires']))}."


def find_obstacle(entry: Mapping[str, Any], *, for_role: bool) -> str | None:
    """Say why a call is not asked about here; None: it is."""
    if entry["approver"] is not None and not for_role:
        role = escape_invisible(entry["approver"])
        return (
            f"Only the role {role} may decide, here with /approve or /reject, or on Interlock's console. "
            "Write on once it is decided; a message before that gives the call up."
        )
    if show_whole(entry["args"]) is None:
        where = render_places(entry["id"], None).replace("`", "")
        return (
            "It is too long to be shown whole, so it is not approved here. "
            f"Approve it {where}, then write on; or /reject."
        )
    return None


def describe_waiting(entries: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """Describe calls that wait, a line each."""
    return [escape_invisible(f"{entry['id']}  {entry['tool']}, asked by {entry['caller']}") for entry in entries]
