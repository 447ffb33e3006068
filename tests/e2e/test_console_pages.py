"""The console's pages in a real Chromium: how they hold on a phone, what answers look like, what a turn tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect
from support.chatmodel import ChatModel
from support.consolepage import ConsolePage, console_page
from support.consoleserver import serving_past
from support.facade import content
from support.gateway import ADMIN_KEY, DEVELOPER_KEY, PinnedGateway
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
    "dark-phone": {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
}
BROKEN_TIMES = """() => [...document.querySelectorAll("time, .when, .lapse")].filter((each) => {
  const range = document.createRange();
  range.selectNodeContents(each);
  const tops = [...range.getClientRects()].filter((box) => box.width > 1).map((box) => Math.round(box.top / 8));
  return each.checkVisibility() && new Set(tops).size > 1;
}).map((each) => each.textContent)"""
"""The times that stand on more than one line."""
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
MARKDOWN = """# What it is

It has **two** parts, see [the handbook](https://example.org/handbook).

- one
- two
  - nested

## How

3. third
4. fourth

```python
print("<b>not bold</b>")
    indented
```

| what | share in per cent of everything there is |
| --- | ---: |
| disk | 97 |
| a rather long cell that wants much room | 3 |

> A quotation, with `code`.
"""
HARMFUL = f"""{HOSTILE}

<svg onload=alert(3)></svg> <style>body {{ display: none }}</style> <iframe src="https://evil.example/f"></iframe>

[run](javascript:alert(1)) [data](data:text/html;base64,PHNjcmlwdD4=) [here](../v1/approvals)
[https://bank.example](https://evil.example/) ![track me](https://evil.example/p.png?who=admin) <a@evil.example>

[late]: javascript:alert(4)

[late] and turned about: \u202ekcab.
"""
JUDGING: dict[str, Any] = {
    "vars": {"found": "string"},
    "start": "look",
    "nodes": {
        "look": {"type": "agent", "prompt": "Look.", "tools": ["files/echo"], "into": "found", "next": "say"},
        "say": {"type": "model", "prompt": "Judge {{ found }}.", "next": "end"},
    },
}
PAST = {
    "What was there some days ago?": "Nothing much.",
    f"A long question {'with many words ' * 12}": "Yes.",
    "What does Markdown look like?": MARKDOWN,
    "What would harm?": HARMFUL,
}


@pytest.fixture(scope="module")
def served(
    upstream: ScriptedModel, tools_process: Tools, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PinnedGateway]:
    with serving_past(
        tmp_path_factory.mktemp("pages"), upstream, tools_process, PAST, graphs={"judging": JUDGING}
    ) as gateway:
        yield gateway


@pytest.fixture(params=LOOKS)
def console(
    request: pytest.FixtureRequest, chromium: Browser, served: PinnedGateway, screenshots: Path
) -> Iterator[ConsolePage]:
    """A fresh tab in each look. Nothing may leave the server, nothing may be refused by the browser."""
    with console_page(chromium, served.now.root, screenshots / request.param, **LOOKS[request.param]) as page:
        yield page
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith(f"{served.now.root}/")] == []


def ask(served: PinnedGateway, words: str, *, key: str = ADMIN_KEY, model: str = "assistant") -> str:
    """The text of a streamed answer."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": words}]}
    headers = {"authorization": f"Bearer {key}"}
    answer = httpx.post(f"{served.url}/chat/completions", json=body, headers=headers, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text
    return content(answer.text)


def holds(console: ConsolePage) -> None:
    """Nothing on the page is wider than the window, no time is broken, everything can be read."""
    assert console.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert console.page.evaluate(BROKEN_TIMES) == []
    assert console.barriers() == []


def test_times_stand_on_one_line_whatever_the_day_and_the_window(
    console: ConsolePage, served: PinnedGateway, model: ChatModel, tools: Tools
) -> None:
    calls = [Call("files__echo", {"text": "a"}), Call("files__environment"), Call("files__fails")]
    model.script(Answer(calls=calls), "Three tried.")
    ask(served, "Try three tools now.")
    console.enter(ADMIN_KEY)
    console.opened("Try three tools now.")
    console.opened("What was there some days ago?")
    expect(console.turn("A long question")).to_be_visible()
    holds(console)
    console.shoot("times")


def test_the_tables_of_the_http_reference_hold(console: ConsolePage) -> None:
    console.go("/docs")
    expect(console.page.locator("table").first).to_be_visible()
    holds(console)
    console.shoot("reference")


def test_an_answer_is_shown_as_markdown(console: ConsolePage, served: PinnedGateway) -> None:
    console.enter(ADMIN_KEY)
    turn = console.opened("What does Markdown look like?")
    shown = turn.locator(".markdown")
    expect(shown.locator(".heading")).to_have_text(["What it is", "How"])
    expect(shown.locator("strong")).to_have_text("two")
    expect(shown.locator("ul > li")).to_have_text(["one", "twonested", "nested"])
    expect(shown.locator("ol")).to_have_attribute("start", "3")
    expect(shown.locator("pre")).to_have_text('print("<b>not bold</b>")\n    indented')
    expect(shown.locator("p.hint")).to_have_text("python")
    expect(shown.locator("td")).to_have_text(["disk", "97", "a rather long cell that wants much room", "3"])
    expect(shown.locator("td.right")).to_have_count(2)
    link = shown.get_by_role("link")
    expect(link).to_have_attribute("href", "https://example.org/handbook")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(shown).to_contain_text("the handbook (https://example.org/handbook)")
    holds(console)
    console.shoot("markdown")


def test_nothing_in_an_answer_is_more_than_text(console: ConsolePage, served: PinnedGateway) -> None:
    """No markup of the model's own, no address that runs or stays here, no picture that would tell who reads."""
    console.enter(ADMIN_KEY)
    turn = console.opened("What would harm?")
    shown = turn.locator(".markdown")
    for line in (HOSTILE, "[run](javascript:alert(1))", "track me", "https://evil.example/p.png?who=admin", "<svg"):
        expect(shown).to_contain_text(line)
    expect(shown.locator("img, script, svg, iframe, form, style, object, [style], [onerror], [onload]")).to_have_count(
        0
    )
    addresses = [link.get_attribute("href") for link in shown.get_by_role("link").all()]
    assert addresses == ["https://evil.example/", "https://evil.example/p.png?who=admin", "mailto:a@evil.example"]
    expect(shown).to_contain_text("https://bank.example (https://evil.example/)")
    expect(shown).to_contain_text("here (../v1/approvals)")
    expect(shown.locator(".ghost")).to_have_text("U+202E")
    holds(console)
    console.shoot("hostile-markdown")
    # No request followed, and the fixture looks that none left the server.
    assert not any(url.endswith(("v1/approvals", "who=admin")) for url in console.requests)


def test_a_step_of_a_turn_leads_to_its_node_in_the_drawing(
    console: ConsolePage, served: PinnedGateway, model: ChatModel, tools: Tools
) -> None:
    answers = [Answer(calls=[Call("files__echo", {"text": "a"})]), "Half.", "Whole."]
    model.script(*answers)
    assert ask(served, "Look and then judge.", model="judging") == "Whole."
    console.enter(ADMIN_KEY)
    way = console.opened("Look and then judge.").locator("details.path")
    expect(way.locator("summary")).to_contain_text(
        re.compile(r"The way through the graph: 2 steps, 30 tokens in, 15 out; 3 model calls took \d+ ms$")
    )
    look, say = way.locator("li.step").all()
    expect(look).to_contain_text(re.compile(r"2 model calls, \d+ ms, 20 tokens in, 10 out; → say"))
    expect(look.locator(".models li")).to_have_count(2)
    expect(say.locator(".models li")).to_have_text(re.compile(r"^scripted, \d+ ms, 10 tokens in, 5 out$"))

    card = console.graph("judging")
    expect(card.locator("g.aimed")).to_have_count(0)
    look.get_by_role("link", name="look").press("Enter")  # by keyboard
    expect(card.locator("g.aimed")).to_have_attribute("data-node", "look")
    expect(card.locator(".aim")).to_have_text("Marked: look.")
    expect(card.locator(".aim")).to_be_focused()
    expect(card.locator("g.aimed")).to_be_in_viewport()
    holds(console)
    console.shoot("marked")
    say.get_by_role("link", name="say").click()
    expect(card.locator("g.aimed")).to_have_attribute("data-node", "say")
    console.page.go_back()
    expect(card.locator("g.aimed")).to_have_attribute("data-node", "look")
    console.page.reload()  # the address keeps it
    expect(card.locator("g.aimed")).to_have_attribute("data-node", "look")
    expect(console.graph("assistant").locator(".aim")).to_be_hidden()


def test_a_refused_call_says_why_and_what_would_allow_it(
    console: ConsolePage, served: PinnedGateway, model: ChatModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("files__environment"), Call("files__echo", {"text": "a"})]), "No.")
    ask(served, "Read the environment.")
    console.enter(ADMIN_KEY)
    turn = console.opened("Read the environment.")
    refused, done = turn.locator(".call").all()
    why = refused.locator(".refusal")
    expect(why).to_contain_text(
        re.compile(r"Refused by: role admin, deny 'files/environment' \(access\.yaml:\d+\): The env")
    )
    expect(why.locator(".ways li")).to_have_text(
        [
            re.compile(
                r"^deny files/environment of role admin \(access\.yaml:\d+\) would have to go, or get a condition"
            ),
            re.compile(r"^Then allow \* of role admin \(access\.yaml:\d+\) would let it run\.$"),
        ]
    )
    expect(why.locator("tbody tr")).to_have_count(2)
    expect(why.locator("tbody tr").first).to_contain_text("decides")
    expect(done.locator(".refusal")).to_have_count(0)
    holds(console)
    console.shoot("refusal")


