"""Saving a file changes what is served, as a whole and between turns; a bad save changes nothing."""

from __future__ import annotations

import asyncio
import copy
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.facade import ACCESS, ADMIN, ASSISTANT, Facade, content, said, serving, write_configs
from support.mcp_toolbox import SUPPORT, children
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools


def prompting(prompt: str) -> dict[str, Any]:
    graph = copy.deepcopy(ASSISTANT)
    graph["nodes"]["agent"]["prompt"] = prompt
    return graph


def save(file: Path, content: Any) -> None:
    """As editors do it: a new file takes the old one's place."""
    new = file.with_name(f".{file.name}.new")
    new.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    new.replace(file)


async def ready(facade: Facade) -> dict[str, Any]:
    return (await facade.ready()).json()


async def until_ready(facade: Facade, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while not condition(state := await ready(facade)):
            await asyncio.sleep(0.02)
        return state


async def saved(facade: Facade, file: Path, content: Any) -> dict[str, Any]:
    """Saves a file and waits until what it says is served."""
    before = (await ready(facade))["snapshot"]
    save(file, content)
    return await until_ready(facade, lambda state: state["snapshot"] != before)


def ids(answer: str) -> list[str]:
    return re.findall(r"`approve ([a-z2-7]{8})`", answer)


def write(text: str) -> Call:
    return Call("files__write", {"text": text})


def admin_rules(**rules: Any) -> dict[str, Any]:
    return {**ACCESS, "roles": {**ACCESS["roles"], "admin": {"allow": ["*"], **rules}}}


async def test_the_next_turn_has_the_prompt_that_was_saved(facade: Facade, model: ScriptedModel, configs: Path) -> None:
    model.script("One.", "Two.")
    await facade.say("hello")
    state = await saved(facade, configs / "graphs/assistant.yaml", prompting("A new prompt."))
    await facade.say("hello")
    assert [request.messages[0]["content"] for request in model.requests] == ["You help admin.", "A new prompt."]
    assert state["problems"] == []
    assert state["status"] == "ok"


async def test_a_graph_that_is_added_or_removed_is_listed_or_gone(
    facade: Facade, model: ScriptedModel, configs: Path
) -> None:
    headers = {"authorization": f"Bearer {ADMIN}"}

    async def listed() -> list[str]:
        answer = await facade.http.get(f"{facade.url}/models", headers=headers)
        return [entry["id"] for entry in answer.json()["data"]]

    await saved(facade, configs / "graphs/second.yaml", prompting("Second."))
    assert await listed() == ["assistant", "second", "scripted"]
    (configs / "graphs/second.yaml").unlink()
    await until_ready(facade, lambda state: "second" not in state["graphs"])
    assert await listed() == ["assistant", "scripted"]
    assert (await facade.ask("hello", model="second")).status_code == 404


async def test_a_bad_save_changes_nothing_and_is_shown_until_it_is_mended(
    facade: Facade, model: ScriptedModel, configs: Path
) -> None:
    before = await ready(facade)
    good = (configs / "access.yaml").read_text()
    save(configs / "access.yaml", good.replace("allow", "alow", 1))
    save(configs / "graphs/assistant.yaml", prompting("{{ nobody }}"))
    state = await until_ready(facade, lambda state: len(state["problems"]) == 2)
    assert re.match(r"access\.yaml:\d+:\d+: .*alow", state["problems"][0])
    assert re.match(r"graphs/assistant\.yaml:\d+:\d+: .*nobody", state["problems"][1])
    assert (state["snapshot"], state["status"]) == (before["snapshot"], "degraded")
    model.script("Still here.")
    assert await facade.say("hello") == "Still here."
    assert model.requests[-1].messages[0]["content"] == "You help admin."

    save(configs / "access.yaml", good)
    save(configs / "graphs/assistant.yaml", ASSISTANT)
    state = await until_ready(facade, lambda state: not state["problems"])
    assert (state["snapshot"], state["status"]) == (before["snapshot"], "ok")


async def test_a_turn_under_way_ends_on_the_rules_on_which_it_began(
    facade: Facade, model: ScriptedModel, tools: Tools, configs: Path
) -> None:
    echo = Answer("Looking.", calls=[Call("files__echo", {"text": "x"})], stall_after=1)
    model.script(echo, "Done.", "Alone.")
    turn = asyncio.create_task(facade.stream("hello"))
    await model.arrived(1)
    save(configs / "graphs/assistant.yaml", prompting("Newer."))
    save(configs / "servers.yaml", {"mcpServers": {}})
    await until_ready(facade, lambda state: not state["servers"])
    model.release()
    assert content(await turn).endswith("Done.")
    assert tools.ran() == ["echo x"]
    assert model.requests[1].messages[0]["content"] == "You help admin."
    assert await facade.say("and now?") == "Alone."
    assert model.requests[2].messages[0]["content"] == "Newer."
    assert "tools" not in model.requests[2].body


async def test_keys_and_roles_change_together_with_the_rest(
    facade: Facade, model: ScriptedModel, configs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of "secret"
    assert (await facade.ask("hello", key="secret")).status_code == 401
    keys = [{"name": "guest", "role": "developer", "sha256": digest}]
    await saved(facade, configs / "access.yaml", {**ACCESS, "keys": keys})
    model.script("Welcome.")
    assert await facade.say("hello", key="secret") == "Welcome."
    assert (await facade.ask("hello", key=ADMIN)).status_code == 401


async def test_what_a_running_interlock_cannot_change_is_refused_in_words(facade: Facade, configs: Path) -> None:
    gateway = yaml.safe_load((configs / "gateway.yaml").read_text())
    save(configs / "gateway.yaml", {**gateway, "storage": "sqlite:///elsewhere.db"})
    state = await until_ready(facade, lambda state: state["problems"])
    assert state["problems"] == [
        "gateway.yaml:5:1: the storage of a running Interlock cannot be changed; restart it to use this one"
    ]
    save(configs / "gateway.yaml", gateway)
    await until_ready(facade, lambda state: not state["problems"])
    save(configs / "access.yaml", {**ACCESS, "keys": [{"name": "off", "role": "admin", "env": "NOT_SET_ANYWHERE"}]})
    state = await until_ready(facade, lambda state: state["problems"])
    assert state["problems"] == [
        "access.yaml:0:0: no key of this file is on, and keys are not made while serving; set the variable of one, or "
        "restart"
    ]


async def test_a_pending_approval_outlives_a_reload(
    facade: Facade, model: ScriptedModel, tools: Tools, configs: Path
) -> None:
    model.script(Answer("I will write.", calls=[write("x")]), "Written.")
    asked = await facade.say("write x")
    await saved(facade, configs / "graphs/assistant.yaml", prompting("Newer."))
    assert await facade.say("write x", said(asked), f"approve {ids(asked)[0]}") == "Written."
    assert tools.ran() == ["write x"]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"deny": ["files/write"]}, "role admin, deny 'files/write'"),
        ({"ask": [{"tool": "files/write", "approver": "developer"}]}, "must now be approved by developer"),
    ],
)
async def test_new_rules_win_over_an_approval_of_before(
    facade: Facade, model: ScriptedModel, tools: Tools, configs: Path, rules: Any, told: str
) -> None:
    model.script(Answer("I will write.", calls=[write("x")]), "Not written.")
    asked = await facade.say("write x")
    await saved(facade, configs / "access.yaml", admin_rules(**rules))
    assert await facade.say("write x", said(asked), f"approve {ids(asked)[0]}") == "Not written."
    assert told in model.requests[-1].tool_results[0]
    assert tools.ran() == []


