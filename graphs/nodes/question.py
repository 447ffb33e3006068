"""The question node: asks a person for a value, and puts the answer into a variable; the turn waits meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from graphs.config.spec.node_types import QuestionNodeSpec
from graphs.errors import NodeFailure
from graphs.events import QuestionAsked, TextDelta
from graphs.expressions import TypeMismatch, VarType, list_question_fields
from graphs.nodes.base import NodeSite, Services, find_emitter
from graphs.nodes.state import Context, State
from graphs.nodes.values import NodeValues
from graphs.policy.caller import Caller
from graphs.store.approvals import generate_approval_id
from graphs.store.questions import AlreadyAnswered, AnswerChannel, NodeQuestion, QuestionExpired

MOST_MISSES = 3
"""Answers in a row that do not fit, after which nobody is asked any more."""

_MESSAGE_PREFIX = "question-"


class QuestionNode:
    """Asks a person for the value of a variable."""

    def __init__(self, site: NodeSite, services: Services) -> None:
        spec = cast(QuestionNodeSpec, site.spec)
        self._services = services
        self._into = spec.into
        self._values = NodeValues(site, services)
        self._asker = Asker(
            site=site,
            services=services,
            subject=f"node {site.name!r}",
            type=site.plan.variables[spec.into].type,
            role=spec.by,
            expires=spec.expires,
        )

    async def run(self, state: State, runtime: Runtime[Context], config: RunnableConfig) -> Mapping[str, Any]:
        """Ask, and wait for the answer. Raises NodeFailure where none comes that fits."""
        context = self._services.find_context(runtime)
        # The id of the task is in it, which only a further visit changes.
        place = f"{context.thread}/{config.get('configurable', {}).get('checkpoint_ns', '')}"
        question = await self._asker.ask(place, lambda: self._render(state, context), context, runtime)
        try:
            value = self._asker.read_answer(question)
        except TypeMismatch as error:
            raise self._values.build_unfit("question", self._into, error) from error
        return {self._into: value, "messages": self._asker.build_messages(question, value, context, runtime)}

    async def _render(self, state: State, context: Context) -> str:
        text = await self._values.render("question", state, context)
        if not text or not text.strip():
            raise self._values.build_failure("question", "comes out empty, so there is nothing to ask")
        return text


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Asks a person for a value of one type; the graph waits for the answer."""

    site: NodeSite
    services: Services
    subject: str
    """What asks, where nobody answers: `node 'which'`."""
    type: VarType
    role: str | None = None
    """The role that may answer; None: whoever chats."""
    expires: float
    """Seconds for which the question may be answered."""

    async def ask(
        self, place: str, render: Callable[[], Awaitable[str]], context: Context, runtime: Runtime[Context]
    ) -> NodeQuestion:
        """Ask what `render` gives, unless it was asked at this place before, and wait until nobody is asked any more.
        Pauses the graph meanwhile: the node runs from its top whenever the turn goes on. Raises what `render` raises.
        """
        return await self._wait(await self._find_or_ask(place, render, context), context, runtime)

    async def _wait(self, question: NodeQuestion, context: Context, runtime: Runtime[Context]) -> NodeQuestion:
        """Wait until the question is pending no more.

        LangGraph keeps the first value that an interrupt is resumed with, so that decides nothing: the table does.
        """
        while question.status == "pending":
            find_emitter(context, runtime.stream_writer)(QuestionAsked(question.build_pending()))
            schema = self.type.build_schema()
            given: object = interrupt(build_interrupt_payload(question, context), response_schema=schema)
            if context.interactive:
                await self._answer_by_value(given, question, context)
            found = await self.services.store.questions.get(question.id)
            question = found if found is not None else replace(question, status="closed")
        return question

    async def _find_or_ask(self, place: str, render: Callable[[], Awaitable[str]], context: Context) -> NodeQuestion:
        store = self.services.store.questions
        if (found := await store.find_by_place(place)) is not None:
            return found
        if context.claims is not None:
            await context.claims.pass_gate()
        text = await render()
        if context.is_dry_run:
            raise NodeFailure(f"{self.subject} would ask “{text}”, and in this trial nobody is asked", kind="rejected")
        now = time.time()
        return await store.ask(
            NodeQuestion(
                id=generate_approval_id(),
                place=place,
                turn=context.turn,
                thread=context.thread,
                graph=self.site.plan.id,
                snapshot=self.services.snapshot.id,
                node=self.site.name,
                text=text,
                fields=list_question_fields(self.type),
                caller_owner=context.owner,
                caller=context.caller.user,
                role=self.role,
                created=now,
                expires=now + self.expires,
                given={},
            ),
            self.services.snapshot.gateway.notifications,
        )

    async def _answer_by_value(self, value: object, question: NodeQuestion, context: Context) -> None:
        """Answer by the value with which Studio resumes; one that does not fit is asked for again."""
        if not may_answer(question, context.caller, context.owner):
            return
        try:
            fitting = self.type.fit(value)
        except TypeMismatch as error:
            problem = f"The answer {error}."
            await self._change(question.id, lambda before: count_miss(before, problem))
        else:
            await self._change(
                question.id, lambda before: take_value(before, fitting, by=context.caller.user, channel="studio")
            )

    async def _change(self, id: str, take: Callable[[NodeQuestion], NodeQuestion]) -> None:
        with suppress(AlreadyAnswered, QuestionExpired):
            await self.services.store.questions.answer(id, take)

    def read_answer(self, question: NodeQuestion) -> Any:
        """Read the answer as its type is now: the graph may have changed while it waited. Raises TypeMismatch, and
        NodeFailure where there is none."""
        match question.status:
            case "answered":
                return self.type.fit(question.value)
            case "unfit":
                why = f"{self.subject}: {MOST_MISSES} answers did not fit. {question.problem}"
                raise NodeFailure(why, kind="invalid")
            case "expired":
                raise NodeFailure(f"{self.subject}: nobody answered its question in time", kind="expired")
            case _:
                raise NodeFailure(f"{self.subject}: its question is not going to be answered", kind="rejected")

    def build_messages(
        self, question: NodeQuestion, value: Any, context: Context, runtime: Runtime[Context], *, answer_id: str = ""
    ) -> list[AnyMessage]:
        """Build what the conversation keeps. What was answered elsewhere is said, so that the person knows it too.
        `answer_id`: the id of the message that is the answer; empty: any."""
        answer = format_answer(value)
        if question.channel == "api":
            said = f"{question.answered_by} answered “{question.text}”: {answer}"
            find_emitter(context, runtime.stream_writer)(TextDelta(said, new_paragraph=True))
            messages: list[AnyMessage] = [AIMessage(content=said)]
        else:
            asked = AIMessage(content=question.text, id=f"{_MESSAGE_PREFIX}{question.id}")
            messages = [asked, HumanMessage(content=answer, id=answer_id or None)]
        return messages if context.addendum is None else [*messages, context.addendum]


