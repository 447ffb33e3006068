"""What is asked of a graph: one request, as the engine sees it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import SecretStr

from graphs.policy.role_trial import RoleTrial
from graphs.policy.rules import Caller
from graphs.runtime.approval_text import ApprovalReader
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
    repeats: bool = False
    """The client says that it sends this request once more."""
    idempotency_key: str | None = None
    """The client's name for what it wants done once, however often it asks."""
    trial: RoleTrial | None = None
    """The caller tries the graph as a role. Such a turn stands alone: nothing is restored into it, and no later one
    goes on with it."""

    @property
    def reader(self) -> ApprovalReader:
        """Whoever reads that a call of this turn waits."""
        notifications = self.served_graph.services.snapshot.gateway.notifications
        console = None if notifications is None else notifications.console
        return ApprovalReader(self.caller, console, waits=self.waits)

    @cached_property
    def digest(self) -> str:
        """Digest of everything that is asked, worked out where somebody needs it."""
        asked = [self.model, list(self.messages), dict(self.params), list(self.tools)]
        return digest_json(asked)


def find_caller_key(request: TurnRequest) -> SecretStr | None:
    """Find the caller's own key, where LiteLLM is to get it."""
    return request.key if request.served_graph.services.snapshot.gateway.models.key == "caller" else None


def identify_request(request: TurnRequest, graph: ServedGraph) -> dict[str, Any]:
    """Tell a request apart from others with the same words, as a turn's row keeps it.

    `asked` is a digest of the last message, whole, `body` of everything; `rules` says by which files and for which
    roles `graph` ran.
    """
    asked = digest_json(request.messages[-1])
    rules = [graph.services.snapshot.id, *request.caller.roles]
    found = {"model": request.model, "asked": asked, "rules": rules, "body": request.digest}
    return found if request.idempotency_key is None else {**found, "idempotency_key": request.idempotency_key}


def digest_json(value: Any) -> str:
    """Digest what a client sent, whatever numbers and texts are in it."""
    try:
        text = dump_json(value)
    except TypeError:
        text = json.dumps(value)
    return hashlib.sha256(text.encode()).hexdigest()
