"""`interlock doctor` says how much of a request the tools of each role are, and which vendors would refuse it."""

from __future__ import annotations

import asyncio
import copy
import re
from pathlib import Path
from typing import Any

import orjson
from support.facade import ADMIN, ASSISTANT, DEVELOPER, KEYS, add_to_gateway, serving, write_configs
from support.mcp_web import Asked, Reply, WebServer, result
from support.scripted_model import ScriptedModel

from graphs.config.loader import load
from graphs.diagnostics.doctor import Finding, examine_servers

LONG = "Looks up what there is. " * 100
ACCESS: dict[str, Any] = {
    "roles": {
        "admin": {"allow": ["*"]},
        "developer": {"allow": [{"tool": "web/tool00*", "when": "args.path != 'x'"}], "deny": ["web/tool001"]},
        "guest": {"graphs": []},
    },
    "keys": [
        {"name": "admin", "role": "admin", "env": "INTERLOCK_ADMIN_KEY"},
        {"name": "developer", "role": "developer", "env": "INTERLOCK_DEVELOPER_KEY"},
    ],
}


def build_tool(number: int, description: str) -> dict[str, Any]:
    properties = {"path": {"type": "string", "description": "Wó"}, "any": {"type": ["string", "null"]}}
    return {
        "name": f"tool{number:03}",
        "description": description,
        "inputSchema": {"type": "object", "properties": properties, "anyOf": [{"required": ["path"]}, {}]},
    }


def serve(web: WebServer, count: int, description: str = "Looks.") -> None:
    def reply(asked: Asked) -> Reply | None:
        tools = [build_tool(number, description) for number in range(count)]
        return result(asked, {"tools": tools}) if asked.method == "tools/list" else None

    web.reply = reply


async def examine(folder: Path) -> tuple[list[Finding], list[Finding]]:
    """What is said of the sizes, and the remarks."""
    found = await examine_servers(load(folder, KEYS), 10)
    remarks = [one for one in found if one.is_remark]
    assert all(one.sound for one in remarks)
    roles = [one for one in found if one.where.startswith("access.yaml") and one.subject == "roles"]
    return [one for one in roles if not one.is_remark], remarks


async def test_the_numbers_are_those_of_the_requests_that_a_model_gets(
    tmp_path: Path, model: ScriptedModel, keys: None
) -> None:
    async with WebServer() as web:
        serve(web, 40, LONG)
        folder = write_configs(tmp_path / "c", model.url, {"web": {"url": web.url}}, access=ACCESS)
        lines, remarks = await examine(folder)
        model.script("Hello.", "Hello.")
        async with serving(folder, tmp_path / "data") as facade:
            async with asyncio.timeout(10):
                while not (await facade.ready()).json()["servers"]["web"]["tools"]:
                    await asyncio.sleep(0.02)
            for key in (ADMIN, DEVELOPER):
                assert await facade.say("hi", key=key) == "Hello."
        sizes = [len(orjson.dumps(request.body["tools"])) for request in model.requests]
        assert [len(request.tools) for request in model.requests] == [40, 9]
    assert [one.message for one in lines] == [
        f"admin: 40 tools are shown to models of graph assistant: {sizes[0]:,} bytes, about {-(-sizes[0] // 4):,} "
        "tokens of each request",
        f"developer: 9 tools are shown to models of graph assistant: {sizes[1]:,} bytes, about {-(-sizes[1] // 4):,} "
        "tokens of each request",
        "guest: may use no graph that asks a model",
    ]
    assert [one.where for one in lines] == ["access.yaml:2:3", "access.yaml:5:3", "access.yaml:11:3"]
    assert remarks == []
    assert str(lines[0]).startswith("ok   access.yaml:2:3: roles: admin: 40 tools")


async def test_what_vendors_refuse_is_remarked_and_nothing_fails_for_it(tmp_path: Path, model: ScriptedModel) -> None:
    async with WebServer() as web:
        serve(web, 130, LONG)
        folder = write_configs(tmp_path, model.url, {"7zip": {"url": web.url}}, access=ACCESS)
        add_to_gateway(folder, tools={"max_description": 2000})
        lines, remarks = await examine(folder)
    assert lines[0].message.startswith("admin: 130 tools are shown to models of graph assistant: ")
    assert lines[1].message == "developer: 0 tools are shown to models of graph assistant"
    cure = (
        "; choose fewer with 'include' or 'exclude' in servers.yaml, 'tools' of the graph's node, or the role's rules"
    )
    assert [str(one) for one in remarks] == [
        "note access.yaml:2:3: roles: admin: OpenAI refuses every request with more than 128 tools, and these are 130"
        + cure,
        "note access.yaml:2:3: roles: admin: the tools alone fill the context of a model that takes 32,768 tokens"
        + cure,
        "note servers.yaml:2:3: 7zip: OpenAI refuses every request with a description of more than 1,024 characters, "
        "as of tool000, tool001, tool002, tool003, tool004 and 125 more; write 'tools: {max_description: 1024}' in "
        "gateway.yaml",
        "note servers.yaml:2:3: 7zip: Google's Vertex AI refuses names of tools that do not begin with a letter, as "
        "7zip__tool000; give the server a name that does",
    ]


async def test_each_graph_counts_as_it_shows_them_and_what_is_away_is_named(
    tmp_path: Path, model: ScriptedModel
) -> None:
    two = copy.deepcopy(ASSISTANT)
    two["nodes"]["agent"]["tools"] = ["web/tool001"]
    two["nodes"]["agent"]["next"][1]["to"] = "writer"
    two["nodes"]["writer"] = {"type": "model", "next": "end"}
    graphs = {"assistant": ASSISTANT, "research": ASSISTANT, "two": two}
    async with WebServer() as web:
        serve(web, 3)
        servers = {"web": {"url": web.url}, "gone": {"command": "gone-entirely"}}
        roles = {"admin": {"allow": ["*"]}, "developer": {"allow": ["web/*"], "graphs": ["two"]}}
        folder = write_configs(tmp_path, model.url, servers, access={**ACCESS, "roles": roles}, graphs=graphs)
        lines, _ = await examine(folder)
    assert [re.sub(r": [0-9,]+ bytes, about [0-9,]+ tokens of each request", "", one.message) for one in lines] == [
        "admin: 3 tools are shown to models of graph assistant, graph research; not counted: gone",
        "admin: 1 tool is shown to models of graph two, node agent; not counted: gone",
        "admin: 0 tools are shown to models of graph two, node writer; not counted: gone",
        "developer: 1 tool is shown to models of graph two, node agent",
        "developer: 0 tools are shown to models of graph two, node writer",
    ]


async def test_where_no_server_is_up_nothing_is_counted(tmp_path: Path, model: ScriptedModel) -> None:
    folder = write_configs(tmp_path, model.url, {"gone": {"command": "gone-entirely"}}, access=ACCESS)
    assert await examine(folder) == ([], [])
