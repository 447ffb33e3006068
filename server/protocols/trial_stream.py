"""The stream of a trial, for the console: the words of the answer, each call with its verdicts, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from graphs.events import (
    ApprovalNeeded,
    CallJudged,
    Event,
    Finished,
    NodeNote,
    QuestionAsked,
    TextDelta,
    ToolFinished,
    ToolRefused,
    ToolStarted,
)
from graphs.text import dump_json
from server.protocols import sse
from server.protocols.errors import HttpError

LONGEST_RESULT = 4000
"""Characters of a result that are shown."""


class TrialEncoder:
    """Encodes the events of a trial as server-sent events, each a JSON object with its `type`."""

    def __init__(self) -> None:
        self.done = False

    @property
    def content_type(self) -> str:
        """Media type of the stream."""
        return sse.CONTENT_TYPE

    def encode(self, events: Sequence[Event]) -> bytes:
        """Encode events; empty where the page shows nothing of them."""
        return b"".join(sse.encode_sse(part) for event in events if (part := self._describe(event)) is not None)

    def encode_heartbeat(self) -> bytes:
        """Encode what is sent when nothing has happened for a while."""
        return sse.HEARTBEAT

    def encode_error(self, error: HttpError) -> bytes:
        """Encode an error after the first byte, and the end."""
        self.done = True
        return sse.encode_sse({"type": "error", "message": error.message})

    def _describe(self, event: Event) -> dict[str, Any] | None:
        match event:
            case TextDelta(text):
                return {"type": "text", "text": text}
            case NodeNote(node, text):
                return {"type": "note", "node": node, "text": text}
            case CallJudged(call_id, tool, args, decision, rule, by_role):
                return {
                    "type": "call",
                    "id": call_id,
                    "tool": tool,
                    # As text: a browser would round whole numbers over 2⁵³.
                    "arguments": dump_json(args, indent=True),
                    "verdict": decision,
                    "rule": rule,
                    "by_role": [asdict(each) for each in by_role],
                }
            case ToolStarted(call_id):
                return {"type": "started", "id": call_id}
            case ToolFinished(call_id, _, text, failed):
                return {"type": "result", "id": call_id, "text": text[:LONGEST_RESULT], "failed": failed}
            case ToolRefused(call_id, tool, args, reason):
                arguments = dump_json(args, indent=True)
                return {"type": "refused", "id": call_id, "tool": tool, "arguments": arguments, "reason": reason}
            case ApprovalNeeded(pending):
                return {"type": "waits", "approvals": [each.approval_id for each in pending], "question": None}
            case QuestionAsked(question):
                return {"type": "waits", "approvals": [], "question": question.question_id}
            case Finished(_, usage):
                self.done = True
                return {"type": "end", "tokens": [usage.prompt, usage.completion]}
            case _:
                return None
