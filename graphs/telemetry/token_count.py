"""The count of tokens that one request uses, for roles that limit them, and one turn, for graphs that do.

The model endpoint says how many at the end of an answer; a client that leaves before would otherwise have the answer
for nothing. So where a call was cut off, or the endpoint says nothing, the count is estimated from the texts' length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

CHARACTERS_PER_TOKEN = 4
"""Of one token, in what is not counted by the endpoint: about right for English."""


class CallTokenCount:
    """The count of one model call."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._request = request
        self._characters = 0
        self._tokens: int | None = None

    def add_text(self, text: str) -> None:
        """Count the next piece of what the model says."""
        self._characters += len(text)

    def finish(self, reported: int | None, *, failed: bool) -> None:
        """End the call; `reported` is what the endpoint says it used, in tokens. One that failed before a word of an
        answer used nothing."""
        if reported:
            self._tokens = reported
        elif failed and not self._characters:
            self._tokens = 0

    @property
    def tokens(self) -> int:
        """The tokens used; while the call is under way, those it would have used if it were cut off now."""
        if self._tokens is None:
            return -(
                -(
                    self._characters
                    + count_characters(self._request.get("messages"))
                    + count_characters(self._request.get("tools"))
                    + count_characters(self._request.get("input"))
                )
                // CHARACTERS_PER_TOKEN
            )
        return self._tokens


class TokenCount:
    """The count of one request, with all of its model calls."""

    def __init__(self, owner: str, roles: tuple[str, ...]) -> None:
        self.owner = owner
        self.roles = roles
        """Those that limit tokens."""
        self._calls: list[CallTokenCount] = []

    def add_call(self, call: CallTokenCount) -> None:
        """Add a model call that begins."""
        self._calls.append(call)

    @property
    def tokens(self) -> int:
        """The tokens that all calls used so far."""
        return sum(call.tokens for call in self._calls)


class TurnTokenCount:
    """The count of one turn, of which an earlier process may have counted some. Of no call before it `has_begun`."""

    def __init__(self) -> None:
        self._earlier: int | None = None
        self._calls: list[CallTokenCount] = []

    @property
    def has_begun(self) -> bool:
        """Whether anybody limits the turn's tokens."""
        return self._earlier is not None

    def begin(self, earlier: int) -> None:
        """Begin to count, unless it has begun; `earlier` are the tokens that the turn's state knows of."""
        if self._earlier is None:
            self._earlier = earlier

    def add_call(self, call: CallTokenCount) -> None:
        """Add a model call that begins."""
        self._calls.append(call)

    @property
    def tokens(self) -> int:
        """The tokens that the turn used so far, those of attempts that failed too."""
        return (self._earlier or 0) + sum(call.tokens for call in self._calls)


def begin_call_count(
    request: Mapping[str, Any], counts: Iterable[TokenCount | TurnTokenCount | None]
) -> CallTokenCount | None:
    """Begin to count a model call, for those of `counts` that are there; None where none is."""
    found = [each for each in counts if each is not None]
    if not found:
        return None
    call = CallTokenCount(request)
    for each in found:
        each.add_call(call)
    return call


def count_characters(value: object) -> int:
    """Count the characters of all texts in a piece of a request. Pictures and sounds are no text, however long they
    are."""
    if isinstance(value, str):
        return 0 if value.startswith("data:") else len(value)
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, object]", value)
        return sum(
            count_characters(entry) for name, entry in entries.items() if name not in ("input_audio", "file_data")
        )
    if isinstance(value, Sequence):
        return sum(count_characters(entry) for entry in cast("Sequence[object]", value))
    return 0
