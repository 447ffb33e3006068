"""Errors that a person can fix, and the small pieces of wording that they share."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


class InterlockError(Exception):
    """Base of every error that is ours. `str(error)` is a sentence for the person who can fix it."""


@dataclass(frozen=True, order=True)
class Position:
    """A place in a file. Lines and columns count from 1; 0 means the file as a whole."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in one file. Lines and columns count from 1; 0 means the file as a whole."""

    file: str
    line: int
    column: int
    message: str
    excerpt: str = field(default="", compare=False, repr=False)
    """The line as it is written with a caret beneath, for whoever may read the file; empty where there is none."""

    @property
    def position(self) -> Position:
        """Where the mistake is."""
        return Position(self.file, self.line, self.column)

    def __str__(self) -> str:
        text = f"{self.position}: {self.message}"
        # One line whatever the file holds: scripts and logs rely on it.
        return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


class ConfigError(InterlockError):
    """Every problem found in the files of one folder, at once.

    `doubts` are what is wrong too if nothing else is to come; they alone are no reason to refuse the files.
    """

    def __init__(self, problems: Sequence[Problem], doubts: Sequence[Problem] = ()) -> None:
        self.problems = tuple(sorted(problems))
        self.doubts = tuple(sorted(doubts))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class FolderMissing(ConfigError):
    """There is no folder of this name to read configs from."""

    def __init__(self, folder: Path) -> None:
        super().__init__([Problem(str(folder), 0, 0, "no such folder")])
        self.args = (describe_missing_folder(folder),)


def describe_missing_folder(folder: Path) -> str:
    """Say that there is no such config folder, and how to get one."""
    return (
        f"{folder}: no such folder; name one with --configs, or make one: interlock init {shlex.quote(str(folder))}; "
        "`interlock serve` without --configs makes configs/"
    )


ModelErrorKind = Literal["invalid_request", "authentication", "rate_limited", "unavailable", "interrupted"]


class ModelError(InterlockError):
    """The model behind LiteLLM refused, failed or fell silent.

    `invalid_request`: it refused the request; `authentication`: it refused our key; `rate_limited`: too many requests,
    `retry_after` is what it asked for (seconds or an HTTP date, verbatim); `unavailable`: no answer, or a 5xx;
    `interrupted`: the stream ended before its end. `retryable` is true only while nothing was said to the person yet.
    `code` and `param` are the endpoint's own words for what it refused, such as `context_length_exceeded`. `calls` and
    `rounds` are as in NodeFailure.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ModelErrorKind,
        status: int | None = None,
        retry_after: str | None = None,
        code: str | None = None,
        param: str | None = None,
        retryable: bool = False,
        calls: int | None = None,
        rounds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.calls = calls
        self.rounds = rounds
        self.param = param
        self.kind: ModelErrorKind = kind
        self.status = status
        self.retry_after = retry_after
        self.code = code
        self.retryable = retryable

    def count_tries(self, tries: int) -> ModelError:
        """Return the error with the number of requests that met it, in words."""
        if tries < 2:
            return self
        return self._copy(f"{str(self).removesuffix('.')}; tried {tries} times.", self.calls, self.rounds)

    def add_counts(self, *, calls: int, rounds: int) -> ModelError:
        """Return the error with the tool calls and model calls of the turn so far."""
        return self._copy(str(self), calls, rounds)

    def _copy(self, message: str, calls: int | None, rounds: int | None) -> ModelError:
        return ModelError(
            message,
            kind=self.kind,
            status=self.status,
            retry_after=self.retry_after,
            code=self.code,
            param=self.param,
            retryable=self.retryable,
            calls=calls,
            rounds=rounds,
        )


class UnknownModel(InterlockError):
    """The name asked for is no graph and no model on offer."""


class NotAllowed(InterlockError):
    """The caller is known, and may not do this."""


class EndpointClosed(InterlockError):
    """A route of OpenAI's API that the gateway file does not pass on."""


class LimitReached(InterlockError):
    """The caller's role may do no more for now. `retry_after` is in whole seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class GraphUnavailable(InterlockError):
    """The graph exists and cannot run now."""


FailureKind = Literal["invalid", "limit", "denied", "rejected", "expired", "timeout", "tool", "model", "python"]


class NodeFailure(InterlockError):
    """A node that could not do its part, in words for the person: the turn ends there.

    `invalid`: a value that does not fit, or an expression that cannot be evaluated; `limit`: a limit of the graph is
    used up; `denied`: a rule refused a tool call; `rejected`: a person did, or nobody is going to answer; `expired`:
    nobody decided or answered in time; `timeout`: it took too long; `tool`: the tool failed, or is not there; `model`:
    the model endpoint failed inside the node; `python`: a function of the operator's failed.

    `is_repeatable` is true where the same may succeed a moment later and does no harm twice. `calls` are the tool calls
    of the turn so far, where the node ran some; `rounds` likewise the model calls.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: FailureKind,
        is_repeatable: bool = False,
        calls: int | None = None,
        rounds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.is_repeatable = is_repeatable
        self.calls = calls
        self.rounds = rounds

    def add_counts(self, *, calls: int, rounds: int) -> NodeFailure:
        """Return the failure with the tool calls and model calls of the turn so far."""
        return NodeFailure(str(self), kind=self.kind, is_repeatable=self.is_repeatable, calls=calls, rounds=rounds)


class StorageError(InterlockError):
    """The database cannot be used: its address, its file, or its shape."""


def did_you_mean(found: str, choices: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return `. Did you mean '…'?` for the nearest of `choices`, or nothing."""
    near = find_nearest(found, choices, cutoff=cutoff)
    return f". Did you mean {near!r}?" if near is not None else ""


def find_nearest(found: str, choices: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the nearest of `choices`; None where none is near."""
    return next(iter(difflib.get_close_matches(found, list(choices), n=1, cutoff=cutoff)), None)


MODEL_LIST_HINT = " GET /v1/models lists what there is."
"""What is said to programs of a model that does not exist; a person is given the list itself."""


def list_some(names: Iterable[str], most: int) -> str:
    """Return at most so many of the names, as in `a, b and 3 more`; `none` where there is none."""
    every = list(names)
    shown = ", ".join(every[:most]) or "none"
    return f"{shown} and {len(every) - most} more" if len(every) > most else shown


def describe_kind(value: object) -> str:
    """Name the kind of a value of a YAML file, without the value."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text" if value else "an empty text"
        case list():
            return "a list"
        case _:
            return "a mapping"
