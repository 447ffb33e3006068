"""Find the turns behind a request, and put back into its history what they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import ToolMessage

from graphs.llm.client import ChatModel
from graphs.llm.messages import Message, calls_of, client_call_ids
from graphs.nodes.tools import build_earlier_result
from graphs.runtime import conversation as history
from graphs.runtime.conversation import Conversation
from graphs.runtime.turn_request import TurnRequest
from graphs.store.store import Store
from graphs.store.tool_journal import ClaimResult
from graphs.store.turn_lookup import HistoryMatch
from graphs.store.turns import TurnRow, find_unanswered_calls

UNSTARTED_RESULT = "Not run: the turn was cut off before this call began."


@dataclass(frozen=True, kw_only=True)
class RestoredHistory:
    """The turns behind a request."""

    conversation: Conversation
    lookup: HistoryMatch

    @property
    def parent(self) -> TurnRow | None:
        """The turn that the one to come answers after."""
        return self.lookup.parent

    @property
    def waiting_turn(self) -> TurnRow | None:
        """The turn that waits for a decision where the parent's answer only said that it still does."""
        parent, before = self.lookup.parent, self.lookup.grandparent
        if parent is None or parent.story is None or before is None or before.status != "waiting":
            return None
        return before if parent.story["rounds"] == 0 else None  # the model was not asked: it is our own answer

    @property
    def attempts(self) -> list[TurnRow]:
        """Turns that nobody ended and that answered what is asked now, newest first."""
        wanted = build_turn_key(self.conversation)
        return [row for row in self.lookup.unfinished if (row.base, row.user_digest) == wanted]

    @property
    def wordless_turn(self) -> TurnRow | None:
        """The turn that nobody ended and that answered what the person said before, without a word."""
        if not self.lookup.unfinished:
            return None
        wanted = build_turn_key(self.conversation)
        return next((row for row in self.lookup.unfinished if (row.base, row.user_digest) != wanted), None)


async def find_history(store: Store, request: TurnRequest, conversation: Conversation) -> RestoredHistory:
    """Find the turns behind a request."""
    if not request.remembers:
        return RestoredHistory(conversation=conversation, lookup=HistoryMatch())
    # An answer that waits for the client's results is one more text than the closed exchanges have.
    begun, texts, users = conversation.open_exchange, conversation.assistant_texts, conversation.user_digests
    found = await store.turn_lookup.find_parents(
        request.owner,
        call_ids=client_call_ids(request.messages),
        chat=request.chat,
        parent_message=request.parent_message,
        assistant_texts=[*texts, begun.text] if begun else texts,
        user_digests=users if begun else users[:-1],
        unfinished=()
        if store.workers.is_quiet()
        else [build_turn_key(conversation), *build_previous_turn_keys(conversation)],
    )
    return RestoredHistory(conversation=conversation, lookup=found)


def build_turn_key(conversation: Conversation) -> tuple[str, str]:
    """Build the base and user digest of the turn to come."""
    return conversation.chain[-1], conversation.user_digests[-1]


def build_previous_turn_keys(conversation: Conversation) -> list[tuple[str, str]]:
    """Build base and user digest of the turn before, where the client holds no word of it."""
    if conversation.unanswered_text is not None:
        return [(conversation.chain[-1], history.digest_user_text(conversation.unanswered_text))]
    if (
        conversation.assistant_texts
        and not conversation.assistant_texts[-1].strip()
        and conversation.open_exchange is None
    ):
        return [(conversation.chain[-2], conversation.user_digests[-2])]
    return []


async def restore_messages(
    store: Store, restored_history: RestoredHistory, model: ChatModel
) -> tuple[list[Message], list[Message]]:
    """The conversation for the model, and the tool messages of it that belong to the exchange which the turn goes on
    with, or that no other row will hold."""
    conversation, found = restored_history.conversation, restored_history.lookup
    wordless = restored_history.wordless_turn
    stored = await complete_messages(store, [*found.rows.values(), *([wordless] if wordless else [])], model)
    woven, begins = _weave(restored_history, stored)
    begun = conversation.open_exchange
    earlier = [message for message in woven[begins:] if message.get("tool_calls") or message["role"] == "tool"]
    if wordless is not None and begun is None:
        earlier = [message for message in stored[wordless.id] if calls_of(message) or message["role"] == "tool"]
        woven[-1:-1] = earlier
    return woven, earlier


async def restore_before(store: Store, restored_history: RestoredHistory, model: ChatModel) -> list[Message]:
    """The conversation for the model before the exchange which the turn goes on with."""
    stored = await complete_messages(store, [*restored_history.lookup.rows.values()], model)
    woven, begins = _weave(restored_history, stored)
    return woven[:begins]


def _weave(restored_history: RestoredHistory, stored: Mapping[str, Sequence[Message]]) -> tuple[list[Message], int]:
    """Put the stored messages, by turn, back into the conversation; and where the open exchange begins in it."""
    conversation = restored_history.conversation
    by_index = {index: stored[row.id] for index, row in restored_history.lookup.rows.items()}
    begun, last = conversation.open_exchange, len(conversation.closed_exchanges)
    if begun is not None and not history.share_calls(
        conversation.messages[begun.start : begun.end], by_index.get(last, ())
    ):
        by_index.pop(last, None)
    return history.merge_stored_messages(conversation, by_index)


async def complete_messages(store: Store, rows: Sequence[TurnRow], model: ChatModel) -> dict[str, list[Message]]:
    """Load the messages of these turns, by turn id. What nobody ended is completed from the journal."""
    unfinished = [row for row in rows if row.status == "running"]
    known = await store.journal.find_outcomes(
        [call for row in unfinished for call in find_unanswered_calls(row.messages)]
    )
    stored: dict[str, list[Message]] = {row.id: list(row.messages) for row in rows}
    for row in unfinished:
        dead = row.worker is not None and not await store.workers.is_alive(row.worker)
        stored[row.id] = add_results(
            row.messages, known, model, UNSTARTED_RESULT if dead else history.INTERRUPTED_RESULT
        )
    return stored


def add_results(
    messages: Sequence[Message], known: Mapping[str, ClaimResult], model: ChatModel, otherwise: str
) -> list[Message]:
    """Messages with a result after each call: the journal's, words where a call began and did not end, `otherwise`
    where it did not begin."""
    missing = set(find_unanswered_calls(messages))
    made: list[Message] = []
    for message in messages:
        made.append(message)
        results: list[Any] = []
        for call in calls_of(message):
            call_id, name = str(call.get("id")), str(call["function"]["name"])
            if call_id in known:
                results.append(build_earlier_result(known[call_id], call_id, name))
            elif call_id in missing:
                results.append(ToolMessage(otherwise, tool_call_id=call_id, name=name, status="error"))
        made += model.convert_messages(results)
    return made
