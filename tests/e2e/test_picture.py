"""The picture of the README: the shipped configs in Open WebUI, with a tool card and a call that waits for approval."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chatmodel import ChatModel
from support.chatpage import Chromium
from support.gateway import Gateway, PinnedGateway, gateway
from support.openwebui import JWT_SECRET, KEY
from support.png import read_size
from support.scripted_model import Answer, Call, ScriptedModel

ROOT = Path(__file__).resolve().parent.parent.parent
COMMITTED = ROOT / "docs" / "pictures" / "chat.png"
WIDTH, HEIGHT = 1280, 800
LARGEST = 300_000
"""Bytes of the file."""

QUESTION = "Which articles are running low? Write an order for them."
ORDER = "Order: 100 ink bottles, 20 letter openers"
READ = Call("filesystem__read_file", {"path": "/workspace/inventory.csv"})
WRITE = Call("filesystem__write_file", {"path": "/workspace/order.md", "content": ORDER})
ACCESS_KEY = "  - {name: open-webui, role: admin, env: INTERLOCK_OPENWEBUI_KEY, forwards_users: true}\n"


@pytest.fixture
def shipped(interlock: PinnedGateway, port: int, upstream: ScriptedModel, tmp_path: Path) -> Iterator[Gateway]:
    """`interlock serve` with the repository's configs and a key for Open WebUI, at the port of the other tests."""
    configs = tmp_path / "configs"
    shutil.copytree(ROOT / "configs", configs)
    with (configs / "access.yaml").open("a") as access:
        access.write(ACCESS_KEY)
    env = {
        "LITELLM_BASE_URL": upstream.url,
        "INTERLOCK_MODEL": "scripted",
        "INTERLOCK_OPENWEBUI_KEY": KEY,
        "INTERLOCK_FORWARDED_JWT_SECRET": JWT_SECRET,
    }
    interlock.stop()
    try:
        with gateway(configs, tmp_path / "data", env, port) as served:
            yield served
    finally:
        interlock.restart()


def test_the_picture_shows_a_tool_card_and_an_approval(
    shipped: Gateway, ada: Chromium, model: ChatModel, screenshots: Path, tmp_path: Path
) -> None:
    model.title = "Stock and orders"
    model.script(
        Answer("I will look at the inventory first. ", calls=[READ]),
        Answer(
            "The **ink bottle** and the **letter opener** are below their reorder level. I will write the order.",
            calls=[WRITE],
        ),
        "The order is in `order.md`.",
    )
    page = ada.open()
    page.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.choose("assistant")
    page.send(QUESTION)
    asked = page.question()
    cards = [card for card in page.cards() if card.name != "ask_user"]
    page.wait_for_title("Stock and orders")
    page.page.mouse.move(0, 0)
    page.shoot("chat")

    assert [(card.name, card.state) for card in cards] == [("filesystem/read_file", "done")]
    assert "ink bottle,87,100" in cards[0].output
    assert "filesystem/write_file" in asked
    assert "access.yaml" in asked
    assert page.options() == ["Reject", "Approve"]
    written = tmp_path / "data" / "workspace" / "order.md"
    assert not written.exists()

    taken = screenshots / "chat.png"
    assert read_size(taken) == (WIDTH, HEIGHT)
    assert taken.stat().st_size < LARGEST
    if folder := os.environ.get("INTERLOCK_PICTURES"):
        shutil.copy(taken, Path(folder) / COMMITTED.name)
    assert read_size(COMMITTED) == (WIDTH, HEIGHT), "run: make pictures"
    assert COMMITTED.stat().st_size < LARGEST

    page.decide("Approve")
    assert page.answer().endswith("The order is in order.md.")
    assert written.read_text() == ORDER
