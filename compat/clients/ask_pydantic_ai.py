"""pydantic-ai's Agent."""

import asyncio

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from steps import KEY, MODEL, URL, run

agent = Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=URL, api_key=KEY)))


def ask(prompt: str) -> str:
    return agent.run_sync(prompt).output


def stream(prompt: str) -> list[str]:
    async def collect() -> list[str]:
        async with agent.run_stream(prompt) as result:
            return [piece async for piece in result.stream_text(delta=True, debounce_by=None)]

    return asyncio.run(collect())


run(ask, stream)
