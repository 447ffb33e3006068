"""Copies of arguments without secrets: what is hidden, what stays readable, and hostile input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.configs import MINIMAL_GRAPH, loaded

from graphs.redaction import REDACTED, Redaction, is_secret_name, read_shape

SECRET = "Hx7Gq2Zp9Lw4Tn"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PRIVATE_KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n{SECRET}\n-----END OPENSSH PRIVATE KEY-----"

TEXTS = [
    f"Bearer {SECRET}",
    f"curl -H 'Authorization: Bearer {SECRET}' https://example.org",
    f"curl -H 'Authorization: Basic {SECRET}==' https://example.org",
    f'{{"authorization": "{SECRET}"}}',
    f'{{\\"api_key\\": \\"{SECRET}\\", \\"a\\": 1}}',
    f"Cookie: theme=dark; session={SECRET}",
    f"X-API-Key: {SECRET}",
    f"curl -u admin:{SECRET} https://example.org",
    f"curl --user=admin:{SECRET} https://example.org",
    f"mysql --password {SECRET} -e 'select 1'",
    f"mysql --password={SECRET} -e 'select 1'",
    f"export PGPASSWORD={SECRET}; psql",
    f"DB_PASSWORD = '{SECRET}'",
    f"password: {SECRET} with blanks {SECRET}",
    f"client_secret={SECRET}&grant_type=client_credentials",
    f"https://example.org/?access_token={SECRET}&page=2",
    f"https://blob.example.org/x?sv=2024&sig={SECRET}%3D",
    f"postgresql://ada:{SECRET}@db/shop",
    f"postgresql://ada:{SECRET}/with@signs#{SECRET}@db/shop",
    f"redis://:{SECRET}@cache:6379/0",
    f"https://{SECRET}{SECRET}@github.com/o/r.git",
    f"Server=db;User Id=sa;Password={SECRET};Encrypt=yes",
    f"ALTER USER ada WITH PASSWORD '{SECRET}'",
    f"CREATE USER ada IDENTIFIED BY '{SECRET}'",
    f"SET PASSWORD = PASSWORD('{SECRET}')",
    f"token: {SECRET}",
    f"--api-key {SECRET}",
    f"here is my key {JWT} thanks",
    f"text before\n{PRIVATE_KEY}\ntext after",
    f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET} cut off",
    f"ilk_{SECRET}",
    f"sk-{SECRET}",
    f"sk-proj-{SECRET}_abc",
    f"sk-ant-api03-{SECRET}",
    "sk-1234",
    f"sk_live_{SECRET}",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    f"ghp_{SECRET}{SECRET}",
    f"github_pat_{SECRET}{SECRET}",
    f"glpat-{SECRET}{SECRET}",
    f"xoxb-123456-{SECRET}",
    f"https://hooks.slack.com/services/T000/B000/{SECRET}",
    f"https://discord.com/api/webhooks/1234/{SECRET}",
    f"AIzaSy{SECRET}{SECRET}{SECRET}",
    f"ya29.{SECRET}",
    f"GOCSPX-{SECRET}",
    f"npm_{SECRET}{SECRET}",
    f"pypi-{SECRET}{SECRET}",
    f"hf_{SECRET}{SECRET}",
    f"SG.{SECRET}.{SECRET}",
    f"hvs.{SECRET}{SECRET}",
    "dop_v1_" + "0a1b2c3d" * 8,
    "shpat_" + "0a1b2c3d" * 4,
    "AGE-SECRET-KEY-1" + "QPZRY9X8" * 6,
    f"123456789:AA{SECRET}{SECRET}{SECRET}",
]
ITSELF = ("AKIA", "ASIA", "sk-1234", "0a1b2c3d", "QPZRY9X8", "dozjgNryP4J3")
"""Parts of the secrets that hold no SECRET."""


def secrets_in(text: str) -> list[str]:
    return [secret for secret in (SECRET, *ITSELF) if secret in text]


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_in_a_text_is_hidden_wherever_the_text_stands(text: str) -> None:
    assert secrets_in(text)
    for where in ({"a": text}, {"a": [{"b": [text]}]}, {text: 1}, {"a": f"x {text}\nand more"}, {"a": f'"{text}"'}):
        kept = json.dumps(Redaction().copy(where))
        assert secrets_in(kept) == []
        assert REDACTED in kept


@pytest.mark.parametrize("text", TEXTS)
def test_no_part_of_a_secret_is_left_where_a_text_is_cut(text: str) -> None:
    for padding in (0, 900, 990, 998, 1000, 4000, 4400, 4900, 4990, 4998, 5000, 20_000):
        kept = Redaction().copy({"a": "x" * padding + " " + text + " " + "y" * 9000})["a"]
        assert secrets_in(kept) == [], padding
        assert not any(SECRET[:length] in kept for length in range(5, len(SECRET))), padding
        assert kept.endswith("characters]")


@pytest.mark.parametrize(
    "text",
    [
        "/srv/files/notes.txt",
        "select id, name from customers where country = 'DE' and token_count < 5",
        "select password from users",
        "max_tokens: 100",
        "the secretary told a secret about tokens and keys",
        "docker run -u 1000:1000 alpine",
        "https://example.org:8080/path?page=2#top",
        "git clone ssh://git@github.com/o/r.git",
        "ada@example.org wrote at 10:30",
        "basic knowledge of bears; a task-management risk-free",
        "pip install scikit-learn sk-learn",
        "3f786850e387550fdab836ed7e6dc881de23001b",
        "d9b2d63d-a233-4123-847a-7a2d1c9d4f5b",
        "- item --verbose --key value",
        "Grüße, 你好, \U0001f600",
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert Redaction().copy({"query": text}) == {"query": text}


NAMES = [
    "password", "Password", "db_password", "dbPassword", "DBPASSWD", "new-password", "passphrase", "pwd", "secret",
    "client_secret", "clientSecret", "token", "access_token", "accessToken", "accesstoken", "refreshToken", "api_key",
    "apiKey", "API-Key", "apikey", "X-Api-Key", "x-auth-token", "authorization", "Authorization", "auth", "credentials",
    "private_key", "privateKey", "ssh_key", "aws_secret_access_key", "signing_key", "cookie", "otp", "pin", "jwt",
    "session_id", "PGPASSWORD", "sig",
]  # fmt: skip
PLAIN = [
    "path", "query", "sql", "key", "keys", "max_tokens", "token_count", "tokens_used", "tokenizer", "token_type",
    "author", "authors", "keyboard", "passenger", "compass", "pinned", "signal", "design", "monkey", "primary_key",
    "sort_key", "bypass", "content", "text",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_value_is_hidden_by_its_name(name: str) -> None:
    assert is_secret_name(name)
    for value in ("x", ["x"], {"a": "x"}):
        assert Redaction().copy({"deep": [{name: value}]}) == {"deep": [{name: REDACTED}]}
    assert Redaction().copy({"headers": [{"name": name, "value": "x"}]})["headers"][0]["value"] == REDACTED
    assert Redaction().copy({"command": ["run", f"--{name}", "x", "y"]})["command"][2:] == [REDACTED, "y"]
    assert Redaction().copy({"header": [name, "x"]})["header"] == [name, REDACTED]


@pytest.mark.parametrize("name", PLAIN)
def test_a_value_with_an_everyday_name_stays(name: str) -> None:
    assert Redaction().copy({name: "x", "tags": [name, "y", "z"]}) == {name: "x", "tags": [name, "y", "z"]}


def test_numbers_of_tokens_stay_and_a_numeric_pin_does_not() -> None:
    assert Redaction().copy({"tokens": 7, "pin": 4711, "token": None, "password": True}) == {
        "tokens": 7,
        "pin": REDACTED,
        "token": None,
        "password": True,
    }


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "string", "format": "password"},
        "b": {"type": "object", "writeOnly": True},
        "c": {"$ref": "#/$defs/Inner"},
        "d": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/Inner"}]}},
        "e": {"type": "object", "additionalProperties": {"format": "password"}},
        "f": {"type": "string"},
        "g": {"type": "array", "prefixItems": [{"type": "string"}, {"format": "password"}]},
        "h": {"allOf": [{"properties": {"x": {"writeOnly": True}}}, {"properties": {"y": {"type": "string"}}}]},
    },
    "$defs": {"Inner": {"properties": {"x": {"format": "password"}, "more": {"$ref": "#/$defs/Inner"}}}},
}


def test_the_schema_of_a_tool_says_what_is_secret() -> None:
    args = {
        "a": "s", "b": {"q": "s"}, "c": {"x": "s", "y": "ok", "more": {"x": "ok too"}}, "d": [1, {"x": "s"}],
        "e": {"any": "s"}, "f": "ok", "g": ["s", "s"], "h": {"x": "s", "y": "ok"}, "unknown": "ok",
    }  # fmt: skip
    assert Redaction().copy(args, read_shape(SCHEMA)) == {
        "a": REDACTED,
        "b": REDACTED,
        "c": {"x": REDACTED, "y": "ok", "more": {"x": "ok too"}},
        "d": [1, {"x": REDACTED}],
        "e": {"any": REDACTED},
        "f": "ok",
        "g": [REDACTED, REDACTED],
        "h": {"x": REDACTED, "y": "ok"},
        "unknown": "ok",
    }


def diamonds(depth: int) -> dict[str, Any]:
    """Each definition refers twice to the next: 2^depth ways to the last."""
    both = lambda n: {"properties": {side: {"$ref": f"#/$defs/d{n}"} for side in "lr"}}  # noqa: E731
    return {**both(0), "$defs": {f"d{n}": both(n + 1) for n in range(depth)}}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": 7, "items": "x", "anyOf": {"a": 1}, "allOf": [None, 3], "$ref": 5, "patternProperties": []},
        {"$ref": "#/$ref"},
        {"$ref": "#"},
        {"$ref": "https://example.org/schema"},
        {"$ref": "#/a/b/c"},
        diamonds(40),
        {"properties": {str(n): {"format": "pass"} for n in range(50_000)}},
        {"if": True, "then": False, "else": {"not": {}}, "additionalProperties": False},
    ],
)
def test_no_schema_can_raise_or_take_long(schema: dict[str, Any]) -> None:
    assert Redaction().copy({"a": "x"}, read_shape(schema)) == {"a": "x"}


def test_values_of_the_configuration_are_hidden_whatever_they_look_like() -> None:
    redaction = Redaction(["Bearer plain-words-here", "plain", "0815471199", ""])
    assert redaction.copy({"a": "so plain-words-here is", "b": 815471199, "c": 10815471199, "d": "plain"}) == {
        "a": f"so {REDACTED} is",
        "b": 815471199,
        "c": REDACTED,
        "d": "plain",
    }
    assert redaction.redact_text("plain-words-here") == REDACTED


def test_a_copy_is_bounded() -> None:
    deep: Any = "end"
    for _ in range(2000):
        deep = [deep]
    huge = {
        "deep": deep,
        "long": "x" * 10_000_000,
        "wide": {f"k{n}": n for n in range(10_000)},
        "list": list(range(10_000)),
        "number": 10**5000,
        "nan": float("nan"),
        "odd": object(),
        "n" * 10_000: 1,
        **{f"more{n}": "y" * 5000 for n in range(1000)},
    }
    kept = Redaction().copy(huge)
    text = json.dumps(kept, allow_nan=False)
    assert len(text) < 20_000
    assert kept["long"] == "x" * 1000 + "… [10000000 characters]"
    assert kept["wide"]["…"] == "[9950 more]"
    assert kept["list"][-1] == "[9950 more]"
    assert kept["number"] == "[a number of 16610 bits]"
    assert (kept["nan"], kept["odd"]) == ("nan", "[object]")


@pytest.mark.parametrize(
    "piece",
    [
        "://", "://a:", "a:b@", "password", "password=", "password: ", '"password": "', "sk-", "eyJ", "eyJa.",
        "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "PRIVATE KEY", "bearer ", "basic a", "--password ", "-u a:",
        "-user ", "token", "authorization: ", "identified by ", "sig=", "\\", "\\\"'", " -", "--a", "AKIA", "xox-",
        "0123456789:AA", "a" * 50,
    ],
)  # fmt: skip
def test_no_text_takes_long(piece: str) -> None:
    """Quadratic behaviour over these lengths would not end within the test's minute."""
    for _ in range(5):
        Redaction().redact_text(piece * 200_000)
        Redaction().redact_text((piece * 200_000)[:900], 100_000)
        Redaction(["x" * 50]).copy({f"{piece}{n}": piece * 1000 for n in range(100)})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), JSON))