def test_the_audit_is_searched_by_who_what_when_and_any_text(
    console: ConsolePage, served: PinnedGateway, model: ChatModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("files__environment"), Call("files__echo", {"text": f"needle {HOSTILE}"})]), "So.")
    ask(served, "Echo a needle.")
    model.script(Answer(calls=[Call("files__echo", {"text": "secret"})]), "No.")
    ask(served, "Echo a secret.", key=DEVELOPER_KEY)
    console.enter(ADMIN_KEY)
    rows = console.page.locator("#audit-rows > tr")
    page = console.page.locator("#audit")
    page.get_by_label("What").select_option("denied")
    page.get_by_label("Who").fill("devel")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(rows.first).to_contain_text(
        re.compile(r"decision deny.*developer.*files/echo.*role developer, allow 'files/echo'")
    )
    expect(page.get_by_role("status")).to_contain_text("of everybody. There are no older ones.")
    page.get_by_label("Who").fill("")
    page.get_by_label("What").select_option("everything")
    page.get_by_label("Tool").fill("files/e*")
    page.get_by_label("Text").fill("NEEDLE")
    page.get_by_label("From").fill("2020-01-31T12:00")
    page.get_by_label("Text").press("Enter")
    expect(rows.first).to_contain_text("call ok")
    rows.first.get_by_text("More").click()
    expect(rows.first.locator("pre")).to_contain_text(f"needle {HOSTILE}")
    expect(rows.first.get_by_role("link", name="assistant/agent")).to_have_attribute("href", "#node/assistant/agent")
    assert console.page.locator("main img, main script").count() == 0
    page.get_by_label("Text").fill("access.yaml")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(rows.nth(2)).to_be_visible()
    holds(console)
    console.shoot("audit")
    page.get_by_label("To", exact=True).fill("2020-01-31T12:00")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("No record of everybody. There are no older ones.")
    expect(page.locator("table")).to_be_hidden()

    console.page.get_by_role("button", name="Sign out").click()
    console.sign_in(DEVELOPER_KEY)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("of your own.")
    assert "admin" not in console.page.locator("#audit-rows").inner_text()


