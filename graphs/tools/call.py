"""One tool call through the pool: the time it may take, what is repeated, and every failure in words."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, Literal

from mcp import McpError
from mcp.types import CallToolResult, TextContent
from pydantic import ValidationError

from graphs.text import escape_invisible
from graphs.tools.connection import Connection, ServerDown
from graphs.tools.message_limits import UNFIT
from graphs.tools.names import people_name
from graphs.tools.results import failure, readable
from graphs.tools.session import Lost, RawResult, Session
from graphs.tools.trace_context import traced

logger = logging.getLogger(__name__)

_LONGEST_REASON = 400
_LONGEST_REFUSAL = 8_000
"""Characters of an error in a server's own words: to escape what does not show in them takes 1 µs a character."""
Phase = Literal["connecting", "queued", "running"]


class Call:
    """One call of one tool. `repeatable`: the tool says it is read-only or idempotent."""

    def __init__(self, connection: Connection, tool: str, arguments: dict[str, Any], *, repeatable: bool) -> None:
        self._connection = connection
        self._name = people_name(connection.name, tool)
        self._tool = tool
        self._arguments = arguments
        self._repeatable = repeatable
        self._phase: Phase = "connecting"
        self._begun = False

    async def result(self) -> CallToolResult:
        """The answer, or an error result in words, within the server's `timeout`. Raises nothing but cancellation."""
        result = await self._read()
        if result.isError:
            # Programs that fail say how they were called, with keys and all.
            hide = self._connection.redaction.exactly
            result.content = [
                one.model_copy(update={"text": hide(one.text)}) if isinstance(one, TextContent) else one
                for one in result.content
            ]
            if result.structuredContent is not None:
                written = json.dumps(result.structuredContent)
                result.structuredContent = None if hide(written) != written else result.structuredContent
        return result

    async def _read(self) -> CallToolResult:
        spec = self._connection.spec
        self._connection.calls += 1
        try:
            async with asyncio.timeout(spec.timeout):
                raw = await self._answer()
        except TimeoutError:
            return failure(self._too_late())
        except ServerDown as down:
            return failure(f"{self._name} {self._so_far()}: its server is not available: {down}")
        except _Failed as failed:
            return failure(str(failed))
        except McpError as error:
            if error.error.code == UNFIT:
                return failure(self._not_taken(error.error.message))
            words = escape_invisible(error.error.message[: min(spec.max_result, _LONGEST_REFUSAL)], keep="\n\t")
            return failure(f"{self._name} was refused by its server: {words}")
        except ValidationError:
            return failure(f"{self._name} gave an answer that is no tool result. It may have taken effect.")
        finally:
            self._connection.calls -= 1
        return readable(raw, limit=spec.max_result)

    async def _answer(self) -> RawResult:
        spec = self._connection.spec
        attempts = 0
        while True:
            self._phase = "connecting"
            session = await self._connection.session()
            attempts += 1
            try:
                self._phase = "queued"
                async with self._connection.slots:
                    self._phase = "running"
                    return await traced(session, self._connection.name, spec, self._tool, self._arguments)
            except Lost as lost:
                reason, sent = await self._verdict(session, lost)
                self._begun |= sent
            if attempts > 1 or (sent and not self._repeatable):
                raise _Failed(self._outcome(reason, sent=sent))
            logger.info("%s is repeated: its server %s", self._name, reason)

    async def _verdict(self, session: Session, lost: Lost) -> tuple[str, bool]:
        """Why the connection ended, and whether the server may have begun to run the call."""
        if not lost.sent:
            return "lost the connection before the call reached it", False
        end = await asyncio.shield(session.end)
        return end.reason, lost.request_id not in end.unsent

    def _so_far(self) -> str:
        return "failed and could not be repeated" if self._begun else "was not run"

    def _outcome(self, reason: str, *, sent: bool) -> str:
        if not sent:
            return f"{self._name} {self._so_far()}: its server {reason}."
        if self._repeatable:
            return f"{self._name} failed twice: its server {reason}."
        return (
            f"Outcome unknown: the server of {self._name} {reason} while the call was under way. It may or may not "
            "have taken effect, so it was not repeated. Find out before calling it again."
        )

    def _not_taken(self, reason: str) -> str:
        reason = escape_invisible(reason[:_LONGEST_REASON])
        text = f"{self._name} gave no answer that can be taken: its server {self._connection.name} {reason}."
        known = "" if self._repeatable else " Outcome unknown: it may have taken effect."
        return f"{text}{known} If you call it again, ask for less: a part, a filter, a limit."

    def _too_late(self) -> str:
        seconds = f"{self._connection.spec.timeout:g} s"
        match self._phase:
            case "connecting":
                reason = self._connection.reason or "is starting"
                return f"{self._name} {self._so_far()}: its server was not available within {seconds}: {reason}"
            case "queued":
                busy = f"busy with as many calls as it takes at once ({self._connection.spec.concurrency})"
                return f"{self._name} {self._so_far()}: for {seconds} its server was {busy}."
            case "running":
                self._connection.suspect()
                text = f"{self._name} gave no answer within {seconds}."
                return text if self._repeatable else f"{text} Outcome unknown: it may still take effect."


class _Failed(Exception):
    """The call did not end with an answer; the text says what is known."""