async def test_an_open_stream_that_waits_goes_on_with_the_new_rules(
    facade: Facade, model: ScriptedModel, tools: Tools, configs: Path
) -> None:
    model.script(Answer("I will write.", calls=[write("x")]), "Not written.")
    turn = asyncio.create_task(facade.stream("write x", headers={"x-interlock-approvals": "wait"}))
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with asyncio.timeout(20):
        while not (pending := (await facade.http.get(f"{facade.url}/approvals", headers=headers)).json()["data"]):
            await asyncio.sleep(0.02)
    await saved(facade, configs / "access.yaml", admin_rules(deny=["files/write"]))
    decision = {"decision": "approve"}
    decided = await facade.http.post(f"{facade.url}/approvals/{pending[0]['id']}", json=decision, headers=headers)
    assert decided.status_code == 200
    assert content(await turn).endswith("Not written.")
    assert "role admin, deny 'files/write'" in model.requests[-1].tool_results[0]
    assert tools.ran() == []


async def test_a_graph_whose_shape_changed_while_it_waited_says_so_and_runs_nothing(
    facade: Facade, model: ScriptedModel, tools: Tools, configs: Path
) -> None:
    model.script(Answer("I will write.", calls=[write("x")]))
    asked = await facade.say("write x")
    nodes = {"only": {"type": "model", "next": "end"}}
    await saved(facade, configs / "graphs/assistant.yaml", {"start": "only", "nodes": nodes})
    answer = await facade.say("write x", said(asked), f"approve {ids(asked)[0]}")
    assert answer == (
        "The graph 'assistant' was changed while this waited, and the node that asked is not in it any more. "
        "Nothing was run."
    )
    assert tools.ran() == []
    model.script("Fresh.")
    assert await facade.say("write x", said(asked), "approve", said(answer), "hello again") == "Fresh."


