"""What is asked of a graph: one request, as the engine sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from graphs.policy.rules import Caller
from graphs.runtime.chat_page import NO_PAGE, ChatPage
from graphs.runtime.compiler import ServedGraph
from graphs.telemetry.token_count import TokenCount
from graphs.text import dump_json


@dataclass(frozen=True, kw_only=True)
class TurnRequest:
    """A turn as it was asked for."""

    served_graph: ServedGraph
    caller: Caller
    owner: str
    """Whose conversations may be continued."""
    remembers: bool = True
    """False where many people share the owner and nobody says who asks: then nothing is restored."""
    messages: Sequence[Mapping[str, Any]]
    """The client's OpenAI messages, the newest last."""
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tools: Sequence[Mapping[str, Any]] = ()
    """The client's own function tools (OpenAI tool objects)."""
    page: ChatPage = NO_PAGE
    """The habits of the chat page that asks."""
    buttons: bool = False
    """Approvals are asked for with the page's buttons."""
    waits: bool = False
    """The answer stays open while an approval is pending, and goes on once it is decided."""
    model: str | None = None
    """The LiteLLM model asked for by name; None for a graph."""
    key: SecretStr | None = None
    """The caller's own key; used for the model where the gateway file says `key: caller`."""
    token_count: TokenCount | None = None
    """Counts the tokens, where a role of the caller limits them."""
    chat: str | None = None
    message: str | None = None
    """The client's id for the answer to come."""
    parent_message: str | None = None
    """The client's id of the answer that this message follows."""


def find_caller_key(request: TurnRequest) -> SecretStr | None:
    """Find the caller's own key, where LiteLLM is to get it."""
    return request.key if request.served_graph.services.snapshot.gateway.models.key == "caller" else None


def identify_request(request: TurnRequest, graph: ServedGraph) -> dict[str, Any]:
    """Tell a request apart from others with the same words, as a turn's row keeps it.

    `asked` is a digest of the last message, whole; `rules` says by which files and for which roles `graph` ran.
    """
    asked = hashlib.sha256(dump_json(request.messages[-1]).encode()).hexdigest()
    rules = [graph.services.snapshot.id, *request.caller.roles]
    return {"model": request.model, "asked": asked, "rules": rules}
