"""The editor's schemas: current, and in agreement with the files we ship and with what the loader refuses."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from graphs.config.spec.schemas import build_schemas

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
FILES = {
    "gateway": CONFIGS / "gateway.yaml",
    "servers": CONFIGS / "servers.yaml",
    "access": CONFIGS / "access.yaml",
    "graph": CONFIGS / "graphs" / "assistant.yaml",
    "test": CONFIGS / "graphs" / "assistant.test.yaml",
}


@pytest.mark.parametrize("kind", FILES)
def test_the_committed_schema_is_current(kind: str) -> None:
    committed = json.loads((CONFIGS / "schemas" / f"{kind}.json").read_text())
    assert committed == build_schemas()[kind], "run: .venv/bin/interlock schema"


@pytest.mark.parametrize("kind", FILES)
def test_the_shipped_file_names_its_schema_and_fits_it(kind: str) -> None:
    file = FILES[kind]
    first = file.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (file.parent / first.split("=", 1)[1]).resolve() == CONFIGS / "schemas" / f"{kind}.json"
    jsonschema.Draft202012Validator(build_schemas()[kind]).validate(yaml.safe_load(file.read_text()))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("gateway", "default_grph: x"),
        ("gateway", "models: {bse_url: x}"),
        ("servers", "mcpServers: {a: {comand: x}}"),
        ("access", "roles: {a: {alow: []}}"),
        ("access", "roles: {a: {allow: [{tool: a/b, wen: 'true'}]}}"),
        ("graph", "start: a\nnodes: {a: {type: model, promt: x, next: end}}"),
        ("graph", "start: a\nnodes: {a: {type: modl, next: end}}"),
        ("graph", "nodes: {a: {type: model, next: end}}"),
        ("test", "cases: {a: {say: x, expect: {rout: [end]}}}"),
        ("test", "cases: {a: {say: x, model: {any: {cals: []}}, expect: {calls: []}}}"),
        ("test", "cases: {a: {say: x}}"),
    ],
)
def test_a_typo_does_not_fit(kind: str, text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(build_schemas()[kind]).validate(yaml.safe_load(text))


def test_everything_has_a_description() -> None:
    for kind, schema in build_schemas().items():
        for page in (schema, *schema.get("$defs", {}).values()):
            for name, entry in page.get("properties", {}).items():
                assert entry.get("description") or "$ref" in entry, f"{kind}: {name}"
