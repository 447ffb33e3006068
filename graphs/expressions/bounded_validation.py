"""Hold values against a JSON Schema in bounded time: patterns are RE2's, and keywords are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from jsonschema import FormatChecker, ValidationError, exceptions, validators
from referencing import Registry

from graphs.expressions.functions import full_match

Check = Callable[..., Iterator[ValidationError]]
"""How the library checks one keyword: takes the validator, the keyword's value, the value to check, and the schema."""


class TooManySteps(Exception):
    """A value that takes longer to check than there is time for."""


class BoundedValidator:
    """One schema, made ready. No reference leads out of it, and no pattern of it may take long."""

    def __init__(
        self,
        schema: object,
        dialect: Any,
        *,
        most_steps: int,
        checks: Mapping[str, Check],
        formats: FormatChecker | None = None,
    ) -> None:
        """`dialect`: the library's class for the schema's draft; `most_steps`: how many keywords may be looked at for
        one value, since choices that name each other can be tried in more ways than there is time for; `checks`: for
        these keywords instead of the library's own."""
        self._most_steps = most_steps
        self._steps = 0
        keywords: dict[str, Check] = {**dialect.VALIDATORS, "pattern": _check_pattern, **checks}
        counted = {name: check if check is check_nothing else self._count(check) for name, check in keywords.items()}
        kind: Any = cast(Any, validators).extend(dialect, counted)
        self._validator = kind(schema, registry=cast(Any, Registry)(), format_checker=formats)

    def list_errors(self, value: object) -> list[ValidationError]:
        """List what is wrong, the most telling error for each part of the value. Raises TooManySteps, and whatever a
        schema brings about that is none."""
        self._steps = 0
        best: Any = cast(Any, exceptions).best_match
        return [best([error]) for error in self._validator.iter_errors(value)]

    def find_best_error(self, value: object) -> ValidationError | None:
        """Find the most telling error of all. Raises as `list_errors` does."""
        self._steps = 0
        return cast(Any, exceptions).best_match(self._validator.iter_errors(value))

    def _count(self, check: Check) -> Check:
        def run(*arguments: Any) -> Any:
            self._steps += 1
            if self._steps > self._most_steps:
                raise TooManySteps
            return check(*arguments)

        return run


def check_nothing(*_: object) -> Iterator[ValidationError]:
    """Check nothing, in the place of a keyword that is left out."""
    return iter(())


def find_pattern_fault(pattern: str) -> str | None:
    """Explain why this is no pattern that can be checked; None: it is one."""
    try:
        full_match("", pattern)
    except ValueError as error:
        return str(error)
    return None


def _check_pattern(_: object, pattern: str, instance: object, __: object) -> Iterator[ValidationError]:
    """Check a pattern in time linear in the text; one that RE2 does not know is left out."""
    try:
        fits = not isinstance(instance, str) or full_match(instance, f"(?s:.*)(?:{pattern})(?s:.*)")
    except ValueError:
        return
    if not fits:
        yield ValidationError("does not match")
