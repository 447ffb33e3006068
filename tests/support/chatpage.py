"""Open WebUI as a person sees it: a window of a real Chromium, and on it what can be read and clicked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, BrowserContext, Locator, Page, Playwright, StorageState, expect
from support.openwebui import Person

CARD = re.compile(r"(?:View Result from|Executing|Preparing|Denied) ([\w/-]+)")
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
PATIENCE = 30_000
"""Milliseconds that the page may take for anything: two busy cores carry all of it."""


@dataclass(frozen=True)
class Card:
    """A tool call as the page shows it."""

    name: str
    state: Literal["running", "done", "failed"]
    input: dict[str, str]
    output: str


class Chromium:
    """A browser of one person: closed and opened again, it still knows who is signed in."""

    def __init__(self, playwright: Playwright, program: Path, url: str, person: Person, shots: Path) -> None:
        self.person = person
        self.headers: dict[str, str] = {}
        """Sent with every request of this browser."""
        self._playwright = playwright
        self._program = program
        self._url = url
        self._shots = shots
        self._state: StorageState | None = None
        self._browser: Browser | None = None
        self._context: BrowserContext | None = None
        self._page: ChatPage | None = None

    def open(self, address: str = "/") -> ChatPage:
        """Starts the program and shows that page, signed in."""
        self._browser = self._playwright.chromium.launch(executable_path=self._program, args=FLAGS)
        self._context = self._browser.new_context(
            base_url=self._url,
            viewport={"width": 1280, "height": 900},
            storage_state=self._state,
            extra_http_headers=self.headers,
        )
        self._context.set_default_timeout(PATIENCE)
        page = self._page = ChatPage(self._context.new_page(), self._shots)
        page.go(address)
        if self._state is None:
            page.sign_in(self.person)
            self._state = self._context.storage_state()
            page.go(address)
        page.ready()
        return page

    def close(self) -> None:
        """Ends the program, windows and all."""
        if self._context is not None and self._browser is not None:
            self._context.close()
            self._browser.close()
        self._context = self._browser = self._page = None

    def shoot(self, name: str) -> None:
        """A picture of its window, if one is open."""
        if self._page is not None:
            self._page.shoot(name)


class ChatPage:
    """One chat on the page."""

    def __init__(self, page: Page, shots: Path) -> None:
        self.page = page
        self._shots = shots
        self._before = ""

    # Getting there

    def go(self, address: str) -> None:
        self.page.goto(address)

    def sign_in(self, person: Person) -> None:
        self.page.locator("#email").fill(person.email)
        self.page.locator("#password").fill(person.password)
        self.page.get_by_role("button", name="Sign in", exact=True).click()
        self.ready()

    def sign_up(self, person: Person) -> None:
        """Makes the first account, and closes the news of the version."""
        self.page.get_by_text("Get started", exact=True).click()
        self.page.locator("#name").fill(person.name)
        self.page.locator("#email").fill(person.email)
        self.page.locator("#password").fill(person.password)
        self.page.get_by_role("button", name="Create Admin Account", exact=True).click()
        self.page.get_by_role("button", name="Okay, Let's Go!", exact=True).click()
        self.ready()

    def ready(self) -> None:
        """Returns once a message could be typed."""
        self.page.locator("#chat-input").wait_for()
        expect(self.page.locator("#model-selector-model-button")).to_be_visible()

    @property
    def address(self) -> str:
        """Where this chat is, once it has begun."""
        self.page.wait_for_url(re.compile(r"/c/[\w-]+$"))
        return self.page.url

    def models(self) -> list[str]:
        """The model list, which stays dropped down."""
        self.page.locator("#model-selector-model-button").click()
        options = self.page.get_by_role("option")
        options.first.wait_for()
        names = [str(option.get_attribute("aria-label")) for option in options.all()]
        return [name.removeprefix("Select ").removesuffix(" model") for name in names]

    def choose(self, model: str) -> None:
        """Picks from the model list."""
        self.page.locator("#model-selector-model-button").click()
        self.page.get_by_role("option", name=f"Select {model} model", exact=True).click()
        expect(self.page.locator("#model-selector-model-button")).to_contain_text(model)

    # Talking

    def send(self, text: str) -> None:
        self._before = self._last_id()
        self.page.locator("#chat-input").click()
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")
        expect(self.page.locator(".chat-user").last).to_contain_text(text)

    def ask(self, text: str) -> str:
        """Sends, and reads the finished answer."""
        self.send(text)
        return self.answer()

    def answer(self) -> str:
        """The text of the newest answer, once that is finished."""
        self._finished()
        return self.text()

    def text(self) -> str:
        """The text of the newest answer, as far as it has come; tool cards left out."""
        return "\n".join(self._answer.locator(".markdown-prose").all_inner_texts()).strip()

    def wait_for_text(self, text: str) -> None:
        """Returns once the newest answer shows it."""
        expect(self._answer).to_contain_text(text)

    def stop(self) -> None:
        self.page.get_by_label("Stop", exact=True).click()

    def edit(self, text: str) -> None:
        """Changes the last message of the person and sends it again."""
        self._before = self._last_id()
        message = self.page.locator(".user-message").last
        message.hover()
        message.get_by_label("Edit", exact=True).click()
        message.locator("textarea").fill(text)
        self.page.locator("#confirm-edit-message-button").click()

    def regenerate(self) -> None:
        """Asks for another answer to the same message."""
        self._before = self._last_id()
        self._answer.get_by_label("Regenerate", exact=True).click()
        self.page.get_by_text("Try Again", exact=True).click()

    # What the page shows beside the text

    def cards(self) -> list[Card]:
        """The tool calls of the newest answer, in order, each opened."""
        for group in self._answer.get_by_label("Toggle details").all():
            if group.get_attribute("aria-expanded") == "false":
                group.click()
                expect(group).to_have_attribute("aria-expanded", "true")
        return [self._card(card) for card in self._cards().all()]

    def thoughts(self) -> int:
        """How many passages of thinking the newest answer has."""
        return self._answer.get_by_text(re.compile("^Thought|^Thinking")).count()

    def wait_for_card(self, name: str) -> None:
        """Returns once the newest answer shows a call of this tool, whatever its state."""
        self._cards().filter(has_text=name).first.wait_for()

    def question(self) -> str:
        """The words of the panel that asks, once it is there."""
        panel = self._panel()
        panel.wait_for()
        return panel.inner_text()

    def wait_for_question(self, words: str) -> None:
        """Returns once the panel asks with these words."""
        expect(self._panel()).to_contain_text(words)

    def options(self) -> list[str]:
        """The labels that can be clicked on it, in order."""
        self._panel().wait_for()
        return [text.strip() for text in self._panel().locator("button.group > span:first-child").all_inner_texts()]

    def decide(self, label: str) -> None:
        """Answers the question that is shown; the last answer sends them all."""
        self._panel().locator("button.group").filter(has_text=re.compile(rf"^\s*{label}\b")).click()

    def cancel(self) -> None:
        """Clicks the panel away."""
        self._panel().get_by_role("button", name="Cancel", exact=True).click()

    def asks(self) -> bool:
        """Whether the panel is there now."""
        return self._panel().count() > 0

    def status(self) -> str:
        """The line above the newest answer; empty where there is none."""
        lines = self._answer.locator(".status-description")
        return lines.last.inner_text().strip() if lines.count() else ""

    def wait_for_status(self, text: str) -> None:
        """Returns once that line says this."""
        expect(self._answer.locator(".status-description").last).to_have_text(text)

    def can_stop(self) -> bool:
        """Whether the page offers to stop an answer."""
        return self.page.get_by_label("Stop", exact=True).count() > 0

    def titles(self) -> list[str]:
        """The chats in the sidebar, newest first."""
        if self.page.locator("#sidebar").get_attribute("data-state") != "true":
            self.page.get_by_label("Open Sidebar").first.click()
        items = self.page.locator("#sidebar-chat-item a")
        items.first.wait_for()
        return [text.split("\n")[0].strip() for text in items.all_inner_texts()]

    def wait_for_title(self, title: str) -> None:
        """Returns once the chat is called so."""
        expect(self.page.locator("nav h1")).to_have_text(title)

    def shoot(self, name: str) -> None:
        """A picture of the window, for people to look at."""
        self._shots.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self._shots / f"{name}.png", animations="disabled")

    def shoot_variants(self, name: str) -> None:
        """Pictures of it in light and dark, wide and on a phone."""
        wide = self.page.viewport_size
        assert wide is not None
        for scheme in ("dark", "light"):
            self.page.emulate_media(color_scheme=scheme)
            for width in (390, wide["width"]):
                self.page.set_viewport_size({"width": width, "height": wide["height"]})
                self.shoot(f"{name}-{scheme}-{width}")

    # How the page is made

    @property
    def _answer(self) -> Locator:
        return self.page.locator("#messages-container [role=listitem]:has(.chat-assistant)").last

    def _last_id(self) -> str:
        answers = self.page.locator("#messages-container [id^=message-]:has(.chat-assistant)")
        return answers.last.get_attribute("id") or "" if answers.count() else ""

    def _finished(self) -> None:
        """The newest answer is another one than before, and can be regenerated."""
        newest = self.page.locator("#messages-container [role=listitem]").last.locator("[id^=message-]")
        expect(newest).to_have_attribute("id", re.compile(rf"^(?!{re.escape(self._before)}$)" if self._before else "."))
        expect(self._answer.get_by_label("Regenerate", exact=True)).to_be_visible(timeout=PATIENCE)

    def _cards(self) -> Locator:
        return self._answer.get_by_role("button").filter(has_text=CARD)

    def _card(self, card: Locator) -> Card:
        name = CARD.search(card.inner_text())
        state: Literal["running", "done", "failed"] = "running"
        if card.locator(".text-emerald-500").count():
            state = "done"
        elif card.locator(".text-red-500").count():
            state = "failed"
        whole = card.locator("xpath=..")
        if not whole.get_by_text("Input", exact=True).count():
            card.click()
        whole.get_by_text("Input", exact=True).wait_for()
        rows = whole.locator("div.flex.gap-2.text-xs").all()
        pairs = [row.locator("span").all_inner_texts() for row in rows]
        outputs = whole.locator("pre").all_inner_texts()
        return Card(name[1] if name else "", state, dict(pairs), "\n".join(outputs).strip())

    def _panel(self) -> Locator:
        return self.page.locator("section:has(button.group)").filter(has=self.page.get_by_role("button", name="Cancel"))
