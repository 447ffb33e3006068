"""The graphs of the shelf do what their descriptions say."""

from __future__ import annotations

from pathlib import Path

import yaml
from support.facade import DEVELOPER, ScriptedModel, serving, write_configs
from support.scripted_model import Answer, Call
from support.tool_server import Tools

SHELF = Path(__file__).parents[2] / "configs" / "shelf"


async def test_approved_tools_says_where_rights_end_and_looks_for_no_other_way(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None
) -> None:
    graph = yaml.safe_load((SHELF / "approved-tools.yaml").read_text())
    configs = write_configs(tmp_path / "configs", model.url, {"files": {"url": tools.url}}, graphs={"assistant": graph})
    async with serving(configs, tmp_path / "data") as facade:
        model.script(Answer(calls=[Call("files__echo", {"text": "mine"})]), "It says mine.")
        assert "It says mine." in await facade.say("read", key=DEVELOPER)
        model.script(Answer(calls=[Call("files__echo", {"text": "secret"})]), "You may not read that.")
        assert "You may not read that." in await facade.say("read the secret", key=DEVELOPER)
    worked, explained = model.requests[1], model.requests[3]
    assert worked.tools
    assert not explained.tools
    assert "A tool call was refused, since developer may not do that with the role developer." in str(
        explained.messages
    )
