"""Memory over real HTTP: what a graph remembers of a person is there in the next chat, and nobody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.facade import ADMIN, DEVELOPER, Facade, said, serving, write_configs
from support.identity_providers import signed
from support.scripted_model import ScriptedModel

SECRET = "a-secret-that-open-webui-and-interlock-share"
PAGE = "ilk_open-webui-of-the-tests"
ACCESS: dict[str, Any] = {
    "roles": {"admin": {"allow": ["*"]}, "developer": {"allow": ["*"]}},
    "keys": [
        {"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"},
        {"name": "developer", "role": "developer", "env": "INTERLOCK_DEVELOPER_KEY"},
        {"name": "open-webui", "role": "admin", "env": "WEBUI_KEY", "forwards_users": True},
    ],
}


def build_notebook(**memory: Any) -> dict[str, Any]:
    """A graph without a model: `WORD: TEXT` keeps a note, `drop WORD` forgets it, `? TEXT` searches, `WORD` reads."""
    ways = [
        {"when": 'message.startsWith("? ")', "to": "search"},
        {"when": 'message.startsWith("drop ")', "to": "forget"},
        {"when": 'message.contains(": ")', "to": "keep"},
        {"to": "read"},
    ]
    graph: dict[str, Any] = {
        "vars": {"note": {"type": "string", "default": "nothing"}, "found": "any[]"},
        "start": "begin",
        "nodes": {
            "begin": {"type": "set", "set": {"note": "'nothing'"}, "next": ways},
            "keep": {
                "type": "memory",
                "remember": {'{{ message.split(": ")[0] }}': 'message.split(": ")[1]'},
                "on_error": "failed",
                "next": "kept",
            },
            "kept": {"type": "reply", "text": "Kept.", "next": "end"},
            "failed": {"type": "reply", "text": "{{ error.kind }}: {{ error.message }}", "next": "end"},
            "read": {"type": "memory", "recall": {"key": "{{ message }}"}, "into": "note", "next": "say"},
            "say": {"type": "reply", "text": "{{ note }}", "next": "end"},
            "search": {"type": "memory", "recall": "{{ message }}", "into": "found", "next": "list"},
            "list": {
                "type": "reply",
                "text": '{{ size(found) }} found{{ size(found) > 0 ? ": " + found.map(x, x.value).join(", ") : "" }}',
                "next": "end",
            },
            "forget": {"type": "memory", "forget": "{{ message.substring(5) }}", "next": "gone"},
            "gone": {"type": "reply", "text": "Gone.", "next": "end"},
        },
    }
    return {**graph, "memory": memory} if memory else graph


@pytest.fixture
def folder(tmp_path: Path, model: ScriptedModel, keys: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEBUI_KEY", PAGE)
    graphs = {
        "assistant": build_notebook(),
        "other": build_notebook(scope="user"),
        "brief": build_notebook(ttl="300ms"),
        "chat": build_notebook(scope="chat"),
        "team": build_notebook(scope="graph", ttl="30d"),
    }
    return write_configs(tmp_path / "configs", model.url, {}, access=ACCESS, graphs=graphs)


@pytest.fixture
async def notebook(folder: Path, storage: str, tmp_path: Path) -> AsyncIterator[Facade]:
    async with serving(folder, tmp_path / "data", storage=storage, forwarded_jwt_secret=SECRET) as facade:
        yield facade


async def test_what_is_remembered_is_there_in_the_next_chat(notebook: Facade) -> None:
    assert await notebook.say("tone") == "nothing"
    assert await notebook.say("tone: plain") == "Kept."
    assert await notebook.say("tone") == "plain"
    assert await notebook.say("tone: warm") == "Kept."
    assert await notebook.say("tone") == "warm"
    assert await notebook.say("drop tone") == "Gone."
    assert await notebook.say("drop tone") == "Gone."
    assert await notebook.say("tone") == "nothing"


async def test_nothing_crosses_keys_or_graphs(notebook: Facade) -> None:
    await notebook.say("tone: plain")
    assert await notebook.say("tone", key=DEVELOPER) == "nothing"
    assert await notebook.say("? plain", key=DEVELOPER) == "0 found"
    assert await notebook.say("tone", model="other") == "nothing"
    await notebook.say("drop tone", key=DEVELOPER)
    await notebook.say("tone: theirs", key=DEVELOPER)
    assert await notebook.say("tone") == "plain"
    assert await notebook.say("? theirs plain") == "1 found: plain"


async def test_nothing_crosses_people_behind_one_key(notebook: Facade) -> None:
    ada, max_ = (signed(name, "admin", SECRET) for name in ("Ada", "Max"))

    async def say(text: str, headers: Any) -> str:
        answer = await notebook.ask(text, key=PAGE, headers=headers)
        return answer.json()["choices"][0]["message"]["content"]

    assert await say("tone: plain", ada) == "Kept."
    assert await say("tone", max_) == "nothing"
    assert await say("? plain tone", max_) == "0 found"
    await say("drop tone", max_)
    await say("tone: loud", max_)
    assert await say("tone", ada) == "plain"
    assert await say("tone", signed("Ada", "admin", SECRET)) == "plain", "a further token of hers"
    assert await notebook.say("tone", key=ADMIN) == "nothing"


async def test_a_name_that_nobody_vouches_for_opens_no_memory(folder: Path, tmp_path: Path) -> None:
    async with serving(folder, tmp_path / "signed", forwarded_jwt_secret=SECRET) as facade:
        await facade.ask("tone: plain", key=PAGE, headers=signed("Ada", "admin", SECRET))
    claimed = {"x-openwebui-user-name": "Ada", "x-openwebui-user-email": "ada@x", "x-openwebui-user-id": "ada"}
    async with serving(folder, tmp_path / "signed") as facade:
        answer = await facade.ask("tone", key=PAGE, headers=claimed)
        assert answer.json()["choices"][0]["message"]["content"] == "nothing"


async def test_a_search_gives_the_best_first(notebook: Facade) -> None:
    for note in ("drink: green tea", "food: noodles with tea eggs and rice", "pet: a dog"):
        await notebook.say(note)
    assert await notebook.say("? Is it tea, or green tea?") == "2 found: green tea, noodles with tea eggs and rice"
    assert await notebook.say("? DOG") == "1 found: a dog"
    assert await notebook.say("? cat") == "0 found"


async def test_what_is_older_than_its_time_is_not_recalled(notebook: Facade) -> None:
    await notebook.say("tone: plain", model="brief")
    for _ in range(100):
        if await notebook.say("tone", model="brief") == "nothing":
            break
    else:
        pytest.fail("it is still remembered")
    assert await notebook.say("? tone", model="brief") == "0 found"


async def test_a_chat_has_a_memory_of_its_own(notebook: Facade) -> None:
    chat: list[Any] = ["tone: plain"]
    chat += [said(await notebook.say(*chat, model="chat")), "tone"]
    assert await notebook.say(*chat, model="chat") == "plain"
    chat += [said("plain"), "tone"]
    assert await notebook.say(*chat, model="chat") == "plain"
    assert await notebook.say("tone", model="chat") == "nothing"
    assert await notebook.say(*chat, model="chat", key=DEVELOPER) == "nothing"


async def test_the_name_of_a_chat_leads_to_nobody_elses(notebook: Facade) -> None:
    async def say(text: str, chat: str, subject: str) -> str:
        headers = {**signed("Ada", "admin", SECRET, sub=subject), "x-openwebui-chat-id": chat}
        answer = await notebook.ask(text, key=PAGE, headers=headers, model="chat")
        return answer.json()["choices"][0]["message"]["content"]

    await say("tone: plain", "c", "ada/b")
    assert await say("tone", "b/c", "ada") == "nothing"
    assert await say("tone", "c", "ada/b") == "plain"


async def test_a_turn_that_waited_for_an_answer_is_of_the_same_chat(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    graph: dict[str, Any] = {
        "memory": {"scope": "chat"},
        "vars": {"seen": {"type": "int", "default": 0}, "more": "bool"},
        "start": "know",
        "nodes": {
            "know": {"type": "memory", "recall": {"key": "seen"}, "into": "seen", "next": "keep"},
            "keep": {"type": "memory", "remember": {"seen": "seen + 1"}, "next": "ask"},
            "ask": {"type": "question", "question": "{{ seen }} before. More?", "into": "more", "next": "keep_more"},
            "keep_more": {"type": "memory", "remember": {"seen": "seen + 10"}, "next": "say"},
            "say": {"type": "reply", "text": "Kept.", "next": "end"},
        },
    }
    configs = write_configs(tmp_path / "c", model.url, {}, access=ACCESS, graphs={"assistant": graph})
    async with serving(configs, tmp_path / "data") as facade:
        chat: list[Any] = ["hello"]
        chat += [said(await facade.say(*chat)), "yes"]
        chat += [said(await facade.say(*chat)), "hello again"]
        assert chat[3] == said("Kept.")
        assert (await facade.say(*chat)).startswith("10 before.")
        assert (await facade.say("hello, you")).startswith("0 before.")


async def test_a_chat_that_the_client_names_is_known_by_that(notebook: Facade) -> None:
    async def say(text: str, chat: str, name: str = "Ada") -> str:
        headers = {**signed(name, "admin", SECRET), "x-openwebui-chat-id": chat}
        answer = await notebook.ask(text, key=PAGE, headers=headers, model="chat")
        return answer.json()["choices"][0]["message"]["content"]

    await say("tone: plain", "c1")
    assert await say("tone", "c1") == "plain"
    assert await say("tone", "c2") == "nothing"
    assert await say("tone", "c1", "Max") == "nothing"


async def test_the_memory_of_a_graph_is_everybodys(notebook: Facade) -> None:
    await notebook.say("tone: plain", model="team")
    assert await notebook.say("tone", model="team", key=DEVELOPER) == "plain"
    assert await notebook.say("tone", key=DEVELOPER) == "nothing"


async def test_what_is_too_large_leads_the_way_of_the_error(notebook: Facade) -> None:
    assert await notebook.say(f"tone: {'x' * 20_000}") == (
        "limit: graphs/assistant.yaml, node 'keep', remember: the value of 'tone' has 20,002 bytes, and at most 16,384"
        " are remembered; make it shorter first"
    )
    assert (await notebook.say(f"{'k' * 201}: x")).endswith("a key has 1 to 200 characters, and this one has 201")


async def test_what_no_longer_fits_its_variable_is_invalid(folder: Path, tmp_path: Path, model: ScriptedModel) -> None:
    def build(type_: str, remember: str) -> dict[str, Any]:
        nodes = {
            "keep": {"type": "memory", "remember": {"n": remember}, "next": "read"},
            "read": {"type": "memory", "recall": {"key": "n"}, "into": "n", "next": "say"},
            "say": {"type": "reply", "text": "{{ n }}", "next": "end"},
        }
        return {"vars": {"n": {"type": type_, "default": 7}}, "start": "keep", "nodes": nodes}

    graphs = {"assistant": build("int", "n"), "text": build("int", "'seven'")}
    configs = write_configs(tmp_path / "c", model.url, {}, access=ACCESS, graphs=graphs)
    async with serving(configs, tmp_path / "data") as facade:
        assert await facade.say("go") == "7"
        assert await facade.say("go", model="text") == (
            "The graph stopped here: graphs/text.yaml, node 'read', into: what would go into 'n' is a text; expected a"
            " whole number."
        )
