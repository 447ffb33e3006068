"""The toolbox against real MCP servers: processes over stdio, HTTP and SSE servers on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from support.mcp_http import http_server
from support.mcp_toolbox import QUICK, SUPPORT, ask, children, lines, opened, processes_of, raw, spec, stdio, until

from graphs.tools.errors import build_redaction, describe_exit
from graphs.tools.names import make_model_name
from graphs.tools.registry import ToolRegistry
from graphs.tools.results import render_result
from graphs.tools.session import RawResult
from graphs.tools.shared import SharedConnections


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncGenerator[None, None]:
    before = children()
    yield
    await until(lambda: not (children() - before))
    left = [task for task in asyncio.all_tasks() if "mcp server" in task.get_name()]
    assert not left


# Calls


async def test_a_tool_answers_with_text_that_the_model_reads(tmp_path: Path) -> None:
    async with opened({"test": stdio()}) as toolbox:
        message = await ask(toolbox, "test/echo", text="héllo ✓")
    assert message.content == "héllo ✓"
    assert message.status == "success"
    assert message.tool_call_id == "call_1"
    assert message.name == "test__echo"


async def test_structured_content_comes_along_as_the_artifact() -> None:
    async with opened({"test": stdio()}) as toolbox:
        message = await ask(toolbox, "test/add", a=1, b=2)
    assert json.loads(str(message.content)) == {"sum": 3}
    assert message.artifact == {"structured_content": {"sum": 3}}


async def test_a_failing_tool_gives_an_error_result_not_an_exception() -> None:
    async with opened({"test": stdio()}) as toolbox:
        message = await ask(toolbox, "test/fails")
    assert message.status == "error"
    assert "no such table: customers" in str(message.content)


async def test_wrong_arguments_are_answered_by_the_server() -> None:
    async with opened({"test": stdio()}) as toolbox:
        message = await ask(toolbox, "test/add", a="one")
    assert message.status == "error"
    assert "validation error" in str(message.content)


async def test_an_answer_of_four_megabytes_is_cut_and_says_so() -> None:
    async with opened({"test": stdio(max_result=1000)}) as toolbox:
        message = await ask(toolbox, "test/big", size=4 * 1024 * 1024)
    assert message.content == (
        "x" * 1000 + "\n[Cut: the first 1,000 of 4,194,304 characters are shown. "
        "Ask for less: a part, a filter, a limit.]"
    )
    assert message.status == "success"
    assert message.artifact is None


async def test_a_picture_stays_a_block_and_its_words_come_first() -> None:
    async with opened({"test": stdio()}) as toolbox:
        message = await ask(toolbox, "test/picture")
    assert isinstance(message.content, list)
    text, picture = message.content
    assert isinstance(text, dict)
    assert isinstance(picture, dict)
    assert text["text"] == "a picture"
    assert picture["type"] == "image"
    assert picture["mime_type"] == "image/png"


async def test_what_cannot_be_shown_becomes_a_sentence() -> None:
    async with opened({"test": stdio(), "raw": raw()}) as toolbox:
        concert = await ask(toolbox, "test/concert")
        blocks = await ask(toolbox, "raw/blocks")
    assert concert.content == (
        "[audio (audio/wav), which cannot be shown here]\nbravo\n"
        "[an image of a kind that cannot be shown here: image/tiff]"
    )
    assert blocks.content == (
        "[content of a kind that is not known here: 'hologram']\n[resource notes: file:///notes.txt]\ninside\n"
        "[application/zip of 3 bytes at file:///a.zip, which cannot be shown here]\n"
        "what"
    )
    assert blocks.status == "success"


async def test_an_empty_answer_says_that_it_is_empty() -> None:
    async with opened({"test": stdio()}) as toolbox:
        message = await ask(toolbox, "test/nothing")
    assert message.content
    assert message.status == "success"


async def test_an_answer_that_is_no_result_and_a_refusal_are_error_results() -> None:
    async with opened({"raw": raw()}) as toolbox:
        garbage = await ask(toolbox, "raw/garbage")
        refused = await ask(toolbox, "raw/refused")
        good = await ask(toolbox, "raw/good")
    assert garbage.status == "error"
    assert "no tool result" in str(garbage.content)
    assert refused.status == "error"
    assert refused.content == "raw/refused was refused by its server: not today"
    assert good.content == "good"


async def test_a_refusal_of_many_characters_holds_nobody_up() -> None:
    async with opened({"raw": raw(max_result=6_000_000)}) as toolbox:
        began = time.process_time()
        refused = await ask(toolbox, "raw/refused", more=1_500_000)
        assert time.process_time() - began < 1
    assert str(refused.content).startswith("raw/refused was refused by its server: not today\\x7f\\x7f")
    assert len(str(refused.content)) < 40_000


async def test_arguments_reach_the_server_whatever_they_are_called() -> None:
    async with opened({"test": stdio()}) as toolbox:
        names = {"config": "a", "run_manager": "b", "runtime": "c", "self": "d", "tool_input": "e"}
        served = toolbox.find_by_people_name("test/odd.name/with-a-slash")
        assert served is not None
        call = {"type": "tool_call", "id": "1", "name": served.model_name, "args": names}
        message = await served.tool.ainvoke(call)
    assert message.content == "a b c d e"


async def test_a_langgraph_tool_node_runs_the_tools_side_by_side() -> None:
    async with opened({"test": stdio()}) as toolbox:
        tools = [served.tool for served in toolbox.tools.values()]
        graph = StateGraph(MessagesState)
        graph.add_node("tools", ToolNode(tools))
        graph.add_edge(START, "tools")
        odd = make_model_name("test", "odd.name/with-a-slash")
        names = {"config": "a", "run_manager": "b", "runtime": "c", "self": "d", "tool_input": "e"}
        calls = [
            {"type": "tool_call", "id": "1", "name": "test__echo", "args": {"text": "one"}},
            {"type": "tool_call", "id": "2", "name": odd, "args": names},
            {"type": "tool_call", "id": "3", "name": "test__fails", "args": {}},
        ]
        state = await graph.compile().ainvoke({"messages": [AIMessage("", tool_calls=calls)]})
    one, two, three = state["messages"][1:]
    assert (one.content, two.content) == ("one", "a b c d e")
    assert three.status == "error"


# Names


def test_a_plain_name_stays_as_it_is() -> None:
    assert make_model_name("filesystem", "read_file") == "filesystem__read_file"
    assert make_model_name("a", "b__c") == "a__b__c"
    assert make_model_name("a", "_b") == "a___b"


def test_names_that_would_meet_are_kept_apart() -> None:
    assert make_model_name("a_", "b") != make_model_name("a", "_b")
    assert make_model_name("s", "x.y") != make_model_name("s", "x y")
    assert make_model_name("s", "a" * 100 + "1") != make_model_name("s", "a" * 100 + "2")
    hashed = make_model_name("s", "x y")
    assert make_model_name("s", hashed.removeprefix("s__")) != hashed
    assert make_model_name("s", "x\n") != make_model_name("s", "x")


SERVERS = st.from_regex(r"[A-Za-z0-9_-]{1,48}", fullmatch=True).filter(lambda name: "__" not in name)
TOOLS = st.one_of(st.text(min_size=1, max_size=80), st.from_regex(r"[a-z_]{1,8}(_[0-9a-f]{16})?", fullmatch=True))


@given(st.lists(st.tuples(SERVERS, TOOLS), unique=True, max_size=30))
def test_every_tool_has_a_valid_name_of_its_own(tools: list[tuple[str, str]]) -> None:
    names = [make_model_name(server, tool) for server, tool in tools]
    assert len(set(names)) == len(names)
    for name in names:
        assert 1 <= len(name) <= 64
        assert name.isascii()
        assert name.replace("_", "").replace("-", "").isalnum() or set(name) <= {"_", "-"}


async def test_over_long_and_odd_names_can_be_called() -> None:
    async with opened({"raw": raw("long-names"), "raw_": raw("long-names")}) as toolbox:
        assert len(toolbox.tools) == 10
        assert all(len(name) <= 64 for name in toolbox.tools)
        for served in toolbox.tools.values():
            assert (await ask(toolbox, served.people_name)).content == "good"


# What is served


async def test_a_served_tool_says_what_it_is() -> None:
    async with opened({"test": stdio(), "raw": raw()}) as toolbox:
        echo, write, good = (toolbox.find_by_people_name(name) for name in ("test/echo", "test/write", "raw/good"))
        assert echo is not None
        assert write is not None
        assert good is not None
        assert (echo.read_only, echo.idempotent, echo.destructive) == (True, True, False)
        assert (write.read_only, write.idempotent, write.destructive) == (False, False, True)
        assert echo.description == "Say it again."
        assert echo.input_schema["required"] == ["text"]
        assert (good.description, good.input_schema) == ("raw/good", {"type": "object", "properties": {}})
        assert convert_to_openai_tool(echo.tool)["function"]["name"] == "test__echo"
        assert convert_to_openai_tool(good.tool)["function"]["parameters"] == {"type": "object", "properties": {}}
        assert list(toolbox.tools) == [served.model_name for served in toolbox.tools.values()]
        status = toolbox.get_status()["raw"]
        assert status.status == "up"
        assert status.reason is None
        assert status.tools == ("blocks", "flood", "garbage", "good", "refused")
        assert toolbox.find("test__echo") is echo
        assert toolbox.find("nobody__knows") is None
        assert toolbox.find_by_people_name("test/unknown") is None


async def test_one_malformed_tool_does_not_cost_the_others() -> None:
    async with opened({"raw": raw("bad-tools")}) as toolbox:
        assert toolbox.get_status()["raw"].tools == ("blocks", "flood", "garbage", "good", "refused")


async def test_tools_are_listed_to_the_last_page() -> None:
    async with opened({"raw": raw("pages"), "none": raw("no-tools")}) as toolbox:
        assert len(toolbox.get_status()["raw"].tools) == 5
        assert toolbox.get_status()["none"].status == "up"
        assert toolbox.get_status()["none"].tools == ()


async def test_a_tool_that_appears_later_is_served() -> None:
    async with opened({"test": stdio()}) as toolbox:
        before = toolbox.version
        assert (await ask(toolbox, "test/learn")).content == "learned"
        await until(lambda: toolbox.find_by_people_name("test/learned"))
        assert toolbox.version == before + 1
        assert (await ask(toolbox, "test/learned")).content == "new"


async def test_prints_on_stdout_do_not_harm() -> None:
    async with opened({"raw": raw("noise")}) as toolbox:
        assert (await ask(toolbox, "raw/good")).content == "good"


async def test_a_server_does_not_see_the_gateways_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_API_KEY", "secret")
    async with opened({"test": stdio(env={"MINE": "1"})}) as toolbox:
        names = str((await ask(toolbox, "test/environment")).content).split()
    assert "MINE" in names
    assert "PATH" in names
    assert "LITELLM_API_KEY" not in names


# What goes wrong


async def test_a_missing_command_is_named_with_its_cure_and_the_other_server_works() -> None:
    servers = {"gone": spec(command="npx", args=["-y", "x"], env={"PATH": "/nowhere"}), "test": stdio()}
    async with opened(servers) as toolbox:
        status = toolbox.get_status()["gone"]
        assert status.status == "down"
        assert status.reason == (
            "npx: not found. Install Node.js, which brings it, or correct 'command' in servers.yaml."
        )
        assert (await ask(toolbox, "test/echo", text="alive")).content == "alive"
        assert all(name.startswith("test__") for name in toolbox.tools)


@pytest.mark.parametrize(
    ("command", "cwd", "reason"),
    [
        ("no-such-program", None, "no-such-program: not found. Install it, or give its full path"),
        ("/no/such/program", None, "/no/such/program: not found. Check the path"),
        (str(SUPPORT / "mcp_raw.py"), None, "not executable"),
        ("python", "/no/such/folder", "/no/such/folder: no such folder"),
    ],
)
async def test_what_cannot_be_started_says_why(command: str, cwd: str | None, reason: str) -> None:
    async with opened({"gone": spec(command=command, cwd=cwd)}) as toolbox:
        assert reason in str(toolbox.get_status()["gone"].reason)


async def test_a_server_that_exits_is_down_with_its_last_words_but_without_its_secrets() -> None:
    async with opened({"raw": raw("exit", env={"DB_TOKEN": "hunter2hunter2"})}) as toolbox:
        status = toolbox.get_status()["raw"]
    assert status.status == "down"
    assert status.reason == "exited with status 4"
    assert status.last_output == "cannot open the database with [redacted]"


async def test_a_server_that_never_answers_the_greeting_is_down_and_can_be_closed() -> None:
    async with opened({"raw": raw("mute", timeout=0.3), "test": stdio()}) as toolbox:
        status = toolbox.get_status()["raw"]
        assert status.status == "down"
        assert status.reason == "gave no answer to a greeting within 0.3 s yet"
        await until(lambda: toolbox.tools)
        assert (await ask(toolbox, "test/echo", text="alive")).content == "alive"


async def test_a_mute_server_is_given_up_and_started_again() -> None:
    async with opened({"raw": raw("mute", timeout=0.1)}, replace(QUICK, launch=0.2)) as toolbox:
        await until(lambda: toolbox.get_status()["raw"].reason == "gave no answer to a greeting within 0.2 s")
        (first,) = processes_of("mcp_raw.py") or [None]
        await until(lambda: [one for one in processes_of("mcp_raw.py") if one != first])


async def test_a_call_that_hangs_is_given_up_and_the_server_lives_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with opened({"test": stdio(log, timeout=1)}) as toolbox:
        await until(lambda: toolbox.tools)
        before = await ask(toolbox, "test/pid")
        message = await ask(toolbox, "test/hang", mark="a")
        assert message.status == "error"
        assert message.content == ("test/hang gave no answer within 1 s. Outcome unknown: it may still take effect.")
        await until(lambda: "cancelled a" in lines(log))
        assert (await ask(toolbox, "test/pid")).content == before.content


async def test_a_server_that_answers_nothing_any_more_is_started_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with opened({"test": stdio(log, timeout=1)}) as toolbox:
        await until(lambda: toolbox.tools)
        before = await ask(toolbox, "test/pid")
        message = await ask(toolbox, "test/freeze")
        assert message.status == "error"
        await until(lambda: not toolbox.tools)
        assert "hangs" in str(toolbox.get_status()["test"].reason)
        await until(lambda: toolbox.find_by_people_name("test/pid"))
        assert (await ask(toolbox, "test/pid")).content != before.content


async def test_a_caller_that_leaves_does_not_harm_the_connection(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with opened({"test": stdio(log)}) as toolbox:
        before = await ask(toolbox, "test/pid")
        leaving = [asyncio.create_task(ask(toolbox, "test/hang", mark=str(n))) for n in range(5)]
        staying = asyncio.create_task(ask(toolbox, "test/busy", hold=str(tmp_path / "hold")))
        await until(lambda: len(lines(log)) == 6)
        for task in leaving:
            task.cancel()
        results = await asyncio.gather(*leaving, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        await until(lambda: sum(line.startswith("cancelled") for line in lines(log)) == 5)
        (tmp_path / "hold").touch()
        assert (await staying).content == "1"
        assert (await ask(toolbox, "test/pid")).content == before.content


async def test_callers_that_leave_at_any_moment_do_not_harm_the_connection() -> None:
    async with opened({"test": stdio()}) as toolbox:
        before = await ask(toolbox, "test/pid")
        for steps in range(40):
            task = asyncio.create_task(ask(toolbox, "test/echo", text="x"))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (await ask(toolbox, "test/pid")).content == before.content


async def test_a_server_killed_from_outside_is_noticed_without_a_call_and_comes_back() -> None:
    async with opened({"test": stdio(), "other": stdio()}) as toolbox:
        version = toolbox.version
        echo = toolbox.find_by_people_name("test/echo")
        pid = int(str((await ask(toolbox, "test/pid")).content))
        os.kill(pid, signal.SIGKILL)
        await until(lambda: toolbox.find_by_people_name("test/echo") is None)
        status = toolbox.get_status()["test"]
        assert status.status == "starting"
        assert status.reason == "was killed by SIGKILL"
        assert toolbox.find("test__echo") is echo
        assert toolbox.find_by_people_name("other/echo") is not None
        assert toolbox.version == version + 1
        await until(lambda: toolbox.find_by_people_name("test/echo"))
        assert toolbox.find_by_people_name("test/echo") is echo
        assert toolbox.version == version + 2
        assert (await ask(toolbox, "test/pid")).content != str(pid)


async def test_a_server_whose_child_holds_its_output_open_is_noticed_too() -> None:
    async with opened({"raw": raw("child")}) as toolbox:
        (parent,) = [one for one in processes_of("mcp_raw.py") if one.children()]
        (child,) = parent.children()
        parent.kill()
        await until(lambda: not toolbox.tools)
        assert toolbox.get_status()["raw"].reason is not None
        await until(lambda: toolbox.tools)
        await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


async def test_a_change_that_was_under_way_is_not_repeated(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with opened({"test": stdio(log)}) as toolbox:
        message = await ask(toolbox, "test/die")
        assert message.status == "error"
        assert str(message.content).startswith("Outcome unknown: the server of test/die exited with status 3 while")
        assert toolbox.get_status()["test"].reason == "exited with status 3"
        assert toolbox.get_status()["test"].last_output == "it hurts"
        await until(lambda: toolbox.tools)
        assert lines(log) == ["die"]


async def test_a_read_that_was_under_way_is_repeated_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with opened({"test": stdio(log)}) as toolbox:
        message = await ask(toolbox, "test/die_once", marker=str(tmp_path / "marker"))
        assert message.content == "alive"
        assert lines(log) == ["die_once", "die_once"]
        message = await ask(toolbox, "test/die_once", marker="/no/such/folder/marker")
        assert message.status == "error"


async def test_a_call_to_a_server_that_is_down_is_answered_in_words(tmp_path: Path) -> None:
    script = tmp_path / "lonely_server.py"
    shutil.copy(SUPPORT / "mcp_raw.py", script)
    async with opened({"raw": spec(command=sys.executable, args=[str(script)])}) as toolbox:
        good = toolbox.find_by_people_name("raw/good")
        assert good is not None
        script.unlink()
        (process,) = processes_of("lonely_server.py")
        process.kill()
        await until(lambda: toolbox.get_status()["raw"].status == "down")
        assert "No such file or directory" in str(toolbox.get_status()["raw"].last_output)
        message = await good.tool.ainvoke({"type": "tool_call", "id": "1", "name": "raw__good", "args": {}})
        assert toolbox.find("raw__good") is good
    assert message.status == "error"
    assert message.content == "raw/good was not run: its server is not available: exited with status 2"


async def test_a_call_waits_for_a_server_that_restarts_as_long_as_it_may() -> None:
    async with opened({"raw": raw(timeout=0.5)}, replace(QUICK, first_delay=60, longest_delay=60)) as toolbox:
        await until(lambda: toolbox.tools)
        good = toolbox.find_by_people_name("raw/good")
        assert good is not None
        (process,) = processes_of("mcp_raw.py")
        process.kill()
        await until(lambda: not toolbox.tools)
        message = await good.tool.ainvoke({"type": "tool_call", "id": "1", "name": "raw__good", "args": {}})
    assert message.status == "error"
    assert message.content == ("raw/good was not run: its server was not available within 0.5 s: was killed by SIGKILL")


async def test_a_server_that_keeps_dying_is_tried_less_and_less_often() -> None:
    async with opened({"raw": raw("exit")}, replace(QUICK, first_delay=0.01, longest_delay=0.02)) as toolbox:
        seen: set[int] = set()

        def tries() -> int:
            seen.update(one.pid for one in processes_of("mcp_raw.py"))
            return len(seen)

        await until(lambda: tries() >= 3)
        assert toolbox.get_status()["raw"].status == "down"


async def test_an_endless_message_ends_the_connection_not_the_gateway() -> None:
    async with opened({"raw": raw("endless", timeout=30)}) as toolbox:
        message = await ask(toolbox, "raw/flood")
        assert message.status == "error"
        assert "sent one message of more than 32 MiB" in str(message.content)
        await until(lambda: toolbox.tools)
        assert (await ask(toolbox, "raw/good")).content == "good"


async def test_no_more_calls_run_at_once_than_the_server_takes(tmp_path: Path) -> None:
    log, hold = tmp_path / "log", tmp_path / "hold"
    async with opened({"test": stdio(log, concurrency=2)}) as toolbox:
        calls = [asyncio.create_task(ask(toolbox, "test/busy", hold=str(hold))) for _ in range(6)]
        await until(lambda: len(lines(log)) == 2)
        hold.touch()
        answers = [int(str(message.content)) for message in await asyncio.gather(*calls)]
    assert max(answers) == 2
    assert len(lines(log)) == 6


async def test_a_call_that_never_gets_its_turn_was_not_run(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with opened({"test": stdio(log, concurrency=1, timeout=1)}) as toolbox:
        await until(lambda: toolbox.tools)
        async with toolbox._connections["test"].slots:  # pyright: ignore[reportPrivateUsage]
            message = await ask(toolbox, "test/write", text="late")
        assert message.status == "error"
        assert message.content == (
            "test/write was not run: for 1 s its server was busy with as many calls as it takes at once (1)."
        )
        assert (await ask(toolbox, "test/write", text="in time")).content == "written"
    assert lines(log) == ["write in time"]


# Closing


async def test_closing_ends_a_stubborn_server_and_its_children() -> None:
    async with opened({"raw": raw("stubborn", "child")}):
        assert len(children()) >= 2


async def test_closing_in_the_middle_of_a_call_answers_the_caller(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with opened({"test": stdio(log)}) as toolbox:
        call = asyncio.create_task(ask(toolbox, "test/hang", mark="a"))
        await until(lambda: lines(log))
        await toolbox.close()
        message = await call
        assert message.status == "error"
        assert "is being closed" in str(message.content)
        await toolbox.close()


async def test_closing_before_anything_was_reached_ends_everything() -> None:
    toolbox = ToolRegistry({"test": stdio(), "raw": raw("mute")}, timing=QUICK)
    await toolbox.start()
    await until(lambda: len(children()) >= 2)
    await toolbox.close()
    assert not toolbox.tools
    assert not await ToolRegistry({"test": stdio()}).wait_ready(0.01)


async def test_toolboxes_share_the_connection_to_a_server_that_both_name_in_the_same_words() -> None:
    others = children()  # of the whole session
    shared = SharedConnections(QUICK)
    old = ToolRegistry({"same": stdio(), "gone": stdio(), "changed": stdio()}, connections=shared)
    await old.start()
    assert await old.wait_ready(30)
    new = ToolRegistry({"same": stdio(), "changed": stdio(timeout=19), "added": stdio()}, connections=shared)
    await new.start()
    assert await new.wait_ready(30)
    pids = {
        name: {one: (await ask(box, f"{name}/pid")).text for one, box in boxes.items()}
        for name, boxes in {"same": {"old": old, "new": new}, "changed": {"old": old, "new": new}}.items()
    }
    assert pids["same"]["old"] == pids["same"]["new"]
    assert pids["changed"]["old"] != pids["changed"]["new"]
    assert len(children() - others) == 5
    await old.close()
    assert not old.tools
    assert len(children() - others) == 3
    assert (await ask(new, "same/pid")).text == pids["same"]["old"]
    await new.close()
    assert not children() - others


async def test_a_toolbox_without_servers_is_ready() -> None:
    async with opened({}) as toolbox:
        assert toolbox.get_status() == {}
        assert toolbox.tools == {}


async def test_an_event_loop_that_is_torn_down_leaves_no_process(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from support.mcp_toolbox import stdio, raw, ask, QUICK\n"
        "from graphs.tools.registry import ToolRegistry\n"
        "async def main():\n"
        "    toolbox = ToolRegistry({'test': stdio(), 'raw': raw('stubborn', 'child')}, timing=QUICK)\n"
        "    await toolbox.start()\n"
        "    await toolbox.wait_ready(30)\n"
        "    print((await ask(toolbox, 'test/echo', text='hi')).content, flush=True)\n"
        "run = asyncio.run if sys.argv[1] == 'asyncio' else __import__('uvloop').run\n"
        "run(main())\n"
    )
    paths = f"{SUPPORT.parent}{os.pathsep}{SUPPORT.parent.parent}"
    for loop in ("asyncio", "uvloop"):
        ran = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", code, loop],
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            start_new_session=True,
        )
        assert ran.stdout == "hi\n", ran.stderr
        assert ran.stderr == ""
        # Servers have sessions of their own, so they would outlive it: look for them by what they run.
        left = [one for one in psutil.process_iter(["cmdline", "ppid"]) if str(SUPPORT) in str(one.info["cmdline"])]
        assert not [one for one in left if one.info["ppid"] == 1]


# Over HTTP


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_server_over_http_answers(kind: str, tmp_path: Path) -> None:
    async with (
        http_server(kind, tmp_path / "log") as server,
        opened({"web": spec(url=server.url, type=kind, headers={"X-Key": "k"})}) as toolbox,
    ):
        assert (await ask(toolbox, "web/echo", text="over http")).content == "over http"
        many = await asyncio.gather(*(ask(toolbox, "web/echo", text=str(n)) for n in range(20)))
        assert [message.content for message in many] == [str(n) for n in range(20)]
        assert (await ask(toolbox, "web/learn")).content == "learned"
        await until(lambda: toolbox.find_by_people_name("web/learned"))


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_server_over_http_that_dies_is_noticed_and_comes_back(kind: str, tmp_path: Path) -> None:
    async with (
        http_server(kind, tmp_path / "log") as server,
        opened({"web": spec(url=server.url, type=kind)}) as toolbox,
    ):
        await server.kill()
        await until(lambda: not toolbox.tools)
        await until(lambda: toolbox.get_status()["web"].status == "down")
        assert "cannot connect to http://127.0.0.1" in str(toolbox.get_status()["web"].reason)
        await server.start()
        await until(lambda: toolbox.tools)
        assert (await ask(toolbox, "web/echo", text="back")).content == "back"


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_change_under_way_over_http_is_not_repeated(kind: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with (
        http_server(kind, log) as server,
        opened({"web": spec(url=server.url, type=kind)}) as toolbox,
    ):
        call = asyncio.create_task(ask(toolbox, "web/hang", mark="a"))
        await until(lambda: lines(log))
        await server.kill()
        await server.start()
        message = await call
        assert message.status == "error"
        assert "Outcome unknown" in str(message.content)
        await until(lambda: toolbox.tools)
        assert lines(log).count("hang a") == 1


async def test_a_refusal_with_the_code_of_a_closed_connection_is_a_refusal() -> None:
    async with opened({"raw": raw()}) as toolbox:
        message = await ask(toolbox, "raw/refused", code=-32000)
        assert message.content == "raw/refused was refused by its server: not today"
        assert (await ask(toolbox, "raw/good")).content == "good"


async def test_every_change_under_way_is_of_unknown_outcome_when_its_server_dies(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with opened({"one": stdio(log)}) as toolbox:
        pid = int(str((await ask(toolbox, "one/pid")).content))
        calls = [asyncio.create_task(ask(toolbox, "one/hang", mark=str(number))) for number in range(6)]
        await until(lambda: len([line for line in lines(log) if line.startswith("hang")]) == 6)
        os.kill(pid, signal.SIGKILL)
        messages = await asyncio.gather(*calls)
        assert ["Outcome unknown" in str(message.content) for message in messages] == [True] * 6


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_change_that_was_read_and_never_answered_is_not_repeated(how: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with (
        http_server("http", log, SUPPORT / "mcp_hangup.py") as server,
        opened({"web": spec(url=server.url)}) as toolbox,
    ):
        message = await ask(toolbox, f"web/{how}")
        assert message.status == "error"
        assert "Outcome unknown" in str(message.content)
        assert "was not run" not in str(message.content)
        await until(lambda: toolbox.tools)
        assert lines(log) == [how]


async def test_a_look_that_was_read_and_never_answered_is_repeated_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with (
        http_server("http", log, SUPPORT / "mcp_hangup.py") as server,
        opened({"web": spec(url=server.url)}) as toolbox,
    ):
        message = await ask(toolbox, "web/look")
        assert message.status == "error"
        assert "web/look failed twice" in str(message.content)
        assert lines(log) == ["look", "look"]


async def test_a_change_that_cannot_have_reached_a_restarted_server_is_run_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    patient = replace(QUICK, check=1000)
    async with (
        http_server("http", log) as server,
        opened({"web": spec(url=server.url)}, patient) as toolbox,
    ):
        await server.kill()
        await server.start()
        assert (await ask(toolbox, "web/write", text="a")).content == "written"
        assert lines(log) == ["write a"]


async def test_a_caller_that_leaves_does_not_harm_an_http_connection(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with (
        http_server("http", log) as server,
        opened({"web": spec(url=server.url)}) as toolbox,
    ):
        call = asyncio.create_task(ask(toolbox, "web/hang", mark="a"))
        await until(lambda: lines(log))
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: "cancelled a" in lines(log))
        before = toolbox.version
        assert (await ask(toolbox, "web/echo", text="alive")).content == "alive"
        assert toolbox.version == before


async def test_a_hanging_http_server_is_given_up_and_can_be_closed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with (
        http_server("http", log) as server,
        opened({"web": spec(url=server.url, timeout=0.5)}) as toolbox,
    ):
        await until(lambda: toolbox.tools)
        message = await ask(toolbox, "web/freeze")
        assert message.status == "error"
        await until(lambda: not toolbox.tools)
        assert "hangs" in str(toolbox.get_status()["web"].reason)


async def test_an_address_with_nothing_behind_it_says_so_without_its_secrets() -> None:
    servers = {
        "closed": spec(url="http://user:sesame@127.0.0.1:9/mcp?token=sesame"),
        "closed-sse": spec(url="http://127.0.0.1:9/sse", type="sse"),
    }
    async with opened(servers) as toolbox:
        for status in toolbox.get_status().values():
            assert status.status == "down"
            assert str(status.reason).startswith("cannot connect to http://127.0.0.1:9/")
            assert "sesame" not in str(status.reason)


async def test_a_wrong_path_says_so(tmp_path: Path) -> None:
    async with http_server("http", tmp_path / "log") as server:
        servers = {
            "path": spec(url=server.url.replace("/mcp", "/nowhere")),
            "kind": spec(url=server.url.replace("/mcp", "/nowhere"), type="sse"),
        }
        async with opened(servers) as toolbox:
            for status in toolbox.get_status().values():
                assert status.status == "down"
                assert "Check the path" in str(status.reason)


# Words


def test_secrets_are_blotted_out_and_folders_are_not(tmp_path: Path) -> None:
    hide = build_redaction(
        spec(
            command="python",
            args=["--dsn", "postgres://u:pass@h/db"],
            env={"TOKEN": "abcdefgh", "DATA": str(tmp_path), "LONG": "abcdefgh-and-more"},
        )
    )
    shown = hide.redact_text(f"abcdefgh abcdefgh-and-more {tmp_path} pass")
    assert shown == f"[redacted] [redacted] {tmp_path} [redacted]"


@pytest.mark.parametrize(
    ("entry", "line", "shown"),
    [
        ({"headers": {"X-Auth": "Bearer s3cr3ts3cr3t"}}, "a Bearer s3cr3ts3cr3t", "a [redacted]"),
        ({"headers": {"X-Auth": "Bearer s3cr3ts3cr3t"}}, "a bearer sent s3cr3ts3cr3t", "a bearer sent [redacted]"),
        ({"headers": {"Accept": "application/json"}}, "no application/json", "no application/json"),
        ({"url": "http://h/?key=a%2Fb-s3cr3t&page=12"}, "a/b-s3cr3t a%2Fb-s3cr3t, 12", "[redacted] [redacted], 12"),
        ({"url": "http://h/?api_key=a1b2"}, "what is a1b2?", "what is [redacted]?"),
        ({"url": "http://me:s3cr3t@h/"}, "sent bWU6czNjcjN0 to /", "sent [redacted] to /"),
    ],
)
def test_what_an_address_or_a_header_holds_is_blotted_out_in_all_its_forms(
    entry: dict[str, Any], line: str, shown: str
) -> None:
    assert build_redaction(spec(**{"url": "http://h", **entry})).redact_text(line) == shown


@pytest.mark.parametrize(
    ("args", "line", "shown"),
    [
        (["--api-key", "s3cr3t"], "usage: --api-key s3cr3t", "usage: --api-key [redacted]"),
        (["--token=s3cr3t"], "argv: s3cr3t", "argv: [redacted]"),
        (["API_TOKEN=s3cr3t"], "argv: s3cr3t", "argv: [redacted]"),
        (["--password", "--verbose", "s3cr3t"], "argv: --verbose s3cr3t", "argv: --verbose s3cr3t"),
        (["--root", "/srv/files"], "no /srv/files", "no /srv/files"),
    ],
)
def test_what_a_program_is_given_in_confidence_is_blotted_out(args: list[str], line: str, shown: str) -> None:
    assert build_redaction(spec(command="x", args=args)).redact_known(line) == shown


def test_ends_of_processes_have_words() -> None:
    assert describe_exit(None) == "closed its output"
    assert describe_exit(0) == "exited with status 0"
    assert describe_exit(-9) == "was killed by SIGKILL"
    assert describe_exit(-250) == "was killed by signal 250"


def test_a_large_image_is_left_out_and_structured_content_alone_becomes_the_text() -> None:
    image = {"type": "image", "data": "A" * 8_000_001, "mimeType": "image/png"}
    assert "too large" in render_result(RawResult(content=[image]), limit=100).content[0].model_dump()["text"]
    only = render_result(RawResult(structuredContent={"a": 1}), limit=100)
    assert only.content[0].model_dump()["text"] == '{"a": 1}'
    long = render_result(RawResult(structuredContent={"a": "x" * 200}), limit=100)
    assert long.structuredContent is None
    failed = render_result(RawResult(content=[{**image, "data": "AAAA"}], isError=True), limit=100)
    assert failed.content[0].model_dump()["text"] == "[image/png left out]"
