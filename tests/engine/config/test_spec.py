"""Every page of the spec refuses what it does not know and reads what people already write."""

from __future__ import annotations

from typing import Any, cast, get_args

import pytest
from pydantic import ValidationError

from graphs.config.spec.access import AccessSpec, RuleSpec
from graphs.config.spec.base import Spec
from graphs.config.spec.gateway import GatewaySpec, RetentionSpec
from graphs.config.spec.graph import get_graph_spec
from graphs.config.spec.node import BranchSpec
from graphs.config.spec.node_types import ModelNodeSpec
from graphs.config.spec.schemas import list_pages
from graphs.config.spec.servers import ServerSpec, ServersSpec

PAGES = [GatewaySpec, ServersSpec, AccessSpec, get_graph_spec()]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        *[("20s", 20), ("15m", 900), ("2h", 7200), ("30d", 2_592_000), ("1w", 604_800), ("500ms", 0.5)],
        *[("1.5 h", 5400), (30, 30), (0.25, 0.25), ("45", 45)],
    ],
)
def test_a_length_of_time_is_read_as_seconds(written: Any, expected: float) -> None:
    assert RetentionSpec.model_validate({"audit": written}).audit == expected


@pytest.mark.parametrize(
    "written", ["", "soon", "1y", "-5m", "5 m 3 s", 0, -1, True, None, [], "0s", "1e9", 1e30, "٣s"]
)
def test_what_is_no_length_of_time_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError):
        RetentionSpec.model_validate({"audit": written})


def test_the_defaults_are_those_of_the_contract() -> None:
    gateway = GatewaySpec()
    assert (gateway.models.base_url, gateway.models.default, gateway.models.offer) == ("", "demo", ["*"])
    assert (gateway.default_graph, gateway.storage) == ("assistant", "")
    assert gateway.retention.conversations == 30 * 86_400
    assert gateway.retention.audit == 365 * 86_400
    limits = get_graph_spec().model_validate({"start": "a", "nodes": {"a": {"type": "model", "next": "end"}}}).limits
    assert (limits.rounds, limits.tool_calls, limits.seconds) == (12, 40, 300)


def test_the_address_of_the_models_ends_without_a_slash() -> None:
    assert GatewaySpec.model_validate({"models": {"base_url": "http://x:4000/"}}).models.base_url == "http://x:4000"


@pytest.mark.parametrize(
    ("server", "transport"),
    [
        ({"command": "npx"}, "stdio"),
        ({"command": "npx", "type": "stdio", "args": ["-y"], "env": {"A": "1"}}, "stdio"),
        ({"url": "http://x/mcp"}, "http"),
        ({"url": "https://x/mcp", "headers": {"A": "1"}, "type": "http"}, "http"),
        ({"url": "http://x/mcp", "type": "streamable-http"}, "http"),
        ({"url": "http://x/sse", "type": "sse"}, "sse"),
    ],
)
def test_servers_as_people_have_them(server: dict[str, Any], transport: str) -> None:
    assert ServerSpec.model_validate(server).transport == transport


