"""The page on graph files: the top level, types of variables, names, and a section for each node type."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from graphs.config.schema_files import MAX_BYTES, OTHER_REFERENCES, SCHEMA_ENDINGS
from graphs.config.spec.cases import ENDINGS
from graphs.config.spec.graph import get_graph_spec
from graphs.config.spec.node import NodeSpec
from graphs.config.spec.python import PythonNodeSpec
from graphs.config.spec.registry import NODE_SPECS
from graphs.config.spec.subgraph import SubgraphNodeSpec
from graphs.expressions import StandaloneSchema, build_schema_type, language
from graphs.expressions.types import TypeKind, parse_variable
from graphs.expressions.value_schema import FORMATS, MOST_STEPS
from scripts.reference import expressions
from scripts.reference.json_schema import Schema, build_table, find_children
from scripts.reference.markdown import code, require_same, table

EXAMPLES = Path("graphs") / "config" / "spec" / "examples"
"""Where the example of a node type is, `TYPE.yaml`, with its test beside it: tests/behaviour/test_node_examples.py runs
them."""

INTRODUCTION = """\
# Graph files

One file `graphs/NAME.yaml` is one graph. [Graphs](../guide/graphs.md) says how to write one; this page has every key.
How a length of time is written, and what holds for all files, is in [configuration](configuration.md).

