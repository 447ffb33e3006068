"""Many people behind one key, as Open WebUI vouches for them, and a model that does what it is told for each."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import jwt
from support.scripted_answer import Answer, Call

SECRET = "a-secret-that-open-webui-and-interlock-share"
KEY = "ilk_open-webui-of-the-tests"


def signed(name: str, *, sub: str | None = None, role: str = "user", **claims: Any) -> dict[str, str]:
    """The headers of a request of one person; without `sub`, the one of that name."""
    said = {
        "sub": f"id-of-{name}" if sub is None else sub,
        "email": f"{name}@example.org",
        "name": name,
        "role": role,
        "iss": "open-webui",
        "exp": int(time.time()) + 300,
        **claims,
    }
    return {"x-openwebui-user-jwt": jwt.encode(said, SECRET, algorithm="HS256")}


def obedient(body: Mapping[str, Any]) -> Answer | str:
    """Reads its rounds of calls from the person's message (JSON), and answers with all results (JSON)."""
    messages = body["messages"]
    start = max(at for at, message in enumerate(messages) if message["role"] == "user")
    rounds = json.loads(messages[start]["content"])
    done = sum(message["role"] == "assistant" for message in messages[start:])
    if done < len(rounds):
        return Answer(calls=[Call(name, arguments) for name, arguments in rounds[done]])
    results = [message["content"] for message in messages[start:] if message["role"] == "tool"]
    return json.dumps({"results": results, "tools": [tool["function"]["name"] for tool in body.get("tools") or []]})


def told(*rounds: list[tuple[str, dict[str, Any]]]) -> str:
    """The message that has `obedient` make these calls."""
    return json.dumps(rounds)
