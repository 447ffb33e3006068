"""LangChain's ChatOpenAI."""

from collections.abc import Iterator

from langchain_openai import ChatOpenAI
from steps import KEY, MODEL, URL, run

model = ChatOpenAI(model=MODEL, base_url=URL, api_key=KEY)


def ask(prompt: str) -> str:
    return str(model.invoke(prompt).content)


def stream(prompt: str) -> Iterator[str]:
    for chunk in model.stream(prompt):
        yield str(chunk.content)


run(ask, stream)
