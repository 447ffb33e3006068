"""Graphs that call functions of the operator's own folder, over real HTTP."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from support.facade import serving, write_configs
from support.scripted_model import ScriptedModel
from support.tool_server import Tools
from test_reload import save, saved, until_ready
from typer.testing import CliRunner

from graphs.config.loader import load
from graphs.config.python_code import PythonCode
from server.cli.main import app


def calling(run: str, *, given: Mapping[str, Any] | None = None, into: Any = "any", **node: Any) -> dict[str, Any]:
    """A graph that calls a function and says what came of it."""
    step = {"type": "python", "run": run, "with": dict(given or {}), "into": "found", "on_error": "sorry", **node}
    return {
        "vars": {"found": into, "rows": {"type": "any[]", "default": [1, {"a": [2]}]}},
        "start": "step",
        "nodes": {
            "step": {"next": "say", **step},
            "say": {"type": "reply", "text": "{{ json(found) }} {{ json(rows) }}", "next": "end"},
            "sorry": {"type": "reply", "text": "{{ error.kind }}: {{ error.message }}", "next": "end"},
        },
    }


def write(folder: Path, model: ScriptedModel, graph: Mapping[str, Any], **files: str) -> Path:
    configs = write_configs(folder / "configs", model.url, {}, graphs={"assistant": graph})
    (configs / "python").mkdir()
    for name, text in files.items():
        (configs / "python" / f"{name}.py").write_text(dedent(text))
    return configs


async def talk(folder: Path, model: ScriptedModel, graph: Mapping[str, Any], reports: str, say: str = "hello") -> str:
    """What a person reads after one message to this graph."""
    async with serving(write(folder, model, graph, reports=reports), folder / "data") as facade:
        return await facade.say(say)


async def test_a_function_stands_between_a_call_and_a_reply(
    tmp_path: Path, tools: Tools, model: ScriptedModel, keys: None
) -> None:
    graph = {
        "vars": {"line": "string", "counts": {"fields": {"words": "int", "longest": "string", "who?": "string"}}},
        "start": "fetch",
        "nodes": {
            "fetch": {
                "type": "call",
                "tool": "files/echo",
                "args": {"text": "{{ message }}"},
                "into": "line",
                "next": "count",
            },
            "count": {
                "type": "python",
                "run": "reports:count",
                "with": {"text": "{{ line }}", "least": 3, "who": "for {{ caller.user }}"},
                "into": "counts",
                "next": "say",
            },
            "say": {"type": "reply", "text": "{{ counts.longest }} {{ counts }}", "next": "end"},
        },
    }
    configs = write_configs(tmp_path / "configs", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
    (configs / "python").mkdir()
    (configs / "python" / "words.py").write_text("def split(text: str) -> list[str]:\n    return text.split()\n")
    (configs / "python" / "reports.py").write_text(
        dedent("""
            from dataclasses import dataclass

            from .words import split

            @dataclass
            class Counts:
                words: int
                longest: str
                who: str | None = None

            def count(text: str, least: int, who: str | None = None) -> Counts:
                words = [word for word in split(text) if len(word) >= least]
                return Counts(len(words), max(words, key=len), who)
        """)
    )
    async with serving(configs, tmp_path / "data") as facade:
        answer = await facade.say("to be or rather not")
        metrics = await facade.http.get(f"{facade.url.removesuffix('/v1')}/metrics")
    assert answer == 'rather {"words":2,"longest":"rather","who":"for admin"}'
    assert 'interlock_node_seconds_count{graph="assistant",node="count",type="python"} 1.0' in metrics.text
    assert not [name for name in sys.modules if name in ("reports", "words")]
    assert not list((configs / "python").glob("__pycache__"))


async def test_an_async_function_is_awaited_on_the_loop(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    reports = """
        import asyncio, threading

        async def week(rows: list) -> dict[str, object]:
            await asyncio.sleep(0)
            return {"loop": asyncio.get_running_loop().is_running(), "thread": threading.current_thread().name}
    """
    answer = await talk(tmp_path, model, calling("reports:week", given={"rows": "{{ rows }}"}), reports)
    assert json.loads(answer.split(" ")[0])["thread"] == threading.main_thread().name


async def test_what_a_function_does_to_its_arguments_changes_no_variable(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    reports = """
        def week(rows):
            rows[1]["a"].append("changed")
            rows.clear()
            return len(rows)
    """
    answer = await talk(tmp_path, model, calling("reports:week", given={"rows": "{{ rows }}"}), reports)
    assert answer == '0 [1,{"a":[2]}]'


FAILED = "python: reports:week failed: "


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('no rows for\\n week 3')", f"{FAILED}ValueError: no rows for week 3"),
        ("raise SystemExit(3)", f"{FAILED}SystemExit: 3"),
        ("raise KeyboardInterrupt", f"{FAILED}KeyboardInterrupt"),
        ("import sys; sys.exit()", f"{FAILED}SystemExit"),
        ("import asyncio; raise asyncio.CancelledError", f"{FAILED}CancelledError"),
        ("return 1 / 0", f"{FAILED}ZeroDivisionError: division by zero"),
        ("import os; raise OSError(os.environ['REPORTS_PASSWORD'])", f"{FAILED}OSError: [redacted]"),
        ("raise OSError('postgres://ada:geheim99@db/x')", f"{FAILED}OSError: postgres://ada:[redacted]@db/x"),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()", f"{FAILED}Odd"),
        ("return object()", None),
        ("return {'x': float('nan')}", None),
        ("return 2 ** 80", None),
        ("x = []; x.append(x); return x", None),
        ("return b'\\xff'", None),
        ("return list(range(200_000))", None),
        ("return 'x' * 5_000_000", None),
    ],
)
async def test_whatever_a_function_does_the_turn_goes_on_and_the_server_stays(
    body: str,
    said: str | None,
    kind: str,
    tmp_path: Path,
    model: ScriptedModel,
    keys: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("REPORTS_PASSWORD", "geheim-genug")
    async with serving(
        write(tmp_path, model, calling("reports:week"), reports=f"{kind} week():\n    {body}\n"), tmp_path / "data"
    ) as facade:
        answer = await facade.say("hello")
        again = await facade.say("hello")
    assert answer == again
    if said is not None:
        assert answer == said
        assert any(record.exc_info for record in caplog.records if record.name == "graphs.nodes.python")
    else:
        assert answer.startswith("invalid: graphs/assistant.yaml, node 'step', into: what reports:week returned ")
    assert "Traceback" not in answer
    assert len(answer) < 400


async def test_without_an_error_way_the_turn_ends_in_words(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    graph = calling("reports:week", on_error="end")
    del graph["nodes"]["sorry"], graph["nodes"]["step"]["on_error"]
    answer = await talk(tmp_path, model, graph, "def week():\n    raise KeyError('x')\n")
    assert answer == "The graph stopped here: reports:week failed: KeyError: 'x'."


async def test_a_value_that_does_not_fit_its_parameter_never_comes_to_the_function(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    graph = calling("reports:week", given={"rows": "{{ rows }}"})
    answer = await talk(tmp_path, model, graph, "def week(rows: list[int]) -> int:\n    return sum(rows)\n")
    assert answer == (
        "invalid: graphs/assistant.yaml, node 'step', with: 'rows' does not fit: at '[1]', input should be a valid"
        " integer"
    )


BLOCKING = """
    import threading, asyncio

    gate = threading.Event()
    ended = []

    def block(**more):
        gate.wait(20)
        ended.append(1)
        return "late"

    async def swallow():
        while not gate.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                pass
