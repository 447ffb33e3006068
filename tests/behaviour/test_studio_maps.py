"""Under `langgraph dev`: each task of a map waits for itself, and an agent of its own sees what the person said."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from support.scripted_model import Answer, Body, Call, ScriptedModel
from support.studio import human, interlock_studio
from support.tool_server import SERVER
from test_studio_state import new_thread, run

pytestmark = pytest.mark.timeout(180)
WRITE = {"type": "call", "tool": "files/write", "args": {"text": "{{ item }}"}}
SAY = {"type": "reply", "text": "{{ found }}", "next": "end"}
BRANCHES = {"waits": {**WRITE, "args": {"text": "x"}}, "runs": {**WRITE, "tool": "files/echo", "args": {"text": "y"}}}
AGENT = {"type": "agent", "prompt": "Work.", "input": "{{ message }}", "tools": ["files/*"], "into": "found"}
GRAPHS: dict[str, Any] = {
    "assistant": {"each": {"type": "map", "over": "['a', 'b']", "do": WRITE, "into": "found", "next": "say"}},
    "both": {"both": {"type": "parallel", "branches": BRANCHES, "into": "found", "next": "say"}},
    "agent": {"work": {**AGENT, "next": "say"}},
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    def work(body: Body) -> Answer | str:
        if any(message["role"] == "tool" for message in body["messages"]):
            return "Done."
        return Answer(calls=[Call("files__write", {"text": str(body["messages"][1]["content"])})])

    folder = tmp_path_factory.mktemp("maps")
    configs = folder / "configs"
    (configs / "graphs").mkdir(parents=True)
    with ScriptedModel() as model:
        model.respond(work)
        servers = {"files": {"command": sys.executable, "args": [str(SERVER), "stdio"]}}
        files: dict[str, Any] = {
            "access": {"roles": {"admin": {"allow": ["*"], "ask": ["files/write"]}}},
            "gateway": {"models": {"base_url": model.url, "api_key": "x", "default": "scripted"}},
            "servers": {"mcpServers": servers},
        }
        for name, nodes in GRAPHS.items():
            found = "string" if name == "agent" else "any"
            graph = {"vars": {"found": found}, "start": next(iter(nodes)), "nodes": {**nodes, "say": SAY}}
            files[f"graphs/{name}"] = graph
        for name, content in files.items():
            (configs / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        with interlock_studio(folder, configs, {"INTERLOCK_STUDIO_ROLE": "admin"}) as one, one.client() as client:
            yield client


def list_interrupts(client: httpx.Client, thread: str) -> list[dict[str, Any]]:
    tasks = client.get(f"/threads/{thread}/state").json()["tasks"]
    return [interrupt for task in tasks for interrupt in task["interrupts"]]


def test_items_are_decided_one_by_one(client: httpx.Client) -> None:
    thread = new_thread(client, "assistant")
    run(client, thread, "assistant", input=human("go"))
    first, second = list_interrupts(client, thread)
    run(client, thread, "assistant", command={"resume": {first["id"]: "approve"}})
    assert [interrupt["id"] for interrupt in list_interrupts(client, thread)] == [second["id"]]
    state = run(client, thread, "assistant", command={"resume": {second["id"]: "approve"}})
    assert json.loads(state["messages"][-1]["content"]) == ["written", "written"]


def test_a_branch_that_waited_runs_after_one_that_did_not(client: httpx.Client) -> None:
    thread = new_thread(client, "both")
    run(client, thread, "both", input=human("go"))
    [waiting] = list_interrupts(client, thread)
    state = run(client, thread, "both", command={"resume": {waiting["id"]: "approve"}})
    assert json.loads(state["messages"][-1]["content"]) == {"waits": "written", "runs": "y"}


def test_an_agent_of_its_own_sees_what_the_person_said(client: httpx.Client) -> None:
    thread = new_thread(client, "agent")
    run(client, thread, "agent", input=human("tea"))
    [waiting] = list_interrupts(client, thread)
    assert waiting["value"][0]["args"] == {"text": "tea"}
    state = run(client, thread, "agent", command={"resume": "approve"})
    assert state["messages"][-1]["content"] == "Done."
