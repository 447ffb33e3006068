"""A caller for whom LiteLLM or an issuer vouches, and the role that a field of their answer gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from graphs.errors import NotAllowed
from graphs.text import replace_surrogates

LONGEST = 1_000
"""Characters of a name, an address or a subject."""


@dataclass(frozen=True, kw_only=True)
class ExternalIdentity:
    """A caller for whom somebody else vouches."""

    user: str
    email: str = ""
    role: str
    key: str
    """What logs and rules call the way it came: `litellm:ALIAS` or `oidc`."""
    owner: str
    """Whose conversations it may continue: the same for the same person or key, for ever."""


def find_role(
    facts: Mapping[str, Any], field: str, roles: Mapping[str, str], known: Sequence[str], default: str | None
) -> str:
    """Find the role that `field` of `facts` names: by the mapping, in its order; without one, by its own name.

    A mapping is the whole list: whoever can write the field gets no role that stands in none of its lines. Raises
    NotAllowed where it names none and there is no default.
    """
    said = list_texts(read_field(facts, field))
    for value, role in roles.items():
        if value in said:
            return role
    if not roles:
        for value in said:
            if value in known:
                return value
    if default is not None:
        return default
    found = ", ".join(map(repr, said[:5])) or "nothing"
    raise NotAllowed(
        f"This caller is known, but has no role here: {field} says {found}. Map it to a role under `identities` in "
        "access.yaml, or set a `default` there."
    )


def clean_text(value: object, longest: int = LONGEST) -> str:
    """Clean a claim for storing; empty for what is no text, or a longer one than a name is.

    Half a surrogate pair is replaced, since no file or database holds it.
    """
    if not isinstance(value, str) or len(value) > longest:
        return ""
    return replace_surrogates(value)


def read_field(facts: Mapping[str, Any], field: str) -> object:
    """Read what a dotted path leads to; None where it leads nowhere. A name with dots in it (a claim that is a URL)
    counts as a whole."""
    if field in facts:
        return facts[field]
    value: object = facts
    for step in field.split("."):
        if not isinstance(value, Mapping):
            return None
        value = cast("Mapping[str, object]", value).get(step)
    return value


def list_texts(value: object) -> list[str]:
    """List one text, or the texts of a list; everything else says nothing."""
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, list):
        return [item for item in cast("list[object]", value) if isinstance(item, str) and item]
    return []
