"""`langgraph dev` with our graphs: tokens in `messages` mode, an interrupt, and its resume."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.processes import free_port, running

ROOT = Path(__file__).resolve().parents[3]
INTERLOCK = Path(sys.executable).with_name("interlock")
pytestmark = pytest.mark.timeout(180)


COUNTER = """\
vars:
  tries: {type: int, default: 0}
  mood: [good, bad]
  ticket: {fields: {title: string, "steps?": "string[]"}}
start: count
nodes:
  count:
    type: set
    set: {tries: tries + 1, mood: "tries > 3 ? 'good' : 'bad'", ticket: "{'title': message}"}
    next: [{when: visits < 3, to: count}, {to: say}]
  say: {type: reply, text: "{{ tries }} {{ mood }} {{ ticket.title }}", next: end}
"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("studio")
    port = free_port()
    configs = shutil.copytree(ROOT / "configs", folder / "configs")
    (configs / "graphs" / "counter.yaml").write_text(COUNTER)
    command = [INTERLOCK, "studio", "--configs", configs, "--port", str(port)]
    env = {"INTERLOCK_DATA": str(folder / "data"), "INTERLOCK_DEMO_DELAY": "0", "LANGSMITH_TRACING": "false"}
    with running("interlock studio", command, folder / "studio.log", env=env, cwd=folder) as process:
        address = process.wait_for_line(r"^studio https://smith\.langchain\.com/studio/\?baseUrl=(\S+)$", timeout=120)[
            1
        ]
        assert address.startswith(f"http://127.0.0.1:{port}/")
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            yield client


def run(client: httpx.Client, thread: str, modes: list[str], **body: Any) -> list[tuple[str, Any]]:
    """(event, data) of one streamed run."""
    found: list[tuple[str, Any]] = []
    event = ""
    body = {"assistant_id": "assistant", "stream_mode": modes, **body}
    with client.stream("POST", f"/threads/{thread}/runs/stream", json=body) as response:
        for line in response.iter_lines():
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: "):
                found.append((event, json.loads(line[6:])))
    return found


def new_thread(client: httpx.Client) -> str:
    return client.post("/threads", json={}).json()["thread_id"]


def human(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def test_the_graphs_of_the_folder_are_listed(studio: httpx.Client) -> None:
    found = studio.post("/assistants/search", json={}).json()
    assert sorted(entry["graph_id"] for entry in found) == ["assistant", "counter"]


def test_variables_are_keys_of_the_state_with_their_types(studio: httpx.Client) -> None:
    found = {entry["graph_id"]: entry for entry in studio.post("/assistants/search", json={}).json()}
    schemas = studio.get(f"/assistants/{found['counter']['assistant_id']}/schemas").json()
    keys = schemas["state_schema"]["properties"]
    assert keys["tries"]["type"] == "integer"
    assert keys["mood"]["enum"] == ["good", "bad"]
    ticket = schemas["state_schema"]["$defs"][keys["ticket"]["$ref"].rpartition("/")[2]]
    assert ticket["properties"]["steps"]["items"] == {"type": "string"}
    assert ticket["required"] == ["title"]
    thread = new_thread(studio)
    run(studio, thread, ["values"], assistant_id="counter", input={**human("hi"), "tries": 2})
    values = studio.get(f"/threads/{thread}/state").json()["values"]
    assert (values["tries"], values["visits"]) == (5, {"count": 3, "say": 1})
    assert values["messages"][-1]["content"] == "5 good hi"


def test_the_state_of_a_graph_without_variables_has_a_schema_too(studio: httpx.Client) -> None:
    found = {entry["graph_id"]: entry for entry in studio.post("/assistants/search", json={}).json()}
    schemas = studio.get(f"/assistants/{found['assistant']['assistant_id']}/schemas").json()
    assert {"messages", "rounds", "verdicts"} <= schemas["state_schema"]["properties"].keys()


def test_tokens_stream_in_messages_mode_and_the_tool_really_runs(studio: httpx.Client) -> None:
    thread = new_thread(studio)
    parts = run(studio, thread, ["messages-tuple"], input=human("read welcome.md"))
    chunks = [
        data[0]["content"] for event, data in parts if event == "messages" and data[0]["type"] == "AIMessageChunk"
    ]
    assert len([chunk for chunk in chunks if chunk]) > 5, parts[:5]
    assert "4711" in "".join(chunk for chunk in chunks if isinstance(chunk, str))
    state = studio.get(f"/threads/{thread}/state").json()
    kinds = [message["type"] for message in state["values"]["messages"]]
    assert kinds == ["human", "ai", "tool", "ai"]


def test_an_interrupt_is_shown_and_its_resume_runs_the_call_once(studio: httpx.Client) -> None:
    thread = new_thread(studio)
    run(studio, thread, ["values"], input=human("write hello to studio.txt"))
    state = studio.get(f"/threads/{thread}/state").json()
    interrupts = [entry for task in state["tasks"] for entry in task["interrupts"]]
    assert len(interrupts) == 1
    asked = interrupts[0]["value"][0]
    assert asked["tool"] == "filesystem/write_file"
    assert asked["args"]["content"] == "hello"

    parts = run(studio, thread, ["values"], command={"resume": "approve"})
    tools = [message for message in parts[-1][1]["messages"] if message["type"] == "tool"]
    assert tools[0]["status"] == "success"
    assert "notes" not in tools[0]["content"]


def test_where_studio_is_not_installed_the_command_says_what_to_run(tmp_path: Path) -> None:
    without = "import sys; sys.modules['langgraph_cli'] = None; from server.cli.entry import main; main()"
    said = subprocess.run(
        [sys.executable, "-c", without, "studio", "--configs", ROOT / "configs"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stdout) == (1, "")
    assert "`make studio` installs it" in said.stderr


def test_a_rejected_interrupt_runs_nothing(studio: httpx.Client) -> None:
    thread = new_thread(studio)
    run(studio, thread, ["values"], input=human("write hello to refused.txt"))
    parts = run(studio, thread, ["values"], command={"resume": "reject"})
    tools = [message for message in parts[-1][1]["messages"] if message["type"] == "tool"]
    assert "rejected by the user" in tools[0]["content"]
