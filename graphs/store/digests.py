"""Fingerprints: of a conversation by what the assistant said, and of one tool call by its exact arguments.

Clients resend only texts, and some re-wrap them; so a conversation is known by the assistant's words without any white
space, and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from graphs.text import dump_canonical_json

WHITE_SPACE = (
    "\0\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What `str.isspace` calls white space, and NUL."""


def remove_space(text: str) -> str:
    """Return `text` without any (Unicode) white space, and without NUL, which not every database keeps."""
    # A megabyte of words would hold the event loop five times as long if it were split and joined.
    for character in WHITE_SPACE:
        if character in text:
            text = text.replace(character, "")
    return text


def extend_digest(digest: str, text: str) -> str:
    """Compute the digest of a conversation whose texts so far have `digest` ("" for none) and that goes on with
    `text`."""
    # A lone surrogate can arrive through JSON escapes; it must not fail a request.
    return hashlib.sha256((digest + remove_space(text)).encode("utf-8", "surrogatepass")).hexdigest()


def build_digest_chain(assistant_texts: Iterable[str]) -> list[str]:
    """Compute the digests of all beginnings of a conversation: item `i` stands for its first `i` texts, item 0 is `""`.

    The list is one longer than the texts. A turn that answers after these texts has the last item as its `base`.
    """
    chain = [""]
    for text in assistant_texts:
        chain.append(extend_digest(chain[-1], text))
    return chain


def compute_call_digest(tool: str, args: Mapping[str, Any]) -> str:
    """Compute what binds an approval to one exact call: sha256 of `server/tool` and the arguments as canonical JSON.

    Raises TypeError or ValueError where the arguments are not JSON.
    """
    canonical = dump_canonical_json(args)
    return hashlib.sha256(f"{tool}\n{canonical}".encode("utf-8", "surrogatepass")).hexdigest()
