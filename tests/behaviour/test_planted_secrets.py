"""No secret of a config, a key or a header comes out anywhere: planted ones are looked for in all that comes out.

What people and models say is another matter: the one who asked sees it, the conversation is kept, and whoever decides
about a call is shown its arguments. Logs, traces, metrics, `/ready` and the audit hold none of it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import httpx
import jwt
import pytest
import yaml
from support.collector import Collector, collector
from support.configs import write_configs
from support.facade import ASSISTANT
from support.gateway import gateway
from support.identity_providers import OTHER, Elsewhere
from support.leaky_servers import SCRIPT, leaking_server, refusing
from support.processes import plain_environment
from support.scripted_model import Answer, Call, ScriptedModel
from support.secret_scan import Seen, Talk, found_in, opened, plant

GIVEN = plant(
    "admin key", "web key", "model key", "jwt secret", "talks env", "talks option", "talks word", "talks address",
    "dies env", "dies option", "refused password", "refused query", "refused header", "reached query",
    "reached bearer", "reached header", "jwks query", "virtual key", "wrong key", "wrong basic", "wrong query",
    "literal", "notify key", "notify query", "notify chat", "notify password",
)  # fmt: skip
"""What was given in confidence. It may come out nowhere."""
SAID = plant("argument", "prompt", "answer")
"""What people and models say in a turn, and tools in their results."""

GATEWAY = """\
models:
  base_url: ${LITELLM_BASE_URL}
  api_key: ${LITELLM_API_KEY}
  default: scripted
  key: caller
notifications:
  console: https://interlock.example.com/console
  destinations:
    hook: {own: true, webhook: {url: "http://REFUSED/hook?key=${NOTIFY_QUERY}", secret: "whsec_${NOTIFY_KEY}"}}
    chat: {own: true, slack: {url: "http://127.0.0.1:9/services/${NOTIFY_CHAT}"}}
    mail:
      own: true
      mail: {host: 127.0.0.1, port: 9, user: me, password: "${NOTIFY_PASSWORD}", sender: a@b.example, to: c@d.example}
"""
SERVERS = """\
mcpServers:
  talks:
    command: PYTHON
    args: [SCRIPT, talks, "--token=${TALKS_OPTION}", --verbose, "${TALKS_TOKEN}", "postgresql://me:${TALKS_ADDRESS}@db/x"]
    env: {LEAKY_PASSWORD: "${TALKS_ENV}"}
  dies:
    command: sh
    args: [-c, 'echo "cannot log in with $LEAKY_SETTING $*" >&2; exit 3', dies, --api-key, "${DIES_OPTION}"]
    env: {LEAKY_SETTING: "https://me:${DIES_ENV}@host/x"}
  refused:
    url: http://me:${REFUSED_PASSWORD}@REFUSED/mcp?api_key=${REFUSED_QUERY}&page=1
    headers: {X-Api-Key: "${REFUSED_HEADER}"}
  reached:
    url: http://REACHED/mcp?page=1&key=${REACHED_QUERY}
    headers: {Authorization: "Bearer ${REACHED_BEARER}", X-Auth: "${REACHED_HEADER}"}
"""
ACCESS = """\
roles:
  admin:
    allow: ["*"]
    ask: [{tool: "*/takes", expires: 15m}]
keys:
  - {name: admin, role: admin, env: INTERLOCK_ADMIN_KEY}
  - {name: web, role: admin, env: WEB_KEY, forwards_users: true}
identities:
  litellm: {role_from: team_id}
  oidc:
    - {issuer: ISSUER/realm, audience: interlock, jwks_url: "ISSUER/realm/keys?key=${JWKS_QUERY}", default: admin}
