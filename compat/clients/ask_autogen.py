"""AutoGen's AssistantAgent."""

import asyncio

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.messages import ModelClientStreamingChunkEvent
from autogen_ext.models.openai import OpenAIChatCompletionClient
from steps import KEY, MODEL, URL, run

ABILITIES = {
    "vision": False,
    "function_calling": True,
    "json_output": False,
    "structured_output": False,
    "family": "unknown",
}


def agent(*, streaming: bool) -> AssistantAgent:
    client = OpenAIChatCompletionClient(model=MODEL, base_url=URL, api_key=KEY, model_info=ABILITIES)
    return AssistantAgent("compat", model_client=client, model_client_stream=streaming)


def ask(prompt: str) -> str:
    async def answer() -> str:
        return (await agent(streaming=False).run(task=prompt)).messages[-1].to_text()

    return asyncio.run(answer())


def stream(prompt: str) -> list[str]:
    async def collect() -> list[str]:
        events = agent(streaming=True).run_stream(task=prompt)
        return [event.content async for event in events if isinstance(event, ModelClientStreamingChunkEvent)]

    return asyncio.run(collect())


run(ask, stream)
