"""The values of one tool call, converted once for all conditions that look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cel_expr_python import cel

from graphs.expressions.effort import ValueSize, measure
from graphs.expressions.language import build_activation
from graphs.expressions.values import find_fault, flatten_value

ConditionOutcome = tuple[bool | None, str]
"""What a condition is: true, false, or None and why it cannot be evaluated, in words that show no value."""


class PreparedValues(Mapping[str, Any]):
    """The values of one call, for one decision: not to be shared between threads."""

    def __init__(self, values: Mapping[str, Any], unknown: Callable[[str], str | None] = lambda _: None) -> None:
        """`values` are the names of access rules, each a mapping or a dataclass where it has fields. `unknown` says why
        a name has no value in this call."""
        self.explain_missing = unknown
        self.outcomes: dict[object, ConditionOutcome] = {}
        """By condition: one that stands in several rules is evaluated once."""
        self.is_bounded = False
        """Whether a condition that may take long raises `NeedsTime` instead of being evaluated here and now."""
        self.spent_units = 0
        """Units of work that were done since the event loop had its turn."""
        self._sizes: dict[frozenset[str] | None, ValueSize | None] = {}
        self._values = values
        self._args: Mapping[str, Any] = values.get("args", {})
        self._expected_names: frozenset[str] = frozenset()
        self._faults: dict[str, str | None] = {}
        self._shared_activation: cel.Activation | None = None
        self._activations: dict[frozenset[str] | None, tuple[cel.Activation | None, str]] = {}

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def expect(self, argument_names: frozenset[str]) -> None:
        """Announce which arguments the following conditions name, so that one conversion does for all of them."""
        if not argument_names <= self._expected_names:
            self._expected_names |= argument_names
            self._shared_activation = None

    def measure_arguments(self, argument_names: frozenset[str] | None) -> ValueSize | None:
        """Measure how much a condition sees that looks at these arguments; None where that is too much."""
        if argument_names not in self._sizes:
            self._sizes[argument_names] = measure([*self.select_arguments(argument_names).values()])
        return self._sizes[argument_names]

    def select_arguments(self, argument_names: frozenset[str] | None) -> Mapping[str, Any]:
        """Return the arguments that are looked at."""
        args = self._args
        return args if argument_names is None else {name: args[name] for name in argument_names if name in args}

    def export_values(self, argument_names: frozenset[str] | None) -> dict[str, Any]:
        """Return the values for another process, with no more arguments than are looked at."""
        given = {"args": self.select_arguments(argument_names)} if "args" in self._values else {}
        return {**self._values, **given}

    def prepare_activation(self, argument_names: frozenset[str] | None) -> tuple[cel.Activation | None, str]:
        """Build the activation of a condition that looks at these arguments (None: all); else return why it cannot be.

        Only what it looks at is judged: a long text to write is no reason to doubt its path.
        """
        known = self._activations.get(argument_names)
        if known is None:
            known = self._activations[argument_names] = self._build_activation(argument_names)
        return known

    def _build_activation(self, argument_names: frozenset[str] | None) -> tuple[cel.Activation | None, str]:
        if argument_names is None:
            wrong = find_fault(self._args)
            return (self._activate(self._args), "") if wrong is None else (None, wrong)
        for name in argument_names:
            if (wrong := self._find_fault(name)) is not None:
                return None, wrong
        self.expect(argument_names)
        if self._shared_activation is None:
            # CEL reads all arguments that it is given, so it gets none that is not sound.
            sound = {name for name in self._expected_names if name in self._args and self._find_fault(name) is None}
            self._shared_activation = self._activate({name: self._args[name] for name in sound})
        return self._shared_activation, ""

    def _find_fault(self, name: str) -> str | None:
        if name not in self._faults:
            self._faults[name] = find_fault({name: self._args[name]}) if name in self._args else None
        return self._faults[name]

    def _activate(self, args: Mapping[str, Any]) -> cel.Activation:
        # Of a call that is not made yet nobody knows the arguments, which is not to have none.
        data: dict[str, Any] = {"args": args} if "args" in self._values else {}
        for name, value in self._values.items():
            if name != "args":
                data |= flatten_value(name, value)
        return build_activation("access", data)
