"""Questions that nodes ask people, and their answers. An answer is never an approval: see `approvals.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, cast

from sqlalchemy import Connection, bindparam, case, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from graphs.config.spec.notifications import NotificationsSpec
from graphs.errors import InterlockError
from graphs.events import PendingQuestion, QuestionField
from graphs.store.approvals import generate_approval_id
from graphs.store.backends.base import Database
from graphs.store.notifications import add_notices, build_waiting_notices
from graphs.store.tables import AnyRow, AnySelect, questions

QuestionStatus = Literal["pending", "answered", "unfit", "expired", "closed"]
"""`unfit`: no answer fitted, as often as it was asked; `closed`: nobody is to answer it any more."""
AnswerChannel = Literal["chat", "api", "studio"]


@dataclass(frozen=True, kw_only=True)
class NodeQuestion:
    """One question. Times are seconds since the epoch."""

    id: str
    place: str
    """The run of the node that asks, once for each visit: a node that runs again asks nothing new."""
    turn: str
    """The turn that asked it first."""
    thread: str
    graph: str
    snapshot: str
    """Id of the configuration under which it was asked."""
    node: str
    text: str
    fields: tuple[QuestionField, ...]
    caller_owner: str
    caller: str
    """The name for people of whoever's turn asks."""
    role: str | None = None
    """The role that may answer; None: whoever's turn asks."""
    created: float
    expires: float
    status: QuestionStatus = "pending"
    given: Mapping[str, Any]
    """What was answered so far, by the field's name; None: it was left out."""
    misses: int = 0
    """How many answers in a row did not fit what was asked last."""
    problem: str = ""
    """What was wrong with the latest of them."""
    answered: float | None = None
    answered_by: str | None = None
    channel: AnswerChannel | None = None
    """Where the answer was given."""

    @property
    def value(self) -> Any:
        """The whole answer."""
        if not self.fields[0].name:
            return self.given[""]
        return {name: value for name, value in self.given.items() if value is not None}

    def build_pending(self) -> PendingQuestion:
        """Build what the run's events say of it."""
        return PendingQuestion(
            question_id=self.id,
            node=self.node,
            text=self.text,
            fields=self.fields,
            given=self.given,
            role=self.role,
            expires=self.expires,
            problem=self.problem,
        )


class QuestionError(InterlockError):
    """An answer that cannot be taken."""


