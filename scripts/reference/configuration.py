"""The page on configuration keys, from the committed JSON Schemas, and on environment variables."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path

from scripts.reference.json_schema import describe_objects
from scripts.reference.markdown import code, require_same, table
from server.settings import PREFIX, Settings

INTRODUCTION = """\
# Configuration

Interlock reads one folder: `configs/`, or the one that `--configs` or `INTERLOCK_CONFIGS` names. If a file is absent,
the shipped one counts: positions in it are written `shipped default access.yaml:9`, and its rules about servers that
this folder does not have are passed over. Without a gateway.yaml, the graph that the shipped one names is served beside
the folder's own. Relative paths are relative to this folder.

- An unknown key, a key that is there twice, and a value of a wrong type are mistakes; `interlock check` shows them all.
- `${NAME}` in a value is the value of the environment variable `NAME`. If it is not set, that is a mistake;
  `${NAME:-text}` is `text` then.
- A length of time is a number of seconds, or a text such as `20s`, `15m`, `2h` or `30d`.
- A size is a number of bytes, or a text such as `64KiB`, `500kB` or `20MB`.
- Texts in `{{ … }}` and conditions under `when` are [expressions](expressions.md).

Files: [gateway.yaml](#gatewayyaml), [servers.yaml](#serversyaml), [access.yaml](#accessyaml), [graphs/NAME.yaml and
their node types](graphs.md), [graphs/NAME.test.yaml](#graphsnametestyaml). Also here: [environment
variables](#environment-variables).
"""

KINDS = {
    "gateway": "gateway.yaml",
    "servers": "servers.yaml",
    "access": "access.yaml",
    "test": "graphs/NAME.test.yaml",
}
"""The files by the names of their schemas; graphs have a page of their own."""

ENVIRONMENT = """\
## Environment variables

If `NAME` is not set, `NAME_FILE` may name a file that holds its value.
"""
VARIABLES = {
    "LITELLM_BASE_URL": "The address of LiteLLM. `/v1` is added at its end where only that answers as an API. Read by "
    "the shipped `gateway.yaml`.",
    "LITELLM_API_KEY": "The key for LiteLLM. Read by the shipped `gateway.yaml`.",
    "INTERLOCK_MODEL": "The model for nodes that name none. Read by the shipped `gateway.yaml`.",
    "INTERLOCK_ADMIN_KEY": "The key with the role `admin`. Read by the shipped `access.yaml`.",
    "INTERLOCK_DEVELOPER_KEY": "The key with the role `developer`. Read by the shipped `access.yaml`.",
    "INTERLOCK_KEY": "The key that `interlock chat` shows, instead of one of the `interlock serve` of its folder.",
    "INTERLOCK_STUDIO_ROLE": "The role of the caller `studio` in LangGraph Studio. Needed once keys are configured.",
    "INTERLOCK_STUDIO_ORIGINS": "Further origins that Studio's server answers, such as that of your own LangSmith.",
    "INTERLOCK_STUDIO_TOKEN": "The local token of Studio's server. `interlock studio` makes one.",
    "INTERLOCK_DEMO_DELAY": "Milliseconds between two pieces of an answer of the demo model.",
}
"""Variables that are no setting of the process."""
OPENTELEMETRY = """
Traces follow the standard variables of OpenTelemetry, such as `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_EXPORTER`,
`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SDK_DISABLED`. The protocol is `http/protobuf`.
"""


def build_page(root: Path) -> str:
    """The whole page. Raises ValueError where a variable has no description."""
    parts = [INTRODUCTION]
    for kind, name in KINDS.items():
        schema = json.loads((root / "configs" / "schemas" / f"{kind}.json").read_text(encoding="utf-8"))
        parts.append(f"## {name}\n\n{schema['description']}\n")
        parts.extend(describe_objects(schema))
    return "\n".join(parts) + "\n" + describe_environment(root)


def describe_environment(root: Path) -> str:
    """The table of variables: settings of the process first."""
    docstrings = read_docstrings(Settings)
    rows: list[tuple[str, str, str]] = []
    for name, field in Settings.model_fields.items():
        shown = field.default.get_secret_value() if hasattr(field.default, "get_secret_value") else field.default
        rows.append(
            (code(f"{PREFIX}{name.upper()}"), "" if shown in ("", None) else code(str(shown)), docstrings[name])
        )
    rows += [(code(name), "", text) for name, text in VARIABLES.items()]
    require_same("variable", find_variables(root), [row[0].strip("`") for row in rows])
    return f"{ENVIRONMENT}\n{table(('variable', 'default', 'meaning'), rows)}{OPENTELEMETRY}"


def find_variables(root: Path) -> set[str]:
    """Every variable of ours that the program or the shipped files name, and every setting."""
    files = [
        *(file for folder in ("graphs", "server") for file in (root / folder).rglob("*.py")),
        *(root / "configs").rglob("*.yaml"),
    ]
    named = {
        name
        for file in files
        for name in re.findall(r"\b(?:INTERLOCK|LITELLM)_[A-Z_]*[A-Z]\b", file.read_text(encoding="utf-8"))
    }
    return {name for name in named if not name.endswith("_FILE")} | {
        f"{PREFIX}{name.upper()}" for name in Settings.model_fields
    }


def read_docstrings(model: type) -> dict[str, str]:
    """The texts under the fields of a class."""
    body = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = text
            case _:
                pass
    return found
