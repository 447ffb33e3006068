"""docs/first-minutes.md as somebody follows it who has never been here: its commands typed in a fresh clone, in an
environment without settings, and what it says of the browser done in Chromium.

Unlike on that person's machine, the caches of pip and uv are warm, and Open WebUI, which uv would download, is on the
PATH already: facade/cli/test_open_webui_command.py holds the line with which uv gets it. The ports are free ones.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Playwright
from support.chatmodel import ChatModel
from support.chatpage import FLAGS, PATIENCE, ChatPage
from support.environments import program, python_environment
from support.openwebui import ADA
from support.page_script import FIRST_MINUTES, Newcomer, read_questions, read_steps
from support.processes import free_port
from support.scripted_model import Answer, Call, ScriptedModel

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "first-minutes.md").read_text()
START, OPEN, *LATER = read_steps(PAGE)
INDEX = re.compile(r"^(PIP|UV|SSL)_|^(HTTPS?|NO)_PROXY$", re.IGNORECASE)
"""Variables that say how this machine reaches the package index."""
PORTS = {"8080": free_port(), "3000": free_port()}


@pytest.fixture
def newcomer(tmp_path: Path, upstream: ScriptedModel) -> Iterator[Newcomer]:
    """In an empty folder, with a home that is empty too."""
    for name in ("bin", "home", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "open-webui").symlink_to(python_environment("open-webui") / "bin" / "open-webui")
    cache = subprocess.run([sys.executable, "-m", "uv", "cache", "dir"], capture_output=True, text=True, check=True)
    env = {
        "PATH": f"{tmp_path / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "PYTHON": sys.executable,
        "PORT": str(PORTS["8080"]),
        **{name: value for name, value in os.environ.items() if INDEX.match(name)},
        "UV_CACHE_DIR": cache.stdout.strip(),
    }
    exports = {"LITELLM_BASE_URL": upstream.url, "LITELLM_API_KEY": "sk-of-the-tests", "INTERLOCK_MODEL": "scripted"}
    words = {
        "ADDRESS": str(ROOT),
        "https://api.openai.com/v1": upstream.url,
        "interlock open-webui": f"interlock open-webui --port {PORTS['3000']}",
        **{f"127.0.0.1:{port}": f"127.0.0.1:{ours}" for port, ours in PORTS.items()},
    }
    lasting = ("make serve", ".venv/bin/interlock open-webui")
    with ExitStack() as stack:
        yield Newcomer(tmp_path / "here", env, exports, words, lasting, stack)


@pytest.fixture
def window(playwright: Playwright, screenshots: Path) -> Iterator[ChatPage]:
    """An empty window of a browser in which nobody is signed in."""
    chromium = program("chromium", "install Debian's package chromium")
    with playwright.chromium.launch(executable_path=chromium, args=FLAGS) as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(PATIENCE)
        yield ChatPage(context.new_page(), screenshots)


def test_the_page_leads_from_a_clone_to_answers_with_tools_in_open_webui(
    newcomer: Newcomer, window: ChatPage, model: ChatModel, request: pytest.FixtureRequest
) -> None:
    first, second = read_questions(PAGE)
    [address] = re.findall(r"^Open <(\S+)> in your browser", PAGE, re.MULTILINE)
    times = [time.monotonic()]
    newcomer.follow(START)
    times.append(time.monotonic())
    newcomer.follow(OPEN)
    times.append(time.monotonic())

    window.go(newcomer.translate(address))
    window.sign_up(ADA)
    window.choose("assistant")
    answer = window.ask(first)
    times.append(time.monotonic())
    begun, served, opened, answered = times
    taken = (
        f"{answered - begun:.0f} s from `git clone` to an answer with tools in Open WebUI: {served - begun:.0f} s until"
        f" Interlock serves, {opened - served:.0f} s until the page is there, {answered - opened:.0f} s on the page;"
        " with warm caches, and Open WebUI installed"
    )
    # Not by record_property, which warns where the report is JUnit's.
    request.node.user_properties.append((FIRST_MINUTES, taken))
    cards = window.cards()
    assert [card.state for card in cards] == ["done", "done"]
    assert [f"`{card.name}`" in PAGE for card in cards] == [True, True]
    assert "4711" in answer
    window.shoot_variants("first-minutes-answer")

    window.send(second)
    window.question()
    window.shoot_variants("first-minutes-approval")
    written = newcomer.folder / "data" / "workspace" / "notes.txt"
    assert not written.exists()
    window.decide("Approve")
    window.answer()
    assert f"`{written.relative_to(newcomer.folder)}`" in PAGE
    assert written.read_text() == "hello"

    look, serve_own_model, examine = LATER
    assert "filesystem/write_file" in newcomer.follow(look)
    assert "Traceback" not in newcomer.interrupt("make serve")
    newcomer.follow(serve_own_model)
    model.script(Answer(calls=[Call("filesystem__read_file", {"path": "/workspace/notes.txt"})]), "It says hello.")
    assert window.ask("What do my notes say?") == "It says hello."
    assert [card.output for card in window.cards()] == ["hello"]
    assert "FAIL" not in newcomer.follow(examine)
    for command in newcomer.lasting:
        assert "Traceback" not in newcomer.interrupt(command)
