"""The console in a real Chromium: each key sees what its role may see, and what is approved there goes on."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, expect
from support.chatmodel import ChatModel
from support.chatpage import ChatPage
from support.consolepage import ConsolePage, console_page
from support.facade import ASSISTANT, content, write_configs
from support.gateway import ADMIN_KEY, DEVELOPER_KEY, PinnedGateway
from support.openwebui import KEY, OPERATOR_KEY
from support.processes import free_port
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_replies import what_the_tools_said
from support.tool_server import Tools

from graphs.store.store import Store
from graphs.store.turns import TurnRow, TurnSummary

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
WAITING = {"x-interlock-approvals": "wait"}
ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}
RESTRICTED_KEY = "ilk_restricted-of-the-tests"
CHATS_KEY = "ilk_chats-of-the-tests"
BUSY_KEY = "ilk_busy-of-the-tests"
"""The key of somebody with a long past."""
ACCESS: dict[str, Any] = {
    "roles": {
        "admin": {
            "allow": ["*"],
            "ask": [{"tool": "files/write", "expires": "15m"}],
            "deny": [{"tool": "files/environment", "reason": "The environment may hold secrets."}],
        },
        "developer": {
            "allow": ["files/echo"],
            "ask": [{"tool": "files/write", "approver": "admin", "expires": "15m"}],
            "graphs": ["assistant"],
        },
        "restricted": {"allow": ["elsewhere/*"], "graphs": ["nothing"]},
    },
    "keys": [
        {"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"},
        {"name": "developer", "role": "developer", "env": "INTERLOCK_DEVELOPER_KEY"},
        {"name": "restricted", "role": "restricted", "env": "RESTRICTED_KEY"},
        {"name": "busy", "role": "developer", "env": "BUSY_KEY"},
        {"name": "chats", "role": "developer", "env": "CHATS_KEY", "forwards_users": True},
    ],
}


FORM: dict[str, Any] = {
    "vars": {"ticket": {"fields": {"title": "string", "system": ["shop", "app"], "copies?": "int"}}, "sure": "bool"},
    "start": "form",
    "nodes": {
        "form": {"type": "question", "question": "Complete it\u202e.", "into": "ticket", "by": "admin", "next": "sure"},
        "sure": {"type": "question", "question": "Sure?", "into": "sure", "next": "say"},
        "say": {"type": "reply", "text": "{{ ticket }} {{ sure }}", "next": "end"},
    },
}


@pytest.fixture(scope="module")
def served(
    upstream: ScriptedModel, tools_process: Tools, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PinnedGateway]:
    """Interlock with two graphs, one server that is up and one whose program is not there."""
    folder = tmp_path_factory.mktemp("console")
    servers = {"files": {"url": tools_process.url}, "npm-things": {"command": "no-such-npx", "args": ["-y", "things"]}}
    graphs = {"assistant": ASSISTANT, "strange": {**ASSISTANT, "description": f"Strange {HOSTILE}"}, "form": FORM}
    configs = write_configs(folder / "configs", upstream.url, servers, access=ACCESS, graphs=graphs)
    env = {"RESTRICTED_KEY": RESTRICTED_KEY, "BUSY_KEY": BUSY_KEY, "CHATS_KEY": CHATS_KEY}
    with ThreadPoolExecutor(1) as elsewhere:  # in this thread Playwright's event loop runs
        elsewhere.submit(asyncio.run, remembered(folder / "data", 205)).result()
    gateway = PinnedGateway(configs, folder / "data", env, free_port(), down=["npm-things"])
    yield gateway
    gateway.stop()


async def remembered(data: Path, number: int) -> None:
    """A past of so many turns for the key `busy`."""
    store = await Store.open("", data)
    for at in range(number):
        began = time.time() - number + at
        story = TurnSummary(question=f"Numbered {at}.", began=began, rounds=1, continues=None)
        row = TurnRow(
            id=f"turn-{at}",
            owner="key:busy",
            graph="assistant",
            created=began + 0.5,
            status="finished",
            base="",
            text=f"Answer {at}.",
            story=story,
        )
        await store.turns.add(row)
    await store.close()


@pytest.fixture
def console(chromium: Browser, served: PinnedGateway, screenshots: Path) -> Iterator[ConsolePage]:
    """A fresh tab. Whatever the test does, nothing may leave the server, and the browser has nothing to complain of."""
    with console_page(chromium, served.now.root, screenshots) as page:
        yield page
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith(f"{served.now.root}/")] == []


def asked(
    served: PinnedGateway,
    words: str,
    *,
    key: str = ADMIN_KEY,
    model: str = "assistant",
    headers: Mapping[str, str] | None = None,
) -> str:
    """The text of a streamed answer, over HTTP."""
    headers = {"authorization": f"Bearer {key}", **(headers or {})}
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": words}]}
    answer = httpx.post(f"{served.url}/chat/completions", json=body, headers=headers, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text
    return content(answer.text)


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    """For chats that stay open while the page is used."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


