"""The scripted model of a chat page: the chat gets the test's answers in order, titles and the like come beside it."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from support.scripted_model import Answer, Body, Request, ScriptedModel, text_of

TASK = "### Task:"
"""How Open WebUI's background prompts begin."""

Scripted = Answer | str | Callable[[Body], Answer | str]


class ChatModel:
    """A scripted model that tells a chat page's background tasks from its chat.

    Tasks run beside the chat and after it, so they would mix up an ordered script.
    """

    def __init__(self, model: ScriptedModel) -> None:
        self.title = "A chat of the tests"
        self._model = model
        self._script: deque[Scripted] = deque()
        model.respond(self._answer)

    def script(self, *answers: Scripted) -> None:
        """Queues answers to the chat, one per request to come."""
        self._script.extend(answers)

    @property
    def chats(self) -> list[Request]:
        """What the chat asked the model, oldest first."""
        return [request for request in self._model.requests if not is_task(request.body)]

    @property
    def tasks(self) -> list[Request]:
        """What was asked for titles, tags and follow-ups."""
        return [request for request in self._model.requests if is_task(request.body)]

    def wait_for_task(self, words: str, timeout: float = 20) -> Request:
        """The task whose prompt holds these words, once it is there."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for task in self.tasks:
                if words in last_text(task.body):
                    return task
            time.sleep(0.05)
        raise AssertionError(f"no task with {words!r} came; there were {[last_text(t.body)[:200] for t in self.tasks]}")

    def release(self) -> None:
        """Lets every stalled answer go on."""
        self._model.release()

    def _answer(self, body: Body) -> Answer | str:
        if is_task(body):
            return self._task(last_text(body))
        if not self._script:
            return Answer(status=500, error=f"the test's script is over: {last_text(body)!r} was not expected")
        scripted = self._script.popleft()
        return scripted(body) if callable(scripted) else scripted

    def _task(self, prompt: str) -> str:
        answers: dict[str, Any] = {
            "follow_ups": {"follow_ups": ["And then?"]},
            "tags": {"tags": ["General"]},
            "title": {"title": self.title},
        }
        for kind, answer in answers.items():
            if f'"{kind}"' in prompt:
                return json.dumps(answer)
        return "{}"


def is_task(body: Body) -> bool:
    return last_text(body).startswith(TASK)


def last_text(body: Body) -> str:
    """The text of the last message that a person or a task wrote."""
    users = [message for message in body["messages"] if message["role"] == "user"]
    return text_of(users[-1]["content"]) if users else ""
