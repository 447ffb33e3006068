"""The graphs of the shelf do what their descriptions say."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml
from support.facade import DEVELOPER, ScriptedModel, serving, write_configs
from support.scripted_model import Answer, Call
from support.tool_server import Tools
from typer.testing import CliRunner

from server.cli.main import app

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


async def test_support_sorts_and_lets_the_right_agent_answer(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    graph = yaml.safe_load((SHELF / "support.yaml").read_text())
    configs = write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": graph})
    async with serving(configs, tmp_path / "data") as facade:
        model.script('{"value": "machines"}', "Half asleep.")
        assert await facade.say("how busy is it?") == "Half asleep."
        model.script("other")
        assert await facade.say("sing") == "I know customers and orders, this machine and its files, admin."
    assert model.requests[1].messages[0]["content"] == "You know how busy the machine is."


async def test_self_review_says_the_last_draft_alone(tmp_path: Path, model: ScriptedModel, keys: None) -> None:
    graph = yaml.safe_load((SHELF / "self-review.yaml").read_text())
    configs = write_configs(tmp_path / "configs", model.url, {}, graphs={"assistant": graph})
    model.script("A draft.", '{"good": false, "wish": "shorter"}', "Draft.", '{"good": true, "wish": null}')
    async with serving(configs, tmp_path / "data") as facade:
        assert await facade.say("write") == "Draft."
    mended = str(model.requests[2].messages[0]["content"])
    assert "Your last draft: A draft.\n\nChange this: shorter" in mended
    assert model.requests[3].messages[1]["content"] == "Asked for: write\n\nDraft: Draft."


def test_every_graph_of_the_shelf_passes_its_own_tests_which_take_every_way(tmp_path: Path) -> None:
    configs = shutil.copytree(SHELF.parent, tmp_path / "configs")
    shutil.copytree(SHELF, configs / "graphs", dirs_exist_ok=True)
    tested = CliRunner().invoke(app, ["test", "--configs", str(configs), "--cover", "100"])
    assert tested.exit_code == 0, tested.output
    names = {path.stem for path in SHELF.glob("*.yaml") if not path.stem.endswith(".test")}
    assert names == {path.name.removesuffix(".test.yaml") for path in SHELF.glob("*.test.yaml")}
