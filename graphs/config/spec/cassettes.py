"""`graphs/cassettes/*.yaml`: cassettes, each what the model and the tools of one case really said, to be replayed."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, model_validator

from graphs.config.spec.base import Spec
from graphs.config.spec.cases import HintsSpec
from graphs.errors import describe_kind

EXAMPLE = "cassettes/NAME.yaml"
"""How a case names its cassette."""


def find_place_fault(written: str) -> str | None:
    """Explain why a cassette cannot lie where a case says; None if it can. Places are relative to the case's file."""
    path = PurePosixPath(written)
    if path.suffix not in (".yaml", ".yml"):
        return f"{written!r} does not end in .yaml; write such as {EXAMPLE}"
    if path.is_absolute() or "\\" in written or any(part.startswith(".") for part in path.parts):
        return f"{written!r} leads away from this folder; a cassette lies in a folder beside this file, as {EXAMPLE}"
    if len(path.parts) == 1:
        return f"{written!r} would lie among the graphs and be read as one; write cassettes/{written}"
    return None


def _parse_call(value: Any) -> Any:
    call = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if len(call) != 1 or not isinstance(next(iter(call.values())), dict | str):
        found = describe_kind(cast("object", value))
        raise ValueError(
            f"is {found}; expected one call, {{server/tool: {{argument: value}}}}, or {{name: text}} for one whose "
            "arguments are no object"
        )
    return call


RecordedCall = Annotated[
    dict[str, Any],
    BeforeValidator(_parse_call, json_schema_input_type=dict[str, dict[str, Any] | str]),
]


class RecordedAnswerSpec(Spec):
    """One answer of a model."""

    text: str = ""
    """What it said."""
    calls: list[RecordedCall] = []
    """The tools that it called, each with its arguments; a text: what it wrote where that was no object."""
    refusal: str = ""
    """The words with which it said that it will not answer."""
    reason: Literal["stop", "length", "content_filter"] = "stop"
    """Why it ended, as the endpoint said."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"text": value}
        if not isinstance(value, dict):
            raise ValueError(f"is {describe_kind(value)}; expected a text, or a mapping with 'text' and 'calls'")  # noqa: TRY004
        return cast("dict[str, Any]", value)


class RecordedResultSpec(Spec):
    """What one call gave: a `result`, or an `error`."""

    args: dict[str, Any]
    """The arguments of the call. `[redacted]` in them stands for anything."""
    result: Any = None
    """What the tool gave back: a text, or an object."""
    text: str | None = None
    """What the model read of an object, where that is not the same as JSON."""
    error: str | None = None
    """The words with which the tool failed."""

    @model_validator(mode="after")
    def _has_one_end(self) -> RecordedResultSpec:
        has_result, has_error = "result" in self.model_fields_set, self.error is not None
        if has_result == has_error:
            found = "both" if has_result else "neither"
            raise ValueError(f"has {found} of 'result' and 'error'; expected exactly one of them")
        if has_result and not isinstance(self.result, dict | str):
            raise ValueError(f"has {describe_kind(self.result)} as its 'result'; expected a text or an object")
        return self


def _check_digest(value: str) -> str:
    if re.fullmatch("[0-9a-f]{64}", value) is None:
        raise ValueError("is no fingerprint of a tool, which has 64 hexadecimal digits; record the cassette anew")
    return value


class RecordedToolSpec(HintsSpec):
    """One tool, as it was when the cassette was recorded, and what its calls gave."""

    digest: Annotated[str, AfterValidator(_check_digest)]
    """The fingerprint of all that the tool says of itself (SHA-256)."""
    arguments: list[str] = []
    """The arguments that its schema names."""
    results: list[RecordedResultSpec] = []
    """What its calls gave, in order."""


class CassetteSpec(Spec):
    """What the model and the tools of one case really said, as `interlock test --record` writes it."""

    model: dict[str, list[RecordedAnswerSpec]] = {}
    """What the model answered, by node, in order."""
    tools: dict[str, RecordedToolSpec] = {}
    """The tools that were called, by `server/tool`."""
