"""The official client for Python."""

from collections.abc import Iterator

from openai import OpenAI
from steps import KEY, MODEL, URL, run

client = OpenAI(base_url=URL, api_key=KEY)


def ask(prompt: str) -> str:
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": prompt}])
    return answer.choices[0].message.content or ""


def stream(prompt: str) -> Iterator[str]:
    messages = [{"role": "user", "content": prompt}]
    for chunk in client.chat.completions.create(model=MODEL, messages=messages, stream=True):
        if chunk.choices:
            yield chunk.choices[0].delta.content or ""


run(ask, stream)
