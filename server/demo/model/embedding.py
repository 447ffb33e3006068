"""The demo model's embeddings: words hashed into 64 numbers, so that texts with the same words are near each other."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

DIMENSIONS = 64


class EmbeddingRequest(BaseModel):
    """What is asked for, in OpenAI's form."""

    model: str
    input: str | Annotated[list[str], Field(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] = "float"


def build_embeddings(asked: EmbeddingRequest) -> dict[str, Any]:
    """Build the answer."""
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    data = [
        {"object": "embedding", "index": at, "embedding": _encode(embed(text), asked.encoding_format)}
        for at, text in enumerate(texts)
    ]
    tokens = sum(len(_split(text)) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": asked.model, "usage": usage}


def embed(text: str) -> list[float]:
    """Embed a text: a vector that is 1 long."""
    vector = [0.0] * DIMENSIONS
    for word in _split(text) or [""]:
        digest = hashlib.blake2b(word.encode(errors="replace"), digest_size=2).digest()
        vector[digest[0] % DIMENSIONS] += 1.0 if digest[1] % 2 else -1.0
    length = math.hypot(*vector)
    if not length:  # words that are each other's opposite
        vector[0] = length = 1.0
    return [number / length for number in vector]


def _split(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _encode(vector: Sequence[float], form: Literal["float", "base64"]) -> list[float] | str:
    if form == "float":
        return [*vector]
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
