"""One trace from the HTTP request to LiteLLM and the MCP servers, by a real process and a collector; and no secrets."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.collector import Collector, Seen, collector
from support.facade import ACCESS, ADMIN, ASSISTANT, Facade, serving, write_configs
from support.gateway import ADMIN_KEY, DEVELOPER_KEY, Gateway, gateway
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import SERVER, Tools

from server.observability.tracing_export import build_exporter, open_tracing

CALLERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRETS = {
    "model key": "sk-planted-model-key",
    "server's environment": "planted-in-env",
    "server's header": "planted-in-header",
    "argument": "planted-in-argument",
    "prompt": "planted-in-prompt",
    "answer": "planted-in-answer",
    "query": "planted-in-query",
    "cookie": "planted-in-cookie",
    "failure": "planted-in-failure",
    "key": ADMIN_KEY,
    "wrong key": "ilk_planted-wrong-key",
}
READER = {
    "vars": {"notes": "string[]"},
    "start": "read",
    "nodes": {
        "read": {
            "type": "map",
            "over": "['a', 'b']",
            "do": {"type": "model", "prompt": "Read.", "input": "{{ item }}"},
            "into": "notes",
            "next": "say",
        },
        "say": {"type": "reply", "text": "{{ lines(notes) }}", "next": "end"},
    },
}


@dataclass(frozen=True)
class Whole:
    """All that is real: `interlock serve`, a collector, MCP servers over stdio and HTTP; and the model's script."""

    served: Gateway
    collector: Collector
    model: ScriptedModel
    log: Path

    def ask(self, text: str, key: str = ADMIN_KEY, *, graph: str = "assistant", **headers: str) -> httpx.Response:
        body = {"model": graph, "temperature": 0.5, "messages": [{"role": "user", "content": text}]}
        return httpx.post(
            f"{self.served.url}/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {key}", **{name.replace("_", "-"): it for name, it in headers.items()}},
            params={"note": SECRETS["query"]},
            trust_env=False,
            timeout=30,
        )


@pytest.fixture(scope="module")
def whole(tools_process: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("whole")
    servers: dict[str, Any] = {
        "files": {"url": tools_process.url, "headers": {"X-Token": SECRETS["server's header"]}},
        "local": {
            "command": sys.executable,
            "args": [str(SERVER), "stdio"],
            "env": {"TOKEN": SECRETS["server's environment"]},
        },
    }
    # The developer's key is a chat page's.
    keys = [{**key, "forwards_users": key["name"] == "developer"} for key in ACCESS["keys"]]
    access = {"roles": {**ACCESS["roles"], "admin": {"allow": ["*"], "deny": ["local/write"]}}, "keys": keys}
    with ScriptedModel() as model, collector() as collected:
        graphs = {"assistant": ASSISTANT, "reader": READER}
        configs = write_configs(
            folder / "configs", model.url, servers, access=access, graphs=graphs, api_key=SECRETS["model key"]
        )
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collected.url, "OTEL_BSP_SCHEDULE_DELAY": "50", "INTERLOCK_LOG": "json"}
        with gateway(configs, folder / "data", env) as served:
            yield Whole(served, collected, model, folder / "data" / "serve.log")


def test_a_turn_with_two_tool_calls_is_one_trace_that_goes_on_at_the_model_and_at_both_servers(whole: Whole) -> None:
    whole.model.reset()
    whole.model.script(
        Answer(calls=[Call("files__traced"), Call("local__traced")], usage=(50, 7)), Answer("Done.", usage=(90, 3))
    )
    response = whole.ask("go", traceparent=CALLERS, x_request_id="mine", x_openwebui_chat_id="chat-1")
    assert response.status_code == 200
    [top] = whole.collector.wait_for("POST /v1/chat/completions")
    assert sorted(whole.collector.tree(top.trace)) == sorted(
        [
            "POST /v1/chat/completions",
            "  invoke_agent assistant",
            "    node agent",
            "      chat scripted",
            "    node check",
            "    node act",
            "      execute_tool files/traced",
            "        tools/call traced",
            "      execute_tool local/traced",
            "        tools/call traced",
            "    node agent",
            "      chat scripted",
        ]
    )
    assert f"00-{top.trace}-{top.parent}-01" == CALLERS

    # Whoever is asked is told the span that asks, and not one above it.
    spans = {span.id: span for span in whole.collector.spans}
    chats = whole.collector.wait_for("chat scripted", 2)
    assert [request.headers["traceparent"] for request in whole.model.requests] == [one.traceparent for one in chats]
    files, local = (json.loads(told) for told in whole.model.requests[1].tool_results)
    by_server = {span.attributes["interlock.server"]: span for span in whole.collector.wait_for("tools/call traced", 2)}
    assert files == {"message": by_server["files"].traceparent, "header": by_server["files"].traceparent}
    assert local == {"message": by_server["local"].traceparent, "header": None}
    assert spans[by_server["files"].parent].name == "execute_tool files/traced"

    assert {span.service for span in spans.values()} == {"interlock"}
    assert {span.name: span.kind for span in spans.values()} == {
        "POST /v1/chat/completions": "server",
        "invoke_agent assistant": "internal",
        "node agent": "internal",
        "node check": "internal",
        "node act": "internal",
        "chat scripted": "client",
        "execute_tool files/traced": "internal",
        "execute_tool local/traced": "internal",
        "tools/call traced": "client",
    }
    check_attributes(whole, top, chats, by_server)
    [line] = [line for line in lines(whole.log) if line.get("request_id") == "mine"]
    assert line["trace_id"] == top.trace
    assert line["turn"] == named(whole, "invoke_agent assistant").attributes["interlock.turn.id"]


