"""JSON Schemas of the files that users write, for completion and checks in an editor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphs.config.spec.access import AccessSpec
from graphs.config.spec.base import Spec
from graphs.config.spec.gateway import GatewaySpec
from graphs.config.spec.graph import GraphSpec
from graphs.config.spec.servers import ServersSpec

PAGES: Mapping[str, type[Spec]] = {
    "gateway": GatewaySpec,
    "servers": ServersSpec,
    "access": AccessSpec,
    "graph": GraphSpec,
}


def build_schemas() -> dict[str, dict[str, Any]]:
    """By kind of file: its schema (JSON Schema 2020-12), with the descriptions of the spec."""
    return {
        name: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **page.model_json_schema(mode="validation"),
            "title": f"Interlock: {name}",
        }
        for name, page in PAGES.items()
    }
