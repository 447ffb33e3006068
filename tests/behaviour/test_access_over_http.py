"""Every identity asks for every tool, hidden ones too, over HTTP: what then happens is what the rules say by hand, and
what `interlock access` says of the same files."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.facade import ASSISTANT, Facade, said, serving, write_configs
from support.identity_providers import Elsewhere, signed
from support.processes import plain_environment
from support.scripted_model import Answer, Body, Call, ScriptedModel
from typer.testing import CliRunner

from graphs.tools.names import make_model_name
from server.cli.main import app

SECRET = "a-secret-that-open-webui-and-interlock-share"
NAMED = Path(__file__).parents[1] / "support" / "mcp_named.py"

ROLES: dict[str, Any] = {
    "base": {
        "deny": ["*/drop_*", {"tool": "shell/*", "when": 'args.command.startsWith("rm")'}],
        "ask": [{"tool": "*/restart*", "approver": "admin", "expires": "15m"}],
    },
    "reader": {
        "include": ["base"],
        "allow": [
            {"tool": "files/read_*", "when": 'path_within(args.path, "/workspace")'},
            {"tool": "db/query", "when": "sql_read_only(args.sql)"},
            "*/read",
            "docs/reports/*",
            "files/list_dir",
        ],
    },
    "writer": {
        "include": ["reader"],
        "allow": ["files/*", "docs/wiki/edit"],
        "ask": [
            {"tool": "files/write_*", "when": '!path_within(args.path, "/workspace")'},
            {"tool": "files/delete", "approver": "operator"},
        ],
        "deny": [{"tool": "files/write_config", "when": 'args.path.startsWith("/etc")'}],
    },
    "operator": {
        "include": ["base"],
        "allow": ["ops/*", "shell/run", "web/*", "db/*"],
        "ask": [
            {"tool": "ops/scale", "when": "args.count > 10"},
            {"tool": "ops/scale", "when": "args.count > 40", "approver": "admin"},
        ],
        "deny": [{"tool": "web/*", "when": 'host(args.url) != "example.com"'}],
    },
    "auditor": {
        "allow": ["*"],
        "deny": [
            "*/write_*", "files/delete", "*/execute", "db/drop*", "docs/*/edit", "web/post", "ops/re*", "ops/scale",
            "shell/*",
        ],
        "ask": [{"tool": "db/q*", "when": "!sql_read_only(args.sql)"}],
    },
    "steward": {"allow": ["*"], "ask": [{"tool": "ops/re*", "approver": "operator"}]},
    "nobody": {},
    "admin": {"allow": ["*"], "ask": ["shell/rm"]},
}  # fmt: skip

VARIANTS: dict[str, dict[str, Any]] = {
    "good": {"path": "/workspace/a", "sql": "select 1", "url": "https://example.com/", "count": 1, "command": "ls"},
    "bad": {"path": "/etc/a", "sql": "drop table t", "url": "https://evil.com/", "count": 50, "command": "rm -rf /"},
    "none": {},
}
"""Arguments that conditions are made for, those that they are made against, and those of which they know nothing."""

HAPPENS = """\
tool                      reader writer operator auditor steward nobody admin operator+auditor operator+steward
files/read_text           ADD    AAA    DDD      AAA     AAA     DDD    AAA   DDD              DDD
files/read_media          ADD    AAA    DDD      AAA     AAA     DDD    AAA   DDD              DDD
files/list_dir            AAA    AAA    DDD      AAA     AAA     DDD    AAA   DDD              DDD
files/write_text          DDD    A??    DDD      DDD     AAA     DDD    AAA   DDD              DDD
files/write_config        DDD    ADD    DDD      DDD     AAA     DDD    AAA   DDD              DDD
files/delete              DDD    OOO    DDD      DDD     AAA     DDD    AAA   DDD              DDD
db/query                  ADD    ADD    AAA      A??     AAA     DDD    AAA   A??              AAA
db/execute                DDD    DDD    AAA      DDD     AAA     DDD    AAA   DDD              AAA
db/list_tables            DDD    DDD    AAA      AAA     AAA     DDD    AAA   AAA              AAA
db/drop_table             DDD    DDD    DDD      DDD     AAA     DDD    AAA   DDD              DDD
docs/reports/list         AAA    AAA    DDD      AAA     AAA     DDD    AAA   DDD              DDD
docs/reports/annual/read  AAA    AAA    DDD      AAA     AAA     DDD    AAA   DDD              DDD
docs/wiki/read            AAA    AAA    DDD      AAA     AAA     DDD    AAA   DDD              DDD
docs/wiki/edit            DDD    AAA    DDD      DDD     AAA     DDD    AAA   DDD              DDD
web/fetch                 DDD    DDD    ADD      AAA     AAA     DDD    AAA   ADD              ADD
web/post                  DDD    DDD    ADD      DDD     AAA     DDD    AAA   DDD              ADD
web/dns/resolve           DDD    DDD    ADD      AAA     AAA     DDD    AAA   ADD              ADD
ops/status                DDD    DDD    AAA      AAA     AAA     DDD    AAA   AAA              AAA
ops/restart               !!!    !!!    !!!      DDD     OOO     DDD    AAA   DDD              ddd
ops/restart_all           !!!    !!!    !!!      DDD     OOO     DDD    AAA   DDD              ddd
ops/scale                 DDD    DDD    A!!      DDD     AAA     DDD    AAA   DDD              A!!
ops/logs/read             AAA    AAA    AAA      AAA     AAA     DDD    AAA   AAA              AAA
shell/run                 DDD    DDD    ADD      DDD     AAA     DDD    AAA   DDD              ADD
shell/rm                  DDD    DDD    DDD      DDD     AAA     DDD    ???   DDD              DDD
shell/kill                DDD    DDD    DDD      DDD     AAA     DDD    AAA   DDD              DDD
"""
"""By hand, what happens with the good, the bad and no arguments: A runs, D is refused, ? asks whoever asked, ! asks an
admin, O asks an operator. DDD is not even shown to the model; d is refused though the model is shown the tool."""
_, *ROWS = (line.split() for line in HAPPENS.splitlines())
TOOLS = [row[0] for row in ROWS]
EXPECTED = {
    role: {row[0]: row[at] for row in ROWS} for at, role in enumerate(HAPPENS.splitlines()[0].split()) if at > 0
}
STATIC = ["reader", "writer", "operator", "auditor", "steward", "nobody", "admin"]


@dataclass(frozen=True)
class Identity:
    """Who asks: the headers that show it, and the column of the table that holds for it."""

    name: str
    column: str
    headers: Mapping[str, str]


@dataclass
class Seen:
    """What became of one identity's calls, by tool and variant."""

    shown: set[str] = field(default_factory=set)
    ran: list[tuple[str, str]] = field(default_factory=list)
    """In the order in which the servers noted them."""
    asked: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """The approvals, as the API lists them."""
    told: dict[tuple[str, str], str] = field(default_factory=dict)
    """The result that the model was given."""

    def letter(self, call: tuple[str, str]) -> str:
        if call in self.asked:
            return {None: "?", "admin": "!", "operator": "O"}[self.asked[call]["approver"]]
        return "A" if call in self.ran else "D"


