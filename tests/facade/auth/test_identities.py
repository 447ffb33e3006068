"""Keys of LiteLLM and tokens of issuers: who shows them is the caller, with the role that they map to, or refused."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from aiohttp import web
from support.facade import ACCESS, ADMIN, Facade, said, serving, write_configs
from support.hostile_endpoint import HostileEndpoint
from support.identity_providers import CURVE, KEY, OTHER, Elsewhere, public
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

from graphs.config.spec.identities import LiteLLMKeysSpec, OidcSpec
from graphs.errors import GraphUnavailable, NotAllowed
from server.auth.http_client import ask, build_client
from server.auth.keys import UnknownKey
from server.auth.litellm_keys import LiteLLMKeys
from server.auth.oidc import Issuer
from server.auth.role_mapping import find_role


@pytest.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    async with Elsewhere() as served:
        yield served


def access(elsewhere: Elsewhere, litellm: Mapping[str, Any] | None = None, **oidc: Any) -> dict[str, Any]:
    identities: dict[str, Any] = {
        "litellm": {"roles": {"team-data": "developer"}, "role_from": "team_id", **(litellm or {})}
    }
    issuer = {"issuer": elsewhere.issuer, "audience": "interlock", "role_from": "realm_access.roles"}
    identities["oidc"] = [{**issuer, "roles": {"staff": "developer", "boss": "admin"}, **oidc}]
    return {**ACCESS, "identities": identities}


@pytest.fixture
async def gate(
    tmp_path: Path, model: ScriptedModel, tools: Tools, elsewhere: Elsewhere, keys: None
) -> AsyncIterator[Facade]:
    """The facade; LiteLLM's address is Elsewhere's, which sends on to the scripted model what is for a model."""
    elsewhere.model = model.url.removesuffix("/v1")
    configs = write_configs(
        tmp_path / "configs", f"{elsewhere.root}/v1", {"files": {"url": tools.url}}, access=access(elsewhere)
    )
    async with serving(configs, tmp_path / "data") as running:
        yield running


async def status(gate: Facade, key: str) -> tuple[int, str]:
    answer = await gate.http.get(f"{gate.url}/approvals", headers={"authorization": f"Bearer {key}"})
    return answer.status_code, answer.json().get("error", {}).get("message", "")


async def test_a_key_of_litellm_gets_the_role_of_its_team_and_no_more(
    gate: Facade, model: ScriptedModel, tools: Tools, elsewhere: Elsewhere
) -> None:
    elsewhere.keys["sk-virtual"] = {"key_alias": "etl", "user_id": "ada", "team_id": "team-data", "metadata": {}}
    both = [Call("files__echo", {"text": "x"}), Call("files__write", {"text": "y"})]
    model.script(Answer(calls=both), "Done.")
    answer = await gate.http.post(
        f"{gate.url}/chat/completions",
        json={"model": "assistant", "messages": [{"role": "user", "content": "go"}]},
        headers={"authorization": "Bearer sk-virtual"},
        follow_redirects=True,
    )
    assert answer.status_code == 200, answer.text
    assert tools.ran() == ["echo x"]
    assert model.requests[0].messages[0]["content"] == "You help ada."
    assert {tool["function"]["name"] for tool in model.requests[0].body["tools"]} == {"files__echo"}


async def test_litellm_is_asked_once_and_believed_for_a_while(gate: Facade, elsewhere: Elsewhere) -> None:
    elsewhere.keys["sk-virtual"] = {"team_id": "team-data"}
    for _ in range(5):
        assert (await status(gate, "sk-virtual"))[0] == 200
    assert elsewhere.asked == ["sk-virtual"]
    elsewhere.failing = True
    assert (await status(gate, "sk-virtual"))[0] == 200


@pytest.mark.parametrize(
    ("facts", "expected", "words"),
    [
        ({"team_id": "team-other"}, 403, "has no role here: team_id says 'team-other'"),
        ({"team_id": None}, 403, "has no role here: team_id says nothing"),
        ({}, 403, "has no role here"),
        ({"team_id": ["team-data"]}, 200, ""),
        ({"team_id": "developer"}, 403, "has no role here"),
        ({"team_id": ["admin", "developer"]}, 403, "has no role here"),
        ({"team_id": "team-data", "blocked": "yes"}, 401, "known neither here nor at LiteLLM"),
        ({"team_id": "team-data", "blocked": True}, 401, "known neither here nor at LiteLLM"),
        (None, 401, "known neither here nor at LiteLLM"),
    ],
)
async def test_what_litellm_says_of_a_key_decides(
    gate: Facade, elsewhere: Elsewhere, facts: dict[str, Any] | None, expected: int, words: str
) -> None:
    if facts is not None:
        elsewhere.keys["sk-virtual"] = facts
    code, message = await status(gate, "sk-virtual")
    assert code == expected, message
    assert words in message
    assert "sk-virtual" not in message


async def test_while_litellm_is_away_its_keys_wait_and_ours_work(gate: Facade, elsewhere: Elsewhere) -> None:
    elsewhere.failing = True
    code, message = await status(gate, "sk-virtual")
    assert (code, "sk-virtual" in message) == (503, False)
    assert (await status(gate, ADMIN))[0] == 200
    elsewhere.failing = False
    elsewhere.keys["sk-virtual"] = {"team_id": "team-data"}
    assert (await status(gate, "sk-virtual"))[0] == 200


async def test_a_token_gets_the_role_that_its_claim_maps_to(
    gate: Facade, model: ScriptedModel, tools: Tools, elsewhere: Elsewhere
) -> None:
    model.script(Answer(calls=[Call("files__echo", {"text": "x"}), Call("files__write", {"text": "y"})]), "Done.")
    assert await gate.say("go", key=elsewhere.token()) == "Done."
    assert tools.ran() == ["echo x"]
    assert model.requests[0].messages[0]["content"] == "You help Ada."
    assert elsewhere.asked == []
    assert (await status(gate, elsewhere.token(key=CURVE, kid="curve", algorithm="ES256")))[0] == 200


async def test_whoever_vouches_for_an_approver_it_decides_what_waits_for_its_role(
    tmp_path: Path, model: ScriptedModel, tools: Tools, elsewhere: Elsewhere, keys: None
) -> None:
    """Four eyes: a key of LiteLLM asks, a token of the issuer decides; seen in the API, the console and the chat."""
    elsewhere.model = model.url.removesuffix("/v1")
    elsewhere.keys["sk-virtual"] = {"key_alias": "etl", "user_id": "ada", "team_id": "team-data", "metadata": {}}
    rule = {"tool": "files/write", "approver": "admin", "expires": "15m", "reason": "Writing takes four eyes."}
    spec = access(elsewhere)
    spec["roles"] = {"admin": {"allow": ["*"]}, "developer": {"ask": [rule]}}
    servers = {"files": {"url": tools.url}}
    configs = write_configs(tmp_path / "configs", f"{elsewhere.root}/v1", servers, access=spec)
    boss = elsewhere.token(sub="u-2", name="Grace", realm_access={"roles": ["boss"]})
    peer = elsewhere.token(sub="u-3", name="Max")
    async with serving(configs, tmp_path / "data") as gate:

        async def get(path: str, key: str) -> Any:
            return (await gate.http.get(path, headers={"authorization": f"Bearer {key}"})).json()

        async def seen(key: str) -> list[tuple[str, str, bool, bool]]:
            shown = await get(f"{gate.url.removesuffix('/v1')}/console/api/state", key)
            return [
                (entry["caller"], entry["approver"], entry["yours"], entry["decidable"]) for entry in shown["approvals"]
            ]

        model.script(Answer(calls=[Call("files__write", {"text": "x"})]))
        asked = await gate.say("write x", key="sk-virtual")
        assert "Writing takes four eyes." in asked
        assert "Only the role admin may decide `" in asked
        assert await seen("sk-virtual") == [("ada", "admin", True, False)]
        assert await seen(peer) == []
        assert await seen(boss) == [("ada", "admin", False, True)]
        (entry,) = (await get(f"{gate.url}/approvals?status=pending", boss))["data"]
        assert "Only the role admin" in await gate.say(f"approve {entry['id']}", key="sk-virtual")
        assert "Nothing that you may decide" in await gate.say(f"approve {entry['id']}", key=peer)
        assert tools.ran() == []
        assert "is approved. It takes effect when ada goes on" in await gate.say(f"approve {entry['id']}", key=boss)
        model.script("Written.")
        assert await gate.say("write x", said(asked), "go on", key="sk-virtual") == "Written."
        assert (await get(f"{gate.url}/approvals/{entry['id']}", "sk-virtual"))["decided_by"] == "Grace"
    assert tools.ran() == ["write x"]


async def test_conversations_belong_to_the_subject_whatever_the_token(
    gate: Facade, model: ScriptedModel, elsewhere: Elsewhere
) -> None:
    boss = {"realm_access": {"roles": ["boss"]}}
    model.script(Answer(calls=[Call("files__write", {"text": "y"})]))
    await gate.say("write", key=elsewhere.token(**boss))

    async def waiting(**claims: Any) -> int:
        headers = {"authorization": f"Bearer {elsewhere.token(**boss, **claims)}"}
        return len((await gate.http.get(f"{gate.url}/approvals", headers=headers)).json()["data"])

    assert await waiting(exp=int(time.time()) + 300, name="Ada L.") == 1
    assert await waiting(sub="u-2") == 0


def hostile(elsewhere: Elsewhere) -> dict[str, tuple[str, int, str]]:
    now = int(time.time())
    token = elsewhere.token
    head, body, signature = token().split(".")
    forged = jwt.utils.base64url_encode(json.dumps({"sub": "x"}).encode()).decode()
    pem = KEY.public_key().public_bytes_raw() if hasattr(KEY.public_key(), "public_bytes_raw") else b"x" * 32
    return {
        "expired": (token(exp=now - 3600), 401, "it has expired"),
        "just expired, within the skew": (token(exp=now - 5), 200, ""),
        "not yet": (token(nbf=now + 3600), 401, "not valid yet"),
        "another audience": (token(aud="other"), 401, "another audience"),
        "one audience of several": (token(aud=["other", "interlock"]), 200, ""),
        "no audience": (token(aud=None), 401, "no claim 'aud'"),
        "no expiry": (token(exp=None), 401, "no claim 'exp'"),
        "no subject": (token(sub=None), 401, "no claim 'sub'"),
        "another key": (token(key=OTHER), 401, "its signature is wrong"),
        "a key that is not published": (token(key=OTHER, kid="second"), 401, "does not publish"),
        "no key named": (token(kid=None), 401, "does not publish"),
        "its algorithm is none": (token(key=None, algorithm="none"), 401, "signed in a way that its key is not for"),
        "signed with the public key as a secret": (
            token(key=pem, algorithm="HS256"), 401, "signed in a way that its key is not for"
        ),
        "the wrong algorithm for the key": (token(algorithm="PS256"), 401, "signed in a way that its key is not for"),
        "a cut signature": (f"{head}.{body}.{signature[:-8]}AAAAAAAA", 401, "its signature is wrong"),
        "another body": (f"{head}.{forged}.{signature}", 401, "not known here"),
        "another issuer": (token(iss="https://evil.example"), 401, "not known here"),
        "an empty subject": (token(sub=""), 401, "no text that names anybody"),
        "a subject of spaces": (token(sub="  "), 401, "no text that names anybody"),
        "a role of ours that the mapping does not name": (token(realm_access={"roles": ["admin"]}), 403, "'admin'"),
        "no role": (token(realm_access={"roles": ["guest"]}), 403, "says 'guest'"),
        "roles that are no list": (token(realm_access={"roles": {"staff": True}}), 403, "says nothing"),
        "roles that are missing": (token(realm_access=None), 403, "says nothing"),
    }  # fmt: skip


async def test_tokens_that_do_not_hold_let_nobody_in(gate: Facade, elsewhere: Elsewhere) -> None:
    for name, (token, expected, words) in hostile(elsewhere).items():
        code, message = await status(gate, token)
        assert code == expected, f"{name}: {message}"
        assert words in message, name
        assert token.split(".")[2] == "" or token.split(".")[2] not in message
    assert elsewhere.fetched < 4
    assert elsewhere.asked == [], "no token of anybody's goes to LiteLLM"


async def test_an_issuers_new_key_is_found_and_made_up_ones_do_not_flood_it(
    gate: Facade, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await status(gate, elsewhere.token()))[0] == 200
    for number in range(20):
        await status(gate, elsewhere.token(key=OTHER, kid=f"made-up-{number}"))
    assert elsewhere.fetched == 1
    elsewhere.published.append(public(OTHER, "second"))
    monkeypatch.setattr("server.auth.oidc.RETRY", 0.0)
    assert (await status(gate, elsewhere.token(key=OTHER, kid="second")))[0] == 200
    elsewhere.failing = True
    monkeypatch.setattr("server.auth.oidc.KEYS_LIFETIME", 0.0)
    assert (await status(gate, elsewhere.token()))[0] == 200


async def test_while_the_issuer_is_away_its_tokens_wait(gate: Facade, elsewhere: Elsewhere) -> None:
    elsewhere.failing = True
    code, message = await status(gate, elsewhere.token())
    assert (code, "cannot be had now" in message) == (503, True)


@pytest.mark.parametrize(
    ("verified", "email"),
    [
        (True, "ada@example.com"),
        (None, "ada@example.com"),
        *[(no, "") for no in (False, "false", "true", 0, 1, [], {})],
    ],
)
async def test_an_address_is_believed_only_where_the_issuer_says_true_or_nothing(
    elsewhere: Elsewhere, verified: object, email: str
) -> None:
    spec = OidcSpec(issuer=elsewhere.issuer, audience="interlock", default="developer")
    async with build_client() as http:
        vouched = await Issuer(spec, ["developer"], http).vouch(elsewhere.token(email_verified=verified))
    assert vouched.email == email


@pytest.mark.parametrize("wrong", [5, ["ada"], {"a": 1}, True, "x" * 1001])
async def test_a_claim_that_is_no_text_names_nobody(elsewhere: Elsewhere, wrong: object) -> None:
    spec = OidcSpec(issuer=elsewhere.issuer, audience="interlock", default="developer")
    async with build_client() as http:
        vouched = await Issuer(spec, ["developer"], http).vouch(elsewhere.token(name=wrong, email=wrong))
    assert (vouched.user, vouched.email) == ("u-1", "")


@pytest.mark.parametrize(("roles", "said", "expected"), [
    ({"staff": "dev"}, ["admin"], None), ({"staff": "dev"}, ["admin", "staff"], "dev"), ({"staff": "dev"}, "dev", None),
    ({}, ["admin"], "admin"), ({}, ["other", "dev"], "dev"), ({"x": "dev"}, [], None),
])  # fmt: skip
def test_a_mapping_is_the_whole_list(roles: dict[str, str], said: object, expected: str | None) -> None:
    try:
        assert find_role({"r": said}, "r", roles, ["admin", "dev"], None) == expected
    except NotAllowed:
        assert expected is None


async def ask_about(keys: LiteLLMKeys, key: str) -> str:
    try:
        await keys.vouch(key)
    except (UnknownKey, GraphUnavailable, NotAllowed) as error:
        return type(error).__name__
    return "known"


async def test_made_up_keys_ask_seldom_and_never_hold_up_known_ones(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.auth.litellm_keys.MOST_ANSWERS", 50)
    elsewhere.keys["sk-known"] = {"team_id": "t"}
    async with build_client() as http:
        keys = LiteLLMKeys(LiteLLMKeysSpec(default="dev", cache=0.01), elsewhere.root, ["dev"], http)
        assert await ask_about(keys, "sk-known") == "known"
        ends = await asyncio.gather(*(ask_about(keys, f"sk-made-up-{n}") for n in range(300)))
        assert set(ends) == {"UnknownKey", "GraphUnavailable"}
        assert len(elsewhere.asked) <= 6
        for _ in range(200):
            await ask_about(keys, f"sk-more-{time.monotonic_ns()}")
        assert len(elsewhere.asked) <= 130
        # Its time was over long ago, and it is asked about again all the same.
        assert await ask_about(keys, "sk-known") == "known"
        assert elsewhere.asked[-1] == "sk-known"


@pytest.mark.parametrize(
    "key", ["hello", "eyJhbGciOiJIUzI1NiJ9.e30.x", "sk-" + "x" * 600, "sk-\u00fc", "SK-x", "ilk_x", " sk-x"]
)
async def test_what_is_no_key_of_litellms_by_its_form_is_not_sent_there(elsewhere: Elsewhere, key: str) -> None:
    async with build_client() as http:
        keys = LiteLLMKeys(LiteLLMKeysSpec(default="dev"), elsewhere.root, ["dev"], http)
        assert not keys.may_be_key(key)
        assert keys.may_be_key("sk-abc")
        free = LiteLLMKeys(LiteLLMKeysSpec(default="dev", prefix=""), elsewhere.root, ["dev"], http)
        assert free.may_be_key("hello")


async def bad_answers(kind: str, request: web.Request) -> web.StreamResponse:
    match kind:
        case "redirect":
            raise web.HTTPTemporaryRedirect("/other")
        case "huge":
            return web.Response(body=b'{"info": "' + b"x" * 20_000_000 + b'"}', content_type="application/json")
        case "bomb":
            packed = gzip.compress(b'{"info": {"a": "' + b"x" * 50_000_000 + b'"}}')
            return web.Response(body=packed, headers={"content-encoding": "gzip"})
        case "nested":
            return web.Response(body=b'{"info": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
        case "slow":
            answer = web.StreamResponse()
            await answer.prepare(request)
            for _ in range(100):
                await answer.write(b" ")
                await asyncio.sleep(0.05)
            return answer
        case "cookie":
            answer = web.json_response({"info": {}, "cookies": dict(request.cookies)})
            answer.set_cookie("session", "of-somebody")
            return answer
        case _:
            return web.Response(body=b"[1]")


@pytest.mark.parametrize("kind", ["redirect", "huge", "bomb", "nested", "slow", "list"])
async def test_a_hostile_answer_is_none(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.auth.http_client.PATIENCE", 0.6)
    hit: list[str] = []

    async def other(_: web.Request) -> web.Response:
        hit.append("other")
        return web.json_response({"info": {}})

    async with answering({"/key/info": partial(bad_answers, kind), "/other": other}) as root, build_client() as http:
        began = time.monotonic()
        keys = LiteLLMKeys(LiteLLMKeysSpec(default="dev"), root, ["dev"], http)
        assert await ask_about(keys, "sk-x") == "GraphUnavailable"
        spec = OidcSpec(issuer="http://issuer.example", audience="x", jwks_url=f"{root}/key/info", default="dev")
        with pytest.raises(GraphUnavailable):
            await Issuer(spec, ["dev"], http).vouch(Elsewhere.token(Elsewhere.__new__(Named)))
        assert time.monotonic() - began < 10
    assert hit == []


async def test_endless_interim_answers_are_no_answer() -> None:
    with HostileEndpoint() as hostile:
        hostile.answer = lambda wire: wire.interim(2_000_000)
        root = hostile.url.removesuffix("/v1")
        async with build_client() as http:
            keys = LiteLLMKeys(LiteLLMKeysSpec(default="dev"), root, ["dev"], http)
            assert await ask_about(keys, "sk-x") == "GraphUnavailable"
            with pytest.raises(httpx.RemoteProtocolError, match="sent more than 16 interim answers"):
                await ask(http, f"{root}/jwks")
        assert hostile.sent < 40 * 2**20


async def test_questions_go_through_the_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async def told(request: web.Request) -> web.Response:
        return web.json_response({"host": request.host})

    async with answering({"/key/info": told}) as root:
        monkeypatch.setenv("http_proxy", root)
        monkeypatch.setenv("no_proxy", "localhost")
        async with build_client() as http:
            assert await ask(http, "http://litellm.invalid/key/info") == (200, {"host": "litellm.invalid"})
            here = root.replace("127.0.0.1", "localhost")
            assert await ask(http, f"{here}/key/info") == (200, {"host": here.removeprefix("http://")})


class Named(Elsewhere):
    issuer = "http://issuer.example"  # type: ignore[assignment]


async def test_no_cookie_of_an_answer_is_sent_again() -> None:
    async with answering({"/key/info": partial(bad_answers, "cookie")}) as root, build_client() as http:
        for _ in range(2):
            _, body = await ask(http, f"{root}/key/info", {"authorization": "Bearer sk-x"})
            assert body is not None
            assert body["cookies"] == {}


@asynccontextmanager
async def answering(routes: Mapping[str, Any]) -> AsyncIterator[str]:
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_hostile_keys_of_an_issuer_are_left_out(elsewhere: Elsewhere) -> None:
    big = jwt.utils.base64url_encode(b"\xff" * 64).decode()
    good = public(KEY, "first")
    huge = jwt.utils.base64url_encode(b"\xff" * 1_000_000).decode()
    elsewhere.published = [
        {**good, "kid": "exponent", "e": big},
        {**good, "kid": "modulus", "n": huge[:60_000]},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "HS256"},
        {**good, "kid": ["first"]},
        "no key",  # type: ignore[list-item]
        {},
        good,
        {**public(OTHER, "first")},
        *[{**good, "kid": f"k{n}"} for n in range(500)],
    ]
    spec = OidcSpec(issuer=elsewhere.issuer, audience="interlock", default="developer")
    async with build_client() as http:
        issuer = Issuer(spec, ["developer"], http)
        assert (await issuer.vouch(elsewhere.token())).user == "Ada"
        for kid in ("exponent", "modulus", "shared", "k499"):
            with pytest.raises(UnknownKey):
                await issuer.vouch(elsewhere.token(kid=kid))