@pytest.fixture
async def versioned(tmp_path: Path, model: ScriptedModel, keys: None) -> AsyncIterator[tuple[Facade, Path]]:
    """A facade whose MCP servers are its own processes: `same` stays as it is, `turning` is rewritten."""
    configs = write_configs(tmp_path / "configs", model.url, servers("0"), graphs={"assistant": prompting("version 0")})
    async with serving(configs, tmp_path / "data") as running:
        await until_ready(running, lambda state: all(s["status"] == "up" for s in state["servers"].values()))
        yield running, configs


def servers(version: str) -> dict[str, Any]:
    program = {"command": sys.executable, "args": [str(SUPPORT / "mcp_server.py"), "stdio"]}
    return {"same": program, "turning": {**program, "env": {f"VERSION_{version}": "set"}}}


@pytest.mark.timeout(240)
async def test_a_hundred_reloads_under_sixteen_streams_fail_mix_and_leak_nothing(
    versioned: tuple[Facade, Path], model: ScriptedModel
) -> None:
    facade, configs = versioned
    processes, tasks = len(children()), names_of_tasks()
    prompts: dict[str, list[str]] = {}
    environments: dict[str, set[str]] = {}

    def respond(body: dict[str, Any]) -> Answer:
        system, first, *rest = body["messages"]
        prompts.setdefault(first["content"], []).append(system["content"])
        results = [str(message["content"]) for message in rest if message["role"] == "tool"]
        environments.setdefault(first["content"], set()).update(*(re.findall(r"VERSION_(\d+)", r) for r in results))
        if len(results) < 3:
            return Answer("Looking. ", calls=[Call("turning__environment"), Call("same__pid")][: 1 + len(results)])
        return Answer(["word "] * 20, delay=0.005)

    model.respond(respond)
    stop = asyncio.Event()

    async def chat(number: int) -> int:
        turns = 0
        while not stop.is_set():
            question = f"stream {number} turn {turns}"
            raw = await facade.stream(question)
            assert raw.endswith("data: [DONE]\n\n")
            assert content(raw).endswith("word " * 20), content(raw)
            assert "was not run" not in content(raw)
            turns += 1
        return turns

    chats = [asyncio.create_task(chat(number)) for number in range(16)]
    for number in range(1, 101):
        if number % 10 == 0:
            await saved(facade, configs / "servers.yaml", {"mcpServers": servers(str(number))})
        else:
            await saved(facade, configs / "graphs/assistant.yaml", prompting(f"version {number}"))
        assert not any(chat.done() for chat in chats), next(chat for chat in chats if chat.done()).result()
    stop.set()
    turns = await asyncio.gather(*chats)
    assert min(turns) > 1
    assert all(len(set(seen)) == 1 for seen in prompts.values())
    assert all(len(seen) == 1 for seen in environments.values())
    assert len(set.union(*environments.values())) > 5
    assert len({seen[0] for seen in prompts.values()}) > 10
    async with asyncio.timeout(30):
        while len(children()) != processes or names_of_tasks() != tasks:
            await asyncio.sleep(0.05)


def names_of_tasks() -> list[str]:
    """The tasks that last: those of servers, of editions that end, and of Interlock's own care."""
    named = (task.get_name() for task in asyncio.all_tasks())
    return sorted(name for name in named if name.startswith(("mcp server", "retire", "turn-", "prune", "reload")))
