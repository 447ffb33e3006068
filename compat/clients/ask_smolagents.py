"""smolagents' CodeAgent: the model's answer is Python code, which the agent runs."""

from collections.abc import Iterator

from smolagents import CodeAgent, OpenAIModel
from smolagents.models import ChatMessageStreamDelta
from steps import KEY, MODEL, URL, run


def agent(*, streaming: bool) -> CodeAgent:
    model = OpenAIModel(model_id=MODEL, api_base=URL, api_key=KEY)
    return CodeAgent(tools=[], model=model, stream_outputs=streaming, max_steps=2)


def ask(prompt: str) -> str:
    return str(agent(streaming=False).run(prompt))


def stream(prompt: str) -> Iterator[str]:
    for event in agent(streaming=True).run(prompt, stream=True):
        if isinstance(event, ChatMessageStreamDelta):
            yield event.content or ""


run(ask, stream)
