"""compose.yaml as Docker Compose reads it: variables filled in, one value for each service and what it is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Service:
    """One service, in the long form of everything."""

    name: str
    spec: Mapping[str, Any]

    @property
    def image(self) -> str:
        return self.spec["image"]

    @property
    def networks(self) -> dict[str, list[str]]:
        """Network → the names that the service has there."""
        listed = self.spec.get("networks", {})
        given = dict.fromkeys(listed) if isinstance(listed, list) else listed
        return {network: [self.name, *((options or {}).get("aliases", []))] for network, options in given.items()}

    @property
    def ports(self) -> dict[int, int]:
        """Published port → the service's own."""
        return {int(outer): int(inner) for outer, inner in (one.split(":") for one in self.spec.get("ports", []))}

    @property
    def user(self) -> tuple[int, int]:
        user, group = str(self.spec["user"]).split(":")
        return int(user), int(group)

    @property
    def volumes(self) -> list[tuple[str, str, bool]]:
        """Source, target, and whether it is read-only. A source with a slash is a path, else a volume's name."""
        parts = [one.split(":") for one in self.spec.get("volumes", [])]
        return [(one[0], one[1], one[2:] == ["ro"]) for one in parts]

    @property
    def secrets(self) -> dict[str, str]:
        """Name of the file under /run/secrets → name of the secret."""
        pairs = [(one, one) if isinstance(one, str) else (one["target"], one["source"]) for one in self.listed_secrets]
        return dict(pairs)

    @property
    def listed_secrets(self) -> Sequence[Any]:
        return self.spec.get("secrets", [])

    @property
    def needs(self) -> dict[str, str]:
        """Service → the condition that it must fulfil first."""
        return {name: options["condition"] for name, options in self.spec.get("depends_on", {}).items()}

    @property
    def healthcheck(self) -> list[str]:
        """The command that tells whether it is well; empty if there is none."""
        kind, *command = self.spec.get("healthcheck", {}).get("test", ["NONE"])
        assert kind in ("CMD", "NONE"), kind
        return command


@dataclass(frozen=True)
class Compose:
    """A whole file."""

    raw: Mapping[str, Any]

    @property
    def services(self) -> dict[str, Service]:
        return {name: Service(name, spec) for name, spec in self.raw["services"].items()}

    def internal(self, network: str) -> bool:
        return bool((self.raw["networks"][network] or {}).get("internal"))


class Loader(yaml.SafeLoader):
    """YAML with Compose's own tags, which say how files are merged."""


def untagged(loader: Loader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else None


Loader.add_constructor("!override", untagged)


def read(file: Path, env: Mapping[str, str], override: Path | None = None) -> Compose:
    """The file with `${NAME}` and `${NAME:-default}` filled in from `env`, and `$$` as a dollar.

    `override` adds services and volumes of a second file; a service that `extends` another has what it does not name
    itself from that one.
    """
    raw = filled(yaml.load(file.read_text(), Loader), env)
    if override is not None:
        more = filled(yaml.load(override.read_text(), Loader), env)
        for name, spec in more["services"].items():
            origin = spec.pop("extends")
            assert origin["file"] == file.name
            raw["services"][name] = {**raw["services"][origin["service"]], **spec}
        raw["volumes"].update(more["volumes"])
    return Compose(raw)


def filled(value: Any, env: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: filled(inner, env) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, env) for inner in value]
    if not isinstance(value, str):
        return value

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return env.get(match[1]) or (match[2] or "")

    return re.sub(r"\$\$|\$\{(\w+)(?::-([^}]*))?\}", one, value)


def dotenv(file: Path) -> dict[str, str]:
    """`NAME=value` lines of an .env file."""
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)
