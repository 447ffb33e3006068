"""The whole road, once for all tests: Chromium, Open WebUI, Interlock, a scripted model and an MCP server."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright
from support.chatmodel import ChatModel
from support.chatpage import FLAGS, PATIENCE, ChatPage, Chromium
from support.environments import program
from support.gateway import PinnedGateway
from support.openwebui import ADA, BEN, JWT_SECRET, KEY, OPERATOR_KEY, OpenWebUI, open_webui
from support.page_script import FIRST_MINUTES
from support.processes import free_port
from support.scripted_model import ScriptedModel
from support.tool_server import Tools

HERE = Path(__file__).parent
SHELF = HERE.parents[1] / "configs" / "shelf"
SHELF_GRAPHS = ("reviewed-writer", "ticket-intake", "researcher")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            # The first one on a machine installs Open WebUI, and each first one waits for its start.
            item.add_marker(pytest.mark.timeout(1200))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how long it took to follow docs/first-minutes.md."""
    for report in terminalreporter.stats.get("passed", ()):
        for name, value in report.user_properties:
            if name == FIRST_MINUTES:
                terminalreporter.write_line(f"{FIRST_MINUTES}: {value}")


@pytest.fixture(scope="session")
def parts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e2e")


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """A browser for the pages of one file."""
    browser = playwright.chromium.launch(executable_path=program("chromium", "install Debian's chromium"), args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def screenshots(parts_folder: Path) -> Path:
    """Where the pictures go: INTERLOCK_SCREENSHOTS, or a folder of this run's."""
    return Path(os.environ.get("INTERLOCK_SCREENSHOTS") or parts_folder / "screenshots")


@pytest.fixture(scope="session")
def upstream() -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        yield model


@pytest.fixture
def model(upstream: ScriptedModel) -> ChatModel:
    """What Interlock asks, with no script and no memory."""
    upstream.reset()
    return ChatModel(upstream)


@pytest.fixture(scope="session")
def port() -> int:
    """Interlock's: Open WebUI must be told before either is there."""
    return free_port()


@pytest.fixture(scope="session")
def webui_starting(port: int, parts_folder: Path) -> Iterator[OpenWebUI]:
    """Open WebUI on its way up, which takes a minute: ask for this first, then for the others, then for `webui`."""
    with open_webui(parts_folder / "open-webui", f"http://127.0.0.1:{port}/v1", KEY) as page:
        yield page


@pytest.fixture(scope="session")
def interlock(
    webui_starting: OpenWebUI, port: int, upstream: ScriptedModel, tools_process: Tools, parts_folder: Path
) -> Iterator[PinnedGateway]:
    """`interlock serve` with tests/e2e/configs, and graphs of the shelf beside its own."""
    configs = shutil.copytree(HERE / "configs", parts_folder / "configs")
    for name in SHELF_GRAPHS:
        shutil.copy(SHELF / f"{name}.yaml", configs / "graphs")
    env = {
        "LITELLM_BASE_URL": upstream.url,
        "LITELLM_API_KEY": "sk-of-the-tests",
        "INTERLOCK_MODEL": "scripted",
        "INTERLOCK_OPENWEBUI_KEY": KEY,
        "INTERLOCK_OPERATOR_KEY": OPERATOR_KEY,
        "INTERLOCK_FORWARDED_JWT_SECRET": JWT_SECRET,
        "TOOLS_URL": tools_process.url,
        "TESTS_PYTHON": sys.executable,
        "WORKSPACE": str(parts_folder / "files"),
    }
    served = PinnedGateway(configs, parts_folder / "interlock", env, port, showing="INTERLOCK_OPERATOR_KEY")
    yield served
    served.stop()


@pytest.fixture(scope="session")
def webui(webui_starting: OpenWebUI, interlock: PinnedGateway) -> OpenWebUI:
    webui_starting.wait()
    return webui_starting


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browsers(playwright: Playwright, webui: OpenWebUI, screenshots: Path) -> dict[str, Chromium]:
    """Each person's own, by first name."""
    chromium = program("chromium", "install Debian's package chromium")
    return {
        person.name.split()[0].lower(): Chromium(playwright, chromium, webui.url, person, screenshots)
        for person in (ADA, BEN)
    }


@pytest.fixture
def ada(browsers: dict[str, Chromium], request: pytest.FixtureRequest) -> Iterator[Chromium]:
    """The administrator's browser."""
    yield from until_the_end(browsers["ada"], request)


@pytest.fixture
def ben(browsers: dict[str, Chromium], request: pytest.FixtureRequest) -> Iterator[Chromium]:
    """The browser of somebody without special rights."""
    yield from until_the_end(browsers["ben"], request)


def until_the_end(browser: Chromium, request: pytest.FixtureRequest) -> Iterator[Chromium]:
    yield browser
    # Of a failed test this says more than its words.
    browser.shoot(f"{request.node.name}-end")
    browser.close()


@pytest.fixture
def page(ada: Chromium, model: ChatModel, tools: Tools) -> ChatPage:
    """A new chat of the administrator's with `assistant`; no tool has run and the model's script is empty."""
    page = ada.open()
    page.choose("assistant")
    return page
