"""A server's tools on the console, over HTTP: schemas and rights with their rules' places, as the role may see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from support.facade import ACCESS, ADMIN, DEVELOPER, Facade, serving, write_configs
from support.scripted_model import ScriptedModel
from support.tool_server import Tools


async def get(facade: Facade, server: str, key: str = ADMIN, **headers: str) -> httpx.Response:
    root = facade.url.removesuffix("/v1")
    headers = {"authorization": f"Bearer {key}", **headers}
    return await facade.http.get(f"{root}/console/api/servers/{server}/tools", headers=headers)


async def list_tools(facade: Facade, server: str, key: str = ADMIN) -> dict[str, dict[str, Any]]:
    answer = await get(facade, server, key)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    return {tool["name"]: tool for tool in answer.json()["tools"]}


async def test_an_admin_sees_what_each_role_may_do_and_others_their_own_part(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    roles = {
        "admin": {"allow": ["*"], "ask": ["files/write"], "deny": ["files/environment"]},
        "developer": {"allow": [{"tool": "files/echo", "when": 'args.text != "secret"'}]},
        "nobody": {"graphs": []},
    }
    access = {**ACCESS, "roles": roles}
    servers = {"files": {"url": tools.url}, "gone": {"command": "no-such-program"}}
    folder = write_configs(tmp_path / "c", model.url, servers, access=access)
    lines = (folder / "access.yaml").read_text().splitlines()

    def place(text: str) -> str:
        return f"access.yaml:{next(at for at, line in enumerate(lines, 1) if text in line)}"

    async with serving(folder, tmp_path / "data") as facade:
        seen = await list_tools(facade, "files")
        echo, write = seen["echo"], seen["write"]
        assert '"text": {' in echo["schema"]
        assert [(right["role"], right["decision"]) for right in echo["rights"]] == [
            ("admin", "allow"),
            ("developer", "depends"),
            ("nobody", "deny"),
        ]
        (rule,) = echo["rights"][1]["rules"]
        assert (rule["decision"], rule["pattern"], rule["when"]) == ("allow", "files/echo", 'args.text != "secret"')
        assert rule["where"] == place("tool: files/echo")
        assert echo["rights"][1]["otherwise"] == "otherwise deny"
        assert echo["rights"][2] == {
            "role": "nobody",
            "decision": "deny",
            "rules": [],
            "otherwise": f"role nobody says nothing about it ({place('nobody:')})",
        }
        assert [rule["where"] for rule in write["rights"][0]["rules"]] == [place("files/write")]
        assert seen["environment"]["rights"][0]["decision"] == "deny"
        assert await list_tools(facade, "gone") == {}

        own = await get(facade, "files", DEVELOPER)
        assert [tool["name"] for tool in own.json()["tools"]] == ["echo"]
        assert [right["role"] for right in own.json()["tools"][0]["rights"]] == ["developer"]
        assert own.json()["all_roles"] is False
        assert "admin" not in own.text
        for server in ("gone", "nosuch"):
            assert (await get(facade, server, DEVELOPER)).status_code == 404
        assert (await get(facade, "files", "ilk_nobody")).status_code == 401


async def test_an_admins_role_that_a_persons_narrows_sees_no_other_role(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    shared = [{"name": "webui", "role": "admin", "env": "INTERLOCK_ADMIN_KEY", "forwards_users": True}]
    folder = write_configs(tmp_path / "c", model.url, {"files": {"url": tools.url}}, access={**ACCESS, "keys": shared})
    async with serving(folder, tmp_path / "data") as facade:
        named = {"x-openwebui-user-name": "Ann", "x-openwebui-user-email": "ann@example.org"}
        answer = await get(facade, "files", **named, **{"x-openwebui-user-role": "developer"})
        (echo,) = answer.json()["tools"]
        assert [(right["role"], right["decision"]) for right in echo["rights"]] == [("admin for developer", "depends")]
        nobody = (await get(facade, "files", **named)).json()
        assert nobody["all_roles"] is False
        assert {right["role"] for tool in nobody["tools"] for right in tool["rights"]} == {"admin"}
