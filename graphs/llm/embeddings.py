"""Embeddings of texts, as `/v1/embeddings` answers with them.

Read here and not by LangChain's OpenAIEmbeddings: that counts tokens with tables which it downloads, always says an
encoding, which LiteLLM refuses for providers that have no such option (BerriAI/litellm#33173, #42421), and brings two
clients whose proxies, redirections and lengths of answers would have to be bounded once more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

from graphs.events import TokenUsage
from graphs.llm.stream import read_count

MOST_TEXTS = 64
"""Texts of one request: some providers take 96."""
MOST_DIMENSIONS = 8_192
"""Numbers of one vector; today's models have 256 to 4,096."""
LONGEST_EMBEDDINGS = 16 * 2**20
"""Bytes of an answer: a number has some 22."""


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """What a model made of some texts."""

    vectors: Sequence[tuple[float, ...]]
    """One for each text, in their order, all with as many numbers, and 1 long."""
    usage: TokenUsage | None
    """None: the endpoint did not say it."""


def parse_embeddings(body: bytes, texts: int) -> Embeddings:
    """Parse the answer for so many texts. Raises ValueError, KeyError or TypeError where it is none."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > texts * (MOST_DIMENSIONS + 32) + 1_000:
        raise ValueError("too many values")
    said = cast("Mapping[str, Any]", orjson.loads(body))
    found: dict[int, tuple[float, ...]] = {}
    for place, entry in enumerate(cast("Sequence[Mapping[str, Any]]", said["data"])):
        vector = normalize_vector(entry["embedding"])
        found[entry.get("index", place)] = vector
    vectors = [found[place] for place in range(texts)]
    if len({len(vector) for vector in vectors}) > 1:
        raise ValueError("vectors of several lengths")
    return Embeddings(vectors=vectors, usage=parse_usage(said.get("usage")))


def normalize_vector(numbers: object) -> tuple[float, ...]:
    """Make a vector 1 long. Raises ValueError or TypeError where these are no numbers, or all of them 0."""
    if not isinstance(numbers, list) or not 0 < len(cast("list[Any]", numbers)) <= MOST_DIMENSIONS:
        raise TypeError("no list of numbers")
    vector = cast("list[float]", numbers)
    length = math.hypot(*vector)
    if not length or not math.isfinite(length):
        raise ValueError("a vector without a direction")
    return tuple(number / length for number in vector)


def parse_usage(said: object) -> TokenUsage | None:
    """Parse the tokens that the texts had; None where the endpoint did not say it."""
    if not isinstance(said, dict):
        return None
    prompt = read_count(cast("Mapping[str, object]", said).get("prompt_tokens"))
    return None if prompt is None else TokenUsage(prompt, 0)