def test_a_servers_tools_show_their_arguments_and_what_each_role_may_do(
    console: ConsolePage, served: PinnedGateway, tools: Tools
) -> None:
    console.enter(ADMIN_KEY)
    server = console.server("files")
    server.get_by_text("Arguments and rights").click()
    echo = server.locator(".tool-card").filter(has=console.page.get_by_text("echo", exact=True))
    echo.locator("summary").first.click()
    rights = echo.locator(".rights > li")
    expect(rights).to_have_count(2)
    expect(rights.first).to_contain_text(re.compile(r"role admin allow.*allow \* \(access\.yaml:\d+\)"))
    expect(rights.last).to_contain_text(
        re.compile(
            r"role developer depends on the call.*allow files/echo when args\.text != \"secret\" \(access\.yaml:\d+\)"
        )
    )
    expect(rights.last).to_contain_text("otherwise deny")
    expect(echo.locator("pre")).to_be_hidden()
    echo.get_by_text("Arguments, as JSON Schema").click()
    expect(echo.locator("pre")).to_contain_text('"text": {')
    environment = server.locator(".tool-card").filter(has=console.page.get_by_text("environment", exact=True))
    environment.locator("summary").first.click()
    expect(environment.locator(".rights > li").last).to_contain_text(
        "role developer says nothing about it (access.yaml:"
    )
    holds(console)
    console.shoot("tools")

    console.page.get_by_role("button", name="Sign out").click()
    console.sign_in(DEVELOPER_KEY)
    server.get_by_text("Arguments and rights").click()
    expect(server.locator(".tool-card > summary")).to_have_text("echo depends on the call")
    assert "admin" not in console.page.locator("#servers").inner_text()
