"""OpenAI's Agents SDK for Python, over chat completions."""

import asyncio

from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from openai import AsyncOpenAI
from steps import KEY, MODEL, URL, run

set_tracing_disabled(True)


def agent() -> Agent:
    # A client of its own for each event loop.
    client = AsyncOpenAI(base_url=URL, api_key=KEY)
    return Agent(name="compat", model=OpenAIChatCompletionsModel(model=MODEL, openai_client=client))


def ask(prompt: str) -> str:
    async def answer() -> str:
        return str((await Runner.run(agent(), prompt)).final_output)

    return asyncio.run(answer())


def stream(prompt: str) -> list[str]:
    async def collect() -> list[str]:
        events = Runner.run_streamed(agent(), prompt).stream_events()
        return [
            event.data.delta
            async for event in events
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
        ]

    return asyncio.run(collect())


run(ask, stream)
