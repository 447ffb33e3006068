"""Tool calls as Responses-API items inside the chat stream, for clients that show them (Open WebUI, `interlock chat`).

Only sent where asked for: to a plain OpenAI client these events are not part of the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from graphs.events import (
    ApprovalNeeded,
    ClientCall,
    NodeNote,
    Pause,
    QuestionAsked,
    ToolFinished,
    ToolProgress,
    ToolRefused,
    ToolStarted,
)
from graphs.text import escape_invisible, format_exact_json
from server.protocols.approval_panel import render_status
from server.protocols.sse import encode_sse


def encode_status(text: str, *, done: bool, hidden: bool = False) -> bytes:
    """Encode Open WebUI's live status line; it belongs in an event without `choices`. `hidden`: no line any more."""
    data = {"description": text, "done": done, **({"hidden": True} if hidden else {})}
    return encode_sse({"event": {"type": "status", "data": data}})


def encode_done(index: int, item: Mapping[str, Any], status: str) -> bytes:
    """Encode the item at that place, as it ended."""
    return encode_sse({"type": "response.output_item.done", "output_index": index, "item": {**item, "status": status}})


class ResponseItems:
    """Encodes calls as `function_call` items, each followed by its `function_call_output`.

    `output_index` counts the items of this stream; a run of text is one of them, and so is a run of thinking. Whether a
    call failed is told by the status of its `function_call`: the page looks at no other.
    """

    def __init__(self) -> None:
        self._index = 0
        self._current_kind: Literal["text", "thoughts"] | None = None
        self._calls: dict[str, tuple[int, dict[str, Any]]] = {}
        self._note = ""

    def begin_text(self) -> None:
        """Begin an item of text, where none is open."""
        self._begin("text")

    def begin_thoughts(self) -> None:
        """Begin an item of reasoning, where none is open."""
        self._begin("thoughts")

    def start_call(self, event: ToolStarted) -> bytes:
        """Encode the call as an item in progress, then completed: its arguments are known whole."""
        return self._encode_call(event, "completed")

    def report_progress(self, event: ToolProgress) -> bytes:
        """Encode a line above the answer that says how far the tool is."""
        return encode_status(escape_invisible(f"{event.tool}: {event.text}"), done=False)

    def show_note(self, event: NodeNote) -> bytes:
        """Encode a line above the answer that says what a node does."""
        self._note = escape_invisible(event.text)
        return encode_status(self._note, done=False)

    def close_note(self) -> bytes:
        """Encode that the last note is over, for the page shows it as running until then; empty without one."""
        note, self._note = self._note, ""
        return encode_status(note, done=True) if note else b""

    def show_waiting(self, pause: Pause, panel: ClientCall) -> bytes:
        """Encode a line above the answer that says what the panel waits for: without it the answer is an empty bubble.

        No card is shown of a call that waits: the page would put buttons of its own on it, which run nothing.
        """
        match pause:
            case ApprovalNeeded(pending):
                text = render_status(pending, panel)
            case QuestionAsked():
                text = "Waits for your answer"
        return encode_status(text, done=False)

    def hide_waiting(self) -> bytes:
        """Encode that the panel of this answer was answered, which takes away the line of `show_waiting`."""
        return encode_status("Answered", done=True, hidden=True)

    def finish_call(self, event: ToolFinished) -> bytes:
        """Encode the result of a call."""
        if not event.failed:
            return self._encode_output(event.call_id, "completed", event.text, event.images)
        return self._encode_failed(event.call_id) + self._encode_output(
            event.call_id, "failed", event.text, event.images
        )

    def refuse_call(self, event: ToolRefused) -> bytes:
        """Encode a call that was not run: shown as failed, with the reason."""
        return self._encode_call(event, "failed") + self._encode_output(
            event.call_id, "failed", escape_invisible(event.reason, keep="\n")
        )

    def _encode_call(self, event: ToolStarted | ToolRefused, status: str) -> bytes:
        index = self._take_index()
        call_id, arguments = event.call_id, format_exact_json(dict(event.args))
        item = {
            "type": "function_call",
            "id": f"fc_{call_id}",
            "call_id": call_id,
            "name": escape_invisible(event.tool),
            "arguments": arguments,
        }
        self._calls[call_id] = (index, item)
        added = {"type": "response.output_item.added", "output_index": index, "item": {**item, "status": "in_progress"}}
        return encode_sse(added) + encode_done(index, item, status)

    def _encode_failed(self, call_id: str) -> bytes:
        """Encode the call once more, with another end: it takes the place of the first."""
        index, item = self._calls[call_id]
        return encode_done(index, item, "failed")

    def _encode_output(self, call_id: str, status: str, text: str, images: tuple[str, ...] = ()) -> bytes:
        item = {
            "type": "function_call_output",
            "call_id": call_id,
            "status": status,
            "output": [
                {"type": "input_text", "text": text},
                *({"type": "input_image", "image_url": image} for image in images),
            ],
        }
        return encode_sse({"type": "response.output_item.added", "output_index": self._take_index(), "item": item})

    def _begin(self, run: Literal["text", "thoughts"]) -> None:
        if self._current_kind not in (None, run):
            self._index += 1
        self._current_kind = run

    def _take_index(self) -> int:
        if self._current_kind is not None:
            self._current_kind = None
            self._index += 1
        index = self._index
        self._index += 1
        return index
