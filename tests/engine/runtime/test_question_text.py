"""How a message is read as the answer to a question, and what is said of one that does not fit."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.events import PendingQuestion, QuestionField
from graphs.runtime.question_text import read_value, render_question
from graphs.store.questions import AnswerMismatch

STRING, INT, NUMBER, BOOL = (QuestionField(kind=kind) for kind in ("string", "int", "number", "bool"))
CHOICE = QuestionField(kind="enum", values=("Stop", "restart", "2", "A", "a"))


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        (STRING, "  two words \n", "two words"),
        (STRING, "-", "-"),
        (INT, "007", 7),
        (INT, "+3", 3),
        (INT, str(2**63 - 1), 2**63 - 1),
        (NUMBER, "2", 2),
        (NUMBER, "-2.5e3", -2500.0),
        (BOOL, "Y", True),
        (BOOL, "NO!", False),
        (CHOICE, "stop", "Stop"),
        (CHOICE, "RESTART", "restart"),
        (CHOICE, "2", "2"),
        (CHOICE, "1", "Stop"),
        (CHOICE, "#4.", "A"),
        (CHOICE, "a", "a"),
        (QuestionField(kind="int", name="n", is_optional=True), " - ", None),
    ],
)
def test_what_fits(field: QuestionField, text: str, value: Any) -> None:
    found = read_value(field, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        (STRING, "  ", "That was empty; expected a text."),
        (INT, "2.5", "“2.5” does not fit; expected a whole number."),
        (INT, "٣", "“٣” does not fit; expected a whole number."),
        (INT, str(2**63), "That answer is a number of more than 64 bits."),
        (INT, "9" * 5000, f"“{'9' * 59}…” does not fit; expected a whole number."),
        (NUMBER, "1e999", "“1e999” does not fit; expected a number."),
        (NUMBER, "nan", "“nan” does not fit; expected a number."),
        (BOOL, "yes please", "“yes please” does not fit; expected yes or no."),
        (CHOICE, "6", "“6” does not fit; expected one of Stop, restart, 2, A, a."),
        (CHOICE, "0", "“0” does not fit; expected one of Stop, restart, 2, A, a."),
        (CHOICE, "resart", "“resart” does not fit; expected one of Stop, restart, 2, A, a. Did you mean 'restart'?"),
        (INT, "-", "“-” does not fit; expected a whole number."),
        (INT, "1\u202e2", "“1\\u{202e}2” does not fit; expected a whole number."),
    ],
)
def test_what_does_not_fit(field: QuestionField, text: str, words: str) -> None:
    with pytest.raises(AnswerMismatch) as caught:
        read_value(field, text)
    assert str(caught.value) == words


def test_a_role_is_named_and_a_problem_stands_first() -> None:
    question = PendingQuestion(
        question_id="abcdefgh",
        node="which",
        text="Sure?",
        fields=(BOOL,),
        given={},
        role="operator",
        expires=0.0,
        problem="“x” does not fit; expected yes or no.",
    )
    assert render_question(question) == (
        "“x” does not fit; expected yes or no.\n\nSure?\n\nReply with yes or no.\n\nOnly the role operator may answer."
    )
