"""What stands before a turn: the client's messages, with what earlier turns did put back, cut off or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import ToolMessage

from graphs.llm.client import ChatModel
from graphs.llm.messages import Message, calls_of, client_call_ids
from graphs.nodes.tools import not_again
from graphs.runtime import conversation as history
from graphs.runtime.completion import TurnRequest
from graphs.runtime.conversation import Conversation
from graphs.store.rows import TurnRow, unanswered_calls
from graphs.store.store import Store
from graphs.store.tool_journal import Claimed
from graphs.store.turn_lookup import Restored

NOT_BEGUN = "Not run: the turn was cut off before this call began."


@dataclass(frozen=True, kw_only=True)
class Past:
    """The turns behind a request."""

    conversation: Conversation
    found: Restored

    @property
    def parent(self) -> TurnRow | None:
        """The turn that the one to come answers after."""
        return self.found.parent

    @property
    def waiting(self) -> TurnRow | None:
        """The turn that waits for a decision where the parent's answer only said that it still does."""
        parent, before = self.found.parent, self.found.grandparent
        if parent is None or parent.story is None or before is None or before.status != "waiting":
            return None
        return before if parent.story["rounds"] == 0 else None  # the model was not asked: it is our own answer

    @property
    def attempts(self) -> list[TurnRow]:
        """Turns that nobody ended and that answered what is asked now, newest first."""
        wanted = now(self.conversation)
        return [row for row in self.found.unfinished if (row.base, row.user_digest) == wanted]

    @property
    def wordless(self) -> TurnRow | None:
        """The turn that nobody ended and that answered what the person said before, without a word."""
        if not self.found.unfinished:
            return None
        wanted = now(self.conversation)
        return next((row for row in self.found.unfinished if (row.base, row.user_digest) != wanted), None)


async def look(store: Store, request: TurnRequest, conversation: Conversation) -> Past:
    """Finds the turns behind a request."""
    if not request.remembers:
        return Past(conversation=conversation, found=Restored())
    # An answer that waits for the client's results is one more text than the closed exchanges have.
    begun, texts, users = conversation.open, conversation.texts, conversation.users
    found = await store.turns.find_parents(
        request.owner,
        call_ids=client_call_ids(request.messages),
        chat=request.chat,
        parent_message=request.parent_message,
        assistant_texts=[*texts, begun.text] if begun else texts,
        user_digests=users if begun else users[:-1],
        unfinished=() if store.workers.quiet() else [now(conversation), *before(conversation)],
    )
    return Past(conversation=conversation, found=found)


def now(conversation: Conversation) -> tuple[str, str]:
    """Base and user digest of the turn to come."""
    return conversation.chain[-1], conversation.users[-1]


def before(conversation: Conversation) -> list[tuple[str, str]]:
    """Base and user digest of the turn before, where the client holds no word of it."""
    if conversation.unanswered is not None:
        return [(conversation.chain[-1], history.user_digest(conversation.unanswered))]
    if conversation.texts and not conversation.texts[-1].strip() and conversation.open is None:
        return [(conversation.chain[-2], conversation.users[-2])]
    return []


async def weave(store: Store, past: Past, model: ChatModel) -> tuple[list[Message], list[Message]]:
    """The conversation for the model, and the tool messages of it that belong to the exchange which the turn goes on
    with, or that no other row will hold."""
    conversation, found = past.conversation, past.found
    wordless = past.wordless
    stored = await completed(store, [*found.rows.values(), *([wordless] if wordless else [])], model)
    by_index = {index: stored[row.id] for index, row in found.rows.items()}
    begun = conversation.open
    last = len(conversation.closed)
    if begun is not None and not history.share_calls(
        conversation.messages[begun.start : begun.end], by_index.get(last, ())
    ):
        by_index.pop(last, None)
    woven, begins = history.weave(conversation, by_index)
    earlier = [message for message in woven[begins:] if message.get("tool_calls") or message["role"] == "tool"]
    if wordless is not None and begun is None:
        earlier = [*stored[wordless.id]]
        woven[-1:-1] = earlier
    return woven, earlier


async def completed(store: Store, rows: Sequence[TurnRow], model: ChatModel) -> dict[str, list[Message]]:
    """The messages of these turns by the turns' ids. What nobody ended is completed from the journal."""
    unfinished = [row for row in rows if row.status == "running"]
    known = await store.journal.known([call for row in unfinished for call in unanswered_calls(row.messages)])
    stored: dict[str, list[Message]] = {row.id: list(row.messages) for row in rows}
    for row in unfinished:
        dead = row.worker is not None and not await store.workers.alive(row.worker)
        stored[row.id] = with_results(row.messages, known, model, NOT_BEGUN if dead else history.CUT_OFF)
    return stored


def with_results(
    messages: Sequence[Message], known: Mapping[str, Claimed], model: ChatModel, otherwise: str
) -> list[Message]:
    """Messages with a result after each call: the journal's, words where a call began and did not end, `otherwise`
    where it did not begin."""
    missing = set(unanswered_calls(messages))
    made: list[Message] = []
    for message in messages:
        made.append(message)
        results: list[Any] = []
        for call in calls_of(message):
            call_id, name = str(call.get("id")), str(call["function"]["name"])
            if call_id in known:
                results.append(not_again(known[call_id], call_id, name))
            elif call_id in missing:
                results.append(ToolMessage(otherwise, tool_call_id=call_id, name=name, status="error"))
        made += model.messages(results)
    return made
