"""Models that say nothing: they are asked once more, and a person never gets an empty bubble."""

from __future__ import annotations

import pytest
from support.facade import Facade, content, events
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

LOOK = Answer(calls=[Call("files__echo", {"text": "4711"})])
SILENT = Answer(reasoning="I know it now.", usage=(10, 5))


async def test_a_model_that_says_nothing_after_its_tools_is_asked_for_words(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(LOOK, SILENT, "It is 4711.")
    assert await facade.say("look") == "It is 4711."
    result = model.requests[2].tool_results[0]
    assert result.startswith("4711\n\n[Interlock: ")
    assert "in words" in result
    assert model.requests[2].tools == model.requests[1].tools
    assert tools.ran() == ["echo 4711"]


async def test_a_model_that_stays_silent_is_said_to_be_in_words(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(LOOK, SILENT, Answer("\n"))
    raw = await facade.stream("look", stream_options={"include_usage": True})
    assert "gave no answer" in content(raw)
    assert len(model.requests) == 3
    (usage,) = [event["usage"] for event in events(raw) if event.get("usage")]
    assert usage["completion_tokens"] == 15


async def test_a_first_answer_may_not_be_empty_either_and_may_become_a_call(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(SILENT, LOOK, "It is 4711.")
    assert await facade.say("look") == "It is 4711."
    assert tools.ran() == ["echo 4711"]


@pytest.mark.parametrize(("finish", "words"), [("length", "length limit"), ("content_filter", "filter")])
async def test_what_left_no_words_is_named_and_not_asked_again(
    facade: Facade, model: ScriptedModel, finish: str, words: str
) -> None:
    model.script(Answer(reasoning="Hm.", finish=finish))
    response = await facade.ask("hi")
    (choice,) = response.json()["choices"]
    assert words in choice["message"]["content"]
    assert choice["finish_reason"] == finish
    assert len(model.requests) == 1
