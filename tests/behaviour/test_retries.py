"""A retry goes on where its earlier attempt was: no tool call runs twice, whatever cut that attempt off."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.facade import ACCESS, DEVELOPER, Facade, add_to_gateway, content, said, serving
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools
from test_takeover import Pair, approval_in, echo, pair, ran, write  # noqa: F401  (pair is a fixture)

STUCK = Answer(["It is", " stuck"], stall_after=1)
LOOK = Answer("Let me look.", calls=[echo("4711")])
ALL = {**ACCESS, "roles": {**ACCESS["roles"], "admin": {"allow": ["*"]}}}
FIRST = {"x-stainless-retry-count": "0"}
AGAIN = {"x-stainless-retry-count": "1"}


async def leave(facade: Facade, model: ScriptedModel, *messages: Any, calls: int = 2, **more: Any) -> None:
    """Ask, and leave once the model was asked for the `calls`th time."""
    before = len(model.requests)
    way = more.pop("way", facade.ask)
    turn = asyncio.create_task(way(*messages, **more))
    request = await model.arrived(before + calls)
    turn.cancel()
    await asyncio.wait([turn])
    assert await request.ended() == "cut"


@pytest.mark.parametrize("headers", [{}, AGAIN, {"idempotency-key": "k1"}])
@pytest.mark.parametrize("stream", [True, False])
async def test_who_left_and_asks_again_gets_the_rest(
    facade: Facade, model: ScriptedModel, tools: Tools, headers: Mapping[str, str], stream: bool
) -> None:
    model.script(LOOK, STUCK, "It is 4711.", "Yes.")
    way = facade.stream if stream else facade.ask
    first = {name: value for name, value in headers.items() if name == "idempotency-key"}
    await leave(facade, model, "look it up", way=way, headers=first)
    if stream:
        answer = content(await facade.stream("look it up", headers=headers))
    else:
        answer = await facade.say("look it up", headers=headers)
    assert answer == "Let me look.\n\nIt is 4711."
    assert model.requests[2].tool_results == ["4711"]
    assert ran(tools) == ["echo 4711"]
    await facade.say("look it up", said(answer), "sure?")
    assert model.requests[3].tool_results == ["4711"]


def order(item: str, hold: Path) -> Call:
    return Call("files__order", {"item": item, "hold": str(hold)})


async def leave_in_call(facade: Facade, tools: Tools, *messages: Any, line: str, **more: Any) -> None:
    """Ask, and leave while that call runs."""
    turn = asyncio.create_task(facade.stream(*messages, **more))
    while line not in tools.ran():
        await asyncio.sleep(0.01)
    turn.cancel()
    await asyncio.wait([turn])


async def let_go(hold: Path) -> None:
    await asyncio.sleep(0.3)  # the retry waits by now; too early would do as well
    hold.touch()


@pytest.mark.parametrize("headers", [{}, AGAIN])
@pytest.mark.parametrize("process", ["first", "second"])
async def test_a_claimed_call_ends_after_the_client_left_and_the_retry_waits_for_it(
    pair: Pair,  # noqa: F811
    model: ScriptedModel,
    tools: Tools,
    tmp_path: Path,
    process: str,
    headers: Mapping[str, str],
) -> None:
    model.script(Answer("Ordering.", calls=[echo("4711"), order("tea", tmp_path / "hold")]), "Ordered.")
    await leave_in_call(pair.first, tools, "order tea", line="order tea")
    letting = asyncio.create_task(let_go(tmp_path / "hold"))
    answer = await getattr(pair, process).stream("order tea", headers=headers)
    assert content(answer) == "Ordering.\n\nOrdered."
    assert len(model.requests) == 2, "no model call began after the client had left"
    assert model.requests[1].tool_results == ["4711", "ordered tea"]
    assert sorted(ran(tools)) == ["echo 4711", "order tea"]
    await letting


async def test_a_call_that_outlasts_the_grace_is_stopped_and_not_repeated(
    configs: Path, tmp_path: Path, keys: None, model: ScriptedModel, tools: Tools
) -> None:
    add_to_gateway(configs, leave_grace="100ms")
    model.script(Answer(calls=[write("x"), Call("files__hang", {"mark": "m"})]), "Who knows.")
    (configs / "access.yaml").write_text(yaml.safe_dump(ALL))
    async with serving(configs, tmp_path / "data") as facade:
        await leave_in_call(facade, tools, "go", line="hang m")
        assert await facade.say("go") == "Who knows."
    assert model.requests[1].tool_results[0] == "written"
    assert "Whether it took effect is unknown" in model.requests[1].tool_results[1]
    assert sorted(line for line in tools.ran() if not line.startswith("cancelled")) == ["hang m", "write x"]


@pytest.mark.parametrize("headers", [AGAIN, {"idempotency-key": "k1"}])
async def test_a_retry_joins_an_attempt_whose_client_is_still_there(
    pair: Pair,  # noqa: F811
    model: ScriptedModel,
    tools: Tools,
    headers: Mapping[str, str],
) -> None:
    model.script(LOOK, STUCK)
    first = asyncio.create_task(pair.first.stream("look it up", headers={**headers, **FIRST}))
    await model.arrived(2)
    second = asyncio.create_task(pair.second.say("look it up", headers=headers))
    await asyncio.sleep(0.2)
    model.release()
    assert await second == content(await first) == "Let me look.\n\nIt is stuck"
    assert ran(tools) == ["echo 4711"]


@pytest.mark.parametrize("headers", [AGAIN, {"idempotency-key": "k1"}])
async def test_a_retry_joins_an_attempt_that_has_claimed_nothing(
    facade: Facade, model: ScriptedModel, tools: Tools, headers: Mapping[str, str]
) -> None:
    model.script(Answer(["Let me", " look."], calls=[echo("4711")], stall_after=1), "It is 4711.")
    first = asyncio.create_task(facade.say("look it up", headers={**headers, **FIRST}))
    await model.arrived(1)
    second = asyncio.create_task(facade.say("look it up", headers=headers))
    await asyncio.sleep(0.2)
    model.release()
    assert await second == await first == "Let me look.\n\nIt is 4711."
    assert ran(tools) == ["echo 4711"]


@pytest.mark.parametrize("headers", [AGAIN, {"idempotency-key": "k1"}])
async def test_what_arrived_is_said_again_to_who_says_that_it_is_a_retry(
    facade: Facade, model: ScriptedModel, tools: Tools, headers: Mapping[str, str]
) -> None:
    model.script(LOOK, "It is 4711.")
    first = await facade.say("look it up", headers={**headers, **FIRST})
    await asyncio.sleep(0.2)
    assert await facade.say("look it up", headers=headers) == first
    assert await facade.say("look it up", headers=headers) == first
    assert ran(tools) == ["echo 4711"]


@pytest.mark.parametrize(
    "other",
    [
        {"headers": {"idempotency-key": "k2"}},
        {"headers": AGAIN, "temperature": 0.5},
        {"headers": AGAIN, "key": DEVELOPER},
        {},
    ],
)
async def test_two_equal_requests_and_others_are_two_turns(
    facade: Facade, model: ScriptedModel, tools: Tools, other: Mapping[str, Any]
) -> None:
    model.script(LOOK, "It is 4711.", LOOK, "It is 4711 still.")
    await facade.say("look it up", headers={"idempotency-key": "k1"})
    assert (await facade.say("look it up", **other)).endswith("It is 4711 still.")
    assert ran(tools) == ["echo 4711", "echo 4711"]


async def test_a_turn_that_failed_goes_on_where_a_client_says_that_it_retries(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(LOOK, Answer(status=400, error="no"), "It is 4711.", LOOK, "Anew.")
    assert (await facade.ask("look it up", headers=FIRST)).status_code == 400
    assert await facade.say("look it up", headers=AGAIN) == "Let me look.\n\nIt is 4711."
    assert model.requests[2].tool_results == ["4711"]
    assert await facade.say("look it up") == "Let me look.\n\nAnew."
    assert ran(tools) == ["echo 4711"] * 2


async def test_a_turn_that_went_on_from_an_approval_goes_on_again(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer("Shall I?", calls=[write("x")]), STUCK, "It is written.", "Yes.")
    question = await facade.say("write x")
    reply = f"approve {approval_in(question)}"
    await leave(facade, model, "write x", said(question), reply, calls=1)
    assert await facade.say("write x", said(question), reply) == "It is written."
    assert model.requests[2].tool_results == ["written"]
    await facade.say("write x", said(question), reply, said("It is written."), "sure?")
    assert model.requests[3].tool_results == ["written"]
    assert ran(tools) == ["write x"]


async def test_an_approved_call_that_runs_still_is_waited_for(
    pair: Pair,  # noqa: F811
    configs: Path,
    model: ScriptedModel,
    tools: Tools,
    tmp_path: Path,
) -> None:
    model.script(Answer(calls=[write("x"), order("tea", tmp_path / "hold")]), "Done.")
    question = await pair.first.say("go")
    reply = f"approve {approval_in(question)}"
    await leave_in_call(pair.first, tools, "go", said(question), reply, line="order tea")
    letting = asyncio.create_task(let_go(tmp_path / "hold"))
    assert await pair.second.say("go", said(question), reply) == "Done."
    assert model.requests[1].tool_results == ["written", "ordered tea"]
    assert sorted(ran(tools)) == ["order tea", "write x"]
    await letting


async def test_what_is_said_instead_of_deciding_is_said_again_to_a_retry(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer("Shall I?", calls=[echo("4711"), write("x")]), STUCK, "Fine.")
    question = await facade.say("write x")
    await leave(facade, model, "write x", said(question), "no, leave it", calls=1)
    assert await facade.say("write x", said(question), "no, leave it") == "Fine."
    assert model.requests[2].messages[-1] == {"role": "user", "content": "no, leave it"}
    assert len(model.requests[2].messages) == len(model.requests[1].messages)
    assert ran(tools) == ["echo 4711"]


async def test_another_answer_begins_anew_and_its_model_is_told_what_ran(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    chat = {"x-openwebui-chat-id": "c", "x-openwebui-message-id": "m1"}
    model.script(LOOK, STUCK, "I looked: 4711.", "Yes.")
    await leave(facade, model, "look it up", headers=chat)
    again = {**chat, "x-openwebui-message-id": "m2"}
    assert await facade.say("look it up", headers=again) == "I looked: 4711."
    assert model.requests[2].tool_results == ["4711"]
    later = {**chat, "x-openwebui-message-id": "m3"}
    await facade.say("look it up", said("I looked: 4711."), "sure?", headers=later)
    assert model.requests[3].tool_results == ["4711"]
    assert ran(tools) == ["echo 4711"]


async def test_a_retry_that_is_left_too_is_retried(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(LOOK, STUCK, STUCK, "It is 4711.")
    await leave(facade, model, "look it up")
    await leave(facade, model, "look it up", calls=1, headers=AGAIN)
    assert await facade.say("look it up", headers=AGAIN) == "Let me look.\n\nIt is 4711."
    assert ran(tools) == ["echo 4711"]


async def test_after_a_restart_a_retry_goes_on(
    configs: Path, tmp_path: Path, keys: None, model: ScriptedModel, tools: Tools
) -> None:
    model.script(LOOK, STUCK, "It is 4711.")
    async with serving(configs, tmp_path / "data") as first:
        await leave(first, model, "look it up")
    async with serving(configs, tmp_path / "data") as second:
        assert await second.say("look it up") == "Let me look.\n\nIt is 4711."
    assert ran(tools) == ["echo 4711"]


async def test_on_postgresql_another_replica_goes_on(
    configs: Path, tmp_path: Path, keys: None, model: ScriptedModel, tools: Tools, postgres_url: str
) -> None:
    model.script(LOOK, Answer(calls=[order("tea", tmp_path / "hold")]), STUCK, "It is 4711.")
    async with (
        serving(configs, tmp_path / "first", storage=postgres_url) as first,
        serving(configs, tmp_path / "second", storage=postgres_url) as second,
    ):
        await leave_in_call(first, tools, "look it up", line="order tea")
        letting = asyncio.create_task(let_go(tmp_path / "hold"))
        await leave(second, model, "look it up", calls=1)
        assert await first.say("look it up") == "Let me look.\n\nIt is 4711."
        await letting
    assert ran(tools) == ["echo 4711", "order tea"]
