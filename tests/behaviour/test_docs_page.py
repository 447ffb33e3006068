"""`/docs` over HTTP: the reference for whoever has the address alone, under the policy of the console's page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from support.facade import Facade

from scripts.reference.http import CODES, ROUTES

VOID = {"meta", "link", "img"}


class Outline(HTMLParser):
    """What is open, what the page loads and where it leads to, and its words."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        assert not [name for name, _ in attrs if name == "style" or name.startswith("on")]
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


async def test_the_page_names_every_route_and_error_and_loads_from_this_server_alone(facade: Facade) -> None:
    root = facade.url.removesuffix("/v1")
    answer = await facade.http.get(f"{root}/docs")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    page = Outline()
    page.feed(answer.text)
    assert page.open == []
    for expected in (*ROUTES, *CODES, "Authorization: Bearer KEY", "x-api-key: KEY", "Idempotency-Key"):
        assert expected in page.words
    assert "approval_required" in page.words
    assert re.findall(r"`|\]\(|, see ", page.words) == []
    assert {"console/console.css", "console"} <= set(page.addresses)
    for address in page.addresses:
        found = await facade.http.get(str(answer.url.join(address)))
        assert found.status_code == 200, address
    again = await facade.http.get(f"{root}/docs", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await facade.http.head(f"{root}/docs")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "content-security-policy"):
        assert head.headers[name] == answer.headers[name]


async def test_the_console_leads_to_the_page(facade: Facade) -> None:
    answer = await facade.http.get(facade.url.removesuffix("/v1") + "/console")
    assert '<a href="docs">HTTP reference</a>' in answer.text
    assert str(answer.url.join("docs")).endswith("/docs")
