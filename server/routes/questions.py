"""`/v1/questions`: what graphs ask people, and answering it outside the conversation."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from graphs.runtime.questions import (
    NodeQuestion,
    QuestionStatus,
    answer_by_api,
    build_answer_schema,
    find_question,
)
from server.protocols.errors import BadRequest
from server.protocols.json import PlainJSON
from server.routes.dependencies import FacadeDep, IdentityDep, read_bytes

LARGEST = 256 * 1024
"""Bytes that an answer may have."""

router = APIRouter(prefix="/v1/questions", default_response_class=PlainJSON)


class AnswerBody(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answer: Any


def format_question(question: NodeQuestion) -> dict[str, Any]:
    """Format one question. Times are seconds since the epoch."""
    return {
        "id": question.id,
        "object": "question",
        "status": question.status,
        "graph": question.graph,
        "node": question.node,
        "question": question.text,
        "schema": build_answer_schema(question),
        "answer": question.value if question.status == "answered" else None,
        "caller": question.caller,
        "role": question.role,
        "created": question.created,
        "expires": question.expires,
        "answered_by": question.answered_by,
    }


@router.get("")
async def list_questions(
    facade: FacadeDep, identity: IdentityDep, status: Annotated[QuestionStatus | None, Query()] = None
) -> dict[str, Any]:
    """List what this key's turns ask, and what waits for its role."""
    found = await facade.engine.list_questions(identity.caller, identity.owner, status)
    return {"object": "list", "data": [format_question(question) for question in found]}


@router.get("/{question_id}")
async def get_question(question_id: str, facade: FacadeDep, identity: IdentityDep) -> dict[str, Any]:
    """Find one question."""
    return format_question(await find_question(facade.engine.store, question_id, identity.caller, identity.owner))


@router.post("/{question_id}")
async def answer(question_id: str, request: Request, facade: FacadeDep, identity: IdentityDep) -> dict[str, Any]:
    """Answer one question, once. The turn goes on with the conversation's next message, or in a stream that waits."""
    try:
        body = AnswerBody.model_validate_json(await read_bytes(request, LARGEST))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(step) for step in first["loc"]) or None
        raise BadRequest(f'{field or "body"}: {first["msg"]}; expected {{"answer": VALUE}}', param=field) from None
    store = facade.engine.store
    return format_question(await answer_by_api(store, question_id, body.answer, identity.caller, identity.owner))
