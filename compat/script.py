"""What the scripted model says: each question that is asked has its steps, which the question itself does not tell."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from support.scripted_answer import Answer, Call, text_of
from support.scripted_model import Body, ScriptedModel

RESULT = "{result}"
"""In a text or arguments: what the last tool answered."""
PAUSE = 0.03
"""Seconds between the words of an answer, so that pieces arrive as pieces."""


class Script:
    """Questions, and the steps of the answer to each."""

    def __init__(self, model: ScriptedModel) -> None:
        self.url = model.url
        self._steps: dict[str, tuple[Call | str, ...]] = {}
        model.respond(self.answer)

    def question(self, *steps: Call | str) -> str:
        """A prompt that is answered with these steps, one a round. A call without a name is one of the client's
        own function."""
        number = secrets.token_hex(6)
        self._steps[number] = steps
        return f"Please answer question {number}."

    def answer(self, body: Body) -> Answer:
        """The next step for the newest question in the request."""
        messages = body["messages"]
        for index in reversed(range(len(messages))):
            found = re.findall(r"question ([0-9a-f]{12})", text_of(messages[index].get("content")))
            if messages[index]["role"] == "user" and found:
                break
        else:
            return Answer("There is no question.", status=400, error="no question in the request")
        results = [text_of(message["content"]) for message in messages[index:] if message["role"] == "tool"]
        steps = self._steps[found[-1]]
        step = steps[min(len(results), len(steps) - 1)]
        result = results[-1] if results else ""
        if isinstance(step, Call):
            # Tools of Interlock are called server__tool; what the client forces stands in the first round alone.
            own = [tool["function"]["name"] for tool in body["tools"] if "__" not in tool["function"]["name"]]
            name = step.name or own[0]
            return Answer(calls=[Call(name, step.arguments.replace(RESULT, result))])
        return Answer(step.replace(RESULT, result), delay=PAUSE)


@contextmanager
def script() -> Iterator[Script]:
    """A scripted model that answers questions, while the block lasts."""
    with ScriptedModel(["scripted"]) as model:
        yield Script(model)
