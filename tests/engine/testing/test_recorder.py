"""What is noted of a case that is recorded, in the order in which its replay asks for it."""

from __future__ import annotations

from graphs.errors import ModelError
from graphs.llm.stream import Answer
from graphs.testing.recorder import AnswerRecord, CaseRecorder


def ask(recorder: CaseRecorder, *places: str, text: str | None) -> None:
    """One request of the task that is last, with its answer; None: the endpoint failed."""
    record = AnswerRecord(places=places, number=len(recorder.answers))
    recorder.answers.append(record)
    if text is None:
        record.fail(ModelError("away", kind="unavailable"))
    else:
        record.finish(Answer(text=text), "")


def test_answers_of_tasks_that_ran_at_the_same_time_stand_task_by_task() -> None:
    recorder = CaseRecorder()
    ask(recorder, "plan:1", text="plan")
    ask(recorder, "read:a", "model:1", text="a1")
    ask(recorder, "read:b", "model:2", text="b1")
    ask(recorder, "read:b", "model:3", text="b2")
    ask(recorder, "read:a", "model:4", text="a2")
    ask(recorder, "write:1", text="write")
    assert [record.answer and record.answer.text for record in recorder.list_answers()] == [
        *("plan", "a1", "a2", "b1", "b2", "write")
    ]
    assert {record.node for record in recorder.list_answers()} == {"plan", "read", "write"}


def test_a_request_that_was_repeated_with_success_is_no_failure() -> None:
    recorder = CaseRecorder()
    ask(recorder, "agent:1", text=None)
    ask(recorder, "agent:1", text="there")
    assert recorder.list_failures() == []
    ask(recorder, "agent:2", text=None)
    assert recorder.list_failures() == ["the model has not answered node 'agent': away"]