def is_question(message: AnyMessage) -> bool:
    """Whether a message is a question that stands in an earlier answer of the same turn."""
    return (message.id or "").startswith(_MESSAGE_PREFIX)


def may_answer(question: NodeQuestion, caller: Caller, owner: str) -> bool:
    """Whether this caller may answer: whoever's turn asks, or the role that the graph names."""
    return question.caller_owner == owner if question.role is None else caller.has_role(question.role)


def take_value(question: NodeQuestion, value: Any, *, by: str, channel: AnswerChannel) -> NodeQuestion:
    """Make of a question what a whole answer that fits makes of it."""
    given = {field.name: value.get(field.name) for field in question.fields} if question.fields[0].name else {"": value}
    return replace(
        question,
        status="answered",
        given=given,
        misses=0,
        problem="",
        answered=time.time(),
        answered_by=by,
        channel=channel,
    )


def count_miss(question: NodeQuestion, problem: str) -> NodeQuestion:
    """Make of a question what an answer that does not fit makes of it."""
    misses = question.misses + 1
    status = "unfit" if misses >= MOST_MISSES else question.status
    return replace(question, misses=misses, problem=problem, status=status)


def format_answer(value: Any) -> str:
    """Write an answer as a person would."""
    match value:
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)


def build_interrupt_payload(question: NodeQuestion, context: Context) -> dict[str, Any]:
    """Build what Studio shows of a question in an interrupt."""
    answer = "resume with the answer itself, as JSON"
    if not may_answer(question, context.caller, context.owner):
        answer = (
            f"only the role {question.role} may answer it, and this is {' & '.join(context.caller.roles)}: "
            f"POST /v1/questions/{question.id} of an Interlock that serves this store, with a key of that role"
        )
    return {
        "question": question.text,
        "id": question.id,
        "problem": question.problem,
        "role": question.role,
        "expires": question.expires,
        "answer": answer,
    }