def test_whatever_comes_a_copy_is_json_and_never_raises(args: dict[str, Any]) -> None:
    kept = Redaction(["known-value"]).copy(args, read_shape(SCHEMA))
    assert json.loads(json.dumps(kept, allow_nan=False)) == kept


def test_a_snapshot_hides_the_secrets_of_its_files(tmp_path: Path) -> None:
    snapshot = loaded(
        tmp_path,
        {
            "gateway.yaml": "models: {api_key: '${LITELLM}'}\ndefault_graph: one\n",
            "servers.yaml": """
                mcpServers:
                  here:
                    command: run
                    args: ["postgresql://ada:url%20pass@db/x", plain-argument]
                    env: {SOME_TOKEN: env-of-a-server, LEVEL: everything}
                  there:
                    url: https://user:there-pass@example.org/mcp
                    headers: {X-Team: value-of-a-header, Authorization: Bearer token-of-a-header, Accept: text/html}
            """,
            "access.yaml": "roles: {a: {allow: ['*']}}\nkeys: [{name: a, role: a, env: KEY_OF_A}]\n",
            "graphs/one.yaml": MINIMAL_GRAPH,
        },
        {"LITELLM": "key-of-litellm", "KEY_OF_A": "key-of-ada"},
    )
    hidden = (
        "key-of-litellm", "key-of-ada", "env-of-a-server", "value-of-a-header", "token-of-a-header", "url%20pass",
        "url pass", "there-pass",
    )  # fmt: skip
    for text in hidden:
        assert snapshot.redaction.redact_text(f"it is {text}, really") == f"it is {REDACTED}, really"
        assert text not in repr(snapshot.redaction)
    for text in ("plain-argument", "everything", "text/html", "example.org"):
        assert snapshot.redaction.redact_text(text) == text


def test_a_whole_copy_is_not_shortened() -> None:
    long = {"text": "x" * 20_000, "list": [*range(200)], "password": "hunter2"}
    assert Redaction().copy_whole(long) == {**long, "password": REDACTED}


def test_what_is_hidden_for_its_name_can_be_hidden_elsewhere() -> None:
    """But for words of letters alone and short ones, which stand everywhere."""
    args = {"password": "correct-horse-7", "token": "abc1", "auth": "developer", "open": "visible-text-1"}
    found = Redaction().collect_hidden(args)
    assert found == {"correct-horse-7"}
    assert Redaction(["known-secret"]).extend(found).redact_text("correct-horse-7, known-secret, visible") == (
        f"{REDACTED}, {REDACTED}, visible"
    )