def waiting(pool: ThreadPoolExecutor, served: PinnedGateway, words: str, key: str = ADMIN_KEY) -> Future[str]:
    return pool.submit(asked, served, words, key=key, headers=WAITING)


def write(text: str) -> Answer:
    return Answer("I will write. ", calls=[Call("files__write", {"text": text})])


def test_a_wrong_key_is_told_so_in_words_and_a_right_one_outlives_a_reload_but_not_the_sign_out(
    console: ConsolePage,
) -> None:
    console.go()
    console.shoot("sign-in")
    console.sign_in("ключ")
    expect(console.page.get_by_role("alert").filter(has_text="This cannot be a key")).to_be_visible()
    console.sign_in("ilk_nobodys")
    expect(console.page.get_by_role("alert").filter(has_text="This API key is not known here")).to_be_visible()
    expect(console.page.locator("#board")).to_be_hidden()

    console.sign_in(ADMIN_KEY)
    expect(console.page.locator("#who-name")).to_have_text("admin · role admin")
    console.page.reload()
    expect(console.page.locator("#who-name")).to_have_text("admin · role admin")
    assert all(ADMIN_KEY not in url for url in console.requests)
    assert console.page.evaluate("[document.cookie, localStorage.length]") == ["", 0]

    console.page.get_by_role("button", name="Sign out").click()
    expect(console.page.get_by_label("Interlock key")).to_be_focused()
    expect(console.page.get_by_label("Interlock key")).to_have_value("")
    console.page.reload()
    expect(console.page.get_by_label("Interlock key")).to_be_visible()
    assert "Answers with the help" not in console.page.content()


def test_servers_say_why_they_are_down(console: ConsolePage) -> None:
    console.enter(ADMIN_KEY)
    up, down = console.server("files"), console.server("npm-things")
    expect(up.locator(".pill")).to_have_text("up")
    up.get_by_text("tools for your role").click()
    expect(up.get_by_text("echo", exact=True)).to_be_visible()
    expect(up.get_by_text("environment", exact=True)).to_have_count(0)
    expect(down.locator(".pill")).to_have_text("down")
    expect(down).to_contain_text("no-such-npx: not found")


def test_a_turn_shows_as_a_timeline(
    console: ConsolePage, served: PinnedGateway, model: ChatModel, tools: Tools
) -> None:
    calls = [Call("files__echo", {"text": "ahoy", "deep": 1}), Call("files__environment"), Call("files__fails")]
    model.script(Answer(calls=[calls[0]]), Answer(calls=calls[1:]), "All three tried.")
    console.enter(ADMIN_KEY)
    asked(served, "Try three tools.")

    turn = console.opened("Try three tools.")
    way = turn.locator("details.path")
    expect(way.locator("summary")).to_contain_text(re.compile(r"The way through the graph: 7 steps, [\d,]+ tokens in"))
    expect(way.locator("code")).to_have_text(["agent", "check", "act", "agent", "check", "act", "agent"])
    expect(way.locator("li.step").first).to_contain_text("way 1 of 2 → check")
    expect(way.locator(".models li")).to_have_count(3)
    expect(way.locator(".models li").first).to_have_text(re.compile(r"^scripted, \d.*s, [\d,]+ tokens in, [\d,]+ out$"))
    console.shoot("timeline")
    echo, environment, fails = turn.locator(".call").all()
    expect(turn.locator("summary").first).to_contain_text("3 calls")
    expect(turn.locator("summary").first).to_contain_text("finished")
    expect(turn.get_by_text("3 model rounds")).to_be_visible()
    expect(echo.locator(".pill")).to_have_text(["allowed", "done"])
    expect(echo).to_contain_text("role admin, allow '*' (access.yaml:")
    expect(echo.locator(".when")).to_have_text(re.compile(r"^\+\d.*, took \d"))
    expect(echo.locator("pre").first).to_contain_text('"text": "ahoy"')
    expect(environment.locator("> .what .pill")).to_have_text(["denied", "not run"])
    expect(environment).to_contain_text("role admin, deny 'files/environment' (access.yaml:")
    expect(environment).to_contain_text("The environment may hold secrets.")
    expect(fails.locator(".pill")).to_have_text(["allowed", "failed"])
    expect(fails).to_contain_text("no such table: customers")
    expect(turn).to_contain_text("All three tried.")


