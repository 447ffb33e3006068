"""What a scripted model makes of tool results, and how requests are made comparable."""

from __future__ import annotations

import json
import re
from typing import Any

from support.scripted_model import Body, text_of


def what_the_tools_said(body: Body) -> str:
    """The model's last word: the tool results, which it could not have known."""
    results = [text_of(message["content"]) for message in body["messages"] if message["role"] == "tool"]
    return "I found " + " and ".join(results)


def stable(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with their call ids numbered by first appearance: call-1, call-2, …"""
    names: dict[str, str] = {}
    text = json.dumps(messages)
    ids = re.findall(r'"(?:id|tool_call_id)": "([^"]+)"', text)
    for name in ids:
        names.setdefault(name, f"call-{len(names) + 1}")
    return json.loads(re.sub(r'"(id|tool_call_id)": "([^"]+)"', lambda m: f'"{m[1]}": "{names[m[2]]}"', text))
