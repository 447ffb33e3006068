"""What one tool call shows to the conditions of rules, made fit to be looked at once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cel_expr_python import cel

from graphs.expressions.effort import Size, measure
from graphs.expressions.language import activation
from graphs.expressions.values import fault, named

Outcome = tuple[bool | None, str]
"""What a condition is: true, false, or None and why it cannot be evaluated, in words that show no value."""


class Prepared(Mapping[str, Any]):
    """The values of one call, for one decision: not to be shared between threads."""

    def __init__(self, values: Mapping[str, Any], unknown: Callable[[str], str | None] = lambda _: None) -> None:
        """`values` are the names of access rules, each a mapping or a dataclass where it has fields. `unknown` says why
        a name has no value in this call."""
        self.unknown = unknown
        self.outcomes: dict[object, Outcome] = {}
        """By condition: one that stands in several rules is evaluated once."""
        self.bounded = False
        """Whether a condition that may take long raises `NeedsTime` instead of being evaluated here and now."""
        self.spent = 0
        """Units of work that were done since the event loop had its turn."""
        self._sizes: dict[frozenset[str] | None, Size | None] = {}
        self._values = values
        self._args: Mapping[str, Any] = values.get("args", {})
        self._expected: frozenset[str] = frozenset()
        self._faults: dict[str, str | None] = {}
        self._named: cel.Activation | None = None
        self._shown: dict[frozenset[str] | None, tuple[cel.Activation | None, str]] = {}

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def expect(self, looked_at: frozenset[str]) -> None:
        """Says which arguments the conditions that follow name, so that one preparation does for all of them."""
        if not looked_at <= self._expected:
            self._expected |= looked_at
            self._named = None

    def size(self, looked_at: frozenset[str] | None) -> Size | None:
        """How much a condition sees that looks at these arguments; None where that is too much."""
        if looked_at not in self._sizes:
            self._sizes[looked_at] = measure([*self.only(looked_at).values()])
        return self._sizes[looked_at]

    def only(self, looked_at: frozenset[str] | None) -> Mapping[str, Any]:
        """The arguments that are looked at."""
        args = self._args
        return args if looked_at is None else {name: args[name] for name in looked_at if name in args}

    def plain(self, looked_at: frozenset[str] | None) -> dict[str, Any]:
        """The values as another process may have them, with no more arguments than are looked at."""
        given = {"args": self.only(looked_at)} if "args" in self._values else {}
        return {**self._values, **given}

    def shown(self, looked_at: frozenset[str] | None) -> tuple[cel.Activation | None, str]:
        """What a condition is evaluated on that looks at these arguments (None: at all of them); else why it cannot be.

        Only what it looks at is judged: a long text to write is no reason to doubt its path.
        """
        known = self._shown.get(looked_at)
        if known is None:
            known = self._shown[looked_at] = self._made(looked_at)
        return known

    def _made(self, looked_at: frozenset[str] | None) -> tuple[cel.Activation | None, str]:
        if looked_at is None:
            wrong = fault(self._args)
            return (self._over(self._args), "") if wrong is None else (None, wrong)
        for name in looked_at:
            if (wrong := self._fault(name)) is not None:
                return None, wrong
        self.expect(looked_at)
        if self._named is None:
            # CEL reads all arguments that it is given, so it gets none that is not sound.
            sound = {name for name in self._expected if name in self._args and self._fault(name) is None}
            self._named = self._over({name: self._args[name] for name in sound})
        return self._named, ""

    def _fault(self, name: str) -> str | None:
        if name not in self._faults:
            self._faults[name] = fault({name: self._args[name]}) if name in self._args else None
        return self._faults[name]

    def _over(self, args: Mapping[str, Any]) -> cel.Activation:
        # Of a call that is not made yet nobody knows the arguments, which is not to have none.
        data: dict[str, Any] = {"args": args} if "args" in self._values else {}
        for name, value in self._values.items():
            if name != "args":
                data |= named(name, value)
        return activation("access", data)