class QuestionNotFound(QuestionError):
    """There is no question with this id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"there is no question {id!r}")


class AlreadyAnswered(QuestionError):
    """The question was answered before, or its conversation went on without an answer."""

    def __init__(self, question: NodeQuestion) -> None:
        by = f" by {question.answered_by}" if question.answered_by else ""
        words = "no answer to it fitted" if question.status == "unfit" else f"is already {question.status}{by}"
        super().__init__(f"question {question.id} {words}; it cannot be answered again")


class QuestionExpired(QuestionError):
    """Nobody answered in time."""

    def __init__(self, question: NodeQuestion) -> None:
        super().__init__(f"question {question.id} has expired; begin anew")


class AnswerMismatch(QuestionError):
    """An answer that does not fit its question, in words for the person."""


_NAMES = tuple(item.name for item in fields(NodeQuestion))
_ALL: AnySelect = select(*(questions.c[name] for name in _NAMES))
_GET = _ALL.where(questions.c.id == bindparam("which"))
_GET_TO_ANSWER = _GET.with_for_update()
_GET_BY_PLACE = _ALL.where(questions.c.place == bindparam("place"))
_ADD = insert(questions).on_conflict_do_nothing()
_UPDATE = update(questions).where(questions.c.id == bindparam("which"))
_NOT_EXPIRED = questions.c.expires > bindparam("now")


class Questions:
    """The questions of one store. Whoever calls `answer` has checked that the person may."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self, question: NodeQuestion, notifications: NotificationsSpec | None = None) -> NodeQuestion:
        """Ask, and return what is now stored: a node that asked before keeps its question and the answer. Where a role
        is to answer, what `notifications` says is to be sent is written in the same transaction."""

        def work(connection: Connection) -> NodeQuestion:
            connection.execute(_ADD, _to_row(question))
            # An id of eight characters can be taken: then the row is missing.
            while (stored := _find_by_place(connection, question.place)) is None:
                connection.execute(_ADD, _to_row(replace(question, id=generate_approval_id())))
            if stored.role is not None and stored.status == "pending":
                add_notices(
                    connection,
                    build_waiting_notices(
                        notifications, "question", stored.id, stored.role, stored.created, stored.expires
                    ),
                )
            return stored

        return _apply_expiry(await self._database.write(work), time.time())

    async def get(self, id: str) -> NodeQuestion | None:
        found = await self._database.read(lambda connection: _get(connection, id))
        return None if found is None else _apply_expiry(found, time.time())

    async def find_by_place(self, place: str) -> NodeQuestion | None:
        """Find what the node that runs there has asked."""
        found = await self._database.read(lambda connection: _find_by_place(connection, place))
        return None if found is None else _apply_expiry(found, time.time())

    async def list(
        self, status: QuestionStatus | None, owner: str, *, role: str | None = None, limit: int = 200
    ) -> tuple[NodeQuestion, ...]:
        """List the newest `limit` questions with this status, newest first: this caller's, and those for the role."""
        moment = time.time()
        mine = questions.c.caller_owner == owner
        statement = _ALL.where(mine if role is None else mine | (questions.c.role == role))
        statement = statement.order_by(questions.c.created.desc()).limit(limit)
        if status == "pending":
            statement = statement.where(questions.c.status == "pending", _NOT_EXPIRED).params(now=moment)
        elif status == "expired":
            late = (questions.c.status == "pending") & ~_NOT_EXPIRED
            statement = statement.where((questions.c.status == "expired") | late).params(now=moment)
        elif status is not None:
            statement = statement.where(questions.c.status == status)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return tuple(_apply_expiry(_from_row(row), moment) for row in rows)

    async def answer(self, id: str, take: Callable[[NodeQuestion], NodeQuestion]) -> NodeQuestion:
        """Change a pending question by `take`, which makes of it what an answer makes of it: of many answers at once,
        in any process, each sees what the one before has changed.

        Raises QuestionNotFound, AlreadyAnswered, QuestionExpired, and what `take` raises.
        """

        def work(connection: Connection) -> NodeQuestion:
            # Nobody else can change the row from here on.
            before = _get(connection, id, _GET_TO_ANSWER)
            if before is None:
                raise QuestionNotFound(id)
            before = _apply_expiry(before, time.time())
            if before.status == "expired":
                raise QuestionExpired(before)
            if before.status != "pending":
                raise AlreadyAnswered(before)
            after = take(before)
            connection.execute(_UPDATE, {"which": id, **{name: _to_row(after)[name] for name in _CHANGING}})
            return after

        return await self._database.write(work)

    async def close_threads(self, threads: Sequence[str]) -> None:
        """Close what is pending of these threads, because nobody goes on with them."""
        which = questions.c.thread.in_(threads)
        statement = (
            update(questions)
            .where(questions.c.status == "pending", which)
            .values(status=case((_NOT_EXPIRED, "closed"), else_="expired"))
        )
        moment = time.time()
        await self._database.write(lambda connection: connection.execute(statement, {"now": moment}))

    async def prune(self, before: float) -> int:
        """Delete what was asked before this time, and return how many there were."""
        statement = delete(questions).where(questions.c.created < before)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


_ADDED = ("rules", "shown", "description", "expected")
_CHANGING = ("status", "given", "misses", "problem", "answered", "answered_by", "channel")


def _get(connection: Connection, id: str, statement: AnySelect = _GET) -> NodeQuestion | None:
    row = connection.execute(statement, {"which": id}).first()
    return None if row is None else _from_row(row)


def _find_by_place(connection: Connection, place: str) -> NodeQuestion | None:
    row = connection.execute(_GET_BY_PLACE, {"place": place}).first()
    return None if row is None else _from_row(row)


def _apply_expiry(question: NodeQuestion, now: float) -> NodeQuestion:
    """The question as it is now: it expires by the clock, whether or not anybody wrote that down."""
    return replace(question, status="expired") if question.status == "pending" and question.expires <= now else question


def _from_row(row: AnyRow) -> NodeQuestion:
    found = dict(zip(_NAMES, row, strict=True))
    listed = cast("list[dict[str, Any]]", found["fields"])
    found["fields"] = tuple(replace(QuestionField(**each), values=tuple(each["values"])) for each in listed)
    return NodeQuestion(**found)


def _to_row(question: NodeQuestion) -> dict[str, Any]:
    row = {name: getattr(question, name) for name in _NAMES}
    listed = [asdict(field) for field in question.fields]
    # A replica of an earlier version knows no rules, and reads this table too.
    listed = [{name: value for name, value in field.items() if value or name not in _ADDED} for field in listed]
    return {**row, "given": dict(question.given), "fields": listed}
