"""Two workers whose turns are counted together, scraped by a real Prometheus, also after a worker was killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import psutil
import pytest
from support.facade import write_configs
from support.gateway import ADMIN_KEY, DEVELOPER_KEY, Gateway, gateway
from support.metrics_page import awaited, scraped
from support.processes import Process, direct_opener
from support.prometheus import prometheus
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

TURNS = 12


@pytest.fixture
def two_workers(tmp_path: Path, tools: Tools) -> Iterator[tuple[Gateway, ScriptedModel]]:
    with ScriptedModel() as model:
        configs = write_configs(tmp_path / "configs", model.url, {"files": {"url": tools.url}})
        with gateway(configs, tmp_path / "data", options=["--workers", "2"]) as served:
            yield served, model


async def test_a_real_prometheus_reads_what_both_workers_counted(
    two_workers: tuple[Gateway, ScriptedModel], tmp_path: Path
) -> None:
    served, model = two_workers
    model.respond(lambda body: "Done." if body["messages"][-1]["role"] == "tool" else Answer(calls=[CALL]))
    await asyncio.gather(*(ask(served, DEVELOPER_KEY) for _ in range(TURNS)))
    async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)) as http:
        for _ in range(6):  # whichever worker answers
            seen = await scraped(http, served.root)
            assert seen("interlock_turns_total", graph="assistant", status="finished") == TURNS
            assert seen("interlock_tool_calls_total", server="files", tool="echo", outcome="ok") == TURNS
            assert seen("interlock_server_up", server="files") == 1
            assert seen("interlock_turns_running", graph="assistant") == 0
        with prometheus(tmp_path, {}, scraped=[served.root.removeprefix("http://")]) as address:
            turns = await told(address, 'interlock_turns_total{graph="assistant",status="finished"}')
            assert turns == TURNS
            assert await told(address, 'sum(interlock_node_seconds_count{node="act",type="tools"})') == TURNS
            assert await told(address, "histogram_quantile(0.99, interlock_turn_seconds_bucket)") > 0
            assert await told(address, 'up{job="scraped"}') == 1

        # A worker that is killed in the middle of a turn runs nothing any more; what it counted stays counted.
        model.respond(lambda _: Answer("one two", stall_after=1))
        hanging = asyncio.create_task(ask(served, ADMIN_KEY))
        await awaited(http, served.root, lambda seen: seen("interlock_turns_running", graph="assistant") == 1)
        killed = workers(served.process)
        for worker in killed:
            worker.suspend()
        await asyncio.sleep(1)  # every half second each is asked whether it lives: now both owe an answer
        for worker in killed:
            worker.kill()
        with pytest.raises(httpx.TransportError):
            await hanging
        served.process.wait_for_url(f"{served.root}/health")
        seen = await scraped(http, served.root)
        assert seen("interlock_turns_running", graph="assistant") == 0
        assert seen("interlock_turns_total", graph="assistant", status="finished") == TURNS
    folders = list((tmp_path / "data").glob("metrics-*"))
    assert len(folders) == 1
    served.process.stop()
    assert not folders[0].exists()


CALL = Call("files__echo", {"text": "x"})


async def ask(served: Gateway, key: str) -> None:
    body = {"model": "assistant", "messages": [{"role": "user", "content": "go"}]}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        headers = {"authorization": f"Bearer {key}"}
        answer = await http.post(f"{served.url}/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text


def workers(process: Process) -> list[psutil.Process]:
    children = psutil.Process(process.popen.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


async def told(address: str, query: str) -> float:
    """What Prometheus answers, once it knows: it scrapes every second."""
    for _ in range(300):
        with direct_opener().open(f"{address}/api/v1/query?{urlencode({'query': query})}", timeout=5) as response:
            result = json.loads(response.read())["data"]["result"]
        if result and result[0]["value"][1] not in ("0", "NaN"):
            return float(result[0]["value"][1])
        await asyncio.sleep(0.1)
    raise AssertionError(f"Prometheus knows nothing of {query}")
