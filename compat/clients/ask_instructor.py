"""instructor: answers as objects, which the model gives as the arguments of a function, whole and in part."""

import json
from collections.abc import Iterator

import instructor
from openai import OpenAI
from pydantic import BaseModel
from steps import KEY, MODEL, URL, run


class Word(BaseModel):
    text: str


client = instructor.from_openai(OpenAI(base_url=URL, api_key=KEY))


def ask(prompt: str) -> str:
    messages = [{"role": "user", "content": prompt}]
    return client.chat.completions.create(model=MODEL, messages=messages, response_model=Word).text


def stream(prompt: str) -> Iterator[str]:
    messages = [{"role": "user", "content": prompt}]
    said = ""
    for part in client.chat.completions.create_partial(model=MODEL, messages=messages, response_model=Word):
        text = part.text or ""
        if not text.startswith(said):
            raise RuntimeError(f"a part took back what was said: {json.dumps([said, text])}")
        yield text[len(said) :]
        said = text


run(ask, stream)
