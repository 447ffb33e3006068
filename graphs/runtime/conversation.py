"""Read the conversation that a client sent, and put back the tool results that clients do not keep.

A conversation is a row of exchanges: what the person said, then everything the assistant said and did until the person
spoke again. Clients show an exchange as one answer; some resend its tool calls, most resend only the text.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from graphs.llm.client import ChatModel
from graphs.llm.messages import Message, calls_of, client_call_ids, text_of
from graphs.llm.provider_fields import PROVIDER_FIELDS, remove_provider_fields
from graphs.nodes.state import OWN_CALL
from graphs.runtime.chat_page import NO_PAGE, ChatPage
from graphs.store.digests import build_digest_chain, extend_digest

INTERRUPTED_RESULT = "The turn was stopped before this call ended. Whether it took effect is unknown."
UNAPPROVED_RESULT = "Not run: it waited for approval, and nobody approved it."
MISSING_RESULT = "No result was sent back for this call."


@dataclass(frozen=True)
class Exchange:
    """One answer and how it came about: the messages from `start` up to, not including, `end`."""

    start: int
    end: int
    text: str
    """Everything the assistant said in it."""
    user_text: str
    """What the person had said before."""


@dataclass(frozen=True)
class Conversation:
    """The client's messages, cut into exchanges."""

    messages: Sequence[Message]
    closed_exchanges: tuple[Exchange, ...]
    """Exchanges that ended with an answer."""
    open_exchange: Exchange | None
    """The last one, where it ends with tool results that the client sent back: this turn goes on with it."""
    last_user_text: str
    """What the person said last."""
    page: ChatPage
    """Tells which messages and calls are the page's own."""
    unanswered_text: str | None = None
    """What the person had said right before that, and got no answer to."""

    @cached_property
    def assistant_texts(self) -> list[str]:
        """What the assistant said in the closed exchanges."""
        return [exchange.text for exchange in self.closed_exchanges]

    @cached_property
    def chain(self) -> list[str]:
        """The digests of the beginnings of these texts. Long conversations make this dear: it is worked out once."""
        return build_digest_chain(self.assistant_texts)

    @cached_property
    def user_digests(self) -> list[str]:
        """Digest of the person's text before each closed exchange, and before the answer to come. Only breaks ties
        between turns that said the same: clients rewrite user messages."""
        return [
            digest_user_text(text)
            for text in (*(item.user_text for item in self.closed_exchanges), self.last_user_text)
        ]

    @property
    def final_user_text(self) -> str | None:
        """The text of the last message, if it is the person's; None otherwise."""
        last = self.messages[-1]
        return text_of(last) if last.get("role") == "user" else None


def parse_conversation(messages: Sequence[Message], page: ChatPage = NO_PAGE) -> Conversation:
    """Cut the client's messages into exchanges."""
    found: list[Exchange] = []
    user, start, texts = "", None, list[str]()
    unanswered: str | None = None
    for index, message in enumerate(messages):
        role = message.get("role")
        if role == "user" and not (start is not None and page.is_tool_images(message)):
            if start is not None:
                found.append(Exchange(start, index, "".join(texts), user))
            unanswered = user if index and start is None and messages[index - 1].get("role") == "user" else None
            user, start, texts = text_of(message), None, []
        elif role in ("system", "developer"):
            # An instruction in the middle ends the answer before it.
            if start is not None:
                found.append(Exchange(start, index, "".join(texts), user))
            start, texts = None, []
        elif role in ("assistant", "tool", "function", "user"):
            start = index if start is None else start
            if role == "assistant":
                texts.append(text_of(message))
    pending: Exchange | None = None
    if start is not None:
        last = Exchange(start, len(messages), "".join(texts), user)
        if messages[-1].get("role") in ("tool", "function", "user"):
            pending = last
        else:
            found.append(last)
    return Conversation(messages, tuple(found), pending, user, page, unanswered)


def share_calls(one: Sequence[Message], other: Sequence[Message]) -> bool:
    """Whether two sets of messages make a tool call in common."""
    return not set(client_call_ids(one)).isdisjoint(client_call_ids(other))


def digest_user_text(text: str) -> str:
    """Digest what a person said."""
    return extend_digest("", text)


def merge_stored_messages(
    conversation: Conversation, stored: Mapping[int, Sequence[Message]]
) -> tuple[list[Message], int]:
    """Put each exchange's stored tool messages back, and return where the open exchange begins.

    `stored`: by index into the closed exchanges; the open one has the index `len(closed)`.
    """
    woven: list[Message] = []
    begins = -1
    at = 0
    exchanges = [*conversation.closed_exchanges, *([conversation.open_exchange] if conversation.open_exchange else [])]
    for index, exchange in enumerate(exchanges):
        woven += conversation.messages[at : exchange.start]
        if exchange is conversation.open_exchange:
            begins = len(woven)
        woven += restore_exchange(
            conversation.messages[exchange.start : exchange.end], stored.get(index, ()), conversation.page
        )
        at = exchange.end
    woven += conversation.messages[at:]
    return woven, len(woven) if begins < 0 else begins


