"""`/console/api/turns/{turn}` over HTTP: what one turn tells its owner, and nobody else."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from support.facade import ADMIN, DEVELOPER, Facade
from support.scripted_model import Answer, ScriptedModel

from server.routes.markdown import MarkdownTree, build_markdown


async def get(facade: Facade, path: str, key: str = ADMIN) -> httpx.Response:
    root = facade.url.removesuffix("/v1")
    return await facade.http.get(f"{root}/console/api{path}", headers={"authorization": f"Bearer {key}"})


async def newest(facade: Facade, key: str = ADMIN) -> dict[str, Any]:
    return (await get(facade, "/turns?limit=1", key)).json()["turns"][0]


async def test_an_answer_is_told_whole_as_elements_to_whom_it_was_given(facade: Facade, model: ScriptedModel) -> None:
    long = "word " * 1000
    model.script(Answer(f"**Yes**, {long}<b>no</b>"))
    await facade.say("Speak.")
    turn = (await newest(facade))["id"]
    answer = await get(facade, f"/turns/{turn}/answer")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    (paragraph,) = answer.json()["blocks"]
    assert paragraph["children"][0] == {"tag": "strong", "children": ["Yes"]}
    assert "".join(paragraph["children"][1:]) == f", {long}<b>no</b>"

    refused = await get(facade, f"/turns/{turn}/answer", DEVELOPER)
    assert (refused.status_code, refused.json()["error"]["message"]) == (404, "There is no such turn of yours.")
    assert (await get(facade, "/turns/nosuch/answer")).status_code == 404
    assert (await get(facade, f"/turns/{turn}/answer", "ilk_nobody")).status_code == 401


def text_of(tree: MarkdownTree) -> str:
    """All the words on the page."""
    return "".join(
        node if isinstance(node, str) else node.get("language", "") + text_of(node.get("children", [])) for node in tree
    )


def list_links(tree: MarkdownTree) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    for node in tree:
        if not isinstance(node, str):
            if "address" in node:
                found.append((node["address"], node.get("opens", False)))
            found += list_links(node.get("children", []))
    return found


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<div onclick=alert(1)>\nblock\n</div>",
        "a <!-- comment --> b",
        "<?php echo 1 ?>",
        "&lt;b&gt;",
    ],
)
def test_markup_of_a_models_own_is_text(text: str) -> None:
    assert text_of(build_markdown(text)) == text.replace("&lt;", "<").replace("&gt;", ">")


@pytest.mark.parametrize(
    ("address", "opens"),
    [
        ("https://example.org/a?b=c", True),
        ("HTTP://example.org", True),
        ("mailto:a@example.org", True),
        ("ftp://example.org", False),
        ("//example.org/a", False),
        ("/console", False),
        ("#approvals", False),
        ("https:console", False),
        ("blob:https://example.org/1", False),
        ("tel:1", False),
    ],
)
def test_a_link_leads_out_to_web_and_mail_alone(address: str, opens: bool) -> None:
    assert list_links(build_markdown(f"[words](<{address}>) ![picture](<{address}>)")) == [(address, opens)] * 2


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java&#10;script:alert(1)",
        "&#x6A;avascript:alert(1)",
        "\tjavascript:a()",
        "vbscript:a",
        "data:text/html,a",
        "file:///etc/passwd",
        "\x01javascript:a()",
    ],
)
def test_an_address_that_runs_is_never_a_link_that_opens(address: str) -> None:
    for text in (f"[words](<{address}>)", f"![words](<{address}>)", f"<{address}>", f"[words][1]\n\n[1]: <{address}>"):
        assert not any(opens for _, opens in list_links(build_markdown(text)))


@pytest.mark.parametrize(
    "text",
    [
        "> " * 400 + "deep",
        "- " * 200 + "deep",
        "*a **b " * 150 + "deep" + "** *" * 150,
        "[" * 900 + "deep",
        "`" * 999 + "deep",
    ],
)
def test_what_is_nested_beyond_measure_is_text_and_takes_no_time(text: str) -> None:
    began = time.perf_counter()
    tree = build_markdown(text)
    assert time.perf_counter() - began < 1
    assert "deep" in text_of(tree)
    assert list_links(tree) == []
