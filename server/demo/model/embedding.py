"""The demo model's embeddings: texts with the same words are near each other."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from graphs.testing.embeddings import embed_words


class EmbeddingRequest(BaseModel):
    """What is asked for, in OpenAI's form."""

    model: str
    input: str | Annotated[list[str], Field(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] = "float"


def build_embeddings(asked: EmbeddingRequest) -> dict[str, Any]:
    """Build the answer."""
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    data = [
        {"object": "embedding", "index": at, "embedding": _encode(embed_words(text), asked.encoding_format)}
        for at, text in enumerate(texts)
    ]
    tokens = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": asked.model, "usage": usage}


def _encode(vector: Sequence[float], form: Literal["float", "base64"]) -> list[float] | str:
    if form == "float":
        return [*vector]
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