def test_approving_here_lets_the_open_answer_go_on(
    console: ConsolePage, served: PinnedGateway, model: ChatModel, tools: Tools, elsewhere: ThreadPoolExecutor
) -> None:
    model.script(write("line one\nline two\u202e"), what_the_tools_said)
    console.enter(ADMIN_KEY)
    expect(console.page.get_by_text("No call waits for a decision.")).to_be_visible()
    answer = waiting(elsewhere, served, "Write two lines.")
    card = console.approval("line one")
    expect(card).to_contain_text("files/write")
    card.get_by_text("Why it is asked").click()
    expect(card).to_contain_text("role admin, ask 'files/write' (access.yaml:")
    expect(card).to_contain_text(re.compile(r"expires in 1\d min \d+ s"))
    expect(card.locator("dd pre")).to_have_text("line one\nline twoU+202E")
    expect(card.locator("dd .ghost")).to_have_text("U+202E")
    expect(console.page).to_have_title("(1) Interlock console")
    assert console.spoken() == "1 call waits for a decision: files/write."
    console.shoot("approval")
    assert tools.ran() == []

    console.decide(card, "Approve", note="go ahead")
    expect(card.locator(".pill")).to_have_text("approved by you")
    console.shoot("approved")
    assert answer.result(30).endswith("I found written")
    assert tools.ran() == ["write line one", "line two\u202e"]
    expect(console.page).to_have_title("Interlock console")
    card.get_by_role("button", name="Dismiss").click()
    expect(console.page.get_by_text("No call waits for a decision.")).to_be_visible()

    turn = console.opened("Write two lines.")
    console.shoot("approved-turn")
    expect(turn.locator(".call .pill")).to_have_text(["asked", "done"])
    expect(turn.locator(".approved")).to_contain_text(
        re.compile("Approved by admin at .* after it was asked. “go ahead”")
    )


def test_a_question_is_answered_here(
    console: ConsolePage, served: PinnedGateway, elsewhere: ThreadPoolExecutor
) -> None:
    """With a form for several values, with buttons for one choice; what does not fit is said beside it."""
    console.enter(ADMIN_KEY)
    answer = elsewhere.submit(asked, served, "go", model="form", headers=WAITING)
    card = console.page.locator("#question-list > li")
    expect(card).to_contain_text("Complete itU+202E.")
    expect(card).to_contain_text("Asked of the role admin in form")
    assert console.spoken() == "1 question waits for an answer: Complete it[U+202E]."
    card.get_by_label("title").fill("It fails")
    card.get_by_label("system").select_option("app")
    card.get_by_label("copies").fill("two")
    card.get_by_role("button", name="Answer").click()
    expect(card.get_by_role("alert")).to_have_text("The answer at 'copies' is a text; expected a whole number.")
    console.shoot("question")
    card.get_by_label("copies").fill("2")
    card.get_by_role("button", name="Answer").click()
    expect(card).to_contain_text("Sure?")
    card.get_by_role("button", name="Yes").click()
    assert answer.result(30).endswith('{"title":"It fails","system":"app","copies":2} true')
    expect(console.page.locator("#questions")).to_be_hidden()