"""


@pytest.mark.parametrize("function", ["block", "swallow"])
async def test_after_its_timeout_a_function_is_left_to_itself(
    function: str, tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    graph = calling(f"reports:{function}", timeout="0.2s")
    began = time.monotonic()
    try:
        answer = await talk(tmp_path, model, graph, BLOCKING)
    finally:
        open_gates()
    assert answer == "timeout: node 'step' took longer than 0.2 seconds"
    assert time.monotonic() - began < 10  # the server ended too, with the function still running


def open_gates() -> None:
    for name, module in sys.modules.copy().items():
        if name.startswith("_interlock_python_") and hasattr(module, "gate"):
            module.gate.set()


async def test_functions_that_never_end_take_their_places_and_no_more(
    tmp_path: Path, model: ScriptedModel, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphs.nodes.function_call.FunctionThreads.__init__.__defaults__", (2,))
    graph = calling("reports:block", timeout="0.2s")
    try:
        async with serving(write(tmp_path, model, graph, reports=BLOCKING), tmp_path / "data") as facade:
            for _ in range(4):
                assert (await facade.say("hello")).startswith("timeout")
            assert sum(thread.name == "python node" for thread in threading.enumerate()) == 2
            open_gates()
            assert (await facade.say("hello")).startswith('"late"')
    finally:
        open_gates()


async def test_retry_calls_again_what_failed(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    reports = """
        calls = []

        def week():
            calls.append(1)
            if len(calls) < 3:
                raise OSError("not yet")
            return len(calls)
    """
    graph = calling("reports:week", retry={"times": 3, "wait": "0.01s"})
    assert (await talk(tmp_path, model, graph, reports)).startswith("3 ")


async def test_retry_holds_for_a_function_that_returns_nothing_too(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    reports = """
        calls = []

        def send():
            calls.append(1)
            if len(calls) < 3:
                raise OSError("not yet")

        def count():
            return len(calls)
    """
    graph = calling("reports:count")
    graph["nodes"]["send"] = {
        "type": "python", "run": "reports:send", "retry": {"times": 3, "wait": "0.01s"}, "next": "step",
    }  # fmt: skip
    graph["start"] = "send"
    assert (await talk(tmp_path, model, graph, reports)).startswith("3 ")


SLOW = """
    import asyncio

    from . import texts

    gate = asyncio.Event()

    async def week():
        await gate.wait()
        from .texts import name
        return name() + texts.name()
