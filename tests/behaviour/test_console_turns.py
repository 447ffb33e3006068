"""What the console is told of one turn and of its calls, over HTTP: to their owner, and nobody else."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.facade import ACCESS, ADMIN, DEVELOPER, Facade, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

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
    assert time.perf_counter() - began < 10
    assert "deep" in text_of(tree)
    assert list_links(tree) == []


def number_lines(sentences: list[str]) -> list[str]:
    """The sentences without the numbers of lines."""
    return [re.sub(r"access\.yaml:[0-9]+", "access.yaml:N", sentence) for sentence in sentences]


async def refusals(facade: Facade, key: str = ADMIN) -> list[dict[str, Any]]:
    """What is told of the refused calls of the newest turn."""
    calls = [call for call in (await newest(facade, key))["calls"] if call["outcome"] == "refused"]
    answers = [await get(facade, f"/calls/{call['id']}/refusal", key) for call in calls]
    assert [answer.status_code for answer in answers] == [200] * len(calls)
    return [answer.json() for answer in answers]


async def test_a_refused_call_says_which_rule_refused_it_and_what_would_have_it_run(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    roles = {
        "admin": {
            "allow": ["*"],
            "ask": ["files/write"],
            "deny": ["files/environment", {"tool": "files/echo", "when": 'args.text == "no"', "reason": "It says no."}],
        },
        "developer": {"allow": [{"tool": "files/echo", "when": 'args.text != "secret"'}, "files/pid"]},
    }
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access={**ACCESS, "roles": roles})
    calls = [Call("files__environment"), Call("files__echo", {"text": "no"}), Call("files__echo", {"text": "yes"})]
    model.script(Answer(calls=calls), "Done.", Answer(calls=[Call("files__echo", {"text": "secret"})]), "Done.")
    async with serving(folder, tmp_path / "data") as facade:
        await facade.say("Try.")
        environment, echo = await refusals(facade)
        lines = (folder / "access.yaml").read_text().splitlines()
        line = next(at for at, text in enumerate(lines, 1) if "files/environment" in text)
        assert environment["rule"] == f"role admin, deny 'files/environment' (access.yaml:{line})"
        assert (environment["outdated"], environment["now"]["decision"]) == (False, "deny")
        assert number_lines(environment["ways"]) == [
            "`deny files/environment` of role admin (access.yaml:N) would have to go, or get a condition (`when`) that"
            " is false for this call.",
            "Then `allow *` of role admin (access.yaml:N) would let it run.",
        ]
        assert echo["now"]["reason"] == "It says no."
        assert echo["ways"][0].endswith(' would have to be false: args.text == "no"')
        (admin,) = echo["roles"]
        assert [(rule["decision"], rule["outcome"]) for rule in admin["rules"]] == [
            ("deny", "decides"),
            ("allow", "outranked"),
        ]

        await facade.say("Try.", key=DEVELOPER)
        (secret,) = await refusals(facade, DEVELOPER)
        assert number_lines(secret["ways"]) == [
            "The condition of `allow files/echo` of role developer (access.yaml:N) would have to be true:"
            ' args.text != "secret"',
            "Or the role developer (access.yaml:N) would need an `allow` or `ask` that matches files/echo.",
        ]


async def test_only_refused_calls_of_ones_own_are_explained(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    model.script(Answer(calls=[Call("files__echo", {"text": "secret"})]), "Done.", Answer(calls=[Call("files__echo")]))
    await facade.say("Try.", key=DEVELOPER)
    (call,) = (await newest(facade, DEVELOPER))["calls"]
    assert (await get(facade, f"/calls/{call['id']}/refusal", DEVELOPER)).status_code == 200
    refused = await get(facade, f"/calls/{call['id']}/refusal", ADMIN)
    assert (refused.status_code, refused.json()["error"]["message"]) == (
        404,
        "No call of yours with this id was refused.",
    )
    assert (await get(facade, "/calls/nosuch/refusal", DEVELOPER)).status_code == 404


async def test_a_call_that_a_person_rejected_can_be_asked_for_again(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("files__write", {"text": "x"})]), "Not written.")
    asked = await facade.say("Write x.")
    root = facade.url.removesuffix("/v1")
    headers = {"authorization": f"Bearer {ADMIN}"}
    (entry,) = (await get(facade, "/state")).json()["approvals"]
    await facade.http.post(f"{root}/v1/approvals/{entry['id']}", json={"decision": "reject"}, headers=headers)
    await facade.say("Write x.", said(asked), "And?")
    (rejected,) = await refusals(facade)
    assert rejected["rule"].startswith("rejected by admin (asked for by role admin, ask 'files/write' (access.yaml:")
    assert rejected["now"]["decision"] == "ask"
    (way,) = rejected["ways"]
    assert way.startswith("Ask for it again: it runs once whoever asked approves it (`ask files/write` of role admin")


def test_a_table_that_would_have_millions_of_cells_is_read_as_text() -> None:
    wide = 2000
    table = "|a" * wide + "|\n" + "|-" * wide + "|\n" + "|deep|\n" * wide
    began = time.perf_counter()
    tree = build_markdown(table)
    assert time.perf_counter() - began < 10
    assert "deep" in text_of(tree)
    assert [node for node in tree if not isinstance(node, str) and node.get("tag") == "table"] == []
    (small,) = build_markdown("|a|b|\n|-|-|\n" + "|c|d|\n" * 500)
    assert not isinstance(small, str)
    assert small.get("tag") == "table"
