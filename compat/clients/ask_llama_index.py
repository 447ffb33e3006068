"""LlamaIndex's OpenAILike."""

from collections.abc import Iterator

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from steps import KEY, MODEL, URL, run

model = OpenAILike(model=MODEL, api_base=URL, api_key=KEY, is_chat_model=True)


def ask(prompt: str) -> str:
    return model.chat([ChatMessage(role="user", content=prompt)]).message.content or ""


def stream(prompt: str) -> Iterator[str]:
    for part in model.stream_chat([ChatMessage(role="user", content=prompt)]):
        yield part.delta or ""


run(ask, stream)
