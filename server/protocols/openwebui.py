"""The kind of client that asks, read from its request: a plain OpenAI client, or Open WebUI with its habits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from graphs.events import ClientCall, PendingApproval, PendingQuestion
from graphs.runtime.chat_page import PanelAnswer, QuestionPanelAnswer
from server.protocols import approval_panel, question_panel
from server.protocols.chat_completions.request import ChatBody
from server.protocols.errors import BadRequest

PREFIX = "x-openwebui-"
SHOW_TOOLS = "x-interlock-tools"
"""Request header: `items` asks for tool calls in the stream as Responses-API items, `none` for text alone."""
APPROVALS = "x-interlock-approvals"
"""Request header: `wait` keeps the answer open while an approval is pending, until it is decided elsewhere; `error`
makes an error of it. Response header: the ids of what is pending."""
TASK = "x-openwebui-task"
TASK_PROMPT = "### Task:"
ASK_USER = "ask_user"


@dataclass(frozen=True, kw_only=True)
class Client:
    """How a request is to be answered; by default, as a plain client of OpenAI's expects it."""

    kind: Literal["openai", "open-webui"] = "openai"
    items: bool = False
    """Tool calls are shown as Responses-API items."""
    buttons: bool = False
    """Approvals are asked for with `ask_user`."""
    waits: bool = False
    """The stream stays open while an approval is pending, and goes on once it is decided."""
    raises: bool = False
    """A pending approval is an error: for programs, which read no question."""
    task: bool = False
    """A background task (title, tags, follow-ups): for the model alone, not for the graph."""
    answers_panel: bool = False
    """The request brings what a person chose on a panel of ours: the same answer goes on."""
    tools: Sequence[Mapping[str, Any]] = ()
    """The client's own function tools. Open WebUI's are its injected ones, which are not for our models."""
    chat: str | None = None
    message: str | None = None
    """The client's id for the answer to come."""
    parent_message: str | None = None
    """The client's id of the answer that this message follows."""


def read_client(headers: Mapping[str, str], body: ChatBody, *, for_people: bool) -> Client:
    """Read headers (lower-case names) and body. Raises BadRequest for tools that are no function tools.

    `for_people`: the key belongs to a chat page that asks for its people. Any other client that calls its request a
    background task would only get past the graph's prompt and rules, so its request is an ordinary turn.
    """
    webui = any(name.startswith(PREFIX) for name in headers)
    shown = headers.get(SHOW_TOOLS)
    if shown not in (None, "items", "none"):
        raise BadRequest(f"header {SHOW_TOOLS}: {shown!r} is neither 'items' nor 'none'")
    pause = headers.get(APPROVALS)
    if pause not in (None, "wait", "error"):
        raise BadRequest(f"header {APPROVALS}: {pause!r} is neither 'wait' nor 'error'")
    names = [read_tool_name(tool, index) for index, tool in enumerate(body.tools or ())]
    return Client(
        kind="open-webui" if webui else "openai",
        items=webui if shown is None else shown == "items",
        buttons=ASK_USER in names and pause is None,
        waits=pause == "wait",
        raises=pause == "error",
        task=webui and for_people and is_task(headers, body),
        answers_panel=webui and answers_panel(body.messages),
        tools=() if webui else [tool for tool, name in zip(body.tools or (), names, strict=True) if name != ASK_USER],
        chat=headers.get(f"{PREFIX}chat-id") or None,
        message=headers.get(f"{PREFIX}message-id") or None,
        parent_message=headers.get(f"{PREFIX}user-message-parent-id") or None,
    )


def answers_panel(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last message answers a panel of ours."""
    found = approval_panel.parse_panel_answer(messages) or question_panel.parse_panel_answer(messages)
    return found is not None


def read_tool_name(tool: Mapping[str, Any], index: int) -> str:
    """Read the name of a function tool. Raises BadRequest for any other kind."""
    function = tool.get("function")
    name = cast("Mapping[str, Any]", function).get("name") if isinstance(function, Mapping) else None
    if tool.get("type") != "function" or not isinstance(name, str) or not name:
        raise BadRequest(
            f"tools[{index}]: expected {{'type': 'function', 'function': {{'name': …}}}}", param=f"tools.{index}"
        )
    return name


def is_task(headers: Mapping[str, str], body: ChatBody) -> bool:
    """Tell whether Open WebUI asks for itself: by the header that an admin may configure, or by the shape of its
    prompts."""
    if TASK in headers:
        return bool(headers[TASK])
    only = body.messages[0]
    content = only.get("content")
    return (
        not body.stream
        and not body.tools
        and len(body.messages) == 1
        and only.get("role") == "user"
        and isinstance(content, str)
        and content.lstrip().startswith(TASK_PROMPT)
    )


TOOL_IMAGES_PREFIX = "Here are the images from the tool results above."


class OpenWebUIPage:
    """Open WebUI's habits, as the engine asks for them (`graphs/runtime/chat_page.py`)."""

    def build_panel(self, turn: str, pending: Sequence[PendingApproval]) -> ClientCall | None:
        """The call of `ask_user` that asks about the first of these."""
        return approval_panel.build_panel(turn, pending)

    def render_preamble(self, pending: Sequence[PendingApproval]) -> str:
        """Whole, each call of which the panel shows only the beginnings."""
        return approval_panel.render_preamble(pending)

    def is_same_panel(self, arguments: str, expected: str) -> bool:
        """Whether both ask the same: the page orders keys in its own way, adds some and strips texts."""
        return approval_panel.is_same_panel(arguments, expected)

    def parse_panel_answer(self, messages: Sequence[Mapping[str, Any]]) -> PanelAnswer | None:
        """The panel that the last message answers; None where it answers none of ours."""
        return approval_panel.parse_panel_answer(messages)

    def build_question_panel(self, turn: str, question: PendingQuestion) -> ClientCall | None:
        """The call of `ask_user` for what a question asks next."""
        return question_panel.build_panel(turn, question)

    def render_question_preamble(self, question: PendingQuestion) -> str:
        """What was wrong, and the question where the panel shows only its end."""
        return question_panel.render_preamble(question)

    def parse_question_answer(self, messages: Sequence[Mapping[str, Any]]) -> QuestionPanelAnswer | None:
        """The panel of a question that the last message answers; None where it answers none of ours."""
        return question_panel.parse_panel_answer(messages)

    def read_values(self, question: PendingQuestion, labels: Mapping[str, str]) -> Mapping[str, Any] | None:
        """The values that were chosen, by field."""
        return question_panel.read_values(question, labels)

    def list_answered(
        self, message: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The questions of a message's panel, and their answers, as messages for the model."""
        return question_panel.list_answered(message, results)

    def is_panel(self, call: Mapping[str, Any]) -> bool:
        """Whether a tool call in a history is a panel of ours."""
        return approval_panel.is_panel(call) or question_panel.is_panel(call)

    def is_tool_images(self, message: Mapping[str, Any]) -> bool:
        """Whether a user message is the page's way to show a tool's images to models."""
        content = message.get("content")
        if not isinstance(content, list):
            return False
        parts = cast("list[Mapping[str, Any]]", content)
        texts = "".join(str(part.get("text") or "") for part in parts if part.get("type") == "text")
        return texts.startswith(TOOL_IMAGES_PREFIX) and any(part.get("type") == "image_url" for part in parts)


OPEN_WEBUI = OpenWebUIPage()
