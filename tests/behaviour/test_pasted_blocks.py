"""The `mcpServers` block that people already have, pasted as it is: it serves, and weakens no rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.facade import ACCESS, serving, write_configs
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

from graphs.config.loader import load
from graphs.config.source import parse_yaml
from graphs.config.spec.servers import ServersSpec
from graphs.errors import ConfigError

EDITOR = """\
// servers of the team
{
\t"$schema": "https://example.com/mcp.json",
\t"mcpServers": {
\t\t"files": {
\t\t\t"httpUrl": "%s", // the "old" name: /* not a comment */
\t\t\t"transportType": "streamableHttp",
\t\t\t"headers": {"X-Token": "${env:FILES_TOKEN}"},
\t\t\t/* what runs
\t\t\t   unasked */
\t\t\t"autoApprove": [],
\t\t\t"description": "Files, e.g. http://files//x",
\t\t\t"icon": "📁",
\t\t\t"isActive": true,
\t\t\t"env": null,
\t\t\t"trust": false,
\t\t\t"timeout": 60, // it's seconds
\t\t\t"disabledTools": ["write"],
\t\t\t"tools": ["*"],
\t\t},
\t\t"idle": {"command": "no-such-program", "args": null, "enabled": false, "alwaysAllow": []},
\t},
}
"""


async def test_a_block_from_an_editor_is_pasted_and_its_tools_run(
    tmp_path: Path, model: ScriptedModel, tools: Tools, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILES_TOKEN", "t0ken-of-the-tests")
    configs = write_configs(tmp_path / "configs", model.url, {}, access=ACCESS)
    (configs / "servers.yaml").write_text(EDITOR % tools.url)
    model.script(Answer(calls=[Call("files__echo", {"text": "hello"})]), "Done.")
    async with serving(configs, tmp_path / "data") as facade:
        assert await facade.say("go") == "Done."
        assert "files__echo" in model.requests[0].tools
        assert "files__write" not in model.requests[0].tools
        assert list((await facade.ready()).json()["servers"]) == ["files"]
    assert "hello" in model.requests[1].tool_results[0]
    redaction = load(configs, {"FILES_TOKEN": "t0ken-of-the-tests"}).redaction
    assert "t0ken" not in redaction.redact_text("with t0ken-of-the-tests")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("httpUrl", "http://files/mcp"),
        ("serverUrl", "http://files/mcp"),
        ("baseUrl", "http://files/mcp"),
    ],
)
def test_an_address_under_another_clients_name(key: str, value: str) -> None:
    spec = ServersSpec.model_validate({"mcpServers": {"files": {key: value}}}).mcpServers["files"]
    assert (spec.url, spec.transport) == (value, "http")


@pytest.mark.parametrize(
    "more",
    [
        {"type": "streamable-http"},
        {"transport": "http"},
        {"transportType": "streamableHttp"},
        {"type": "remote"},
        {"autoApprove": []},
        {"alwaysAllow": []},
        {"trust": False},
        {"headers": None},
        {"isActive": True},
        {"enabled": True},
        {"disabled": False},
        {"name": "Files", "tags": ["a"], "provider": "x", "logoUrl": "http://x/y.png", "//": "a remark"},
        {"timeout": 600},
        {"timeout": "60000ms"},
        {"tools": ["*"]},
        {"disabledTools": [], "includeTools": None},
    ],
)
def test_what_other_clients_write_beside_it_is_taken(more: dict[str, object]) -> None:
    page = ServersSpec.model_validate({"mcpServers": {"files": {"url": "http://files/mcp", **more}}})
    spec = page.mcpServers["files"]
    assert (spec.url, spec.transport) == ("http://files/mcp", "http")
    assert not spec.is_off


@pytest.mark.parametrize(
    ("more", "include", "exclude"),
    [
        ({"includeTools": ["read", "list"]}, ["read", "list"], []),
        ({"enabledTools": ["read"], "excludeTools": ["list"]}, ["read"], ["list"]),
        ({"tools": "*", "disabledTools": ["write"]}, ["*"], ["write"]),
        ({"include": "read_*", "exclude": None}, ["read_*"], []),
    ],
)
def test_the_tools_that_another_client_names_are_chosen(
    more: dict[str, object], include: list[str], exclude: list[str]
) -> None:
    page = ServersSpec.model_validate({"mcpServers": {"files": {"url": "http://files/mcp", **more}}})
    spec = page.mcpServers["files"]
    assert (spec.include, spec.exclude) == (include, exclude)


@pytest.mark.parametrize("off", [{"disabled": True}, {"enabled": False}, {"isActive": False}])
def test_a_server_is_left_out_in_anybodys_words(off: dict[str, bool]) -> None:
    page = ServersSpec.model_validate({"mcpServers": {"files": {"url": "http://files/mcp", **off}}})
    assert page.mcpServers["files"].is_off


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ('"autoApprove": ["read"]', 'allow: ["files/read"]'),
        ('"alwaysAllow": ["a", "b", "c", "d"]', 'allow: ["files/a", "files/b", "files/c", …]'),
        ('"trust": true', 'allow: ["files/*"]'),
    ],
)
def test_what_would_weaken_a_rule_says_which_line_would_do_it(entry: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "servers.yaml").write_text(f'{{"mcpServers": {{\n"files": {{"url": "http://files/mcp",\n{entry}}}}}}}')
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {})
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column) == ("servers.yaml", 3, 1)
    assert f"The line `{line}` under a role" in problem.message


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('{"a": "// no", "b": "/* no */"}', {"a": "// no", "b": "/* no */"}),
        ('{"a": 1 // one\n}', {"a": 1}),
        ('{"a": true /* one */, "b": null // two\n}\n// end\n', {"a": True, "b": None}),
        ('/* above */\n# too\n{"a": [1, // one\n\t2]}', {"a": [1, 2]}),
        ('a:\n  {\n\t"b": "c" // d\n  }\n', {"a": {"b": "c"}}),
        ('{"a": "say \\"hi\\" // no" // yes\n}', {"a": 'say "hi" // no'}),
        ("a: {b: [echo // hi, http://x], c: d}", {"a": {"b": ["echo // hi", "http://x"], "c": "d"}}),
        ("a: |\n  {\n  // of a program\n  }\n", {"a": "{\n// of a program\n}\n"}),
    ],
)
def test_comments_and_tabs_of_json_are_blank_and_nothing_else_is(text: str, data: object) -> None:
    source = parse_yaml(text, "servers.yaml", {})
    assert source.problems == ()
    assert source.data == data


def test_a_tab_outside_of_json_is_still_a_mistake() -> None:
    (problem,) = parse_yaml('{"a": 1}\n', "x.yaml", {}).problems or parse_yaml("a:\n\tb: 1\n", "x.yaml", {}).problems
    assert "a tab is used to indent" in problem.message


def test_a_position_behind_a_comment_is_the_files_own() -> None:
    source = parse_yaml('// above\n{\n\t"a": 1, // one\n\t"b": 2\n}', "x.yaml", {})
    assert source.positions[("b",)] == (4, 2)
