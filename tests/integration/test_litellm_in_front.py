"""LiteLLM on both sides: clients that stay connected to it get the graphs as models that it forwards to Interlock."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from support.facade import ASSISTANT, KEYS, write_configs
from support.gateway import gateway
from support.litellm import LiteLLM
from support.scripted_model import Answer, Call, ScriptedModel
from support.tool_server import Tools

AGENT = ASSISTANT["nodes"]["agent"]


@pytest.fixture(scope="module")
def front(
    litellm: LiteLLM, front_port: int, tools_process: Tools, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiteLLM]:
    """One LiteLLM before and behind Interlock. Its `front-round` leads to Interlock, whose graph asks for that."""
    folder = tmp_path_factory.mktemp("front")
    graphs = {name: {**ASSISTANT, "nodes": {**ASSISTANT["nodes"]}} for name in ("assistant", "circle")}
    graphs["assistant"]["nodes"]["agent"] = {**AGENT, "model": "scripted"}
    graphs["circle"]["nodes"]["agent"] = {**AGENT, "model": "front-round"}
    servers = {"files": {"url": tools_process.url}}
    configs = write_configs(folder / "configs", litellm.url, servers, graphs=graphs, api_key=litellm.key)
    with gateway(configs, folder / "data", KEYS, port=front_port):
        yield litellm


def client(front: LiteLLM) -> openai.OpenAI:
    return openai.OpenAI(base_url=front.url, api_key=front.key, max_retries=0, timeout=60)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_of_litellm_gets_a_graph_with_its_tools(
    front: LiteLLM, model: ScriptedModel, tools: Tools, stream: bool
) -> None:
    model.script(
        Answer(calls=[Call("files__echo", {"text": "4711"})]), lambda body: f"It is {body['messages'][-1]['content']}."
    )
    with client(front) as litellm:
        if stream:
            chunks = litellm.chat.completions.create(
                model="front-assistant", messages=[{"role": "user", "content": "go"}], stream=True
            )
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        else:
            answer = litellm.chat.completions.create(
                model="front-assistant", messages=[{"role": "user", "content": "go"}]
            )
            text = answer.choices[0].message.content or ""
    assert text == "It is 4711."
    assert tools.ran() == ["echo 4711"]


def test_a_circle_is_ended_in_words(front: LiteLLM, model: ScriptedModel) -> None:
    with client(front) as litellm, pytest.raises(openai.APIStatusError) as caught:
        litellm.chat.completions.create(model="front-circle", messages=[{"role": "user", "content": "go"}])
    assert "leads to Interlock itself" in str(caught.value)
    assert model.requests == []
