"""One table from errors of the engine and the facade to OpenAI's error body."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphs.errors import (
    EndpointClosed,
    GraphUnavailable,
    InterlockError,
    LimitReached,
    ModelError,
    NotAllowed,
    StorageError,
    UnknownModel,
)
from graphs.policy.request_fields import FieldRefused
from graphs.runtime.approvals import AlreadyDecided, ApprovalExpired, ApprovalNotFound
from graphs.runtime.questions import AlreadyAnswered, AnswerMismatch, QuestionExpired, QuestionNotFound
from server.auth.failed_keys import AddressLocked
from server.auth.keys import UnknownKey
from server.observability.request_log import find_current_request

log = logging.getLogger(__name__)


class BadRequest(InterlockError):
    """The request cannot be read or carried out. `param` names the field."""

    def __init__(self, message: str, *, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.status = status


class ApprovalPending(InterlockError):
    """The turn waits for a person, and its client wants to be told so as an error. `approvals` are the ids."""

    def __init__(self, approvals: Sequence[str]) -> None:
        super().__init__(
            f"This turn waits for approval: {', '.join(approvals)}. Decide with POST /v1/approvals/ID, then send this "
            "request again within ten minutes, or `approve ID` as the next message: the turn goes on from there."
        )
        self.approvals = tuple(approvals)


class QuestionPending(InterlockError):
    """The turn asks a person, and its client wants to be told so as an error."""

    def __init__(self, question: str) -> None:
        super().__init__(
            f"This turn waits for the answer to question {question}. Give it with POST /v1/questions/{question}, then "
            "send this request again within ten minutes, or as the next message: the turn goes on from there."
        )
        self.question = question


@dataclass(frozen=True, kw_only=True)
class HttpError:
    """An error as HTTP answers it."""

    status: int
    message: str
    type: str
    code: str | None
    param: str | None = None
    retry_after: str | None = None
    approvals: Sequence[str] = ()
    """Ids of the approvals that the turn waits for."""
    questions: Sequence[str] = ()
    """Ids of the questions that it waits for."""

    def build_body(self) -> dict[str, Any]:
        """Build OpenAI's error body."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        waits = {"approvals": list(self.approvals), "questions": list(self.questions)}
        return {"error": {**error, **{name: ids for name, ids in waits.items() if ids}}}


def build_http_error(error: BaseException) -> HttpError:
    """Build the answer to an error. What is not ours is not told in detail: it may hold secrets."""
    message = str(error)
    match error:
        case BadRequest(param=param, status=status):
            return HttpError(status=status, message=message, type="invalid_request_error", code=None, param=param)
        case FieldRefused(param=param):
            return HttpError(
                status=400, message=message, type="invalid_request_error", code="field_refused", param=param or None
            )
        case UnknownKey():
            return HttpError(status=401, message=message, type="invalid_request_error", code="invalid_api_key")
        case UnknownModel():
            return HttpError(
                status=404, message=message, type="invalid_request_error", code="model_not_found", param="model"
            )
        case EndpointClosed():
            return HttpError(status=404, message=message, type="invalid_request_error", code="endpoint_closed")
        case AddressLocked(retry_after=seconds):
            kind = "rate_limit_exceeded"
            return HttpError(
                status=429, message=message, type=kind, code="too_many_failed_keys", retry_after=str(seconds)
            )
        case NotAllowed():
            return HttpError(status=403, message=message, type="permission_error", code="not_allowed")
        case LimitReached(retry_after=seconds):
            kind = "rate_limit_exceeded"
            return HttpError(
                status=429, message=message, type=kind, code="rate_limit_exceeded", retry_after=str(seconds)
            )
        case ApprovalPending(approvals=ids):
            kind = "approval_required"
            return HttpError(status=409, message=message, type=kind, code="approval_required", approvals=ids)
        case QuestionPending(question=id):
            kind = "answer_required"
            return HttpError(status=409, message=message, type=kind, code="answer_required", questions=[id])
        case ApprovalNotFound():
            return HttpError(status=404, message=message, type="invalid_request_error", code="approval_not_found")
        case AlreadyDecided():
            return HttpError(status=409, message=message, type="invalid_request_error", code="already_decided")
        case ApprovalExpired():
            return HttpError(status=410, message=message, type="invalid_request_error", code="expired")
        case QuestionNotFound():
            return HttpError(status=404, message=message, type="invalid_request_error", code="question_not_found")
        case AlreadyAnswered():
            return HttpError(status=409, message=message, type="invalid_request_error", code="already_answered")
        case QuestionExpired():
            return HttpError(status=410, message=message, type="invalid_request_error", code="expired")
        case AnswerMismatch():
            kind = "invalid_request_error"
            return HttpError(status=400, message=message, type=kind, code="answer_mismatch", param="answer")
        case GraphUnavailable():
            return HttpError(status=503, message=message, type="server_error", code="graph_unavailable")
        case ModelError():
            return build_model_error(error)
        case StorageError():  # names a path or an address
            log.error("%s", message)
            return HttpError(
                status=503,
                message=f"Interlock's database cannot be used now; its log has the details{format_request_id()}.",
                type="server_error",
                code="storage_unavailable",
            )
        case InterlockError():
            return HttpError(status=500, message=message, type="server_error", code=None)
        case _:
            return HttpError(
                status=500,
                message=f"Something inside Interlock failed; its log has the details{format_request_id()}.",
                type="server_error",
                code="internal_error",
            )


def format_request_id() -> str:
    """Format the id to look for in the log."""
    return f" under request_id {request.id}" if (request := find_current_request()) is not None else ""


def build_model_error(error: ModelError) -> HttpError:
    """Build the answer to a model's error: its own refusals keep their status; its failures are a bad gateway."""
    match error.kind:
        case "rate_limited":
            return HttpError(
                status=429,
                message=str(error),
                type="rate_limit_error",
                code="rate_limit_exceeded",
                retry_after=error.retry_after,
            )
        case "invalid_request":
            return HttpError(
                status=error.status or 400,
                message=str(error),
                type="invalid_request_error",
                code=error.code,
                param=error.param,
            )
        case "authentication":
            return HttpError(status=502, message=str(error), type="server_error", code="upstream_authentication")
        case "unavailable" | "interrupted":
            return HttpError(
                status=504 if error.code == "timeout" else 502,
                message=str(error),
                type="server_error",
                code="upstream_unavailable",
                retry_after=error.retry_after,
            )
