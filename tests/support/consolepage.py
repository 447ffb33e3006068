"""The console as a person sees it: a window of a real Chromium, and on it what can be read and clicked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Response, Route, expect

PATIENCE = 20_000
"""Milliseconds that the page may take for anything."""

BARRIERS = Path(__file__).with_name("barriers.js").read_text()


class ConsolePage:
    """One tab of the console, and everything that went wrong in it."""

    def __init__(self, page: Page, root: str, shots: Path) -> None:
        self.page = page
        self.root = root
        self.requests: list[str] = []
        self.complaints: list[str] = []
        """What the browser's own console says: errors, warnings, refused by the security policy."""
        self._shots = shots
        page.set_default_timeout(PATIENCE)
        page.on("request", self._asked)
        page.on("response", self._answered)
        page.on("console", self._told)
        page.on("pageerror", lambda error: self.complaints.append(f"thrown: {error}"))
        self.statuses: list[tuple[str, int]] = []

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)

    def _answered(self, response: Response) -> None:
        self.statuses.append((response.url, response.status))

    def _told(self, message: ConsoleMessage) -> None:
        # The browser writes one line of its own for each answer that is an error; the page tells them in its words.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def go(self, path: str = "/console") -> None:
        self.page.goto(f"{self.root}{path}")

    def sign_in(self, key: str) -> None:
        """Types the key and sends it."""
        self.page.get_by_label("Interlock key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()

    def enter(self, key: str) -> ConsolePage:
        """Opens the page, signs in, and waits until it shows what there is."""
        self.go()
        self.sign_in(key)
        expect(self.page.locator("#board")).to_be_visible()
        return self

    def approval(self, words: str) -> Locator:
        """The card of a call that waits, found by any words on it."""
        return self.page.locator("#approval-list > li").filter(has_text=words)

    def graph(self, name: str) -> Locator:
        heading = self.page.get_by_role("heading", name=name, exact=True)
        return self.page.locator("#graph-list > li").filter(has=heading)

    def server(self, name: str) -> Locator:
        heading = self.page.get_by_role("heading", name=name, exact=True)
        return self.page.locator("#server-list > li").filter(has=heading)

    def turn(self, words: str) -> Locator:
        return self.page.locator("#turn-list > li").filter(has_text=words)

    def opened(self, words: str) -> Locator:
        """The newest turn with these words, unfolded with everything in it."""
        turn = self.turn(words).first
        turn.locator("> details > summary").click()
        for inner in turn.locator(".timeline details > summary").all():
            inner.click()
        return turn

    def decide(self, card: Locator, decision: Literal["Approve", "Reject"], note: str = "") -> None:
        if note:
            card.get_by_label("Note").fill(note)
        card.get_by_role("button", name=decision, exact=True).click()

    @contextmanager
    def answering(self, method: str, address: str, status: int, body: dict[str, Any]) -> Iterator[None]:
        """While this lasts, such requests get that answer, whatever the server would say."""

        def answer(route: Route) -> None:
            if route.request.method == method:
                route.fulfill(status=status, json=body)
            else:
                route.continue_()

        self.page.route(address, answer)
        yield
        self.page.unroute(address, answer)

    def spoken(self) -> str:
        """What a screen reader was told last."""
        return self.page.locator("#said").inner_text()

    def barriers(self) -> list[str]:
        """What would keep somebody from reading or using what is shown."""
        return self.page.evaluate(BARRIERS)

    def shoot(self, name: str) -> None:
        """A picture of the whole page, for people to look at."""
        self._shots.mkdir(parents=True, exist_ok=True)
        self.page.evaluate("window.scrollTo({top: 0, behavior: 'instant'})")
        # Hiding the caret or stopping animations would put a style into the page, which its security policy refuses.
        self.page.screenshot(path=self._shots / f"console-{name}.png", caret="initial", full_page=True)


@contextmanager
def console_page(browser: Browser, root: str, shots: Path, **context: Any) -> Iterator[ConsolePage]:
    """A tab of its own, with storage of its own; `context` are Playwright's settings of it."""
    settings = {"viewport": {"width": 1360, "height": 900}, "locale": "en-GB", **context}
    window = browser.new_context(**settings)
    try:
        yield ConsolePage(window.new_page(), root, shots)
    finally:
        window.close()
