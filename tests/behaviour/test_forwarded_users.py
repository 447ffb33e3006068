"""One key, many people: who is chatting behind Open WebUI, proven by a signature, and with which rights."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from support import identity_providers
from support.facade import Facade, said, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

SECRET = "a-secret-that-open-webui-and-interlock-share"
KEY = "ilk_open-webui-of-the-tests"
ACCESS: dict[str, Any] = {
    "roles": {
        "team": {"allow": [{"tool": "files/echo", "when": 'caller.role != "nobody"'}, "files/add", "files/write"]},
        "user": {"allow": ["files/echo"], "ask": ["files/write"]},
    },
    "keys": [{"name": "open-webui", "role": "team", "env": "WEBUI_KEY", "forwards_users": True}],
}


def signed(name: str, role: str, secret: str = SECRET, **changes: Any) -> dict[str, str]:
    return identity_providers.signed(name, role, secret, **changes)


def forged(role: str) -> dict[str, str]:
    return {"x-openwebui-user-name": "Eve", "x-openwebui-user-email": "eve@x", "x-openwebui-user-role": role}


@pytest.fixture
async def webui(
    tmp_path: Path, model: ScriptedModel, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Facade]:
    monkeypatch.setenv("WEBUI_KEY", KEY)
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=ACCESS)
    async with serving(folder, tmp_path / "data", forwarded_jwt_secret=SECRET) as facade:
        yield facade


async def test_the_persons_name_reaches_the_prompt_and_their_role_narrows_the_keys(
    webui: Facade, model: ScriptedModel
) -> None:
    model.script("a", "b")
    await webui.say("go", key=KEY, headers=signed("Zoë", "admin"))
    await webui.say("go", key=KEY, headers=signed("Max", "user"))
    first, second = model.requests
    assert first.messages[0]["content"] == "You help Zoë."
    assert sorted(first.tools) == ["files__add", "files__echo", "files__write"]
    assert sorted(second.tools) == ["files__echo", "files__write"]


async def test_the_stricter_of_both_roles_decides_at_the_call(
    webui: Facade, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer(calls=[Call("files__add", {"a": 1, "b": 2}), Call("files__echo", {"text": "x"})]), "Done.")
    await webui.say("go", key=KEY, headers=signed("Max", "user"))
    assert tools.ran() == ["echo x"]
    assert "role user" in model.requests[1].tool_results[0]

    model.script(Answer(calls=[Call("files__write", {"text": "y"})]))
    asked = await webui.say("write", key=KEY, headers=signed("Max", "user"))
    assert "approve " in asked
    assert tools.ran() == ["echo x"]


async def test_a_forged_plain_header_changes_nothing(webui: Facade, model: ScriptedModel) -> None:
    model.script("a")
    await webui.say("go", key=KEY, headers={**signed("Max", "user"), **forged("admin")})
    assert sorted(model.requests[0].tools) == ["files__echo", "files__write"]
    assert model.requests[0].messages[0]["content"] == "You help Max."

    for headers in (forged("admin"), {}):
        unsigned = await webui.ask("go", key=KEY, headers=headers)
        assert unsigned.status_code == 401
        assert "signed header" in unsigned.json()["error"]["message"]
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    "headers",
    [
        signed("Max", "admin", secret="another-secret-of-sufficient-length-000"),
        signed("Max", "admin", exp=int(time.time()) - 3600),
        signed("Max", "admin", iss="somebody-else"),
        {
            "x-openwebui-user-jwt": jwt.encode(
                {"sub": "x", "iss": "open-webui", "exp": 9999999999}, None, algorithm="none"
            )
        },
        {"x-openwebui-user-jwt": "rubbish"},
    ],
    ids=["other secret", "expired", "other issuer", "not signed", "rubbish"],
)
async def test_a_signature_that_does_not_hold_is_a_401(
    webui: Facade, model: ScriptedModel, headers: dict[str, str]
) -> None:
    response = await webui.ask("go", key=KEY, headers=headers)
    assert response.status_code == 401
    assert "INTERLOCK_FORWARDED_JWT_SECRET" in response.json()["error"]["message"]
    assert SECRET not in response.text
    assert model.requests == []


async def test_two_people_never_see_each_others_results_or_approvals(
    webui: Facade, model: ScriptedModel, tools: Tools
) -> None:
    zoe, max_ = signed("Zoë", "admin"), signed("Max", "user")
    model.script(Answer(calls=[Call("files__echo", {"text": "4711"})]), "Looked.", "Hm.", "Ah.")
    await webui.say("look", key=KEY, headers=zoe)
    await webui.say("look", said("Looked."), "and?", key=KEY, headers=max_)
    await webui.say("look", said("Looked."), "and?", key=KEY, headers=zoe)
    assert model.requests[2].tool_results == []
    assert model.requests[3].tool_results == ["4711"]

    model.script(Answer(calls=[Call("files__write", {"text": "y"})]))
    await webui.say("write", key=KEY, headers=max_)
    bearer = {"authorization": f"Bearer {KEY}"}
    (entry,) = (await webui.http.get(f"{webui.url}/approvals", headers={**bearer, **max_})).json()["data"]
    assert entry["caller"] == "Max"
    assert (await webui.http.get(f"{webui.url}/approvals", headers={**bearer, **zoe})).json()["data"] == []
    answer = await webui.say(f"approve {entry['id']}", key=KEY, headers=zoe)
    assert "Nothing that you may decide" in answer
    assert "write y" not in tools.ran()


async def test_without_a_verified_person_nothing_is_restored(
    tmp_path: Path, model: ScriptedModel, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBUI_KEY", KEY)
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=ACCESS)
    model.script(Answer(calls=[Call("files__echo", {"text": "4711"})]), "Looked.", "Hm.")
    async with serving(folder, tmp_path / "data") as facade:
        await facade.say("look", key=KEY)
        await facade.say("look", said("Looked."), "and?", key=KEY)
    assert model.requests[2].tool_results == []


async def test_only_somebody_who_is_the_approver_wholly_decides(
    tmp_path: Path, model: ScriptedModel, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person's role alone does not do where the key has another: what either lacks, both together lack."""
    monkeypatch.setenv("WEBUI_KEY", KEY)
    monkeypatch.setenv("OTHER_KEY", "ilk_of-another-front-end")
    access = {
        "roles": {
            "admin": {"allow": ["*"]},
            "team": {"allow": ["*"]},
            "user": {"ask": [{"tool": "files/write", "approver": "admin"}]},
        },
        "keys": [
            {"name": "open-webui", "role": "admin", "env": "WEBUI_KEY", "forwards_users": True},
            {"name": "other", "role": "team", "env": "OTHER_KEY", "forwards_users": True},
        ],
    }
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=access)
    async with serving(folder, tmp_path / "data", forwarded_jwt_secret=SECRET) as facade:
        model.script(Answer(calls=[Call("files__write", {"text": "y"})]), "Written.")
        max_, eve, zoe = signed("Max", "user"), signed("Eve", "admin"), signed("Zoë", "admin")
        asked = await facade.say("write", key=KEY, headers=max_)

        async def waiting(key: str, who: dict[str, str]) -> list[str]:
            found = await facade.http.get(f"{facade.url}/approvals", headers={"authorization": f"Bearer {key}", **who})
            return [entry["id"] for entry in found.json()["data"]]

        (id,) = await waiting(KEY, max_)
        assert "Only the role admin" in await facade.say(f"approve {id}", key=KEY, headers=max_)
        assert await waiting("ilk_of-another-front-end", eve) == []
        refused = await facade.say(f"approve {id}", key="ilk_of-another-front-end", headers=eve)
        assert "Nothing that you may decide" in refused
        assert await waiting(KEY, zoe) == [id]
        assert "is approved" in await facade.say(f"approve {id}", key=KEY, headers=zoe)
        assert await facade.say("write", said(asked), "go on", key=KEY, headers=max_) == "Written."
    assert tools.ran() == ["write y"]
