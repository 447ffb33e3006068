"""Read the JSON Schema files that types of variables name: files of the config folder, each made to stand alone.

Nothing is read from elsewhere: no address, no path and no link out of the folder.
"""

from __future__ import annotations

import json
import math
import posixpath
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import SplitResult, unquote, urlsplit

from jsonschema import Draft202012Validator, ValidationError, exceptions
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from graphs.config.source import parse_yaml
from graphs.errors import describe_kind, did_you_mean
from graphs.expressions import StandaloneSchema, TypeFault, VarType, build_schema_type, find_pattern_fault
from graphs.expressions.schema_types import REFERENCE
from graphs.expressions.subschemas import DEFINITIONS, change_subschemas
from graphs.text import make_storable, truncate

SCHEMA_ENDINGS = (".schema.json", ".schema.yaml", ".schema.yml")
"""What the name of a schema file ends in: such a file is never a graph."""
MAX_BYTES = 250_000
"""Bytes of one file."""
OTHER_REFERENCES = ("$dynamicRef", "$recursiveRef", "$dynamicAnchor", "$recursiveAnchor")
"""Keywords that lead elsewhere in ways that are not read."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DROPPED = frozenset((*DEFINITIONS, "$schema", "$id", "$anchor", "$comment", "$vocabulary"))
_TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
_LONGEST_REASON = 200


def is_schema_file(name: str) -> bool:
    """Whether a file of this name holds a JSON Schema, and so is no graph."""
    return name.endswith(SCHEMA_ENDINGS)


class SchemaFiles:
    """The schema files of one config folder, each read once, when a type first names it."""

    def __init__(self, folder: Path) -> None:
        self.documents: dict[str, Any] = {}
        """What the files hold that were read, by their paths in the folder."""
        self._folder = folder
        self._faults: dict[str, TypeFault] = {}
        self._parts: dict[tuple[str, str], Any] = {}
        self._types: dict[tuple[str, str], VarType] = {}

    def read_type(self, written: str) -> VarType:
        """Read the type that a graph names by `./order.schema.json`, or by `./order.schema.json#/$defs/line` for a part
        of a file. Raises TypeFault."""
        place = self._locate(written, "graphs")
        if place not in self._types:
            try:
                self._types[place] = build_schema_type(_Bundle(self).build(*place))
            except TypeFault as error:
                raise TypeFault(_begin_with(place[0], str(error))) from error
            except RecursionError:
                raise TypeFault(_describe_depth(f"{place[0]}#{place[1]}")) from None
        return self._types[place]

    def find_part(self, written: str, base: str) -> tuple[str, str]:
        """Find the place that a reference in the file `base` leads to, at which there is a schema. Raises TypeFault."""
        address = _split(written)
        place = self._locate(written, posixpath.dirname(base)) if address.path else (base, address.fragment)
        self.get_part(*place)
        return place

    def get_part(self, file: str, fragment: str) -> Any:
        """Return the schema at a fragment of a file, such as `/$defs/line`. Raises TypeFault."""
        if (file, fragment) not in self._parts:
            self._parts[file, fragment] = self._find_fragment(file, fragment)
        return self._parts[file, fragment]

    def _find_fragment(self, file: str, fragment: str) -> Any:
        document = self._read(file)
        if not fragment:
            return document
        registry: Any = cast(Any, Registry)().with_resource("", DRAFT202012.create_resource(document))
        try:
            found: Any = registry.resolver().lookup(f"#{fragment}").contents
        except (Unresolvable, ValueError, TypeError, AttributeError) as error:  # the others: a path through no mapping
            raise TypeFault(f"{file} has nothing at #{fragment}; name a part that it has") from error
        if not isinstance(found, dict | bool):
            raise TypeFault(
                f"{file}#{fragment} is {describe_kind(found)}; a schema is a mapping, such as {{type: string}}"
            )
        # What stands under keywords of others, such as OpenAPI's `components`, was not checked with its file.
        _check_schema(f"{file}#{fragment}", found)
        return cast("object", found)

    def _locate(self, written: str, folder: str) -> tuple[str, str]:
        """Locate a file in the config folder, and the part of it that is meant. Raises TypeFault."""
        address = _split(written)
        if address.scheme or address.netloc:
            raise TypeFault(
                f"{written!r} is an address, and schemas are never fetched; save the file in the config folder and"
                " name it, such as ./NAME.schema.json"
            )
        name = posixpath.normpath(posixpath.join(folder, unquote(address.path)))
        if name.startswith(("/", "../")):
            raise TypeFault(f"{written!r} leads out of the config folder; save the file in it, and name that")
        if not is_schema_file(name):
            raise TypeFault(
                f"{written!r} is not called as schema files are: NAME.schema.json or NAME.schema.yaml; rename it"
            )
        try:
            is_inside = (self._folder / name).resolve().is_relative_to(self._folder.resolve())
        except (OSError, RuntimeError):
            raise TypeFault(f"{written!r} is a link that leads to itself; save the file itself there") from None
        if not is_inside:
            raise TypeFault(f"{written!r} is a link out of the config folder; save the file itself in it")
        return name, address.fragment

    def _read(self, name: str) -> Any:
        if name in self._faults:
            raise self._faults[name]
        if name not in self.documents:
            try:
                self.documents[name] = self._check(name, self._parse(name, self._read_text(name)))
            except TypeFault as fault:
                self._faults[name] = fault
                raise
        return self.documents[name]

    def _read_text(self, name: str) -> str:
        path = self._folder / name
        try:
            state = path.stat()
            if not stat.S_ISREG(state.st_mode):
                raise TypeFault(f"{name} is no file; name the file that holds the schema")
            if (size := state.st_size) > MAX_BYTES:
                raise TypeFault(
                    f"{name} has {size:,} bytes; at most {MAX_BYTES:,} are read; split it, or leave some out"
                )
            return path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            others = sorted(each.name for each in path.parent.glob("*.schema.*") if is_schema_file(each.name))
            hint = did_you_mean(path.name, others)
            raise TypeFault(f"there is no file {name}; write it, or name another{hint}") from None
        except UnicodeDecodeError:
            raise TypeFault(f"{name} is not UTF-8; save it as UTF-8") from None
        except OSError as error:
            raise TypeFault(f"{name} cannot be read: {error.strerror}; it has to be a file that can") from error

    def _parse(self, name: str, text: str) -> Any:
        if name.endswith(".json"):
            try:
                return json.loads(text, parse_constant=_refuse_constant)
            except json.JSONDecodeError as error:
                raise TypeFault(
                    f"{name}:{error.lineno}:{error.colno} is no JSON: {error.msg}; mend it there"
                ) from error
            except (ValueError, RecursionError) as error:
                raise TypeFault(f"{name} is no JSON: {truncate(str(error), _LONGEST_REASON)}; mend it") from error
        source = parse_yaml(text, name, {})
        if source.problems:
            first = source.problems[0]
            raise TypeFault(f"{name}:{first.line}:{first.column}: {first.message}")
        return source.data

    def _check(self, name: str, document: Any) -> Any:
        """Check that this is a schema of the draft that is read. Raises TypeFault."""
        if not isinstance(document, dict):
            raise TypeFault(
                f"{name} holds {describe_kind(document)}; a schema is a mapping, such as {{type: object, properties:"
                " …}"
            )
        dialect = cast("dict[str, Any]", document).get("$schema", _DIALECT)
        if str(dialect).rstrip("#") != _DIALECT:
            raise TypeFault(f"{name}#/$schema is {dialect!r}; what is read is 2020-12: write {_DIALECT}")
        _check_schema(f"{name}#", document)
        _check_storable(name, document)
        # Its own name is an address where it may be found. It is found here.
        return {key: value for key, value in cast("dict[str, Any]", document).items() if key != "$id"}


class _Bundle:
    """Makes one schema stand alone: with all that its references lead to beside it."""

    def __init__(self, files: SchemaFiles) -> None:
        self._files = files
        self._definitions: dict[str, Any] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._waiting: list[tuple[str, str]] = []

    def build(self, file: str, fragment: str) -> StandaloneSchema:
        """Build it. Raises TypeFault."""
        schema = self._files.get_part(file, fragment)
        if schema is False or (isinstance(schema, dict) and cast("dict[str, Any]", schema).get("type") == "null"):
            raise TypeFault(f"{file}#{fragment} takes no value that a variable could have; give it another type")
        root = self._add((file, fragment))
        while self._waiting:  # one by one, since references may lead on through more parts than Python nests calls
            place = self._waiting.pop()
            self._definitions[self._names[place]] = self._rewrite(self._files.get_part(*place), *place)
        return StandaloneSchema(root=root, definitions=self._definitions)

    def _rewrite(self, node: Any, file: str, pointer: str) -> Any:
        if not isinstance(node, Mapping):
            return node
        schema = cast("Mapping[str, Any]", node)
        place = f"{file}#{pointer}"
        for word in OTHER_REFERENCES:
            if word in schema:
                raise TypeFault(f"{place}: {word!r} is not read here; write a '$ref'")
        if "$id" in schema:
            raise TypeFault(f"{place}: an '$id' inside a file is not read here; remove it, and write a '$ref' by path")
        if "patternProperties" in schema:
            raise TypeFault(
                f"{place}: 'patternProperties' is not read here; write 'additionalProperties', and a 'pattern' under"
                " 'propertyNames'"
            )
        if "pattern" in schema and (wrong := find_pattern_fault(schema["pattern"])) is not None:
            raise TypeFault(f"{place}/pattern: {wrong}")
        kept = {key: value for key, value in schema.items() if key not in _DROPPED}
        found = change_subschemas(
            kept, lambda steps, inner: self._rewrite(inner, file, pointer + build_pointer(*steps))
        )
        if "$ref" in found:
            try:
                target = self._files.find_part(str(found["$ref"]), file)
            except TypeFault as error:
                raise TypeFault(f"{place}/$ref: {error}") from error
            found["$ref"] = REFERENCE + self._add(target)
        return found

    def _add(self, place: tuple[str, str]) -> str:
        """Add the schema at a place, and return its name."""
        if place not in self._names:
            stem = posixpath.basename(place[1]) or posixpath.basename(place[0]).partition(".")[0] or "schema"
            name = "".join(char if char.isascii() and char.isalnum() else "_" for char in stem)
            while name in self._definitions:
                name += "_"
            self._names[place] = name
            self._definitions[name] = True  # until it is its turn
            self._waiting.append(place)
        return self._names[place]


def _check_schema(place: str, schema: Any) -> None:
    """Check that what stands at a place, such as `a.schema.json#/$defs/b`, is a schema of the draft that is read.

    Raises TypeFault."""
    try:
        meta = cast(Any, Draft202012Validator)
        error: ValidationError | None = cast(Any, exceptions).best_match(meta(meta.META_SCHEMA).iter_errors(schema))
    except RecursionError:
        raise TypeFault(_describe_depth(place)) from None
    if error is not None:
        pointer = build_pointer(*map(str, error.absolute_path))
        why = truncate(_describe_error(error), _LONGEST_REASON)
        raise TypeFault(f"{place}{pointer} is no JSON Schema: {why}; mend it there")


def _check_storable(name: str, document: Any) -> None:
    """Check that values can be held against all that a file says, and that databases keep it. Raises TypeFault."""
    waiting: list[tuple[str, Any]] = [("", document)]
    while waiting:
        pointer, value = waiting.pop()
        if isinstance(value, Mapping):
            entries = cast("Mapping[str, Any]", value)
            waiting += [(pointer, key) for key in entries]
            waiting += [(pointer + build_pointer(key), inner) for key, inner in entries.items()]
        elif isinstance(value, list):
            waiting += [(pointer + build_pointer(str(at)), inner) for at, inner in enumerate(cast("list[Any]", value))]
        elif isinstance(value, str) and make_storable(value) != value:
            raise TypeFault(
                f"{name}#{make_storable(pointer)} has a character that no text can have, such as NUL; remove it"
            )
        elif isinstance(value, int | float) and not _is_finite(value):
            raise TypeFault(f"{name}#{pointer} is a number that is too large; write one with at most 308 digits")


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _describe_depth(place: str) -> str:
    return f"{place.removesuffix('#')} is nested too deeply; write parts of it under $defs, and fewer inside each other"


def _describe_error(error: ValidationError) -> str:
    wrong = cast("object", error.instance)
    if isinstance(wrong, str) and [*error.absolute_path][-1:] == ["type"]:
        return f"{wrong!r} is no type; choose one of {', '.join(_TYPES)}{did_you_mean(wrong, _TYPES)}"
    return error.message


def build_pointer(*steps: str) -> str:
    """Build a JSON Pointer (RFC 6901), such as `/properties/total`."""
    return "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in steps)


def _split(written: str) -> SplitResult:
    """Split what is written into its parts. Raises TypeFault where it has none, or characters that no path has."""
    try:
        address = urlsplit(written)
    except ValueError:
        address = None
    if address is None or "\0" in unquote(written) or not make_storable(written) == written:
        raise TypeFault(f"{written!r} is no path; name a file, such as ./NAME.schema.json")
    return address


def _begin_with(file: str, message: str) -> str:
    """Name the file at the beginning of a message that does not yet."""
    return message if file in message else f"{file}: {message}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
