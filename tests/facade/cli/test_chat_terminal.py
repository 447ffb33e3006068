"""`interlock chat` as a person at a terminal uses it: real `interlock serve`, real MCP process, a scripted model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import ACCESS, ADMIN, ASSISTANT, DEVELOPER, KEYS, write_configs
from support.processes import plain_environment, running
from support.scripted_model import Answer, Call, ScriptedModel
from support.terminal import CTRL_C, CTRL_D, UP, Terminal, at_terminal
from support.tool_server import SERVER
from test_start import INTERLOCK

pytestmark = pytest.mark.timeout(240)  # whole programs start here, on machines that may be busy

SORTER: dict[str, Any] = {
    "vars": {"kind": ["billing", "technical"], "name": "string"},
    "start": "sort",
    "nodes": {
        "sort": {"type": "question", "question": "What is it about?", "into": "kind", "next": "who"},
        "who": {"type": "question", "question": "What is the password?", "into": "name", "next": "say"},
        "say": {"type": "reply", "text": "It is {{ kind }} and {{ size(name) }} letters.", "next": "end"},
    },
}
ROLES = {
    **ACCESS["roles"],
    "developer": {"allow": ["files/echo"], "ask": [{"tool": "files/write", "approver": "admin"}]},
}


def write(text: str) -> Call:
    return Call("files__write", {"text": text})


class Gateway:
    """A running gateway, its scripted model, and the state folder of the person who chats."""

    def __init__(self, url: str, model: ScriptedModel, log: Path, state: Path) -> None:
        self.url = url
        self.model = model
        self.log = log
        self.state = state

    def ran(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    @contextmanager
    def chat(self, *options: str, key: str = ADMIN) -> Iterator[Terminal]:
        env = {"INTERLOCK_KEY": key, "XDG_STATE_HOME": str(self.state)}
        with at_terminal([INTERLOCK, "chat", "--url", self.url, *options], env) as terminal:
            yield terminal

    def pipe(self, *options: str, lines: str = "") -> subprocess.CompletedProcess[str]:
        env = {**plain_environment(), "INTERLOCK_KEY": ADMIN, "XDG_STATE_HOME": str(self.state)}
        command = [INTERLOCK, "chat", "--url", self.url, *options]
        return subprocess.run(command, env=env, input=lines, capture_output=True, text=True, timeout=60, check=True)

    def read_saved(self) -> list[dict[str, Any]]:
        files = sorted((self.state / "interlock" / "chats").glob("*.json"))
        return [json.loads(file.read_text()) for file in files]

    def pending(self) -> list[dict[str, Any]]:
        headers = {"authorization": f"Bearer {ADMIN}"}
        return httpx.get(f"{self.url}/approvals?status=pending", headers=headers, trust_env=False).json()["data"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ScriptedModel, Path]]:
    folder = tmp_path_factory.mktemp("chat")
    log = folder / "calls.log"
    with ScriptedModel() as model:
        configs = write_configs(
            folder / "configs",
            model.url,
            {"files": {"command": sys.executable, "args": [str(SERVER), "stdio", str(log)]}},
            access={**ACCESS, "roles": ROLES},
            graphs={"assistant": ASSISTANT, "sorter": SORTER},
        )
        command = [INTERLOCK, "serve", "--configs", configs, "--port", "0"]
        env = {**KEYS, "INTERLOCK_DATA": str(folder / "data")}
        with running("interlock serve", command, folder / "serve.log", env=env) as process:
            yield process.wait_for_line(r"^url (http://127\.0\.0\.1:\d+/v1)$")[1], model, log


@pytest.fixture
def gateway(served: tuple[str, ScriptedModel, Path], tmp_path: Path) -> Gateway:
    url, model, log = served
    model.reset()
    log.unlink(missing_ok=True)
    return Gateway(url, model, log, tmp_path / "state")


def test_a_call_that_waits_is_asked_about_in_place(gateway: Gateway) -> None:
    gateway.model.script(Answer("I will write.", calls=[write("hello")]), "It is **written**.")
    with gateway.chat() as chat:
        chat.wait_for("you>")
        chat.type("write hello")
        chat.wait_for("I will write")
        chat.wait_for(r"files/write waits for approval")
        shown = chat.wait_for(r"(?s)\{.*?\[y/N\]")[0]
        assert '"text": "hello"' in shown
        assert "Why: role admin, ask 'files/write' (access.yaml:" in shown
        assert re.search(r"Open until\s+\d{4}-\d\d-\d\d\s+\d\d:\d\d:\d\d\s+\S+\.", shown)
        assert "This call needs approval" not in shown  # the gateway's own words say the same
        assert gateway.ran() == []
        chat.type("y")
        chat.wait_for(r"> files/write \{")
        chat.wait_for(r"< files/write completed: 7 characters, /show 1 written")
        chat.wait_for(r"It is written\.")
        chat.wait_for("you>")
        chat.type(CTRL_D, end="")
        assert chat.wait_for_end() == 0
    assert gateway.ran() == ["write hello"]


def test_enter_is_no_and_so_is_what_was_typed_too_early(gateway: Gateway) -> None:
    gateway.model.script(Answer(calls=[write("x")], first=1.5), "As you like.")
    with gateway.chat() as chat:
        chat.wait_for("you>")
        chat.type("write x\ry")  # both read at once
        time.sleep(0.7)
        chat.type("y")  # while the answer comes: nobody has seen what it would be a yes to
        chat.wait_for(r"Run it\? \[y/N\]")
        time.sleep(0.5)
        assert gateway.pending() != []
        chat.type("maybe")
        chat.wait_for(r"Please answer y or n")
        chat.type("")
        chat.wait_for(r"< files/write not run: ")
        chat.wait_for(r"As you like\.")
    assert gateway.ran() == []
    assert "rejected by the user" in gateway.model.requests[-1].tool_results[0]


def test_several_calls_are_asked_about_one_by_one(gateway: Gateway) -> None:
    gateway.model.script(Answer(calls=[write("one"), write("two"), write("three")]), "Done.")
    with gateway.chat() as chat:
        chat.wait_for("you>")
        chat.type("write three times")
        for word, reply in (("one", "y"), ("two", "n"), ("three", "yes")):
            chat.wait_for(f'"text": "{word}"')
            chat.wait_for(r"Run it\? \[y/N\]")
            chat.type(reply)
        chat.wait_for(r"Done\.")
    assert sorted(gateway.ran()) == ["write one", "write three"]


def test_a_decision_can_wait_and_approve_needs_no_id(gateway: Gateway) -> None:
    for way in ("/approve", "approve"):
        gateway.log.unlink(missing_ok=True)
        gateway.model.script(Answer(calls=[write("x")]), "Written.")
        with gateway.chat() as chat:
            chat.wait_for("you>")
            chat.type("write x")
            chat.wait_for(r"Run it\? \[y/N\]")
            chat.type(CTRL_C, end="")
            chat.wait_for(r"It waits\.")
            chat.wait_for("you>")
            assert gateway.ran() == []
            chat.type(way)
            chat.wait_for(r"Written\.")
        assert gateway.ran() == ["write x"]


def test_a_call_of_another_conversation_is_shown_before_it_is_approved(gateway: Gateway) -> None:
    gateway.model.script(Answer(calls=[write("elsewhere")]))
    with gateway.chat("write it", key=DEVELOPER) as chat:
        chat.wait_for(r"Only the role admin may decide")
        assert chat.wait_for_end() == 0
    with gateway.chat("approve") as chat:
        chat.wait_for(r'"text": "elsewhere"')
        chat.wait_for(r"Run it\? \[y/N\]")
        chat.type("y")
        chat.wait_for(r"is approved\. It takes effect when")
    with gateway.chat() as chat:
        chat.wait_for("you>")
        chat.type("/approve")
        chat.wait_for(r"No call waits for approval")
        chat.wait_for("you>")
        chat.type("/approve the first")
        chat.wait_for(r"'the first' is no id of a call that waits")
    assert gateway.ran() == []


def test_one_question_at_a_terminal_is_decided_in_place_too(gateway: Gateway) -> None:
    gateway.model.script(Answer(calls=[write("x")]), "Written.")
    with gateway.chat("write x") as chat:
        chat.wait_for(r"Run it\? \[y/N\]")
        chat.type("y")
        line = chat.wait_for(r"< files/write completed: .*")[0]
        assert "/show" not in line
        chat.wait_for(r"Written\.")
        assert chat.wait_for_end() == 0
    assert gateway.read_saved() == []


def test_a_conversation_that_was_left_goes_on(gateway: Gateway) -> None:
    gateway.model.script("Your name is *Ana*.", Answer(calls=[write("x")]))
    with gateway.chat() as chat:
        chat.wait_for("you>")
        chat.type(f"I am Ana, and my key is {ADMIN}, password=hunter22")
        chat.wait_for(r"Your name is Ana\.")
        chat.wait_for("you>")
        chat.type("write x")
        chat.wait_for(r"Run it\? \[y/N\]")
        chat.popen.kill()
    [file] = (gateway.state / "interlock" / "chats").glob("*.json")
    assert file.stat().st_mode & 0o777 == 0o600
    for each in (file, gateway.state / "interlock" / "chat_history"):
        assert each.stat().st_mode & 0o777 == 0o600
        assert ADMIN not in each.read_text()
        assert "hunter22" not in each.read_text()
        assert "I am Ana" in each.read_text()

    gateway.model.script("Written, Ana.")
    with gateway.chat("--continue") as chat:
        chat.wait_for(r"Going on with assistant, after 2 of your messages")
        shown = chat.wait_for(r"(?s).*Run it\? \[y/N\]")[0]
        assert shown.count('"text": "x"') == 1
        assert "This call needs approval" not in shown
        chat.type("y")
        chat.wait_for(r"Written, Ana\.")
        chat.wait_for("you>")
        chat.type(UP, end="")
        chat.wait_for("write x")
        chat.type(CTRL_C, end="")
        chat.wait_for(r"Ctrl-D leaves")
    assert gateway.ran() == ["write x"]
    assert [message["role"] for message in gateway.read_saved()[0]["messages"]] == ["user", "assistant"] * 3

    gateway.model.script(lambda body: f"{sum('Ana' in str(each['content']) for each in body['messages'])} names")
    with gateway.chat() as chat:
        chat.wait_for(r"/continue goes on with the conversation of a moment ago")
        chat.wait_for("you>")
        chat.type("/continue")
        chat.wait_for(r"Written, Ana\.")
        chat.wait_for("you>")
        chat.type("again")
        chat.wait_for(r"[2-9] names")


def test_ctrl_c_stops_the_answer_and_not_the_chat(gateway: Gateway) -> None:
    gateway.model.script(Answer("One\n\ntwo three four five", stall_after=3), "Still here.")
    with gateway.chat() as chat:
        chat.wait_for("you>")
        chat.type("count")
        chat.wait_for("One")
        time.sleep(0.5)
        chat.type(CTRL_C, end="")
        chat.wait_for("stopped")
        chat.wait_for("you>")
        chat.type("are you there?")
        chat.wait_for(r"Still here\.")
        assert gateway.model.requests[0].outcome.result(10) == "cut"
        assert [message["content"] for message in gateway.model.requests[1].messages][-1] == "are you there?"
        chat.wait_for("you>")
        chat.type("/quit")
        assert chat.wait_for_end() == 0


def test_a_question_of_a_graph_is_answered_by_its_number_and_is_in_no_history(gateway: Gateway) -> None:
    with gateway.chat("--model", "sorter") as chat:
        chat.wait_for("you>")
        chat.type("help")
        chat.wait_for(r"What is it about\?")
        chat.wait_for(r"1 billing")
        chat.wait_for(r"2 technical")
        chat.wait_for(r"answer>")
        chat.type("7")
        chat.wait_for(r"does not fit")
        chat.wait_for(r"answer>")
        chat.type("te\t", end="")
        chat.wait_for("technical")
        chat.type("")
        chat.wait_for(r"What is the password\?")
        chat.wait_for(r"answer>")
        chat.type("grandmother")
        chat.wait_for(r"It is technical and 11 letters\.")
        chat.wait_for("you>")
    assert "grandmother" not in (gateway.state / "interlock" / "chat_history").read_text()


def test_commands_list_switch_and_begin_anew(gateway: Gateway) -> None:
    long = "\n".join(f"line {number}" for number in range(40))
    gateway.model.script(Answer(calls=[Call("files__echo", {"text": long})]), "Echoed.", "A fresh start.")
    with gateway.chat() as chat:
        chat.wait_for("you>")
        chat.type("/hepl")
        chat.wait_for(r"There is no /hepl. Did you mean '?/help")
        for command in ("/help", "/model", "/approve", "/reject", "/show", "/new", "/quit"):
            chat.wait_for(command)
        chat.wait_for("you>")
        chat.type("echo much")
        line = chat.wait_for(r"< files/echo completed: 309 characters in 40 lines, /show 1.*")[0]
        assert "line 1" in line
        assert "line 39" not in line
        chat.wait_for("Echoed")
        chat.wait_for("you>")
        chat.type("/show 1")
        chat.wait_for(r"(?s)> files/echo.*line 0\n.*line 39\n")
        chat.wait_for("you>")
        chat.type("/show 4")
        chat.wait_for(r"There is no result '4'; there is 1\.")
        chat.wait_for("you>")
        chat.type("/model")
        chat.wait_for(r"\* assistant")
        chat.wait_for(r"  sorter")
        chat.wait_for("you>")
        chat.type("/model sortre")
        chat.wait_for(r"There is no model 'sortre' for this key. Did you mean")
        chat.wait_for("you>")
        chat.type("/new")
        chat.wait_for(r"A new conversation with assistant\.")
        chat.wait_for("you>")
        chat.type("/etc/hosts is a file")
        chat.wait_for(r"A fresh start\.")
        assert [m["content"] for m in gateway.model.requests[-1].messages if m["role"] != "system"] == [
            "/etc/hosts is a file"
        ]


def test_answers_are_markdown_and_nothing_in_them_is_lost_or_steers_the_terminal(gateway: Gateway) -> None:
    words = (
        "# Report\n\nUse `cmd <name>` or <b>this</b>, see [here](http://example.com/x).\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nprint('x')\n```\n\nevil \x1b[2J\u202e end"
    )
    gateway.model.script(words)
    with gateway.chat("report") as chat:
        chat.wait_for(r"^Report *$")
        chat.wait_for(r"cmd <name> or <b>this</b>, see here \(http://example\.com/x\)\.")
        chat.wait_for(r" 1 +2 ")
        chat.wait_for(r"^print\('x'\) *$")
        chat.wait_for(r"evil \\x1b\[2J\\u\{202e\} end")
        assert chat.wait_for_end() == 0
    assert b"\x1b[2J\xe2" not in chat.raw
    assert "\u202e" not in chat.text()


def test_an_error_does_not_end_the_chat(gateway: Gateway) -> None:
    gateway.model.script(Answer(status=400, error="no such thing"), "Fine.")
    with gateway.chat() as chat:
        chat.wait_for("you>")
        chat.type("break")
        chat.wait_for("no such thing")
        chat.wait_for("you>")
        chat.type("again")
        chat.wait_for(r"Fine\.")


def test_a_pipe_gets_plain_text_and_is_told_how_to_go_on(gateway: Gateway) -> None:
    gateway.model.script(Answer("I **will**.", calls=[write("x")]), "It *is*.", Answer(calls=[write("y")]), "Both.")
    asked = gateway.pipe("write x")
    [id] = re.findall(r"`approve ([a-z2-7]{8})`", asked.stdout)
    assert asked.stdout.startswith("I **will**.\n\nThis call needs approval before it runs:\n\n**`files/write`**")
    assert asked.stderr == f'waits for approval; go on with: interlock chat "approve {id}" (or "reject {id}")\n'
    done = gateway.pipe(f"approve {id}")
    assert done.stdout == '> files/write {"text":"x"}\n< completed written\nIt *is*.\n'
    assert done.stderr == ""
    lines = gateway.pipe(lines="write y\napprove\n")
    assert lines.stdout.endswith("< completed written\nBoth.\nyou> ")
    assert "go on with the line: approve " in lines.stderr
    assert gateway.ran() == ["write x", "write y"]
    gateway.model.script(Answer(calls=[write("z")]), "As you like.")
    assert "\n< not run " in gateway.pipe(lines="write z\nreject\n").stdout
    question = gateway.pipe("--model", "sorter", "hello").stderr
    console = re.escape(gateway.url.removesuffix("/v1") + "/console")
    assert re.fullmatch(
        rf"waits for an answer; give it on the console \({console}\), or with POST /v1/questions/\w+;"
        r" or ask at a terminal\n",
        question,
    )
    assert not gateway.state.exists()


def test_there_may_be_nothing_to_go_on_with(gateway: Gateway) -> None:
    with gateway.chat("--continue") as chat:
        chat.wait_for(re.escape(f"No conversation with {gateway.url} is there to go on with; leave --continue out."))
        assert chat.wait_for_end() == 1
