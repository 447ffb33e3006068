"""The answer of a turn while it is made: what nodes emit becomes events for the client, text for the row, a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from graphs.errors import ModelError
from graphs.events import (
    ApprovalNeeded,
    ClientCall,
    ClientCalls,
    Event,
    Finished,
    FinishReason,
    ModelFinished,
    Pause,
    QuestionAsked,
    ReasoningDelta,
    TextDelta,
    TokenUsage,
    ToolStarted,
)
from graphs.runtime.event_queue import EventQueue
from graphs.runtime.replay import ReplayScript


class AnswerWriter:
    """One answer while it is written. Everything that the client gets of it goes through here."""

    def __init__(self, events: EventQueue, *, longest: int) -> None:
        """`longest`: characters that the answer may have, thoughts included."""
        self._events = events
        self._longest = longest
        self._length = 0
        self._text = StringIO()
        self._script = ReplayScript()
        self._usage = TokenUsage()
        self._reason: FinishReason = "stop"
        self._pause: Pause | None = None
        self._call_ids: set[str] = set()
        """The calls that this answer shows."""
        self._is_repeated = False
        """All of the text is that of an earlier attempt."""

    @property
    def text(self) -> str:
        """Everything said so far."""
        return self._text.getvalue()

    @property
    def reason(self) -> FinishReason:
        """Why the latest model call ended."""
        return self._reason

    def add(self, event: Event) -> None:
        """Add what a node emits. Raises ModelError where the answer becomes longer than anybody reads."""
        match event:
            case TextDelta(text):
                self._measure(text)
                self._events.put(TextDelta(self.compose(text, new_paragraph=event.new_paragraph)))
            case ReasoningDelta(text):
                self._measure(text)
                self._events.put(event)
            case ModelFinished(usage=usage, reason=reason):
                self._usage += usage
                self._reason = reason
                self._events.put(event)
            case ToolStarted(call_id=call_id) if call_id in self._call_ids:
                pass  # what a graph does for an agent begins again after a pause
            case ToolStarted(call_id=call_id):
                self._call_ids.add(call_id)
                self._script.add(event)
                self._events.put(event)
            case ApprovalNeeded() | QuestionAsked():
                self._pause = join_pauses(self._pause, event)
            case _:
                self._script.add(event)
                self._events.put(event)

    @property
    def pause(self) -> Pause | None:
        """What the graph paused for, and nobody has taken yet."""
        return self._pause

    def take_pause(self) -> Pause | None:
        """Return what the graph paused for, once."""
        pause, self._pause = self._pause, None
        return pause

    def announce(self, pause: Pause) -> None:
        """Tell the client what waits."""
        self._events.put(pause)

    def compose(self, text: str, *, new_paragraph: bool = True) -> str:
        """Add a piece to the row and the script alone, and return it as the client is to get it later.

        Paragraphs are kept apart, and so are an earlier attempt's text and this one's.
        """
        if self._text.tell() and (new_paragraph or self._is_repeated):
            text = f"\n\n{text}"
        self._is_repeated = False
        self._text.write(text)
        self._script.add_text(text)
        return text

    def repeat(self, text: str) -> None:
        """Say again what an earlier attempt of this turn had said."""
        if text:
            self._text.write(text)
            self._script.add_text(text)
            self._is_repeated = True
            self._events.put(TextDelta(text))

    def repeat_all(self, events: Sequence[Event]) -> None:
        """Say a whole answer again that ended before: the row and its script are there already."""
        for event in events:
            self._events.put(event)

    def close_script(self, reason: FinishReason, calls: Sequence[ClientCall]) -> Mapping[str, Any]:
        """Return what was said, as JSON, with how it ends."""
        return self._script.close(reason, self._usage, calls)

    def end(self, reason: FinishReason, text: str = "", calls: tuple[ClientCall, ...] = ()) -> None:
        """Send the last of the answer: a composed text, the calls that the client is to run, and why it ended."""
        if text:
            self._events.put(TextDelta(text))
        if calls:
            self._events.put(ClientCalls(calls))
        self._events.put(Finished(reason, self._usage))

    def fail(self, error: Exception) -> None:
        """End the answer with an error."""
        self._events.fail(error)

    def _measure(self, text: str) -> None:
        self._length += len(text)
        if self._length > self._longest:
            raise ModelError(
                f"The answer of this turn is longer than {self._longest:,} characters, so it was ended there. Where "
                "such answers are meant, raise `models.max_answer` in gateway.yaml.",
                kind="interrupted",
            )


def join_pauses(before: Pause | None, added: Pause) -> Pause:
    """Join what several tasks wait for that run at the same time: approvals, each of which is there once."""
    if not (isinstance(before, ApprovalNeeded) and isinstance(added, ApprovalNeeded)):
        return added
    entries = {entry.approval_id: entry for entry in (*before.pending, *added.pending)}
    return ApprovalNeeded(tuple(entries.values()))
