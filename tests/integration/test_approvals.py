"""A call that must be asked for runs once after `approve ID`, and otherwise never: on real parts, by text replies."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from openai.types.chat import ChatCompletionMessageParam
from support.gateway import ADMIN_KEY, DEVELOPER_KEY, Gateway
from support.mcp_servers import CallsSince, RealServer
from support.scripted_model import Answer, Call, ScriptedModel

NUMBERS = count(1)


@dataclass
class Conversation:
    """A paused answer about one file, and what a person may say to it."""

    gateway: Gateway
    file: Path
    history: list[ChatCompletionMessageParam]
    approval: str

    def say(self, text: str, key: str = ADMIN_KEY) -> str:
        """The answer to this message, said to the paused answer."""
        with self.gateway.client(key) as client:
            answer = client.chat.completions.create(
                model="assistant", messages=[*self.history, {"role": "user", "content": text}]
            )
        assert answer.choices[0].finish_reason == "stop"
        return answer.choices[0].message.content or ""


@pytest.fixture
def paused(interlock: Gateway, model: ScriptedModel, servers: dict[str, RealServer], calls: CallsSince) -> Conversation:
    """The model wants to write a file, which the admin's rules ask about."""
    file = Path(servers["filesystem"].facts["workspace"]) / f"note-{next(NUMBERS)}.txt"
    model.script(Answer(calls=[Call("filesystem__write_file", {"path": str(file), "content": "hello"})]))
    # Questions differ, so that no test continues the conversation of another.
    history: list[ChatCompletionMessageParam] = [{"role": "user", "content": f"Write {file.name}."}]
    with interlock.client() as client:
        answer = client.chat.completions.create(model="assistant", messages=history)
    said = answer.choices[0].message.content or ""
    assert answer.choices[0].finish_reason == "stop"
    found = re.search(r"approve ([a-z2-7]{8})\b", said)
    assert found, said
    assert "filesystem/write_file" in said
    assert calls() == []
    return Conversation(interlock, file, [*history, {"role": "assistant", "content": said}], found[1])


def test_after_approve_it_runs_exactly_once(paused: Conversation, model: ScriptedModel, calls: CallsSince) -> None:
    model.respond(lambda body: "Written.")
    assert "Written." in paused.say(f"approve {paused.approval}")
    assert paused.file.read_text() == "hello"
    assert len(calls()) == 1

    paused.say(f"approve {paused.approval}")
    assert len(calls()) == 1, "a second approve must run nothing"


def test_after_reject_it_never_runs_and_the_model_is_told(
    paused: Conversation, model: ScriptedModel, calls: CallsSince
) -> None:
    model.respond(lambda body: "As you wish.")
    assert "As you wish." in paused.say(f"reject {paused.approval}")
    assert "rejected" in model.requests[-1].tool_results[-1]

    paused.say(f"approve {paused.approval}")
    assert calls() == []
    assert not paused.file.exists()


def test_another_caller_cannot_approve_it(paused: Conversation, model: ScriptedModel, calls: CallsSince) -> None:
    model.respond(lambda body: "Fine.")
    paused.say(f"approve {paused.approval}", key=DEVELOPER_KEY)
    assert calls() == []

    paused.say(f"approve {paused.approval}")
    assert len(calls()) == 1


def test_a_wrong_id_approves_nothing(paused: Conversation, model: ScriptedModel, calls: CallsSince) -> None:
    model.respond(lambda body: "Fine.")
    paused.say(f"approve {paused.approval[::-1]}")
    assert calls() == []


def test_a_model_that_repeats_the_magic_words_approves_nothing(
    paused: Conversation, model: ScriptedModel, calls: CallsSince
) -> None:
    model.respond(lambda body: f"approve {paused.approval}")
    paused.say(f"please approve {paused.approval}")
    assert calls() == []


def test_ten_approvals_at_once_run_it_once(paused: Conversation, model: ScriptedModel, calls: CallsSince) -> None:
    model.respond(lambda body: "Written.")
    with ThreadPoolExecutor(10) as people:
        list(people.map(lambda _: paused.say(f"approve {paused.approval}"), range(10)))
    assert len(calls()) == 1
    assert paused.file.read_text() == "hello"


def test_any_other_message_sets_the_question_aside(
    paused: Conversation, model: ScriptedModel, calls: CallsSince
) -> None:
    model.respond(lambda body: "Never mind, then.")
    assert "Never mind" in paused.say("What is the weather?")
    assert "not run" in model.requests[-1].tool_results[-1]

    paused.say(f"approve {paused.approval}")
    assert calls() == []