def test_each_task_of_a_map_has_a_span_of_its_own(whole: Whole) -> None:
    whole.model.reset()
    whole.model.respond(lambda body: "x")
    assert whole.ask("go", graph="reader").status_code == 200
    turn = named(whole, "invoke_agent reader")
    assert sorted(line.strip() for line in whole.collector.tree(turn.trace)) == [
        "POST /v1/chat/completions",
        "chat scripted",
        "chat scripted",
        "invoke_agent reader",
        "node read",
        "node read.collect",
        "node read.do",
        "node read.do",
        "node say",
    ]


def check_attributes(whole: Whole, top: Seen, chats: list[Seen], by_server: dict[str, Seen]) -> None:
    http = {"http.request.method": "POST", "http.route": "/v1/chat/completions", "http.response.status_code": 200}
    assert top.attributes.items() >= {**http, "interlock.request.id": "mine", "url.scheme": "http"}.items()
    agent = named(whole, "invoke_agent assistant").attributes
    assert (
        agent.items()
        >= {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "litellm",
            "gen_ai.agent.name": "assistant",
            "gen_ai.conversation.id": "chat-1",
            "gen_ai.usage.input_tokens": 140,
            "gen_ai.usage.output_tokens": 10,
            "interlock.turn.status": "finished",
        }.items()
    )
    model_port = int(whole.model.url.split(":")[2].split("/")[0])
    assert (
        chats[0].attributes.items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "scripted",
            "gen_ai.request.temperature": 0.5,
            "gen_ai.request.stream": True,
            "gen_ai.usage.input_tokens": 50,
            "gen_ai.usage.output_tokens": 7,
            "gen_ai.conversation.id": "chat-1",
            "server.address": "127.0.0.1",
            "server.port": model_port,
        }.items()
    )
    assert [chat.attributes["gen_ai.response.finish_reasons"] for chat in chats] == [["tool_calls"], ["stop"]]
    assert "gen_ai.response.time_to_first_chunk" in chats[1].attributes
    tool = named(whole, "execute_tool files/traced").attributes
    assert (
        tool.items()
        >= {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "files/traced",
            "interlock.verdict": "allow",
        }.items()
    )
    # The minted id, by which the journal and the audit know the call too; the endpoint gets its own back.
    assert re.fullmatch(r"call_[0-9a-f]{32}", tool["gen_ai.tool.call.id"])
    assert tool["gen_ai.tool.call.id"] != named(whole, "execute_tool local/traced").attributes["gen_ai.tool.call.id"]
    wire = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "traced"}
    assert by_server["files"].attributes.items() >= {**wire, "network.transport": "tcp"}.items()
    assert by_server["files"].attributes["server.address"] == "127.0.0.1"
    assert by_server["local"].attributes.items() >= {**wire, "network.transport": "pipe"}.items()
    assert by_server["local"].attributes["jsonrpc.request.id"].isdecimal()


def named(whole: Whole, name: str) -> Seen:
    [span] = whole.collector.wait_for(name)
    return span


def test_what_went_wrong_is_marked_by_its_kind_and_in_no_other_words(whole: Whole) -> None:
    whole.model.reset()
    whole.collector.spans.clear()
    whole.model.script(
        Answer(calls=[Call("files__fails"), Call("local__write", {"text": "x"}), Call("files__nonsense")]),
        Answer(status=400, error=SECRETS["failure"]),
    )
    assert whole.ask("go").status_code == 400
    [top] = whole.collector.wait_for("POST /v1/chat/completions")
    wrong = {span.name: span.attributes["error.type"] for span in whole.collector.spans if span.failed}
    assert wrong == {
        "execute_tool files/fails": "tool_error",
        "tools/call fails": "tool_error",
        "execute_tool local/write": "refused",
        "execute_tool unknown": "refused",
        "chat scripted": "invalid_request",
        "node agent": "invalid_request",
        "invoke_agent assistant": "turn_failed",
    }
    assert named(whole, "execute_tool local/write").attributes["interlock.verdict"] == "deny"
    assert top.attributes["http.response.status_code"] == 400
    assert not top.failed


