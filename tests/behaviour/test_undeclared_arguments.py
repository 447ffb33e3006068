"""Arguments that a tool does not declare, in real turns over HTTP: they get to no person and to no tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.facade import ACCESS, ADMIN, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools


def configs(folder: Path, model: ScriptedModel, tools: Tools, rules: dict[str, Any], **server: Any) -> Path:
    access = {**ACCESS, "roles": {**ACCESS["roles"], "admin": rules}}
    return write_configs(folder / "configs", model.url, {"files": {"url": tools.url, **server}}, access=access)


@pytest.mark.parametrize("name", ["Text", "TEXT", "ｔｅｘｔ", "te\u200bxt"])
async def test_a_twin_is_refused_before_any_rule_and_any_person(
    name: str, tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    model.script(
        Answer(
            calls=[
                Call("files__echo", {"text": "fine", name: "secret"}),
                Call("files__write", {"text": "fine", name: "secret"}),
                Call("files__echo", {name: "secret"}),
            ]
        ),
        "Done.",
    )
    rules = {"allow": [{"tool": "files/echo", "when": 'args.text != "secret"'}], "ask": ["files/write"]}
    async with serving(configs(tmp_path, model, tools, rules), tmp_path / "data") as facade:
        assert await facade.say("go") == "Done."
        headers = {"authorization": f"Bearer {ADMIN}"}
        approvals = (await facade.http.get(f"{facade.url}/approvals", headers=headers)).json()["data"]
    assert tools.ran() == []
    assert approvals == []
    for result in model.requests[1].tool_results:
        assert "is not declared and differs from 'text' only in case" in result
        assert "declared there: 'text'" in result


@pytest.mark.parametrize("name", ["Text", "ｔｅｘｔ"])
async def test_a_rule_on_a_twin_of_a_declared_name_allows_nothing(
    name: str, tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    model.script(
        Answer(calls=[Call("files__echo", {"text": "a", name: "b"}), Call("files__echo", {name: "b"})]), "Done."
    )
    rules = {"allow": [{"tool": "files/echo", "when": f'args["{name}"] == "b"'}]}
    async with serving(configs(tmp_path, model, tools, rules), tmp_path / "data") as facade:
        assert await facade.say("go") == "Done."
    assert tools.ran() == []


@pytest.mark.parametrize("where", ["servers.yaml", "gateway.yaml"])
async def test_strict_refuses_what_is_not_declared(
    where: str, tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    call = Call("files__echo", {"text": "fine", "mode": "x"})
    rules = {"allow": ["*"]}
    folder = configs(tmp_path, model, tools, rules)
    model.script(Answer(calls=[call]), "Done.")
    async with serving(folder, tmp_path / "data") as facade:
        assert await facade.say("go") == "Done."
    assert tools.ran() == ["echo fine"]
    if where == "servers.yaml":
        configs(tmp_path, model, tools, rules, strict=True)
    else:
        gateway = yaml.safe_load((folder / where).read_text())
        (folder / where).write_text(yaml.safe_dump({**gateway, "tools": {"strict": True}}))
    model.script(Answer(calls=[call, Call("files__echo", {"text": "again"})]), "Done.")
    async with serving(folder, tmp_path / "data") as facade:
        assert await facade.say("go") == "Done."
    assert tools.ran() == ["echo fine", "echo again"]
    assert "its argument 'mode' is not declared; declared there: 'text'" in model.requests[-1].tool_results[0]