def served(log: Path) -> dict[str, Any]:
    """The servers' entries; all write into one log each."""
    servers: dict[str, list[str]] = {}
    for tool in TOOLS:
        server, _, name = tool.partition("/")
        servers.setdefault(server, []).append(name)
    return {
        server: {"command": sys.executable, "args": [str(NAMED), str(log / server), *names]}
        for server, names in servers.items()
    }


def noted(log: Path, identity: str) -> list[tuple[str, str]]:
    """The calls of one identity that reached a server."""
    calls = [
        (f"{file.name}/{call['tool']}", call["args"]["mark"].split())
        for file in sorted(log.iterdir())
        for call in map(json.loads, file.read_text().splitlines())
    ]
    return [(tool, variant) for tool, (name, variant) in calls if name == identity]


def asks_for_everything(body: Body) -> Answer | str:
    """A model that asks once for every tool there is, and for one that there is not, whatever it is shown."""
    if any(message["role"] == "tool" for message in body["messages"]):
        return "Done."
    (identity,) = [message["content"] for message in body["messages"] if message["role"] == "user"]
    calls = [
        Call(make_model_name(*tool.split("/", 1)), {**args, "mark": f"{identity} {variant}"})
        for tool in [*TOOLS, "files/made_up"]
        for variant, args in VARIANTS.items()
    ]
    return Answer(calls=calls)


@pytest.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    async with Elsewhere() as running:
        yield running


