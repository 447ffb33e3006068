"""LiteLLM's SDK."""

from collections.abc import Iterator

from litellm import completion
from steps import KEY, MODEL, URL, run


def ask(prompt: str) -> str:
    messages = [{"role": "user", "content": prompt}]
    answer = completion(model=f"openai/{MODEL}", api_base=URL, api_key=KEY, messages=messages)
    return answer.choices[0].message.content or ""


def stream(prompt: str) -> Iterator[str]:
    messages = [{"role": "user", "content": prompt}]
    for chunk in completion(model=f"openai/{MODEL}", api_base=URL, api_key=KEY, messages=messages, stream=True):
        yield chunk.choices[0].delta.content or ""


run(ask, stream)
