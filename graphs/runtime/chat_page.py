"""What the engine asks of a chat page that has habits of its own. The facade knows the page and brings one of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphs.events import ClientCall, PendingApproval, PendingQuestion
from graphs.llm.messages import Message


@dataclass(frozen=True)
class PanelAnswer:
    """A panel of buttons that came back."""

    turn: str
    """Id of the turn that asked."""
    arguments: str
    """The arguments as the client sends them back."""
    approval_ids: Sequence[str]
    """The approval ids in them; whatever the client wrote, so to be looked up."""
    decisions: Mapping[str, bool]
    """By approval id: true only for an exact yes."""


@dataclass(frozen=True, kw_only=True)
class QuestionPanelAnswer:
    """A panel that asks a graph's question and came back."""

    turn: str
    """Id of the turn that asked."""
    question_id: str
    arguments: str
    """The arguments as the client sends them back."""
    labels: Mapping[str, str] | None
    """What was chosen; None: the person wants to answer nothing."""


class ChatPage(Protocol):
    """A chat page that asks its person with buttons, and writes messages of its own into histories."""

    def build_panel(self, turn: str, pending: Sequence[PendingApproval]) -> ClientCall | None:
        """The call by which the page asks about the first of these; None where it can ask about none of them."""
        ...

    def render_preamble(self, pending: Sequence[PendingApproval]) -> str:
        """What the chat shows above that panel."""
        ...

    def is_same_panel(self, arguments: str, expected: str) -> bool:
        """Whether both arguments of a panel ask the same questions with the same options."""
        ...

    def parse_panel_answer(self, messages: Sequence[Message]) -> PanelAnswer | None:
        """The panel that the last message answers, if any."""
        ...

    def build_question_panel(self, turn: str, question: PendingQuestion) -> ClientCall | None:
        """The call by which the page asks what a question asks next; None where it has no buttons for that."""
        ...

    def render_question_preamble(self, question: PendingQuestion) -> str:
        """What the chat shows above that panel."""
        ...

    def parse_question_answer(self, messages: Sequence[Message]) -> QuestionPanelAnswer | None:
        """The panel of a question that the last message answers, if any."""
        ...

    def read_values(self, question: PendingQuestion, labels: Mapping[str, str]) -> Mapping[str, Any] | None:
        """The values that were chosen, by field; None where they are not what the panel offers."""
        ...

    def list_answered(self, message: Message, results: Mapping[str, Message]) -> list[dict[str, Any]]:
        """The questions that a message of the history asks with a panel, and their answers, as messages for the
        model. `results` are the history's tool messages, by call id."""
        ...

    def is_panel(self, call: Mapping[str, Any]) -> bool:
        """Whether a tool call in a history is such a panel: the model is not told of it."""
        ...

    def is_tool_images(self, message: Message) -> bool:
        """Whether a user message is nobody's words, but the page's way to show a tool's images to models."""
        ...


class NoChatPage:
    """A client without habits."""

    def build_panel(self, turn: str, pending: Sequence[PendingApproval]) -> ClientCall | None:
        """None: it has no buttons."""
        return None

    def render_preamble(self, pending: Sequence[PendingApproval]) -> str:
        """Nothing."""
        return ""

    def is_same_panel(self, arguments: str, expected: str) -> bool:
        """False: it has no panels."""
        return False

    def parse_panel_answer(self, messages: Sequence[Message]) -> PanelAnswer | None:
        """None: it has no panels."""
        return None

    def build_question_panel(self, turn: str, question: PendingQuestion) -> ClientCall | None:
        """None: it has no buttons."""
        return None

    def render_question_preamble(self, question: PendingQuestion) -> str:
        """Nothing."""
        return ""

    def parse_question_answer(self, messages: Sequence[Message]) -> QuestionPanelAnswer | None:
        """None: it has no panels."""
        return None

    def read_values(self, question: PendingQuestion, labels: Mapping[str, str]) -> Mapping[str, Any] | None:
        """None: it has no panels."""
        return None

    def list_answered(self, message: Message, results: Mapping[str, Message]) -> list[dict[str, Any]]:
        """Nothing."""
        return []

    def is_panel(self, call: Mapping[str, Any]) -> bool:
        """False: it has no panels."""
        return False

    def is_tool_images(self, message: Message) -> bool:
        """False: what its user messages say, a person said."""
        return False


NO_PAGE = NoChatPage()
