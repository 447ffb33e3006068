"""Questions that a graph asks: the choices that Tab completes. Its words, and the numbers, are the gateway's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from server.cli.chat.gateway_client import ChatFailed, GatewayClient


async def find_choices(client: GatewayClient, question_id: str) -> Sequence[str]:
    """Find what may be answered; empty where that is no choice, or is not known."""
    try:
        question = await client.get(f"/questions/{question_id}")
    except ChatFailed:
        return ()  # it can be answered all the same
    return read_choices(question["schema"])


def read_choices(schema: Mapping[str, Any]) -> Sequence[str]:
    """Read the choices of a JSON Schema, and of all fields where it is an object: they are asked one by one."""
    if schema.get("type") == "boolean":
        return ("yes", "no")
    fields: Mapping[str, Mapping[str, Any]] = schema.get("properties") or {}
    found = [*schema.get("enum", ()), *(choice for field in fields.values() for choice in read_choices(field))]
    return list(dict.fromkeys(choice for choice in found if isinstance(choice, str)))
