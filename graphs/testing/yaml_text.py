"""Write data as YAML that the reader of our files, and every other, takes for the same data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from graphs.config.source import parse_plain


def dump_yaml(data: Mapping[str, Any]) -> str:
    """Write data as YAML, its keys in their order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


class _Dumper(yaml.SafeDumper):
    """Writes texts so that every reader of YAML takes them for the same."""

    def ignore_aliases(self, data: object) -> bool:
        """Write everything out, also what is there twice."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # "${" begins a variable in our files.
    written = text.replace("${", "$${")
    style = "|" if "\n" in text and text.strip() else None if parse_plain(text) == (text, None) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", written, style=style)  # pyright: ignore[reportUnknownMemberType]


_Dumper.add_representer(str, _represent_text)  # pyright: ignore[reportUnknownMemberType]