"""
DEAD = ("dies", "refused")


def in_address(name: str) -> str:
    return httpx.URL("http://x", params={"x": GIVEN[name]}).query.decode()[2:]


def environment() -> dict[str, str]:
    """Where the configs find what is planted."""
    return {
        "INTERLOCK_ADMIN_KEY": GIVEN["admin key"],
        "WEB_KEY": GIVEN["web key"],
        "LITELLM_API_KEY": GIVEN["model key"],
        "INTERLOCK_FORWARDED_JWT_SECRET": GIVEN["jwt secret"],
        "TALKS_ENV": GIVEN["talks env"],
        "TALKS_OPTION": GIVEN["talks option"],
        "TALKS_TOKEN": GIVEN["talks word"],
        "TALKS_ADDRESS": in_address("talks address"),
        "DIES_ENV": in_address("dies env"),
        "DIES_OPTION": GIVEN["dies option"],
        "REFUSED_PASSWORD": in_address("refused password"),
        "REFUSED_QUERY": in_address("refused query"),
        "REFUSED_HEADER": GIVEN["refused header"],
        "REACHED_QUERY": in_address("reached query"),
        "REACHED_BEARER": GIVEN["reached bearer"],
        "REACHED_HEADER": GIVEN["reached header"],
        "JWKS_QUERY": in_address("jwks query"),
        "NOTIFY_KEY": base64.b64encode(GIVEN["notify key"].encode()).decode(),
        "NOTIFY_QUERY": in_address("notify query"),
        "NOTIFY_CHAT": in_address("notify chat"),
        "NOTIFY_PASSWORD": GIVEN["notify password"],
    }


def ask_as_strangers(talk: Talk, elsewhere: Elsewhere) -> None:
    wrong = GIVEN["wrong key"]
    path = "/v1/models"
    pair = base64.b64encode(f"ann:{GIVEN['wrong basic']}".encode()).decode()
    for headers in (
        {"authorization": f"Basic {pair}"},
        {"authorization": wrong},
        {"x-api-key": wrong},
        {"cookie": wrong},
    ):
        assert talk.get(path, wrong, headers=headers).status_code == 401
    assert talk.get(path, wrong, params={"api_key": GIVEN["wrong query"]}).status_code == 401
    assert talk.say("hi", wrong).status_code == 401
    expired, forged = elsewhere.token(exp=1), elsewhere.token(key=OTHER)
    for token in (expired, forged, f"{forged}x", "a.b.c"):
        assert talk.get(path, token).status_code == 401
    assert talk.get(path, elsewhere.token()).status_code == 200
    for secret in (GIVEN["jwt secret"], GIVEN["wrong key"]):
        claims = {"iss": "open-webui", "sub": "u", "exp": int(time.time()) + 60, "name": "Ada"}
        signed = {"x-openwebui-user-jwt": jwt.encode(claims, secret, "HS256")}
        assert talk.get(path, GIVEN["web key"], headers=signed).status_code == (401 if secret == wrong else 200)
    assert talk.get(path, GIVEN["web key"]).status_code == 401


def ask_of_tools(talk: Talk, model: ScriptedModel) -> None:
    """Tools that fail with all they know, servers that are away, and one call that a person decides about."""
    calls = [Call("talks__refuses", {"password": SAID["argument"]}), Call("reached__refuses")]
    model.script(Answer(calls=calls), Answer(SAID["answer"]))
    assert SAID["answer"] in talk.say(SAID["prompt"]).text
    results = model.requests[-1].tool_results
    assert len(results) == 2
    assert all("401 from" in result for result in results), results
    model.script(Answer(calls=[Call("talks__takes", {"password": SAID["argument"]})]))
    assert "approve" in talk.say(SAID["prompt"]).text
    [pending] = talk.shown("/v1/approvals?status=pending").json()["data"]
    for destination in ("hook", "chat", "mail"):
        talk.served.process.wait_for_line(f"approval.pending to {destination} failed")
    assert talk.shown("/console/api/state").status_code == 200
    decided = talk.post(f"/v1/approvals/{pending['id']}", json={"decision": "approve", "note": "fine"})
    assert decided.status_code == 200
    history = [
        {"role": "user", "content": SAID["prompt"]},
        {"role": "assistant", "content": talk.shown("/console/api/turns").text[:0] or "…"},
        {"role": "user", "content": "go on"},
    ]
    model.script("Done.")
    talk.say("", body={"messages": history})
    assert talk.shown("/console/api/turns").status_code == 200


def ask_of_a_failing_model(talk: Talk, model: ScriptedModel) -> None:
    """Its errors quote the key and the address that it was asked with, as LiteLLM's do."""
    for name, caller in (("model key", GIVEN["admin key"]), ("virtual key", GIVEN["virtual key"])):
        secret = GIVEN[name]
        words = (
            f"Authentication Error, passed api_key={secret}, headers {{'Authorization': 'Bearer {secret}'}}, from "
            f"https://me:{secret}@host/v1?api_key={secret} ({secret})"
        )
        event = f'data: {{"error": {{"message": "{words}", "code": 500}}}}\n\n'.encode()
        failures = [
            *(Answer(status=status, error=words, code=secret, param=secret) for status in (400, 401, 403, 422, 500)),
            Answer(status=429, error=words, headers={"retry-after": "9"}),
            Answer(raw=[b'data: {"choices": [{"delta": {"content": "I am"}}]}\n\n' + event]),
            Answer(raw=[f"data: {secret} is no JSON\n\n".encode()]),
        ]
        for number, failure in enumerate(failures):
            model.respond(lambda _, failure=failure: failure)
            answer = talk.say(SAID["prompt"], caller, body={"stream": number % 2 == 0})
            assert "error" in answer.text, answer.text
    model.reset()


