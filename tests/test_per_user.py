"""`per_user: true`: every user has connections and processes of their own, whatever they are called and however many
ask at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.facade import ASSISTANT, Facade, serving, write_configs
from support.mcp_personal import TOOLS
from support.mcp_personal_http import PersonalHttp, personal_http
from support.mcp_toolbox import SUPPORT, processes_of
from support.people import KEY, SECRET, obedient, signed, told
from support.scripted_model import ScriptedModel

SCRIPT = "mcp_personal.py"
PLANTED = "pl4nted-t0ken-of-the-tests"
ACCESS: dict[str, Any] = {
    "roles": {
        "team": {"allow": ["*"], "ask": [{"tool": "mine/remember", "when": 'args.text == "ask me"'}]},
        "user": {"allow": ["*"], "deny": ["hidden/*"]},
    },
    "keys": [
        {"name": "open-webui", "role": "team", "env": "WEBUI_KEY", "forwards_users": True},
        {"name": "ci", "role": "team", "env": "CI_KEY"},
    ],
}
CI = "ilk_ci-of-the-tests"
WHO = ("mine__whoami", {})
WEB = ("web__whoami", {})


def mine(**more: Any) -> dict[str, Any]:
    return {
        "command": "python",
        "args": [str(SUPPORT / SCRIPT), "--user={{ caller.user }}"],
        "env": {"ME": "{{ caller.user }}", "TOKEN": PLANTED + "-{{ caller.email }}"},
        "per_user": True,
        **more,
    }


@dataclass
class Room:
    """A facade with a server of each kind that is per user."""

    facade: Facade
    model: ScriptedModel
    web: PersonalHttp
    configs: Path

    async def ask(self, person: str | dict[str, str], *rounds: list[Any], key: str = KEY) -> dict[str, Any]:
        """The model's report of one turn: what the calls gave, and which tools it had at last."""
        headers = signed(person) if isinstance(person, str) else person
        response = await self.facade.ask(told(*rounds), key=key, headers=headers)
        assert response.status_code == 200, response.text
        return json.loads(response.json()["choices"][0]["message"]["content"])

    async def who(self, person: str | dict[str, str], key: str = KEY) -> dict[str, Any]:
        """What the person's own process says."""
        report = await self.ask(person, [WHO], key=key)
        return json.loads(report["results"][0])

    async def ready(self) -> dict[str, Any]:
        return (await self.facade.http.get(self.facade.url.replace("/v1", "/ready"))).json()


@pytest.fixture
async def room(
    tmp_path: Path, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Room]:
    monkeypatch.setenv("WEBUI_KEY", KEY)
    monkeypatch.setenv("CI_KEY", CI)
    model.respond(obedient)
    async with personal_http() as web:
        headers = {"X-User": "{{ caller.email }}", "Authorization": f"Bearer {PLANTED}-{{{{ caller.email }}}}"}
        servers = {
            "mine": mine(**getattr(request, "param", {})),
            "web": {"url": web.url, "headers": headers, "per_user": True},
        }
        configs = write_configs(tmp_path / "c", model.url, servers, access=ACCESS, graphs={"assistant": ASSISTANT})
        async with serving(configs, tmp_path / "data", forwarded_jwt_secret=SECRET) as facade:
            yield Room(facade, model, web, configs)
    assert not processes_of(SCRIPT)


async def test_64_turns_at_once_of_8_users_never_meet(room: Room) -> None:
    users = [f"user{number}" for number in range(8)]

    async def turn(user: str, number: int) -> tuple[str, dict[str, Any]]:
        keep = ("mine__remember", {"text": f"{user}-{number}"})
        keep_there = ("web__remember", {"text": f"{user}-{number}"})
        return user, await room.ask(user, [keep, WEB], [WHO, keep_there], [(f"mine__only_{user}", {})])

    assert not processes_of(SCRIPT)
    turns = await asyncio.gather(*(turn(user, number) for number in range(8) for user in users))
    pids: dict[str, set[int]] = {}
    sessions: dict[str, set[str]] = {}
    for user, report in turns:
        results = [json.loads(result) for result in report["results"]]
        assert len(results) == 5
        for result in results:
            if "pid" in result:
                assert result["user"] == user
                assert result["token"] == f"{PLANTED}-{user}@example.org"
                assert result["args"] == [f"--user={user}"]
                pids.setdefault(user, set()).add(result["pid"])
            else:
                assert result["user"] == result["now"] == f"{user}@example.org"
                sessions.setdefault(user, set()).add(result["session"])
            assert all(kept.startswith(f"{user}-") for kept in result["kept"])
        own = {f"mine__{name}" for name in (*TOOLS, f"only_{user}")}
        assert {name for name in report["tools"] if name.startswith("mine__")} == own
    assert all(len(found) == 1 for found in (*pids.values(), *sessions.values()))
    assert len(set[int]().union(*pids.values())) == len(processes_of(SCRIPT)) == 8
    assert len(set[str]().union(*sessions.values())) == len(room.web.sessions) == 8
    for user in users:
        assert len((await room.who(user))["kept"]) == 8
    # Nobody's own key goes to a server.
    assert not any(KEY in value for headers in room.web.headers for value in headers.values())
