"""One tool call on a server's connection: its time limit, its one repetition, and every failure in words."""

from __future__ import annotations

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Any, Literal

from mcp import McpError
from mcp.types import CallToolResult, ErrorData, TextContent
from pydantic import ValidationError

from graphs.telemetry import spans
from graphs.text import escape_invisible
from graphs.tools.connection import ServerConnection, ServerDown
from graphs.tools.http_failures import find_http_failure
from graphs.tools.message_limits import UNFIT_CODE
from graphs.tools.names import make_people_name
from graphs.tools.result_log import report_result
from graphs.tools.results import build_failure, render_result
from graphs.tools.session import ConnectionLost, RawResult, Session
from graphs.tools.session_loss import SessionLoss

logger = logging.getLogger(__name__)

_LONGEST_REASON = 400
_LONGEST_REFUSAL = 8_000
"""Characters of an error in a server's own words: to escape what does not show in them takes 1 µs a character."""
Phase = Literal["connecting", "queued", "running"]


class ServerCall:
    """One call of one tool. `is_repeatable`: the tool says it is read-only or idempotent."""

    def __init__(
        self, connection: ServerConnection, tool: str, arguments: dict[str, Any], *, is_repeatable: bool
    ) -> None:
        self._connection = connection
        self._name = make_people_name(connection.name, tool)
        self._tool = tool
        self._arguments = arguments
        self._is_repeatable = is_repeatable
        self._phase: Phase = "connecting"
        self._was_sent = False

    async def run(self) -> CallToolResult:
        """Return the answer, or an error result in words, within the server's `timeout`. Raises nothing but
        cancellation."""
        result = await self._call_in_time()
        if result.isError:
            # Programs that fail say how they were called, with keys and all.
            hide = self._connection.redaction.redact_known
            result.content = [
                one.model_copy(update={"text": hide(one.text)}) if isinstance(one, TextContent) else one
                for one in result.content
            ]
            if result.structuredContent is not None:
                written = json.dumps(result.structuredContent)
                result.structuredContent = None if hide(written) != written else result.structuredContent
        report_result(self._name, self._arguments, result)
        return result

    async def _call_in_time(self) -> CallToolResult:
        spec = self._connection.spec
        self._connection.calls += 1
        try:
            async with asyncio.timeout(spec.timeout):
                raw = await self._call_with_retry()
        except TimeoutError:
            return build_failure(self._describe_timeout())
        except ServerDown as down:
            return build_failure(f"{self._name} {self._describe_state()}: its server is not available: {down}")
        except _CallFailed as failed:
            return build_failure(str(failed))
        except McpError as error:
            return build_failure(self._describe_refusal(error.error))
        except ValidationError:
            return build_failure(f"{self._name} gave an answer that is no tool result. It may have taken effect.")
        finally:
            self._connection.calls -= 1
        return render_result(raw, limit=spec.max_result)

    async def _call_with_retry(self) -> RawResult:
        attempts = 0
        while True:
            self._phase = "connecting"
            session = await self._connection.get_session()
            attempts += 1
            try:
                self._phase = "queued"
                async with self._connection.slots:
                    self._phase = "running"
                    return await self._call_traced(session)
            except ConnectionLost as lost:
                reason, sent = await self._find_loss_reason(session, lost)
            except McpError as error:
                loss = await self._find_session_loss(session, error.error)
                if loss is None:
                    raise
                reason, sent = loss.reason, loss.was_run
            self._was_sent |= sent
            if attempts > 1 or (sent and not self._is_repeatable):
                raise _CallFailed(self._describe_outcome(reason, sent=sent))
            logger.info("%s is repeated: its server %s", self._name, reason)

    async def _find_session_loss(self, session: Session, refusal: ErrorData) -> SessionLoss | None:
        """Find whether the call failed with its session, or with the connection of its own request; None where the
        server refused this call."""
        if refusal.code == UNFIT_CODE:
            return None
        loss = await self._connection.find_loss(session, refusal)
        failure = find_http_failure(refusal)
        if loss is None and failure is not None and failure.status is None:
            return SessionLoss(self._connection.redaction.redact_text(failure.reason), was_run=failure.was_sent)
        return loss

    async def _call_traced(self, session: Session) -> RawResult:
        """Call the tool, as a span of its own. Raises what `Session.call` raises."""
        with spans.start_mcp_span(self._connection.name, self._tool, self._connection.spec.url) as span:
            try:
                raw = await session.call(self._tool, self._arguments)
            except McpError as error:
                code = str(error.error.code)
                span.record_failure(code)
                span.set_attributes({"rpc.response.status_code": code})
                raise
            if raw.isError:
                span.record_failure("tool_error")
            return raw

    async def _find_loss_reason(self, session: Session, lost: ConnectionLost) -> tuple[str, bool]:
        """Find why the connection ended, and whether the server may have begun to run the call."""
        if not lost.was_sent:
            return "lost the connection before the call reached it", False
        end = await asyncio.shield(session.end)
        return end.reason, True

    def _describe_state(self) -> str:
        return "failed and could not be repeated" if self._was_sent else "was not run"

    def _describe_outcome(self, reason: str, *, sent: bool) -> str:
        if not sent:
            return f"{self._name} {self._describe_state()}: its server {reason}."
        if self._is_repeatable:
            return f"{self._name} failed twice: its server {reason}."
        return (
            f"Outcome unknown: the server of {self._name} {reason} while the call was under way. It may or may not "
            "have taken effect, so it was not repeated. Find out before calling it again."
        )

    def _describe_refusal(self, refusal: ErrorData) -> str:
        if refusal.code == UNFIT_CODE:
            return self._describe_unfit_answer(refusal.message)
        failure = find_http_failure(refusal)
        own = failure.words if failure is not None else refusal.message
        words = escape_invisible(own[: min(self._connection.spec.max_result, _LONGEST_REFUSAL)], keep="\n\t")
        if failure is None:
            return f"{self._name} was refused by its server: {words}"
        if failure.redirect:
            words = f"it redirects to {failure.redirect}, which is not followed"
        said = f"({failure.title}): {words}" if words else f"({failure.title})"
        if failure.status is not None and failure.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return f"{self._name} was refused by its server {said}"
        known = "" if self._is_repeatable else "\nOutcome unknown: it may have taken effect."
        return f"{self._name} failed at its server {said}{known}"

    def _describe_unfit_answer(self, reason: str) -> str:
        reason = escape_invisible(reason[:_LONGEST_REASON])
        text = f"{self._name} gave no answer that can be taken: its server {self._connection.name} {reason}."
        known = "" if self._is_repeatable else " Outcome unknown: it may have taken effect."
        return f"{text}{known} If you call it again, ask for less: a part, a filter, a limit."

    def _describe_timeout(self) -> str:
        seconds = f"{self._connection.spec.timeout:g} s"
        match self._phase:
            case "connecting":
                reason = self._connection.reason or "is starting"
                return f"{self._name} {self._describe_state()}: its server was not available within {seconds}: {reason}"
            case "queued":
                busy = f"busy with as many calls as it takes at once ({self._connection.spec.concurrency})"
                return f"{self._name} {self._describe_state()}: for {seconds} its server was {busy}."
            case "running":
                self._connection.mark_suspect()
                text = f"{self._name} gave no answer within {seconds}."
                return text if self._is_repeatable else f"{text} Outcome unknown: it may still take effect."


class _CallFailed(Exception):
    """The call did not end with an answer; the text says what is known."""