def look_around(talk: Talk) -> None:
    for path in ("/health", "/ready", "/v1/models", "/console", "/console/api/graphs/assistant.svg", "/nowhere"):
        talk.get(path)
    for accept in ("text/plain", "application/openmetrics-text"):
        assert talk.get("/metrics", headers={"accept": accept}).status_code == 200
    assert talk.post("/v1/chat/completions", content=b'{"messages": "' + SAID["prompt"].encode()).status_code == 400
    body = {"model": SAID["prompt"], "messages": [{"role": "user", "content": "x"}]}
    assert talk.post("/v1/chat/completions", json=body).status_code == 404
    assert talk.post("/v1/approvals/abcdefgh", json={"decision": SAID["prompt"]}).status_code == 400
    assert talk.get("/console/api/turns", params={"limit": SAID["prompt"]}).status_code in (400, 422)


def save_badly(talk: Talk, configs: Path) -> None:
    """A mistake on a line that holds a secret which should not stand there."""
    file = configs / "servers.yaml"
    sound = file.read_text()
    file.write_text(sound + f"  bad: {{command: x, args: [--token, {GIVEN['literal']}], timeout: soon, env: [X]}}\n")
    talk.served.process.wait_for_json(f"{talk.served.root}/ready", lambda ready: bool(ready["problems"]), key=talk.key)
    talk.get("/ready")
    talk.get("/console/api/state")
    file.write_text(sound)
    talk.served.process.wait_for_json(f"{talk.served.root}/ready", lambda ready: not ready["problems"], key=talk.key)


def commands(configs: Path, data: Path, env: Mapping[str, str], into: Seen) -> None:
    """The other commands, as a person runs them beside the server, all at once."""
    common = {**plain_environment(), **env, "INTERLOCK_DATA": str(data)}
    lines = (
        "doctor --patience 20",
        "draw --format svg",
        "access --format json",
        "audit show --format json",
        "notify test",
    )
    running = {
        line: subprocess.Popen(
            [Path(sys.executable).with_name("interlock"), *line.split(), "--configs", configs],
            env=common,
            cwd=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for line in lines
    }
    for line, process in running.items():
        output, _ = process.communicate(timeout=120)
        assert output, line
        into.everyone[f"interlock {line}"] = output


def written(folder: Path, elsewhere: Elsewhere, refused: str, reached: str) -> Path:
    servers = (
        SERVERS.replace("PYTHON", sys.executable)
        .replace("SCRIPT", str(SCRIPT))
        .replace("REFUSED/", f"{refused}/")
        .replace("REACHED/", f"{reached}/")
    )
    access = ACCESS.replace("ISSUER", elsewhere.root)
    gateway = GATEWAY.replace("REFUSED/", f"{refused}/")
    graph = {"graphs/assistant.yaml": yaml.safe_dump(ASSISTANT)}
    return write_configs(folder, {"gateway.yaml": gateway, "servers.yaml": servers, "access.yaml": access, **graph})


def play(folder: Path, model: ScriptedModel, elsewhere: Elsewhere, collected: Collector) -> Seen:
    """Everything that people do with a gateway, and all that comes of it."""
    seen = Seen()
    data = folder / "data"
    with refusing() as refused, leaking_server(folder) as reached:
        configs = written(folder / "configs", elsewhere, refused, reached)
        env = {**environment(), "LITELLM_BASE_URL": f"{elsewhere.root}/v1"}
        more = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collected.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "INTERLOCK_GRACE": "0.3",
        }
        with gateway(configs, data, {**env, **more}, options=["--log", "json"], down=DEAD) as served:
            talk = Talk(served=served, into=seen, key=GIVEN["admin key"])
            ask_as_strangers(talk, elsewhere)
            ask_of_tools(talk, model)
            sent = [request.body for request in model.requests]
            ask_of_a_failing_model(talk, model)
            look_around(talk)
            save_badly(talk, configs)
            model.reset()
            model.script(Answer(SAID["answer"], first=60))
            late = threading.Thread(target=cut_off, args=(talk,))
            late.start()
            wait_for(lambda: len(model.requests) > 0)
        late.join()
        commands(configs, data, env, seen)
    sent += [request.body for request in model.requests]
    seen.talk["what the model was sent"] = json.dumps(sent).encode()
    seen.everyone["the log"] = (data / "serve.log").read_bytes()
    seen.everyone["the spans"] = b"".join(map(opened, collected.raw))
    for file in data.rglob("*"):
        if file.is_file() and file.name != "serve.log":
            seen.talk[file.name] = file.read_bytes()
    return seen