@pytest.mark.parametrize(
    "server",
    [
        {},
        {"command": ""},
        {"command": "x", "url": "http://x"},
        {"command": "x", "type": "http"},
        {"command": "x", "headers": {"A": "1"}},
        {"command": "x\0y"},
        {"command": "x", "args": ["a\0b"]},
        {"command": "x", "env": {"A": "a\0b"}},
        {"url": "x"},
        {"url": "file:///etc/passwd"},
        {"url": "http://"},
        {"url": "http://x", "type": "stdio"},
        {"url": "http://x", "type": "websocket"},
        {"url": "http://x", "args": ["a"]},
        {"url": "http://x", "cwd": "/"},
        {"command": "x", "timeout": 0},
        {"command": "x", "concurrency": 0},
        {"command": "x", "max_result": 5},
        {"command": "x", "shell": True},
    ],
)
def test_servers_that_could_not_work_are_refused(server: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ServerSpec.model_validate(server)


def test_no_secret_is_in_a_repr_or_an_error() -> None:
    spec = ServerSpec(url="http://x", headers={"Authorization": "Bearer hush"})
    assert "hush" not in repr(spec)
    assert "hush" not in repr(ServerSpec(command="x", env={"TOKEN": "hush"}))
    with pytest.raises(ValidationError) as caught:
        ServerSpec.model_validate({"url": "hush", "headers": {"A": ["hush"]}, "env": "hush"})
    assert "hush" not in str(caught.value)


def test_a_rule_is_a_pattern_or_a_mapping() -> None:
    assert RuleSpec.model_validate("a/*") == RuleSpec(tool=["a/*"])
    assert RuleSpec.model_validate({"tool": "a/*"}) == RuleSpec(tool=["a/*"])
    assert RuleSpec.model_validate({"tool": ["a/*", "b/c"], "expires": "15m"}).expires == 900


def test_next_is_a_name_or_a_list_of_branches() -> None:
    def following(value: Any) -> list[BranchSpec]:
        return ModelNodeSpec.model_validate({"type": "model", "next": value}).next

    assert following("end") == [BranchSpec(to="end")]
    assert following([{"when": "true", "to": "a"}, {"to": "end"}])[0] == BranchSpec(when="true", to="a")
    for wrong in ([], None, 5, ["end"], [{"when": "true"}], {"to": "end"}):
        with pytest.raises(ValidationError):
            following(wrong)


def objects(schema: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    members: list[Any] = []
    if isinstance(schema, dict):
        mapping = cast("dict[str, Any]", schema)
        if mapping.get("type") == "object" and "properties" in mapping:
            found.append(mapping)
        members = list(mapping.values())
    elif isinstance(schema, list):
        members = cast("list[Any]", schema)
    for member in members:
        found += objects(member)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_is_described_and_no_other_is_allowed(page: Any) -> None:
    whole = page.model_json_schema()
    for schema in objects(whole):
        assert schema["additionalProperties"] is False
        for name, described in schema["properties"].items():
            # A setting that is described in the same words as its page has them there alone.
            page_of_it = whole["$defs"].get(described.get("$ref", "").removeprefix("#/$defs/"), {})
            assert described.get("description") or page_of_it.get("description"), (
                f"{schema['title']}.{name} has no docstring"
            )


def test_an_address_with_a_password_in_it_is_refused_without_showing_it() -> None:
    with pytest.raises(ValidationError, match="holds a user or a password") as caught:
        GatewaySpec.model_validate({"models": {"base_url": "http://me:TOPSECRET@litellm:4000/v1"}})
    assert "TOPSECRET" not in str(caught.value)


def list_pages_within(page: type[Spec]) -> set[type[Spec]]:
    """The page and all pages below it."""
    found = {page}
    waiting: list[Any] = [field.annotation for field in page.model_fields.values()]
    while waiting:
        kind = waiting.pop()
        waiting += get_args(kind)
        if isinstance(kind, type) and issubclass(kind, Spec) and kind not in found:
            found |= list_pages_within(kind)
    return found


def list_kinds(annotation: Any) -> set[Any]:
    """What an annotation is made of."""
    return {annotation}.union(
        *(list_kinds(part) for part in get_args(annotation) if isinstance(part, type) or get_args(part))
    )


EVERY_PAGE = sorted(
    {each for page in list_pages().values() for each in list_pages_within(page)}, key=lambda page: page.__name__
)
FIELDS = [
    (page, name, list_kinds(field.annotation)) for page in EVERY_PAGE for name, field in page.model_fields.items()
]
NUMBERS = [(page, name) for page, name, kinds in FIELDS if {int, float} & kinds]
SWITCHES = [(page, name) for page, name, kinds in FIELDS if bool in kinds]


@pytest.mark.parametrize(("page", "name"), NUMBERS)
def test_no_number_is_true(page: type[Spec], name: str) -> None:
    assert find_errors(page, {name: True})[name] != []


@pytest.mark.parametrize(("page", "name"), SWITCHES)
def test_no_switch_is_a_number_or_another_text_than_true_and_false(page: type[Spec], name: str) -> None:
    for value in (1, 0, 1.0, "yes", "on", "1"):
        assert find_errors(page, {name: value})[name] != [], value
    for value in ("true", "false", True):
        assert find_errors(page, {name: value})[name] == [], value


def find_errors(page: type[Spec], values: dict[str, object]) -> dict[str, list[str]]:
    """What is wrong with each of these settings."""
    found: dict[str, list[str]] = {name: [] for name in values}
    try:
        page.model_validate(values)
    except ValidationError as error:
        for item in error.errors():
            if item["loc"] and item["loc"][0] in found:
                found[str(item["loc"][0])].append(item["msg"])
    return found
