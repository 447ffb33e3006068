"""Vendors with rules of their own behind a real LiteLLM: what their answers carried goes back through it unharmed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.facade import ADMIN, Facade, said, serving, write_configs
from support.litellm import LiteLLM
from support.tool_server import Tools
from support.vendors import VENDORS, Vendors


@pytest.fixture
async def gateway(
    litellm: LiteLLM, tools: Tools, tmp_path: Path, keys: None, vendors: Vendors
) -> AsyncIterator[Facade]:
    vendors.violations.clear()
    vendors.unsigned = 0
    servers = {"files": {"url": tools.url}}
    configs = write_configs(tmp_path / "configs", litellm.url, servers, api_key=litellm.key, offer=["*"])
    (configs / "gateway.yaml").write_text((configs / "gateway.yaml").read_text() + "default_graph: assistant\n")
    async with serving(configs, tmp_path / "data") as facade:
        yield facade


@pytest.mark.parametrize("model", VENDORS)
async def test_a_conversation_with_tools_and_an_approval_keeps_to_the_vendors_rules(
    gateway: Facade, vendors: Vendors, tools: Tools, model: str
) -> None:
    more = {"reasoning_effort": "low"} if model == "claude" else {}
    system = {"role": "system", "content": "Be brief."}
    first = await gateway.say(system, "look 4711", model=model, **more)
    assert (vendors.violations, first) == ([], "It is 4711.")
    conversation = [system, "look 4711", said(first), "write x"]
    question = await gateway.say(*conversation, model=model, **more)
    assert vendors.violations == []
    approval = re.findall(r"`approve ([a-z2-7]{8})`", question)[0]
    conversation += [said(question), f"approve {approval}"]
    written = await gateway.say(*conversation, model=model, **more)
    assert vendors.violations == []
    assert written.startswith("It is ")
    last = await gateway.say(*conversation, said(written), "sure?", model=model, **more)
    assert (vendors.violations, vendors.unsigned, last) == ([], 0, "Fine.")
    assert tools.ran() == ["echo 4711", "write x"]


@pytest.mark.parametrize("model", ["mistral", "qwen"])
async def test_what_a_person_says_after_a_decision_elsewhere_keeps_to_the_order_of_messages(
    gateway: Facade, vendors: Vendors, tools: Tools, model: str
) -> None:
    question = await gateway.say("write x", model=model)
    approval = re.findall(r"`approve ([a-z2-7]{8})`", question)[0]
    decided = await gateway.http.post(
        f"{gateway.url}/approvals/{approval}",
        json={"decision": "approve"},
        headers={"authorization": f"Bearer {ADMIN}"},
    )
    assert decided.status_code == 200
    answer = await gateway.say("write x", said(question), "How did it go?", model=model)
    assert (vendors.violations, answer, tools.ran()) == ([], "Fine.", ["write x"])


async def test_a_conversation_can_go_on_with_another_vendor(gateway: Facade, vendors: Vendors, tools: Tools) -> None:
    conversation: list[object] = []
    for model in ("claude", "gemini", "mistral", "qwen"):
        more = {"reasoning_effort": "low"} if model == "claude" else {}
        conversation.append(f"look {model}")
        answer = await gateway.say(*conversation, model=model, **more)
        assert (vendors.violations, answer) == ([], f"It is {model}.")
        conversation.append(said(answer))