def test_rejecting_here_runs_nothing_and_the_note_reaches_the_model(
    console: ConsolePage, served: PinnedGateway, model: ChatModel, tools: Tools, elsewhere: ThreadPoolExecutor
) -> None:
    model.script(write("never"), what_the_tools_said)
    console.enter(ADMIN_KEY)
    answer = waiting(elsewhere, served, "Write never.")
    card = console.approval("never")
    # By keyboard alone.
    card.get_by_label("Note").focus()
    console.page.keyboard.type("not today")
    console.page.keyboard.press("Tab")
    expect(card.get_by_role("button", name="Reject")).to_be_focused()
    console.page.keyboard.press("Enter")
    expect(card.locator(".pill")).to_have_text("rejected by you")
    expect(card.get_by_role("button", name="Dismiss")).to_be_focused()
    assert "rejected by the user: not today" in answer.result(30)
    assert tools.ran() == []


def test_a_role_that_approves_decides_for_others_and_somebody_elses_decision_shows_here(
    console: ConsolePage,
    chromium: Browser,
    served: PinnedGateway,
    screenshots: Path,
    model: ChatModel,
    tools: Tools,
    elsewhere: ThreadPoolExecutor,
) -> None:
    model.script(write("for a developer"), what_the_tools_said)
    console.enter(ADMIN_KEY)
    with console_page(chromium, served.now.root, screenshots) as other:
        other.enter(DEVELOPER_KEY)
        answer = waiting(elsewhere, served, "Write for me.", DEVELOPER_KEY)
        theirs = other.approval("for a developer")
        expect(theirs).to_contain_text("Only the role admin may decide this.")
        expect(theirs.get_by_role("button", name="Approve")).to_have_count(0)
        card = console.approval("for a developer")
        expect(card).to_contain_text("developer asked in assistant")
        console.decide(card, "Approve")
        expect(theirs.locator(".pill")).to_have_text("approved by admin")
        assert answer.result(30).endswith("I found written")
        expect(other.turn("Write for me.")).to_be_visible()
        assert other.complaints == []
    # What another asked is decided here, but their conversation stays their own.
    expect(console.turn("Write for me.")).to_have_count(0)


REFUSALS = {
    403: ("not_allowed", "Only the role admin may decide abc."),
    409: ("already_decided", "approval abc is already approved by ben; it cannot be decided again"),
    410: ("expired", "approval abc has expired; ask for the call again"),
}


def test_a_decision_that_comes_too_late_or_is_not_allowed_is_told_in_words(
    console: ConsolePage, served: PinnedGateway, model: ChatModel, tools: Tools, elsewhere: ThreadPoolExecutor
) -> None:
    calls = [Call("files__write", {"text": f"refused with {status}"}) for status in REFUSALS]
    model.script(Answer(calls=calls), what_the_tools_said)
    console.enter(ADMIN_KEY)
    answer = waiting(elsewhere, served, "Write three times.")
    for status, (code, words) in REFUSALS.items():
        refusal = {"error": {"message": words, "type": "invalid_request_error", "code": code, "param": None}}
        card = console.approval(f"refused with {status}")
        with console.answering("POST", "**/v1/approvals/*", status, refusal):
            card.get_by_role("button", name="Approve").click()
            expect(card).to_contain_text(words[0].upper() + words[1:].rstrip("."))
    expect(console.approval("refused with 403").get_by_role("button", name="Approve")).to_be_enabled()
    console.page.reload()
    for status in REFUSALS:
        console.decide(console.approval(f"refused with {status}"), "Reject")
    answer.result(30)
    assert tools.ran() == []


def test_another_key_sees_nothing_of_it(
    console: ConsolePage, served: PinnedGateway, model: ChatModel, elsewhere: ThreadPoolExecutor
) -> None:
    model.script(write("private matters"), what_the_tools_said)
    answer = waiting(elsewhere, served, "Write private matters.")
    console.enter(ADMIN_KEY)
    expect(console.approval("private matters")).to_be_visible()
    console.page.get_by_role("button", name="Sign out").click()
    console.sign_in(RESTRICTED_KEY)
    expect(console.page.locator("#who-name")).to_have_text("restricted · role restricted")
    for empty in ("No call waits", "Your role may use no graph", "No MCP server has a tool", "No turns yet"):
        expect(console.page.get_by_text(empty)).to_be_visible()
    console.shoot("empty")
    assert "private matters" not in console.page.content()
    assert "npm-things" not in console.page.content()

    console.page.get_by_role("button", name="Sign out").click()
    console.sign_in(ADMIN_KEY)
    console.decide(console.approval("private matters"), "Reject")
    answer.result(30)