def test_a_title_hangs_below_its_request_and_probes_make_no_trace(whole: Whole) -> None:
    whole.model.reset()
    whole.collector.spans.clear()
    whole.model.script("A title")
    for path in ("health", "ready", "metrics"):
        assert httpx.get(f"{whole.served.root}/{path}", trust_env=False).status_code == 200
    assert whole.ask("### Task:\nGenerate a title.", DEVELOPER_KEY, x_openwebui_chat_id="chat-1").status_code == 200
    [top] = whole.collector.wait_for("POST /v1/chat/completions")
    assert whole.collector.tree(top.trace) == ["POST /v1/chat/completions", "  chat scripted"]
    assert len(whole.collector.spans) == 2


def test_no_secret_and_no_text_is_in_any_log_span_or_metric(whole: Whole) -> None:
    whole.model.reset()
    whole.collector.spans.clear()
    whole.model.script(
        Answer(calls=[Call("files__echo", {"text": SECRETS["argument"]})]),
        SECRETS["answer"],
        Answer(status=400, error=SECRETS["failure"]),
        Answer(raw=[b"data: {" + SECRETS["failure"].encode() + b"\n\n"]),
    )
    answer = whole.ask(SECRETS["prompt"], cookie=f"session={SECRETS['cookie']}")
    assert SECRETS["answer"] in answer.text
    assert whole.model.requests[0].headers["authorization"] == f"Bearer {SECRETS['model key']}"
    assert whole.model.requests[1].tool_results == [SECRETS["argument"]]
    assert whole.ask(SECRETS["prompt"]).status_code == 400
    assert whole.ask(SECRETS["prompt"]).status_code == 502
    assert whole.ask("hi", key=SECRETS["wrong key"]).status_code == 401
    whole.collector.wait_for("POST /v1/chat/completions", 4)
    metrics = httpx.get(f"{whole.served.root}/metrics", trust_env=False).text
    assert 'interlock_tool_calls_total{outcome="ok",server="files",tool="echo"} 1.0' in metrics
    spans = b"".join(whole.collector.raw).decode("latin-1")
    assert "execute_tool files/echo" in spans
    log = whole.log.read_text()
    assert "401" in log
    for what, secret in SECRETS.items():
        assert secret not in metrics, f"the {what} is in a metric"
        assert secret not in spans, f"the {what} is in a span"
        assert secret not in log.replace(f"key admin {ADMIN_KEY}", ""), f"the {what} is in the log"


def test_each_line_of_the_log_is_json(whole: Whole) -> None:
    whole.model.reset()
    whole.model.script("Hello.")
    whole.ask("hi", x_request_id="last")
    found = lines(whole.log)
    assert {line["level"] for line in found} <= {"INFO", "WARNING", "ERROR"}
    assert all(line["time"] and line["logger"] and line["message"] for line in found)
    access = [line for line in found if line["logger"] == "server.observability.request_log"]
    assert len({line["request_id"] for line in access}) == len(access)


def lines(log: Path) -> list[dict[str, Any]]:
    """The log's JSON lines; what is announced on stdout at the start is for people."""
    announced = ("Interlock serves", "  ", "key ", "url ", "console ", "docs ", "Try it:", "A chat page")
    return [json.loads(line) for line in log.read_text().splitlines() if not line.startswith(announced)]


async def test_without_tracing_a_trace_that_came_in_is_passed_on_as_it_came(
    facade: Facade, model: ScriptedModel
) -> None:
    model.script(Answer(calls=[Call("files__traced")]), "Done.", "Hello.")
    headers = {"traceparent": CALLERS, "tracestate": "vendor=1"}
    assert (await facade.ask("go", headers=headers)).status_code == 200
    assert [request.headers["traceparent"] for request in model.requests] == [CALLERS, CALLERS]
    assert model.requests[0].headers["tracestate"] == "vendor=1"
    assert json.loads(model.requests[1].tool_results[0]) == {"message": CALLERS, "header": CALLERS}
    await facade.ask("hi")
    assert "traceparent" not in model.requests[2].headers


async def test_the_last_spans_are_sent_before_the_end(
    configs: Path, tmp_path: Path, keys: None, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector() as collected:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collected.url}/v1/traces")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "gateway-of-the-tests")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        async with serving(configs, tmp_path / "data") as facade:
            model.script("Hello.")
            await facade.say("hi", key=ADMIN)
            assert not collected.spans
        assert {"invoke_agent assistant", "chat scripted"} <= {span.name for span in collected.spans}
        assert {span.service for span in collected.spans} == {"gateway-of-the-tests"}


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
    ],
)
async def test_nothing_is_traced_unless_a_collector_is_named(env: dict[str, str]) -> None:
    async with open_tracing(env) as tracing:
        assert not tracing.is_enabled


def test_an_exporter_that_we_do_not_have_is_named_and_nothing_is_traced(caplog: pytest.LogCaptureFixture) -> None:
    grpc = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert build_exporter(grpc) is None
    assert "the protocol 'grpc'" in caplog.text
