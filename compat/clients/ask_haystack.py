"""Haystack's OpenAIChatGenerator."""

from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.utils import Secret
from steps import KEY, MODEL, URL, run

generator = OpenAIChatGenerator(api_key=Secret.from_token(KEY), model=MODEL, api_base_url=URL)


def ask(prompt: str) -> str:
    return generator.run([ChatMessage.from_user(prompt)])["replies"][0].text or ""


def stream(prompt: str) -> list[str]:
    pieces: list[str] = []
    generator.run([ChatMessage.from_user(prompt)], streaming_callback=lambda chunk: pieces.append(chunk.content))
    return pieces


run(ask, stream)
