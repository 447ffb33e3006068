"""Under `langgraph dev` a question is an interrupt with a schema: Studio resumes it with the value itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from support.studio import human, interlock_studio
from test_studio_state import new_thread, run

pytestmark = pytest.mark.timeout(180)

TICKET: dict[str, Any] = {
    "vars": {"ticket": {"fields": {"title": "string", "urgent": "bool", "steps?": "int"}}},
    "start": "form",
    "nodes": {
        "form": {
            "type": "question",
            "question": "A ticket, please.",
            "into": "ticket",
            "on_error": "no",
            "next": "say",
        },
        "say": {"type": "reply", "text": "Filed: {{ ticket.title }}.", "next": "end"},
        "no": {"type": "reply", "text": "{{ error.kind }}", "next": "end"},
    },
}
FOR_OWNERS: dict[str, Any] = {
    "vars": {"go": "bool"},
    "start": "sure",
    "nodes": {"sure": {"type": "question", "question": "Sure?", "into": "go", "by": "owner", "next": "end"}},
}
NOTES: dict[str, Any] = {
    "memory": {"scope": "user"},
    "vars": {"note": {"type": "string", "default": "nothing"}},
    "start": "know",
    "nodes": {
        "know": {"type": "memory", "recall": {"key": "note"}, "into": "note", "next": "keep"},
        "keep": {"type": "memory", "remember": {"note": "message"}, "next": "say"},
        "say": {"type": "reply", "text": "Before: {{ note }}", "next": "end"},
    },
}
REVIEW: dict[str, Any] = {
    "input": {"pull": "int", "depth": {"type": "int", "default": 3}, "marks": "string[]"},
    "start": "say",
    "nodes": {"say": {"type": "reply", "text": "{{ pull }}, {{ depth }}, {{ marks }}: {{ message }}", "next": "end"}},
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("questions")
    configs = folder / "configs"
    (configs / "graphs").mkdir(parents=True)
    (configs / "access.yaml").write_text(yaml.safe_dump({"roles": {"admin": {"allow": ["*"]}, "owner": {}}}))
    (configs / "gateway.yaml").write_text(yaml.safe_dump({"default_graph": "ticket"}))
    for name, content in {"ticket": TICKET, "owners": FOR_OWNERS, "notes": NOTES, "review": REVIEW}.items():
        (configs / "graphs" / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with interlock_studio(folder, configs, {"INTERLOCK_STUDIO_ROLE": "admin"}) as one, one.client() as client:
        yield client


def waiting(client: httpx.Client, thread: str) -> dict[str, Any]:
    """What Studio shows of the question that waits."""
    tasks = client.get(f"/threads/{thread}/state").json()["tasks"]
    [interrupt] = [interrupt for task in tasks for interrupt in task["interrupts"]]
    return interrupt["value"]


def test_a_value_that_fits_goes_on_and_one_that_does_not_is_asked_for_again(client: httpx.Client) -> None:
    thread = new_thread(client, "ticket")
    run(client, thread, "ticket", input=human("It fails"))
    assert waiting(client, thread)["question"] == "A ticket, please."
    run(client, thread, "ticket", command={"resume": {"title": "It fails"}})
    assert waiting(client, thread)["problem"] == "The answer has no 'urgent', which must be there."
    state = run(client, thread, "ticket", command={"resume": {"title": "It fails", "urgent": True, "steps": None}})
    assert state["ticket"] == {"title": "It fails", "urgent": True}
    assert [(message["type"], message["content"]) for message in state["messages"]][1:] == [
        ("ai", "A ticket, please."),
        ("human", '{"title": "It fails", "urgent": true}'),
        ("ai", "Filed: It fails."),
    ]


def test_three_that_do_not_fit_take_the_error_way(client: httpx.Client) -> None:
    thread = new_thread(client, "ticket")
    run(client, thread, "ticket", input=human("It fails"))
    for _ in range(2):
        run(client, thread, "ticket", command={"resume": "no"})
    state = run(client, thread, "ticket", command={"resume": "no"})
    assert state["messages"][-1]["content"] == "invalid"


def test_a_question_for_another_role_goes_on_waiting(client: httpx.Client) -> None:
    thread = new_thread(client, "owners")
    run(client, thread, "owners", input=human("go"))
    run(client, thread, "owners", command={"resume": True})
    assert waiting(client, thread)["answer"].startswith("only the role owner may answer it, and this is admin: POST")


def test_what_a_graph_remembers_is_there_in_the_next_thread(client: httpx.Client) -> None:
    first = run(client, new_thread(client, "notes"), "notes", input=human("tea"))
    assert first["messages"][-1]["content"] == "Before: nothing"
    second = run(client, new_thread(client, "notes"), "notes", input=human("milk"))
    assert second["messages"][-1]["content"] == "Before: tea"
    assert second["note"] == "tea"


def test_input_that_is_not_in_the_state_is_asked_for(client: httpx.Client) -> None:
    thread = new_thread(client, "review")
    run(client, thread, "review", input={**human("go"), "marks": ["a"]})
    assert waiting(client, thread)["question"] == "The graph 'review' needs its input first."
    run(client, thread, "review", command={"resume": {"pull": "x"}})
    assert waiting(client, thread)["problem"] == "The answer at 'pull' is a text; expected a whole number."
    state = run(client, thread, "review", command={"resume": {"pull": 7}})
    assert state["messages"][-1]["content"] == '7, 3, ["a"]: go'


def test_input_that_is_in_the_state_is_not(client: httpx.Client) -> None:
    state = run(client, new_thread(client, "review"), "review", input={**human("go"), "pull": 7, "marks": []})
    assert state["messages"][-1]["content"] == "7, 3, []: go"