def restore_exchange(sent: Sequence[Message], stored: Sequence[Message], page: ChatPage = NO_PAGE) -> list[Message]:
    """One exchange for the model: the stored rounds first, then what the client sent beside them.

    The client's text wins, and so do the results of calls that are its own; a stored turn adds what the history lacks.
    A call without any result gets one that says so: endpoints refuse calls that were never answered.
    """
    results = {str(message.get("tool_call_id")): message for message in sent if message.get("role") == "tool"}
    ours = {str(m.get("tool_call_id")): m for m in stored if m.get("role") == "tool"}
    known = set(client_call_ids(stored))
    beside, moved = find_texts_beside_calls(sent, known, page)
    made: list[Message] = []
    carried: Message | None = None
    for message in stored:
        if message.get("role") == "assistant" and not calls_of(message):
            carried = message  # beside the text of the answer, which the client has
        elif message.get("role") == "assistant":
            ids = client_call_ids([message])
            text = next((beside[key] for key in ids if beside.get(key)), None)
            made.append({**message, "content": text or message.get("content")})
            made += [ours.get(key) or find_result(key, results) for key in ids]
    last_text = -1
    for message in sent:
        if message.get("role") == "function" or (message.get("role") == "user" and not stored):
            made.append(message)  # an old kind of result, or tool images of calls that we know nothing of
        if message.get("role") != "assistant":
            continue
        calls = [
            call
            for call in calls_of(message)
            if not page.is_panel(call) and not str(call.get("id")).startswith(OWN_CALL)
        ]
        unknown = [rename_call(call) for call in calls if str(call.get("id")) not in known]
        if unknown:
            made.append({**remove_provider_fields(message), "tool_calls": unknown})
            made += [find_result(str(call.get("id")), results) for call in unknown]
        elif not calls and id(message) not in moved and (text_of(message) or message.get("refusal")):
            last_text = len(made)
            made.append({name: value for name, value in message.items() if name not in ("tool_calls", PROVIDER_FIELDS)})
        made += page.list_answered(message, results)
    if carried is not None and last_text >= 0:
        made[last_text] = {**made[last_text], PROVIDER_FIELDS: carried[PROVIDER_FIELDS]}
    return made


def find_texts_beside_calls(
    sent: Sequence[Message], known: Collection[str], page: ChatPage
) -> tuple[dict[str, str], set[int]]:
    """What the client sent beside each known call, by call id, and which messages (by identity) that used up.

    The page puts the text that came before an approval beside its own panel; it belongs to the call that was approved.
    """
    beside: dict[str, str] = {}
    moved: set[int] = set()
    held: Message | None = None
    for message in sent:
        if message.get("role") != "assistant":
            continue
        ids = client_call_ids([message])
        text = text_of(message)
        if ids and all(page.is_panel(call) for call in calls_of(message)):
            held = message if text else held
            continue
        if held is not None and any(key in known for key in ids):
            text = text_of(held) + text
            moved.add(id(held))
            held = None
        beside |= dict.fromkeys(ids, text)
    return beside, moved


def find_result(call_id: str, results: Mapping[str, Message]) -> Message:
    """Find the client's result of a call; a sentence where it sent none."""
    return results.get(call_id) or {"role": "tool", "tool_call_id": call_id, "content": MISSING_RESULT}


def rename_call(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name a call as the model may read it: people's `server/tool` is no name to an endpoint."""
    function = cast("Mapping[str, Any]", call.get("function") or {})
    return {**call, "function": {**function, "name": str(function.get("name", "")).replace("/", "__")}}


def collect_tool_messages(
    messages: Sequence[AnyMessage],
    model: ChatModel,
    *,
    unanswered: str = INTERRUPTED_RESULT,
    open_names: Collection[str] = (),
) -> list[dict[str, Any]]:
    """What a turn leaves for the next one: its tool calls and their results, as OpenAI messages.

    A call without a result gets one that says so (`unanswered`), but for calls of `open_names`: those are the client's,
    which still owes their results. The texts between are left out; the client has them in the answer. What the last
    one carried beside its text stands in a message without calls.
    """
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    complete: list[AnyMessage] = []
    last: list[AnyMessage] = []
    for message in messages:
        if isinstance(message, AIMessage):
            calls = [*message.tool_calls, *message.invalid_tool_calls]
            last = [] if calls else [message.model_copy(update={"content": ""})]
            if not calls:
                continue
            complete.append(message.model_copy(update={"content": ""}))
            complete += [
                ToolMessage(unanswered, tool_call_id=call["id"] or "", name=call["name"], status="error")
                for call in calls
                if call["id"] not in answered and call["name"] not in open_names
            ]
        elif isinstance(message, ToolMessage):
            complete.append(message)
    if last and PROVIDER_FIELDS in last[0].additional_kwargs:
        complete += last
    return model.convert_messages(complete)


def collect_tool_calls(messages: Sequence[AnyMessage]) -> list[dict[str, Any]]:
    """The tool calls of a turn that still runs, as OpenAI messages, without their results: those are in the journal.

    The same form as `kept` gives them, a hundred times faster: this is done in every round of tool calls.
    """
    return [
        {
            "content": None,
            "role": "assistant",
            "tool_calls": [
                *(
                    build_tool_call(call["id"], call["name"], json.dumps(call["args"], ensure_ascii=False))
                    for call in message.tool_calls
                ),
                *(build_tool_call(call["id"], call["name"], call["args"] or "") for call in message.invalid_tool_calls),
            ],
            **{name: value for name, value in message.additional_kwargs.items() if name == PROVIDER_FIELDS},
        }
        for message in messages
        if isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls)
    ]


def build_tool_call(call_id: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    """Build a tool call in OpenAI's form."""
    return {"type": "function", "id": call_id or "", "function": {"name": name or "", "arguments": arguments}}