In this page: [the file](#the-file), [types of variables](#types-of-variables), [names in
expressions](#names-in-expressions), [node types](#node-types), [values of keys](#values-of-keys).
"""
FILE = """
In LangGraph: a `StateGraph`. Each variable is a key of its state, of which the last value counts. `next` is an edge, or
a conditional edge with every target named. `retry` is a node's `retry_policy`, `timeout` its `timeout`, and `on_error`
its `error_handler`.
"""
TYPES_HEADING = """\
## Types of variables

A model with `into` must answer with the type of the variable: with a text as it is, else with JSON of the schema. What
is no object stands in one with the field `value` then.
"""
TYPES = {
    "string": ("A text.", '"a text"'),
    "int": ("A whole number.", "3"),
    "number": ("A number.", "2.5"),
    "bool": ("True or false.", "true"),
    "any": ("Whatever JSON can hold.", "[1, {a: null}]"),
    "int[]": ("A list. `[]` may stand behind every type that is a word.", "[1, 2]"),
    "[low, high]": ("A choice: one of these texts. `next` may name a node for each.", "low"),
    '{fields: {title: string, "done?": bool}}': ("An object. A field with `?` may be absent.", "{title: Report}"),
    "{list: {fields: {name: string}}}": ("A list of any type.", "[{name: Ada}]"),
    "{type: int, default: 0}": ("Any of these types, with a value from the start.", "0"),
}
"""As it is written → what it is, and a value that fits."""
SCHEMA_TYPES = {
    '{"type": "integer"}': "; likewise `string`, `number`, `boolean`",
    '{"enum": ["low", "high"]}': "; `const` is a choice of one",
    '{"type": "array", "items": {"type": "string"}}': "",
    '{"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}': (
        "; unless `additionalProperties` is false, with any other fields beside"
    ),
    '{"type": ["string", "null"]}': "; of a field that may be absent, null means that it is",
    '{"type": "object"}': " of any fields",
    '{"oneOf": [{"type": "string"}, {"type": "integer"}]}': ", checked by the schema alone",
}
"""A schema → what is to be said of its type beside its name."""
SCHEMA_FILES = """
### Schema files

`{{schema: ./NAME.schema.json}}` is the type that a [schema file](../guide/graphs.md#a-type-in-a-schema-file) says, by
its path from the graph file. Behind `#` a part of it can be named: `./NAME.schema.json#/$defs/line`.

- A file ends in {endings}, lies in the config folder, and has at most {bytes} bytes.
- It is JSON Schema 2020-12, without {missing}, and without `$id` but at its top.
- A `$ref` leads to a part of the file or to another schema file. A `pattern` is a regular expression of RE2.
- A `format` is checked if it is {formats}.
- A `default` in it fills in nothing. For one value, at most {steps} keywords are looked at, such as `type` and
  `minimum` for each number in it. A value that takes more does not fit.
- Models are shown a strict schema: every field is there, and null stands for one that is absent. What endpoints do not
  take in strict schemas stands in the descriptions.

{table}"""
NAMES_HEADING = """\
## Names in expressions

What the names mean, and the functions: [expressions](expressions.md#names). The variables of the graph are names too,
so a variable cannot be called like one of these.
"""
PLACES = {"next": "`when`, and values that are CEL", "text": "texts with `{{ … }}`"}
"""The places of a graph file."""
WORDS = {
    "LIST<DYN>": "list of anything",
    "DYN": "anything",
    **expressions.TYPES,
}
NESTED_HEADING = """\
## Values of keys

The mappings that may stand in keys of nodes.
"""


def build_page(root: Path) -> str:
    """The whole page. Raises ValueError where something has no description, or a node type no example."""
    schema = get_graph_spec().model_json_schema(mode="validation")
    defs: Schema = schema["$defs"]
    nodes = {name: defs[spec.__name__] for name, spec in NODE_SPECS.items()}
    parts = [
        INTRODUCTION,
        f"## The file\n\n{schema['description']}\n",
        build_table(schema, defs) + FILE,
        *describe_nested([(key, child) for key, child in list_nested(schema) if key != "nodes.NAME"], defs),
        TYPES_HEADING,
        describe_types(),
        describe_schema_files(),
        NAMES_HEADING,
        describe_names(root),
        "## Node types\n",
        describe_node_types(),
        *(describe_node_type(name, spec, defs, root) for name, spec in NODE_SPECS.items()),
        NESTED_HEADING,
        *describe_nested([place for node in nodes.values() for place in list_nested(node)], defs),
    ]
    return "\n".join(parts)


def describe_types() -> str:
    """The table of types. Raises ValueError where a kind of type is not in it, or a value does not fit."""
    parsed = {written: parse_variable(yaml.safe_load(written)).type for written in TYPES}
    require_same("type", typing.get_args(TypeKind), {type_.kind for type_ in parsed.values()})
    rows: list[tuple[str, str, str, str, str]] = []
    for written, (meaning, value) in TYPES.items():
        parsed[written].fit(yaml.safe_load(value))
        schema = json.dumps(parsed[written].build_schema())
        rows.append((code(written), meaning, code(value), WORDS[parsed[written].cel_type.name()], code(schema)))
    return table(("type", "what it is", "a value", "in CEL", "JSON Schema"), rows)


def describe_schema_files() -> str:
    """What is read of a schema file, and what its types become."""
    rows: list[tuple[str, str]] = []
    for written, meaning in SCHEMA_TYPES.items():
        schema = StandaloneSchema(root="it", definitions={"it": json.loads(written)})
        rows.append((code(written), f"{code(build_schema_type(schema).describe())}{meaning}"))
    return SCHEMA_FILES.format(
        endings=join_codes(SCHEMA_ENDINGS),
        bytes=f"{MAX_BYTES:,}",
        steps=f"{MOST_STEPS:,}",
        missing=join_codes([*OTHER_REFERENCES, "patternProperties"]),
        formats=join_codes(FORMATS),
        table=table(("in the schema", "the type"), rows),
    )


def join_codes(words: Sequence[str]) -> str:
    """Join words as in `a`, `b` or `c`."""
    *before, last = map(code, words)
    return f"{', '.join(before)} or {last}"


def describe_names(root: Path) -> str:
    """The names of each place of a graph file, with the keys that are such a place."""
    scopes = language._SCOPES  # pyright: ignore[reportPrivateUsage]
    examples = {name: read_nodes(name, root) for name in NODE_SPECS}
    texts = {
        name: list_keys(
            [
                *((key,) for key in spec.templates),
                *(path for node in examples[name] for path in node.locate_templates()),
            ]
        )
        for name, spec in NODE_SPECS.items()
    }
    values = {
        name: list_keys(path for node in nodes for path in node.locate_expressions())
        for name, nodes in examples.items()
    }
    keys = {"next": f"`when` under `next`; {join_keys(values)}", "text": f"`note` of every node; {join_keys(texts)}"}
    rows = [(PLACES[place], keys[place], ", ".join(map(code, scopes[place]))) for place in PLACES]
    own = "".join(
        f"\nIn the CEL of `{name}`: {', '.join(map(code, spec.own_names))} too.\n"
        for name, spec in NODE_SPECS.items()
        if spec.own_names
    )
    return table(("place", "keys", "names"), rows) + own


def read_nodes(name: str, root: Path) -> list[NodeSpec]:
    """The nodes of a type that its example has."""
    spec = get_graph_spec().model_validate(yaml.safe_load(read_example(name, root)))
    return [node for node in spec.nodes.values() if node.type == name]


def list_keys(paths: Iterable[tuple[str | int, ...]]) -> list[str]:
    """The keys of a node in which these paths begin, each once."""
    return [*dict.fromkeys(str(path[0]) for path in paths)]


def join_keys(keys: Mapping[str, Sequence[str]]) -> str:
    """Keys by node type, in one text."""
    return "; ".join(f"{', '.join(map(code, names))} of {code(type_)}" for type_, names in keys.items() if names)


def describe_node_types() -> str:
    """The table of node types."""
    rows = [(f"[`{name}`](#{name})", read_paragraphs(spec)[0]) for name, spec in NODE_SPECS.items()]
    return table(("type", "what it does"), rows)


def describe_node_type(name: str, spec: type[NodeSpec], defs: Schema, root: Path) -> str:
    """The section of one node type."""
    what, *more = read_paragraphs(spec)
    return "\n".join(
        (
            f"### `{name}`\n\n{what}\n",
            *(f"{paragraph}\n" for paragraph in more[:-1]),
            build_table(defs[spec.__name__], defs, without=("type",)),
            f"{more[-1]}\n",
            f"```yaml\n{read_example(name, root)}```\n",
            *(f"In `python/{stem}.py`:\n\n{read_python(stem, root)}" for stem in list_python_files(name, root)),
            *(
                f"In `graphs/{graph}.yaml`:\n\n```yaml\n{read_example(graph, root)}```\n"
                for graph in list_run_graphs(name, root)
            ),
            f"Its test: [`{name}{ENDINGS[0]}`](../../{(EXAMPLES / f'{name}{ENDINGS[0]}').as_posix()}).\n",
        )
    )


def read_paragraphs(spec: type[NodeSpec]) -> list[str]:
    """What the docstring of a node type says: what it does, what it is for, what it is in LangGraph. Raises
    ValueError where one of them is missing."""
    paragraphs = [" ".join(text.split()) for text in (inspect.getdoc(spec) or "").split("\n\n")]
    if len(paragraphs) < 3 or not paragraphs[-1].startswith("In LangGraph: "):
        raise ValueError(
            f"the docstring of {spec.__name__} is not complete: say in three paragraphs what it does, 'For …', and 'In "
            "LangGraph: …'"
        )
    return paragraphs


def read_example(name: str, root: Path) -> str:
    """The example of a node type, without the line for editors. Raises ValueError where there is none."""
    file = root / EXAMPLES / f"{name}.yaml"
    if not file.is_file():
        raise ValueError(f"the node type {name!r} has no example: write one in {EXAMPLES / file.name}, with its test")
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("# yaml-language-server:"))


def list_python_files(name: str, root: Path) -> list[str]:
    """The files that the example of a node type calls, without their ending."""
    nodes = [node for node in read_nodes(name, root) if isinstance(node, PythonNodeSpec)]
    return [*dict.fromkeys(node.run.partition(":")[0] for node in nodes)]


def list_run_graphs(name: str, root: Path) -> list[str]:
    """The graphs that the example of a node type runs."""
    nodes = [node for node in read_nodes(name, root) if isinstance(node, SubgraphNodeSpec)]
    return [*dict.fromkeys(node.graph for node in nodes)]


def read_python(stem: str, root: Path) -> str:
    """A file that an example calls, as a block, without its first lines, which say what it is here."""
    text = (root / EXAMPLES / f"{stem}.py").read_text(encoding="utf-8")
    code = text.partition("\n\n")[2]
    return f"```python\n{code}```\n"


def describe_nested(places: Iterable[tuple[str, str]], defs: Schema) -> Iterator[str]:
    """The mappings at these places, and those in them: each once, under all places where it may stand."""
    found: dict[str, list[str]] = {}
    waiting = [*places]
    while waiting:
        place, name = waiting.pop(0)
        if name not in found:
            waiting += [(f"{place}.{key}", child) for key, child in list_nested(defs[name])]
        found.setdefault(name, []).append(place)
    for name, headings in found.items():
        heading = ", ".join(map(code, dict.fromkeys(headings)))
        yield f"### {heading}\n\n{defs[name]['description']}\n\n{build_table(defs[name], defs)}"


def list_nested(mapping: Schema) -> Iterator[tuple[str, str]]:
    """The places of a mapping where others may stand, each with the name of one."""
    for key, entry in mapping["properties"].items():
        for child, suffix in find_children(entry):
            yield key + suffix, child