def test_hostile_text_stays_text(
    console: ConsolePage, served: PinnedGateway, model: ChatModel, tools: Tools, elsewhere: ThreadPoolExecutor
) -> None:
    model.script(
        Answer(calls=[Call("files__echo", {"text": HOSTILE})]),
        Answer(calls=[Call("files__write", {HOSTILE: HOSTILE, "text": f"mark {HOSTILE}"})]),
        f"I echoed {HOSTILE}",
    )
    console.enter(ADMIN_KEY)
    answer = waiting(elsewhere, served, f"Say {HOSTILE}")
    card = console.approval(f"mark {HOSTILE}")
    expect(card).to_be_visible()
    console.decide(card, "Reject", note=HOSTILE)
    answer.result(30)
    turn = console.opened("Say <img")
    expect(turn).to_contain_text(f"I echoed {HOSTILE}")
    expect(turn.locator(".approved")).to_contain_text(HOSTILE)
    expect(console.graph("strange")).to_contain_text(HOSTILE)
    console.shoot("hostile")
    assert console.page.locator("main img, main script").count() == 0


def test_drawings_show_where_turns_are_now(
    console: ConsolePage, served: PinnedGateway, model: ChatModel, elsewhere: ThreadPoolExecutor
) -> None:
    console.enter(ADMIN_KEY)
    card = console.graph("strange")
    node = card.locator("g.node[data-node=agent]")
    expect(node).to_be_visible()
    expect(card.get_by_text("No turn runs now.")).to_be_visible()
    expect(node.locator(".count")).to_have_text("")
    model.script(Answer("One two", stall_after=1), Answer("Three four", stall_after=1))
    answers = [elsewhere.submit(asked, served, "Slowly.", model="strange") for _ in range(2)]
    expect(node.locator(".count")).to_have_text("2")
    expect(card.get_by_text("2 turns run now: 2 in agent.")).to_be_visible()
    console.shoot("counts")
    model.release()
    assert "sugiyama" not in served.now.process.text()
    assert sorted(answer.result(30) for answer in answers) == ["One two", "Three four"]
    expect(node.locator(".count")).to_have_text("")
    expect(card.get_by_text("No turn runs now.")).to_be_visible()


def test_two_hundred_turns_are_listed_and_what_was_opened_stays_open(
    console: ConsolePage, served: PinnedGateway, model: ChatModel
) -> None:
    console.enter(BUSY_KEY)
    rows = console.page.locator("#turn-list > li")
    expect(rows).to_have_count(50)
    opened = console.opened("Numbered 204.")
    for wanted in (100, 150, 200):
        console.page.get_by_role("button", name="Show more turns").click()
        expect(rows).to_have_count(wanted)
    expect(console.page.get_by_role("button", name="Show more turns")).to_be_hidden()
    model.script("Yes.")
    asked(served, "One more.", key=BUSY_KEY)
    expect(rows.first).to_contain_text("One more.")
    expect(rows).to_have_count(200)
    expect(opened.locator("> details")).to_have_attribute("open", "")


def test_the_name_of_a_person_who_asks_stays_text(
    console: ConsolePage, served: PinnedGateway, model: ChatModel, elsewhere: ThreadPoolExecutor
) -> None:
    model.script(write("by a hostile name"), what_the_tools_said)
    headers = {"x-openwebui-user-name": quote(HOSTILE), **WAITING}
    console.enter(ADMIN_KEY)
    answer = elsewhere.submit(asked, served, "Write.", key=CHATS_KEY, headers=headers)
    card = console.approval("by a hostile name")
    expect(card).to_contain_text(f"{HOSTILE} asked in assistant")
    assert console.page.locator("main img, main script").count() == 0
    console.decide(card, "Reject")
    answer.result(30)


