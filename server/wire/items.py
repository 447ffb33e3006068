"""Tool calls as Responses-API items inside the chat stream, for clients that show them (Open WebUI, `interlock chat`).

Only sent where asked for: to a plain OpenAI client these events are not part of the format.
"""

from __future__ import annotations

import orjson

from graphs.events import ToolFinished, ToolProgress, ToolRefused, ToolStarted
from server.wire.chunks import sse


def status(text: str, *, done: bool) -> bytes:
    """Open WebUI's live status line; it belongs in an event without `choices`."""
    return sse({"event": {"type": "status", "data": {"description": text, "done": done}}})


class ResponseItems:
    """Encodes calls as `function_call` items, each followed by its `function_call_output`.

    `output_index` counts the items of this stream; a run of text is one of them.
    """

    def __init__(self) -> None:
        self._index = 0
        self._in_text = False

    def text(self) -> None:
        """Text follows: it is an item of its own."""
        self._in_text = True

    def started(self, event: ToolStarted) -> bytes:
        """The call as an item in progress, then completed: its arguments are known whole."""
        return self._call(event.call_id, event.tool, orjson.dumps(dict(event.args)).decode())

    def progressed(self, event: ToolProgress) -> bytes:
        """A line above the answer that says how far the tool is."""
        return status(f"{event.tool}: {event.text}", done=False)

    def finished(self, event: ToolFinished) -> bytes:
        """What the tool returned."""
        return self._output(event.call_id, "failed" if event.failed else "completed", event.text, event.images)

    def refused(self, event: ToolRefused) -> bytes:
        """A call that was not run: shown as failed, with the reason."""
        call = self._call(event.call_id, event.tool, orjson.dumps(dict(event.args)).decode())
        return call + self._output(event.call_id, "failed", event.reason)

    def _call(self, call_id: str, name: str, arguments: str) -> bytes:
        index = self._next()
        item = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": name}
        added = {"type": "response.output_item.added", "output_index": index}
        done = {"type": "response.output_item.done", "output_index": index}
        return sse({**added, "item": {**item, "arguments": arguments, "status": "in_progress"}}) + sse(
            {**done, "item": {**item, "arguments": arguments, "status": "completed"}}
        )

    def _output(self, call_id: str, status: str, text: str, images: tuple[str, ...] = ()) -> bytes:
        item = {
            "type": "function_call_output",
            "call_id": call_id,
            "status": status,
            "output": [
                {"type": "input_text", "text": text},
                *({"type": "input_image", "image_url": image} for image in images),
            ],
        }
        return sse({"type": "response.output_item.added", "output_index": self._next(), "item": item})

    def _next(self) -> int:
        if self._in_text:
            self._in_text = False
            self._index += 1
        index = self._index
        self._index += 1
        return index