def cut_off(talk: Talk) -> None:
    """A turn that runs while the gateway ends."""
    with suppress(httpx.HTTPError):
        talk.say(SAID["prompt"])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.timeout(240)
async def test_what_was_given_in_confidence_comes_out_nowhere(tmp_path: Path) -> None:
    async with Elsewhere() as elsewhere:
        with ScriptedModel() as model, collector() as collected:
            elsewhere.model = model.url.removesuffix("/v1")
            elsewhere.keys[GIVEN["virtual key"]] = {"key_alias": "etl", "user_id": "ada", "team_id": "admin"}
            seen = await asyncio.to_thread(play, tmp_path, model, elsewhere, collected)
    check_that_it_happened(seen)
    leaks = [*found_in(seen.all(), GIVEN), *found_in(seen.everyone, SAID)]
    assert not leaks, "\n".join(leaks)


def check_that_it_happened(seen: Seen) -> None:
    """Fails where a road was not taken on which something could have come out, or where nothing would be found."""
    for name, secret in SAID.items():
        assert found_in(seen.talk, {name: secret}), f"{name} was never said"
    for where, wanted in {
        "the log": (
            "server dies is down",
            "server refused is down",
            '"status":401',
            "cannot be served",
            "approval.pending to hook failed",
            "approval.pending to mail failed",
            '"turn"',
            "[redacted]",
        ),
        "the spans": ("execute_tool talks/refuses", "chat scripted"),
        "interlock doctor --patience 20": ("FAIL servers.yaml", "[redacted]", "key web: on"),
        "interlock draw --format svg": ("<svg",),
        "interlock notify test": (
            "hook: 127.0.0.1 answered 401",
            "chat: 127.0.0.1:9 cannot be reached",
            "FAIL gateway.yaml",
        ),
        "interlock audit show --format json": ('"password": "[redacted]"', "talks/refuses"),
    }.items():
        for words in wanted:
            assert words in seen.everyone[where].decode(errors="replace"), f"{words} is not in {where}"
    pages = [told for where, told in seen.everyone.items() if "/ready" in where]
    assert any(b"[redacted]" in told for told in pages)
    assert any(b"servers.yaml:" in told for told in pages)
    assert {"interlock.db", "what the model was sent"} <= seen.talk.keys()


@pytest.mark.parametrize("form", ["{0}", "Basic {1}", "http://x/?a={2}", '{{"a": "{0}"}}'])
def test_what_is_planted_is_found(form: str) -> None:
    secret = GIVEN["admin key"]
    pair = base64.b64encode(f"somebody:{secret}".encode()).decode()
    text = form.format(secret, pair, quote(secret, safe="")).encode()
    assert len(found_in({"here": b"before " + text + b" after", "there": b"nothing"}, {"key": secret})) == 1