"""


async def test_a_turn_under_way_keeps_the_code_that_it_began_with(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    configs = write(
        tmp_path, model, calling("reports:week"), reports=SLOW, texts="def name() -> str:\n    return 'old '\n"
    )
    gc.collect()
    others = packages()
    async with serving(configs, tmp_path / "data") as facade:
        turn = asyncio.create_task(facade.say("hello"))
        await asyncio.sleep(0.3)
        first = packages() - others
        await saved(facade, configs / "python" / "texts.py", "def name() -> str:\n    return 'new '\n")
        [second] = packages() - others - first
        for package in packages() - others:
            sys.modules[f"{package}.reports"].gate.set()
        assert (await turn).startswith('"old old "')
        assert (await facade.say("hello")).startswith('"new new "')
        # The first stays, since the process holds what it was started with; any other goes with its last turn.
        await saved(facade, configs / "python" / "texts.py", "def name() -> str:\n    return 'newer '\n")
        async with asyncio.timeout(10):
            while second in packages():
                gc.collect()
                await asyncio.to_thread(load, configs, {})


def packages() -> set[str]:
    """The private packages that are imported now."""
    return {name.split(".")[0] for name in sys.modules.copy() if name.startswith("_interlock_python_")}


async def test_a_mistake_in_a_file_is_shown_and_the_code_of_before_goes_on(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    configs = write(tmp_path, model, calling("reports:week"), reports="def week():\n    return 1\n")
    async with serving(configs, tmp_path / "data") as facade:
        before = (await facade.ready()).json()
        save(configs / "python" / "reports.py", "def week()\n    return 2\n")
        state = await until_ready(facade, lambda state: state["problems"])
        assert state["problems"] == ["python/reports.py:1:11: this is no Python: expected ':'"]
        assert state["snapshot"] == before["snapshot"]
        assert (await facade.say("hello")).startswith("1 ")
        save(configs / "python" / "reports.py", "def week():\n    return 2\n")
        await until_ready(facade, lambda state: not state["problems"] and state["snapshot"] != before["snapshot"])
        assert (await facade.say("hello")).startswith("2 ")


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


CASES = {
    "as": {"role": "admin", "user": "ada"},
    "cases": {"it counts": {"say": "x", "expect": {"route": ["step", "say", "end"], "vars": {"found": 2}}}},
}


def test_a_test_beside_the_graph_runs_the_function_itself(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    configs = write(
        tmp_path,
        model,
        calling("reports:week", given={"rows": "{{ rows }}"}),
        reports="def week(rows: list) -> int:\n    return len(rows)\n",
    )
    (configs / "graphs" / "assistant.test.yaml").write_text(yaml.safe_dump(CASES, sort_keys=False))
    result = run("test", "--configs", configs)
    assert result.exit_code == 0, result.output


def test_to_compare_two_versions_runs_neither(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    marker = tmp_path / "was-run"
    old = write(tmp_path / "old", model, calling("reports:week"), reports="def week():\n    return 1\n")
    new = write(
        tmp_path / "new",
        model,
        calling("reports:week", given={"n": 1}),
        reports=f"import pathlib\npathlib.Path({str(marker)!r}).touch()\ndef week(n):\n    return n\n",
    )
    result = run("diff", old, new)
    assert result.exit_code == 0, result.output
    assert "node step: with.n: none → 1" in result.output
    assert "its code is another" in result.output
    assert run("diff", old, new, "--fail-on", "rights").exit_code == 1
    assert not marker.exists()
    assert run("check", new).exit_code == 0
    assert marker.exists()


def test_drawings_name_the_function_and_run_nothing(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    configs = write(tmp_path, model, calling("reports:week"), reports="raise SystemExit\n")
    for ending in ("svg", "mmd", "png"):
        file = tmp_path / f"drawn.{ending}"
        run("draw", "assistant", "--configs", configs, "--output", file)
        assert file.stat().st_size > 0
        assert ending == "png" or "calls reports" in file.read_text()


def test_what_nobody_holds_any_more_is_forgotten_when_the_next_is_read(tmp_path: Path) -> None:
    gc.collect()
    before = packages()
    code = PythonCode(tmp_path, {"reports": "from . import other\n", "other": "import json\n"})
    code.import_file("reports")
    [package] = packages() - before
    assert {f"{package}.reports", f"{package}.other"} <= sys.modules.keys()
    del code
    gc.collect()
    PythonCode(tmp_path, {})
    assert not packages() - before


def test_a_file_that_never_comes_to_its_end_is_a_mistake(
    tmp_path: Path, model: ScriptedModel, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphs.config.python_code.IMPORT_PATIENCE", 0.2)
    reports = "import threading\n\ngate = threading.Event()\ngate.wait(20)\n"
    configs = write(tmp_path, model, calling("reports:week"), reports=reports)
    try:
        result = run("check", configs)
    finally:
        open_gates()
    assert result.exit_code == 1
    assert result.stdout == (
        "python/reports.py:0:0: importing this file took more than 0.2 seconds; do in a function what takes long\n"
    )


def test_a_folder_that_no_graph_calls_is_neither_read_nor_run(tmp_path: Path, model: ScriptedModel) -> None:
    plain = {"start": "say", "nodes": {"say": {"type": "reply", "text": "Hello.", "next": "end"}}}
    configs = write(tmp_path, model, plain, reports="raise SystemExit\n")
    before = load(configs, {}).id
    (configs / "python" / "reports.py").write_text("this is none\n")
    assert load(configs, {}).id == before


def test_every_file_of_the_folder_belongs_to_the_version(tmp_path: Path, model: ScriptedModel) -> None:
    configs = write(tmp_path, model, calling("reports:week"), reports="def week():\n    return 1\n", words="")
    before = load(configs, {})
    (configs / "python" / "words.py").write_text("# another\n")
    assert load(configs, {}).id != before.id
    assert load(configs, {}, imports_python=False).id == load(configs, {}).id


async def test_a_function_runs_for_every_item_and_one_that_takes_too_long_fails_alone(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    reports = """
        import asyncio

        async def double(n: int) -> int:
            await asyncio.sleep(30 if n == 2 else 0)
            return 2 * n
    """
    do = {"type": "python", "run": "reports:double", "with": {"n": "{{ item }}"}, "timeout": "300ms"}
    each = {"type": "map", "over": "[1, 2, 3]", "do": do, "into": "found", "drop_errors": True, "next": "say"}
    graph = {
        "vars": {"found": "int[]"},
        "start": "each",
        "nodes": {"each": each, "say": {"type": "reply", "text": "{{ found }}", "next": "end"}},
    }
    assert await talk(tmp_path, model, graph, reports) == "[2,6]"
