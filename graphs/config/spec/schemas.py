"""JSON Schemas of the files that users write, for completion and checks in an editor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphs.config.spec.access import AccessSpec
from graphs.config.spec.base import Spec
from graphs.config.spec.cases import CaseFileSpec
from graphs.config.spec.gateway import GatewaySpec
from graphs.config.spec.graph import get_graph_spec
from graphs.config.spec.servers import ServersSpec


def list_pages() -> Mapping[str, type[Spec]]:
    """The page of each kind of file."""
    return {
        "gateway": GatewaySpec,
        "servers": ServersSpec,
        "access": AccessSpec,
        "graph": get_graph_spec(),
        "test": CaseFileSpec,
    }


def build_schemas() -> dict[str, dict[str, Any]]:
    """Build the schema (JSON Schema 2020-12) of each kind of file, with the descriptions of the spec."""
    return {
        name: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **page.model_json_schema(mode="validation"),
            "title": f"Interlock: {name}",
        }
        for name, page in list_pages().items()
    }