def test_mistakes_of_a_bad_save_stand_at_the_top_until_they_are_mended(
    console: ConsolePage, served: PinnedGateway
) -> None:
    console.enter(ADMIN_KEY)
    heading = console.page.get_by_role("heading", name="The saved files have mistakes")
    expect(heading).to_be_hidden()
    file = served.configs / "graphs" / "strange.yaml"
    before = file.read_text()
    file.write_text(before.replace("start: agent", "start: agnt"))
    try:
        expect(heading).to_be_visible()
        problem = "graphs/strange.yaml:2:1: there is no node 'agnt'"
        expect(console.page.locator("#problem-list li")).to_contain_text([problem])
        expect(console.graph("strange").locator("g.node").first).to_be_visible()
    finally:
        file.write_text(before)
    expect(heading).to_be_hidden()


def test_the_page_says_when_interlock_is_away_and_goes_on_when_it_is_back(
    console: ConsolePage, served: PinnedGateway
) -> None:
    console.enter(ADMIN_KEY)
    served.stop()
    banner = console.page.get_by_role("alert").filter(has_text="Interlock does not answer. What you see is from")
    expect(banner).to_be_visible()
    console.shoot("away")
    served.restart()
    expect(banner).to_be_hidden()
    expect(console.server("files").locator(".pill")).to_have_text("up")


HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_tab_in_the_background_rests_but_for_its_title(
    console: ConsolePage, served: PinnedGateway, model: ChatModel, elsewhere: ThreadPoolExecutor
) -> None:
    model.script(write("seen in the title"), what_the_tools_said)
    console.page.clock.install()
    console.enter(ADMIN_KEY)
    console.page.evaluate(HIDE, arg=True)
    console.page.clock.run_for(2_100)  # what was under way when the tab went to the background ends
    console.page.wait_for_timeout(500)
    before = len(console.requests)
    console.page.clock.run_for(10_000)
    console.page.wait_for_timeout(500)
    assert console.requests[before:] == []
    answer = waiting(elsewhere, served, "Write for the title.")
    while not httpx.get(f"{served.url}/approvals?status=pending", headers=ADMIN, trust_env=False).json()["data"]:
        time.sleep(0.05)
    console.page.clock.run_for(6_000)
    expect(console.page).to_have_title("(1) Interlock console")
    assert {url.rpartition("/")[2] for url in console.requests[before:]} == {"state"}
    expect(console.turn("Write for the title.")).to_have_count(0)
    console.page.evaluate(HIDE, arg=False)
    expect(console.turn("Write for the title.").first).to_be_visible()
    console.decide(console.approval("seen in the title"), "Reject")
    answer.result(30)


def test_the_key_that_speaks_for_many_is_told_why_it_cannot_sign_in(
    chromium: Browser, interlock: PinnedGateway, screenshots: Path
) -> None:
    with console_page(chromium, interlock.now.root, screenshots) as page:
        page.go()
        page.sign_in(KEY)
        alert = page.page.get_by_role("alert").filter(has_text="This key speaks for many people")
        expect(alert).to_be_visible()
        assert page.complaints == []


def test_approving_here_continues_the_chat_in_open_webui(
    page: ChatPage,
    interlock: PinnedGateway,
    chromium: Browser,
    screenshots: Path,
    model: ChatModel,
    tools: Tools,
) -> None:
    model.script(write("operator: set sail"), what_the_tools_said)
    page.send("Set sail.")
    # A role of others decides: no buttons, but who decides, where, and what happens then.
    asked = page.answer()
    assert "Only the role operator may decide" in asked
    assert "operator: set sail" in asked
    assert not page.asks()
    page.shoot("others-decide")
    with console_page(chromium, interlock.now.root, screenshots) as operator:
        operator.enter(OPERATOR_KEY)
        card = operator.approval("operator: set sail")
        expect(card).to_contain_text("Ada Admin asked in assistant")
        operator.shoot("for-open-webui")
        operator.decide(card, "Approve", note="fair winds")
        expect(card.locator(".pill")).to_have_text("approved by you")
        # The chat is Ada's: whoever approves sees the call, and not the conversation.
        expect(operator.turn("Set sail.")).to_have_count(0)
        assert operator.complaints == []
    assert tools.ran() == []
    assert page.ask("Go on.") == "I found written"
    page.shoot("approved-in-the-console")
    assert tools.ran() == ["write operator: set sail"]
