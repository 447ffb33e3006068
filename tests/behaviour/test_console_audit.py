"""Search of the audit on the console, over HTTP: who finds what, and what is asked wrongly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from support.facade import ACCESS, ADMIN, DEVELOPER, Facade, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools


async def get(facade: Facade, query: str = "", key: str = ADMIN, **headers: str) -> httpx.Response:
    root = facade.url.removesuffix("/v1")
    headers = {"authorization": f"Bearer {key}", **headers}
    return await facade.http.get(f"{root}/console/api/audit{query}", headers=headers)


async def search(facade: Facade, query: str = "", key: str = ADMIN, **headers: str) -> list[dict[str, Any]]:
    answer = await get(facade, query, key, **headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["records"]


async def make_records(facade: Facade, model: ScriptedModel) -> None:
    """Two records of the admin, a decision and a call, and one of the developer, a refusal."""
    model.script(Answer(calls=[Call("files__echo", {"text": "mine"})]), "Done.")
    await facade.say("Echo.", key=ADMIN)
    model.script(Answer(calls=[Call("files__echo", {"text": "secret"})]), "Done.")
    await facade.say("Echo.", key=DEVELOPER)


async def test_an_admin_searches_all_records_and_others_their_own(
    facade: Facade, model: ScriptedModel, tools: Tools
) -> None:
    await make_records(facade, model)
    answer = await get(facade)
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.json()["everybody"], answer.json()["next"]) == (True, None)
    refused, ran, decided = answer.json()["records"]
    assert (ran["kind"], ran["outcome"], ran["user"], ran["tool"]) == ("call", "ok", "admin", "files/echo")
    assert (decided["kind"], decided["verdict"], decided["graph"], decided["node"]) == (
        "decision",
        "allow",
        "assistant",
        "agent",
    )
    assert (refused["verdict"], refused["user"], refused["role"]) == ("deny", "developer", "developer")
    assert refused["rule"].startswith("role developer, allow 'files/echo' (access.yaml:")
    assert decided["arguments"] == '{\n  "text": "mine"\n}'

    assert [record["user"] for record in await search(facade, key=DEVELOPER)] == ["developer"]
    assert (await get(facade, key=DEVELOPER)).json()["everybody"] is False
    for query in (
        "?who=admin",
        "?text=mine",
        "?kind=call",
        f"?before={refused['seq']}",
        "?since=0&tool=*&verdict=allow",
    ):
        assert await search(facade, query, DEVELOPER) == [], query
    assert (await get(facade, key="ilk_nobody")).status_code == 401


async def test_filters_and_pages(facade: Facade, model: ScriptedModel, tools: Tools) -> None:
    await make_records(facade, model)
    assert [record["user"] for record in await search(facade, "?who=DEVELOP&verdict=deny")] == ["developer"]
    assert len(await search(facade, "?tool=files/*&kind=decision")) == 2
    assert await search(facade, "?until=1") == []
    assert [record["kind"] for record in await search(facade, "?text=mine&kind=call&outcome=ok")] == ["call"]
    first = (await get(facade, "?limit=2")).json()
    second = (await get(facade, f"?limit=2&before={first['next']}")).json()
    assert len(first["records"]) == 2
    assert [record["seq"] for record in [*first["records"], *second["records"]]] == [3, 2, 1]


async def test_what_is_asked_wrongly_is_refused_in_words(facade: Facade) -> None:
    for query in (
        "?limit=101",
        "?kind=nosuch",
        "?verdict=perhaps",
        "?since=yesterday",
        f"?text={'x' * 201}",
        "?before=0",
    ):
        answer = await get(facade, query)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), query
    for number in ("nan", "inf", "-inf", "1e308"):
        assert (await get(facade, f"?since={number}&until={number}")).status_code in (200, 400)


async def test_an_admins_key_that_speaks_for_many_finds_nothing_unless_somebody_vouches(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    shared = [{"name": "webui", "role": "admin", "env": "INTERLOCK_ADMIN_KEY", "forwards_users": True}]
    own = [{"name": "developer", "role": "developer", "env": "INTERLOCK_DEVELOPER_KEY"}]
    access = {**ACCESS, "keys": [*shared, *own]}
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access=access)
    async with serving(folder, tmp_path / "data") as facade:
        model.script(Answer(calls=[Call("files__echo", {"text": "secret"})]), "Done.")
        await facade.say("Echo.", key=DEVELOPER)
        assert await search(facade) == []
        named = {"x-openwebui-user-name": "Ann", "x-openwebui-user-email": "ann@example.org"}
        assert await search(facade, **named) == []
        assert await search(facade, **{**named, "x-openwebui-user-role": "admin"}) == []