def written(folder: Path, elsewhere: Elsewhere, log: Path) -> Path:
    keys = [{"name": f"key-{role}", "role": role, "env": f"KEY_{role.upper()}"} for role in STATIC]
    keys.append({"name": "open-webui", "role": "operator", "env": "KEY_WEBUI", "forwards_users": True})
    issuer = {"issuer": elsewhere.issuer, "audience": "interlock", "role_from": "realm_access.roles"}
    identities = {
        "litellm": {"role_from": "team_id", "roles": {"team-data": "writer"}},
        "oidc": [{**issuer, "roles": {"staff": "auditor"}}],
    }
    graph = {**ASSISTANT, "limits": {"tool_calls": 1000}}
    return write_configs(
        folder,
        f"{elsewhere.root}/v1",
        served(log),
        access={"roles": ROLES, "keys": keys, "identities": identities},
        graphs={"assistant": graph},
    )


def identities(elsewhere: Elsewhere) -> list[Identity]:
    """One of each role, and one of each kind at least."""
    elsewhere.keys["sk-virtual"] = {"key_alias": "etl", "user_id": "ada", "team_id": "team-data"}

    def bearing(key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def forwarded(role: str) -> dict[str, str]:
        return {**bearing("secret-WEBUI"), **signed(role, role, SECRET)}

    return [
        *(Identity(role, role, bearing(f"secret-{role.upper()}")) for role in STATIC),
        Identity("virtual-key", "writer", bearing("sk-virtual")),
        Identity("token", "auditor", bearing(elsewhere.token())),
        Identity("guest", "operator", forwarded("guest")),
        Identity("narrowed-by-auditor", "operator+auditor", forwarded("auditor")),
        Identity("narrowed-by-steward", "operator+steward", forwarded("steward")),
    ]


def by_role(printed: str) -> dict[str, dict[str, dict[str, Any]]]:
    """What `interlock access` prints as JSON: role → tool → cell."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for cell in json.loads(printed):
        name = f"{cell['role']}+{cell['user_role']}" if cell["user_role"] else cell["role"]
        found.setdefault(name, {})[cell["tool"]] = cell
    return found


async def matrix(configs: Path, data: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The whole of it, as people get it."""
    command = [Path(sys.executable).with_name("interlock"), "access", "--format", "json", "--configs", configs]
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        env=plain_environment() | {"INTERLOCK_DATA": str(data)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    return by_role(out.decode())


async def narrowed(configs: Path, role: str) -> dict[str, dict[str, dict[str, Any]]]:
    """The rows of an operator who asks for somebody with this role."""
    options = ["--role", "operator", "--user-role", role, "--format", "json", "--configs", str(configs)]
    result = await asyncio.to_thread(CliRunner().invoke, app, ["access", *options])
    assert (result.exit_code, result.stderr) == (0, "")
    return by_role(result.stdout)


async def everything_asked(gate: Facade, model: ScriptedModel, who: Identity, log: Path, deciders: Any) -> Seen:
    """One conversation of this identity. Of what waits, the good calls are approved, the others rejected."""
    before = len(model.requests)

    async def say(*messages: Any) -> str:
        body = {"model": "assistant", "messages": list(messages)}
        response = await gate.http.post(f"{gate.url}/chat/completions", json=body, headers=dict(who.headers))
        assert response.status_code == 200, response.text
        return response.json()["choices"][0]["message"]["content"]

    go = {"role": "user", "content": who.name}
    answer = await say(go)
    seen = Seen()
    pending = await gate.http.get(f"{gate.url}/approvals?status=pending", headers=dict(who.headers))
    own = [entry for entry in pending.json()["data"] if entry["args"]["mark"].split()[0] == who.name]
    seen.asked = {(entry["tool"], entry["args"]["mark"].split()[1]): entry for entry in own}
    assert not set(noted(log, who.name)) & set(seen.asked), "ran before anybody decided"
    for (_, variant), entry in seen.asked.items():
        decision = {"decision": "approve" if variant == "good" else "reject"}
        headers = dict(deciders[entry["approver"]] if entry["approver"] else who.headers)
        decided = await gate.http.post(f"{gate.url}/approvals/{entry['id']}", json=decision, headers=headers)
        assert decided.status_code == 200, decided.text
    if seen.asked:
        answer = await say(go, said(answer), {"role": "user", "content": "on"})
    assert answer == "Done."
    seen.ran = noted(log, who.name)
    first, last = model.requests[before], model.requests[-1]
    by_model_name = {make_model_name(*tool.split("/", 1)): tool for tool in TOOLS}
    seen.shown = {by_model_name[name] for name in first.tools}
    calls = {
        call["id"]: (by_model_name.get(call["function"]["name"], ""), json.loads(call["function"]["arguments"])["mark"])
        for message in last.messages
        for call in message.get("tool_calls") or ()
    }
    for message in last.messages:
        if message["role"] == "tool":
            tool, mark = calls[message["tool_call_id"]]
            seen.told[tool, mark.split()[1]] = message["content"]
    return seen


@pytest.mark.timeout(180)
async def test_every_identity_gets_of_every_tool_what_the_rules_and_the_matrix_say(
    tmp_path: Path, model: ScriptedModel, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*STATIC, "webui"]:
        monkeypatch.setenv(f"KEY_{name.upper()}", f"secret-{name.upper()}")
    log = tmp_path / "log"
    log.mkdir()
    for server in served(log):
        (log / server).touch()
    elsewhere.model = model.url.removesuffix("/v1")
    model.respond(asks_for_everything)
    configs = written(tmp_path / "configs", elsewhere, log)
    everybody = identities(elsewhere)
    deciders = {one.name: one.headers for one in everybody}
    async with serving(configs, tmp_path / "data", forwarded_jwt_secret=SECRET) as gate:
        happened = [await everything_asked(gate, model, one, log, deciders) for one in everybody]
    tables = [await matrix(configs, tmp_path), await narrowed(configs, "auditor"), await narrowed(configs, "steward")]
    said_so = {name: cells for table in tables for name, cells in table.items()}
    assert set(EXPECTED) == set(said_so) - {"base"}
    assert all(set(cells) == set(TOOLS) for cells in said_so.values())
    for who, seen in zip(everybody, happened, strict=True):
        happened_as_expected(who, seen)
        for tool, cell in said_so[who.column].items():
            said_by_the_matrix(who, seen, tool, cell)
    assert "litellm team_id=team-data" in said_so["writer"]["db/query"]["keys"]
    assert f"oidc {elsewhere.issuer} realm_access.roles=staff" in said_so["auditor"]["db/query"]["keys"]
    assert said_so["operator"]["db/query"]["keys"][:2] == ["key-operator", "open-webui (forwards users)"]


def happened_as_expected(who: Identity, seen: Seen) -> None:
    """Against the table written by hand."""
    expected = EXPECTED[who.column]
    letters = {tool: "".join(seen.letter((tool, variant)) for variant in VARIANTS) for tool in TOOLS}
    assert letters == {tool: wanted.upper() for tool, wanted in expected.items()}, who.name
    assert seen.shown == {tool for tool, wanted in expected.items() if wanted != "DDD"}, who.name
    allowed = {call for call in seen.told if seen.letter(call) == "A"}
    approved = {call for call in seen.asked if call[1] == "good"}
    assert sorted(seen.ran) == sorted(allowed | approved), who.name
    for call, told in seen.told.items():
        if call[0] == "":
            assert "there is no tool" in told
        elif call in seen.ran:
            assert told == "done"
        else:
            assert ("rejected" if call in seen.asked else "access.yaml:") in told


def said_by_the_matrix(who: Identity, seen: Seen, tool: str, cell: dict[str, Any]) -> None:
    """Against what `interlock access` says of the same files."""
    words = {"A": "allow", "D": "deny"}
    calls = [(tool, variant) for variant in VARIANTS]
    decisions = {words.get(seen.letter(call), "ask") for call in calls}
    assert decisions <= set(cell["may"]), (who.name, cell)
    assert (len(decisions) > 1) == (cell["decision"] == "depends"), (who.name, cell)
    assert tool in seen.shown or cell["decision"] == "deny", (who.name, cell)
    lines = set(re.findall(r"access\.yaml:\d+", cell["rule"]))
    asking = {(rule["where"], rule["approver"]) for rule in cell["rules"] if rule["decision"] == "ask"}
    for call in calls:
        if call in seen.asked:
            (where,) = re.findall(r"access\.yaml:\d+", seen.asked[call]["rule"])
            assert (where, seen.asked[call]["approver"]) in asking, (who.name, cell)
        elif call not in seen.ran:
            named = set(re.findall(r"access\.yaml:\d+", seen.told[call]))
            assert named, (who.name, seen.told[call])
            assert named <= lines, (who.name, seen.told[call], cell)
