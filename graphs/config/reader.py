"""Validate one file against its page of the spec, leaving out what is wrong, so that all mistakes are found at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, cast

from pydantic import ValidationError

from graphs.config.messages import describe_errors
from graphs.config.source import Path, Source, find_value
from graphs.config.spec.base import Spec
from graphs.errors import Problem, describe_kind

AnySpec = TypeVar("AnySpec", bound=Spec)

_ROUNDS = 50
_MISSING = object()


@dataclass(frozen=True)
class ParsedFile(Generic[AnySpec]):
    """One file, validated."""

    spec: AnySpec | None
    """None: nothing in the file could be used."""
    source: Source
    """The source of `spec`: without what was left out of it, every position where it was."""
    original: Source
    """The whole file."""
    problems: tuple[Problem, ...]

    @property
    def is_complete(self) -> bool:
        """Whether nothing is wrong and nothing was left out."""
        return self.spec is not None and not self.problems

    def list_names(self, *path: str) -> list[str]:
        """List the keys of the mapping at `path`, also those with mistakes below them: such a name is not unknown."""
        found = self.original.find_value(path)
        return list(cast("dict[str, Any]", found)) if isinstance(found, dict) else []


def read_spec(source: Source, spec: type[AnySpec]) -> ParsedFile[AnySpec]:
    """Validate a file against its page of the spec.

    What the page does not allow is reported and left out, and the rest is validated without it.
    """
    problems = list(source.problems)
    if () in source.broken_paths:
        return ParsedFile(None, source, source, tuple(problems))
    # A file of nothing but comments says nothing: the same as an empty mapping.
    left = source if source.data is not None else replace(source, data={})
    if describe_kind(left.data) != "a mapping":
        found = describe_kind(left.data)
        problems.append(source.build_problem((), f"the file holds {found}; expected a mapping"))
        return ParsedFile(None, source, source, tuple(problems))
    for attempt in range(_ROUNDS):
        try:
            return ParsedFile(spec.model_validate(left.data), left, source, tuple(problems))
        except ValidationError as error:
            if attempt == 0:
                for path, message in describe_errors(error, spec, left.data, left.raw_texts):
                    if not source.is_broken(path):
                        problems.append(source.build_problem(path, message))
            places = {path for path, _ in describe_errors(error, spec, left.data)}
            missing = {
                path: stand_in
                for path in places
                if find_value(left.data, path, _MISSING) is _MISSING
                and (stand_in := spec.find_stand_in(path)) is not None
            }
            wrong = {_find_nearest_place(path, left.data) for path in places - missing.keys()}
            if () in wrong or not (wrong or missing):
                break
            left = _remove_places(replace(left, data=_fill_in(left.data, missing)), wrong)
    return ParsedFile(None, source, source, tuple(problems))


def _find_nearest_place(path: Path, data: Any) -> Path:
    """Find what to leave out for an error: its path, or the nearest one around it that exists in the data."""
    while path and find_value(data, path, _MISSING) is _MISSING:
        path = path[:-1]
    return path


def _fill_in(data: Any, missing: Mapping[Path, object], path: Path = ()) -> Any:
    """Return the data with what stands in for what is missing, each by its path."""
    if not isinstance(data, dict):
        return data
    found = {key: _fill_in(value, missing, (*path, key)) for key, value in cast("dict[str, Any]", data).items()}
    return found | {at[-1]: value for at, value in missing.items() if at[:-1] == path}


def _remove_places(source: Source, wrong: set[Path]) -> Source:
    """Return the source without these paths; what follows them in a list moves up, and keeps its position."""

    def move_path(path: Path) -> Path | None:
        new: list[str | int] = []
        for depth, step in enumerate(path):
            if path[: depth + 1] in wrong:
                return None
            if isinstance(step, int):
                step -= sum((*path[:depth], before) in wrong for before in range(step))
            new.append(step)
        return tuple(new)

    def filter_value(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
            return {key: filter_value(item, (*path, key)) for key, item in items if (*path, key) not in wrong}
        if isinstance(value, list):
            members = enumerate(cast("list[Any]", value))
            return [filter_value(item, (*path, at)) for at, item in members if (*path, at) not in wrong]
        return value

    def map_paths(old: Iterable[Path]) -> Iterable[tuple[Path, Path]]:
        return ((new, path) for path in old if (new := move_path(path)) is not None)

    return replace(
        source,
        data=filter_value(source.data, ()),
        positions={new: source.positions[old] for new, old in map_paths(source.positions)},
        scalars={new: source.scalars[old] for new, old in map_paths(source.scalars)},
        raw_texts={new: source.raw_texts[old] for new, old in map_paths(source.raw_texts)},
        broken_paths=frozenset(new for new, _ in map_paths(source.broken_paths)),
    )
