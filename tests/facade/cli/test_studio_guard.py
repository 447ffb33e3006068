"""A hostile page against `interlock studio` and plain `langgraph dev`: by origin, by host, by form, by tunnel. And the
Studio page, whose own requests still work."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.processes import running
from support.studio import INTERLOCK, ROOT, STUDIO, Studio, human, interlock_studio, langgraph_dev

from server.cli.studio_guard import LOOPBACK_ORIGIN, find_refusal, is_loopback_name, read_allowed_origins

pytestmark = pytest.mark.timeout(180)
EVIL = "https://evil.example"


@pytest.fixture(scope="module", params=["interlock studio", "langgraph dev"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("guarded")
    if request.param == "interlock studio":
        with interlock_studio(folder, ROOT / "configs") as studio:
            yield studio
        return
    with langgraph_dev(folder) as studio:
        studio.process.wait_for_url(f"{studio.address}/ok", timeout=120)
        yield studio


def threads(server: Studio) -> int:
    with server.client() as client:
        found = client.post("/threads/search", json={"limit": 1000})
    assert found.status_code == 200, found.text
    return len(found.json())


PAGES = [
    EVIL,
    "null",
    "",
    "http://smith.langchain.com",
    "https://smith.langchain.com.evil.example",
    "https://evil-smith.langchain.com",
    "https://smith.langchain.com:444",
    "https://smith.langchain.com, https://evil.example",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example:2024",
    "http://127.0.0.1@evil.example",
    "http://192.168.1.7:3000",
    "file://",
    "chrome-extension://abcdefghijklmnop",
]
PATHS = [
    "/threads",
    "/runs/wait",
    "/runs/stream",
    "/threads/search",
    "/mcp",
    "/mcp/",
    "/a2a/assistant",
    "/store/items",
    "/assistants/search",
    "/info",
    "/docs",
    "/openapi.json",
    "/nothing",
    "/ok",
]


@pytest.mark.parametrize("origin", PAGES)
def test_a_page_of_another_origin_can_do_nothing(server: Studio, origin: str) -> None:
    before = threads(server)
    with server.client(origin=origin) as client:
        for kind in ("text/plain", "application/json", "application/x-www-form-urlencoded"):
            answer = client.post("/threads", content="{}", headers={"content-type": kind})
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers
    assert threads(server) == before


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_no_route_answers_another_origin(server: Studio, method: str) -> None:
    with server.client(origin=EVIL) as client:
        for path in PATHS:
            answer = client.request(method, path, content=b"" if method in ("GET", "HEAD") else b"{}")
            assert answer.status_code == 403, path
            assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_preflight_of_another_origin_is_refused(server: Studio) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    with server.client(origin=EVIL, **asks, **{"access-control-request-private-network": "true"}) as client:
        answer = client.options("/threads")
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control-")]


HOSTS = [
    "evil.example",
    "evil.example:2024",
    "localhost.evil.example",
    "127.0.0.1.nip.io",
    "127.0.0.1@evil.example",
    "0.0.0.0",
    "0.0.0.0:2024",
    "192.168.1.7:2024",
    "[::]:2024",
    "2130706433",
    "localhost:2024.evil.example",
    "something.trycloudflare.com",
]


@pytest.mark.parametrize("host", HOSTS)
def test_another_name_for_this_machine_is_refused(server: Studio, host: str) -> None:
    before = threads(server)
    with server.client(host=host) as client:
        for headers in ({}, {"origin": f"http://{host}"}, {"origin": STUDIO}):
            assert client.post("/threads", json={}, headers=headers).status_code in (403, 421)
            assert client.get("/info", headers=headers).status_code in (403, 421)
    assert threads(server) == before


def test_a_request_without_a_host_or_with_two_is_refused(server: Studio) -> None:
    for head in ("GET /info HTTP/1.0", f"GET /info HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nHost: evil.example"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode())
            assert connection.recv(100).split()[1] in (b"400", b"421")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        {"sec-fetch-site": "same-site"},
        {"referer": f"{EVIL}/page"},
        {"referer": "http://smith.langchain.com/studio"},
    ],
)
def test_a_get_that_a_page_begins_without_an_origin_is_refused(server: Studio, headers: dict[str, str]) -> None:
    with server.client(**headers) as client:
        for path in ("/info", "/docs", "/threads/00000000-0000-0000-0000-000000000000/stream"):
            assert client.get(path).status_code == 403


@pytest.mark.parametrize(
    "name", ["x-forwarded-for", "forwarded", "x-forwarded-host", "cf-connecting-ip", "x-real-ip", "via"]
)
def test_what_comes_through_a_tunnel_is_refused(server: Studio, name: str) -> None:
    for value in ("203.0.113.7", "127.0.0.1"):
        with server.client(**{name: value}) as client:
            assert client.post("/threads", json={}).status_code == 403


@pytest.mark.parametrize("kind", ["text/plain", "text/plain;charset=UTF-8", "multipart/form-data; boundary=x"])
def test_a_body_that_needs_no_preflight_is_refused(server: Studio, kind: str) -> None:
    with server.client() as client:
        answer = client.post("/threads", content="{}", headers={"content-type": kind})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


@pytest.mark.parametrize("origin", [EVIL, "null"])
def test_a_web_socket_of_another_origin_is_refused(server: Studio, origin: str) -> None:
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    for path in ("/threads/x/stream", "/nothing"):
        lines = f"GET {server.path}{path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nOrigin: {origin}"
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(f"{lines}\r\n{upgrade}\r\n{key}\r\n\r\n".encode())
            assert connection.recv(100).split()[1] == b"403"


@pytest.mark.parametrize("origin", [STUDIO, "https://eu.smith.langchain.com", "http://localhost:3000"])
def test_the_studio_pages_own_requests_work(server: Studio, origin: str) -> None:
    asks = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-auth-scheme,x-api-key,x-user-id",
        "access-control-request-private-network": "true",
    }
    page = {"origin": origin, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", "referer": f"{origin}/"}
    with server.client(**page, **{"x-auth-scheme": "langsmith"}) as client:
        preflight = client.options("/threads", headers=asks)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == origin
        assert "x-auth-scheme" in preflight.headers["access-control-allow-headers"]
        assert preflight.headers["access-control-allow-private-network"] == "true"

        assert [entry["graph_id"] for entry in client.post("/assistants/search", json={}).json()] == ["assistant"]
        thread = client.post("/threads", json={}).json()["thread_id"]
        body: dict[str, Any] = {"assistant_id": "assistant", "input": human("read welcome.md")}
        with client.stream("POST", f"/threads/{thread}/runs/stream", json=body) as run:
            assert run.headers["access-control-allow-origin"] == origin
            assert "content-location" in run.headers["access-control-expose-headers"].lower()
            assert "4711" in run.read().decode()
        assert client.get(f"/threads/{thread}/state").json()["values"]["messages"]


def test_programs_of_this_machine_work_by_any_of_its_names(server: Studio) -> None:
    for host in ("localhost", f"LOCALHOST:{server.port}", "127.0.0.1", f"[::1]:{server.port}"):
        with server.client(host=host) as client:
            assert client.post("/threads", json={}).status_code == 200


def test_interlock_studio_wants_its_token(tmp_path: Path) -> None:
    with interlock_studio(tmp_path, ROOT / "configs", {"INTERLOCK_STUDIO_TOKEN": "tok-1"}) as studio:
        assert studio.path == "/tok-1"
        bare = f"http://127.0.0.1:{studio.port}"
        with httpx.Client(trust_env=False, timeout=30, verify=False) as client:
            for path in ("/threads", "/tok-2/threads", "/tok-/threads", "//tok-1/threads", "/mcp", "/tok-1x/threads"):
                for headers in ({}, {"origin": STUDIO}, {"x-api-key": "no"}, {"authorization": "Bearer tok-"}):
                    answer = client.post(f"{bare}{path}", json={}, headers=headers)
                    assert answer.status_code == 401, (path, headers)
                    assert "interlock studio" in answer.json()["detail"]
            for headers in (
                {"x-api-key": "tok-1"},
                {"authorization": "Bearer tok-1"},
                {"authorization": "bearer tok-1"},
            ):
                assert client.post(f"{bare}/threads", json={}, headers=headers).status_code == 200
            refused = client.post(f"{bare}/tok-1/threads", json={}, headers={"origin": EVIL})
            assert refused.status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_interlock_studio_serves_this_machine_alone(tmp_path: Path, host: str) -> None:
    command = [INTERLOCK, "studio", "--configs", ROOT / "configs", "--host", host]
    env = {"INTERLOCK_DATA": str(tmp_path / "data")}
    with running("interlock studio", command, tmp_path / "log", env=env, cwd=tmp_path) as process:
        assert process.popen.wait(60) == 1
    assert f"{host} can be reached by others" in process.text()


def test_langgraph_dev_on_an_address_that_others_reach_does_not_start(tmp_path: Path) -> None:
    with langgraph_dev(tmp_path, "--host", "0.0.0.0") as studio:
        studio.process.wait_for_line("can be reached by others, and Studio's server has no keys", timeout=120)
        studio.process.popen.wait(60)
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", studio.port)) != 0


# What follows asks the same judge without a server.


def scope_of(client: str = "127.0.0.1", **headers: str) -> dict[str, Any]:
    named = {"host": "127.0.0.1:2024", **headers}
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in named.items()]
    return {"type": "http", "method": "POST", "path": "/threads", "headers": pairs, "client": (client, 5000)}


ORIGINS = read_allowed_origins({})


@pytest.mark.parametrize("peer", ["192.168.1.7", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "0.0.0.0", "::"])
def test_another_machine_is_refused(peer: str) -> None:
    assert find_refusal(scope_of(peer), ORIGINS) is not None


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_not(peer: str) -> None:
    assert find_refusal(scope_of(peer), ORIGINS) is None


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="abclmostih.:/@[]0127-%_ \\#?nu", max_size=40))
def test_no_other_text_is_an_allowed_origin(text: str) -> None:
    if text in ORIGINS or re.fullmatch(LOOPBACK_ORIGIN, text):
        return
    for origin in (text, f"https://{text}", f"http://localhost{text}", f"{STUDIO}{text}"):
        if origin not in ORIGINS and not re.fullmatch(r"https?://(localhost|127[0-9.]+|\[::1\])(:\d+)?", origin):
            assert find_refusal(scope_of(origin=origin), ORIGINS) is not None


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="localhst.evi127:0[]@%", max_size=30))
def test_no_other_text_is_a_host_of_this_machine(text: str) -> None:
    if is_loopback_name(text):
        assert text.lower().rstrip("0123456789").rstrip(":") == "localhost" or text[0] in "1["


@pytest.mark.parametrize("value", ["*", "https://*", "evil", "https://a.example/path", "null", "ftp://a.example"])
def test_what_is_no_origin_is_refused_in_the_list(value: str) -> None:
    with pytest.raises(ValueError, match="INTERLOCK_STUDIO_ORIGINS"):
        read_allowed_origins({"INTERLOCK_STUDIO_ORIGINS": value})


def test_a_self_hosted_page_can_be_named() -> None:
    origins = read_allowed_origins(
        {"INTERLOCK_STUDIO_ORIGINS": "https://langsmith.example.com/, http://smith.lan:8080"}
    )
    assert find_refusal(scope_of(origin="https://langsmith.example.com"), origins) is None
    assert find_refusal(scope_of(origin="http://smith.lan:8080"), origins) is None
    assert find_refusal(scope_of(origin="http://smith.lan"), origins) is not None
