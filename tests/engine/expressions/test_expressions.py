"""Conditions and prompts: wrong names and types are found when they are compiled, and only true is true."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from graphs.expressions import (
    ExpressionError,
    VarType,
    compile_branch_condition,
    compile_rule_condition,
    compile_template,
    compile_value,
)
from graphs.expressions.values import MAX_DEPTH, MAX_ITEMS, MAX_TEXT
from graphs.policy.rules import Caller

NOW = datetime(2026, 8, 1, 12, 30, tzinfo=UTC)
CALLER = {"user": "ann", "email": "ann@example.com", "role": "developer", "key": "laptop"}


def access_values(**args: Any) -> dict[str, Any]:
    return {
        "args": args,
        "tool": {"server": "files", "name": "read_file"},
        "caller": CALLER,
        "graph": "assistant",
        "node": "agent",
        "now": NOW,
        "turn": {"rounds": 2, "calls": 3},
    }


def evaluate(text: str, /, **args: Any) -> bool | None:
    return compile_rule_condition(text).evaluate(access_values(**args))


def error(text: str) -> tuple[int, str]:
    with pytest.raises(ExpressionError) as caught:
        compile_rule_condition(text)
    return caught.value.offset, str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        'args.path == "/x"',
        'args["path"] == "/x" && has(args.path) && "path" in args',
        'tool.server == "files" && tool.name.startsWith("read_")',
        'caller.user == "ann" && caller.role == "developer" && caller.key == "laptop"',
        'caller.email.endsWith("@example.com")',
        'graph == "assistant" && node == "agent"',
        "turn.rounds == 2 && turn.calls < 4",
        'now > timestamp("2026-01-01T00:00:00Z") && now.getHours("UTC") == 12',
        "size(args.path) == 2",
        'full_match(args.path, "/[a-z]")',
        'path_within(args.path, "/")',
        'args.list.exists(item, item == 2) && args.map.key == "v"',
        "args.number == 7 && args.number > 6.5 && args.flag",
    ],
)
def test_every_name_of_the_contract_can_be_looked_at(text: str) -> None:
    assert evaluate(text, path="/x", list=[1, 2], map={"key": "v"}, number=7, flag=True) is True


@pytest.mark.parametrize("values", [{}, {"flag": False}])
def test_what_is_not_so_is_false(values: dict[str, Any]) -> None:
    assert evaluate("has(args.flag) && args.flag", **values) is False


@pytest.mark.parametrize(
    "text",
    [
        "args.missing == 1",
        "!(args.missing == 1)",
        'args.path.startsWith("x")',
        'path_within(args.path, "/w")',
        "!sql_read_only(args.path)",
        'full_match(args.path, "5")',
        "args.path",
        "args.path > 'a'",
        "1 / (args.path - 5) > 0",
        "args.path + 9223372036854775807 > 0",
        'timestamp(args.text) > timestamp("2026-01-01T00:00:00Z")',
        'full_match("x", args.text)',
        'sql_read_only("select 1", args.text)',
    ],
)
def test_what_cannot_be_evaluated_is_neither_true_nor_false(text: str) -> None:
    assert evaluate(text, path=5, text="(") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now.getHours() == 12 && now.getHours('Europe/Berlin') == 14 && now.getHours('Asia/Kolkata') == 18", True),
        ("now.getMinutes('Asia/Kolkata') == 0 && now.getHours('-03:30') == 9", True),
        # Clocks in Berlin differ by an hour between summer and winter; the date may differ too.
        ("timestamp('2026-01-01T12:30:00Z').getHours('Europe/Berlin') == 13", True),
        ("now.getDayOfWeek('Europe/Berlin') in [1, 2, 3, 4, 5]", False),
        ("timestamp('2026-08-01T23:30:00Z').getDate('Europe/Berlin') == 2", True),
        ("now >= timestamp('2026-08-01T14:30:00+02:00') && now < timestamp('2026-08-01T12:30:01Z')", True),
        ("now - timestamp('2026-07-31T12:30:00Z') == duration('24h')", True),
        ("timestamp(args.until) > now", True),
    ],
)
def test_the_clock_can_be_read_in_every_place(text: str, expected: bool) -> None:
    assert evaluate(text, until="2026-08-02T00:00:00+09:00") is expected


def test_why_a_condition_could_not_be_evaluated_shows_no_value() -> None:
    condition = compile_rule_condition('args.path == "x"')
    assert condition.explain(access_values()) == "there is no 'path' in it"
    assert condition.explain(access_values(path="x")) == ""
    assert compile_rule_condition('path_within(args.path, "/w")').explain(access_values(path=5)) == (
        "something in it is not of the type that it needs"
    )


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


HOSTILE: list[Any] = [
    "x" * (MAX_TEXT + 1),
    "é" * (MAX_TEXT // 2 + 1),
    "a\0b",
    "\ud800",
    [0] * (MAX_ITEMS + 1),
    {str(number): 0 for number in range(MAX_ITEMS + 1)},
    {"a\0b": 1},
    {"a": ["x" * (MAX_TEXT + 1)]},
    2**63,
    -(2**63) - 1,
    deep(MAX_DEPTH + 1),
    deep(5000),
    {1: 2},
    object(),
    b"bytes",
]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_arguments_that_a_condition_looks_at_must_be_fit_to_be_looked_at(value: Any) -> None:
    assert evaluate("args.value != 'harmless'", value=value) is None
    assert evaluate("has(args.value)", value=value) is None
    assert evaluate("'value' in args", value=value) is None
    assert evaluate("size(args) == 1", value=value) is None
    assert evaluate("args.exists(name, name == 'value')", value=value) is None
    assert evaluate("args[tool.name] == 1 || true", value=value) is None


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_arguments_that_a_condition_does_not_look_at_do_not_matter(value: Any) -> None:
    assert evaluate("args.path == '/x'", path="/x", value=value) is True
    assert evaluate("caller.user == 'ann'", value=value) is True


def test_the_largest_arguments_that_are_fit_are_looked_at() -> None:
    assert evaluate("size(args.text) == 65536", text="x" * MAX_TEXT) is True
    assert evaluate("size(args.list) == 1000", list=[0] * MAX_ITEMS) is True
    assert evaluate("args.number == 9223372036854775807", number=2**63 - 1) is True


def test_a_text_with_nul_from_elsewhere_is_not_cut_short() -> None:
    values = access_values() | {"caller": CALLER | {"email": "admin@example.com\0@evil"}}
    assert compile_rule_condition('caller.email == "admin@example.com"').evaluate(values) is False
    assert compile_rule_condition("caller.email.endsWith('evil')").evaluate(values) is True


def test_a_condition_that_takes_too_many_steps_is_given_up() -> None:
    text = "args.l.all(a, args.l.all(b, args.l.all(c, a + b + c >= 0)))"
    assert evaluate(text, l=list(range(300))) is None


def test_a_pattern_must_match_the_whole_text() -> None:
    text = 'full_match(args.x, "a|b+")'
    assert [evaluate(text, x=value) for value in ("a", "bb", "ab", "xa", "a\n", "")] == [True, True, *[False] * 4]
    assert evaluate('full_match(args.x, "(?m)^a$")', x="a\nb") is False


def test_a_pattern_takes_no_more_than_linear_time() -> None:
    assert evaluate('full_match(args.x, "(a+)+$")', x="a" * 50_000 + "!") is False


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        (
            "tool.nam == 'x'",
            0,
            "there is no 'tool.nam'; there is tool.server, tool.name, tool.read_only, tool.destructive. Did you mean",
        ),
        (
            "true && caller == 'x'",
            8,
            "'caller' is not a value by itself; it has caller.user, caller.email, caller.role",
        ),
        ("agrs.path == 'x'", 0, "there is no 'agrs' here; there is args, tool, graph, node, now, caller, turn"),
        ("size(tool_calls) > 0", 5, "there is no 'tool_calls' here; there is args, tool"),
        ("args.x.matches('a')", 7, "matches looks for the pattern anywhere in the text; write full_match(text,"),
        ("matches(args.x, 'a')", 0, "matches looks for the pattern anywhere in the text; write full_match(text,"),
        ("true && pathwithin(args.x, '/')", 8, "there is no function 'pathwithin'. Did you mean 'path_within'?"),
        (
            "path_within(args.x)",
            0,
            "path_within(path, folder, …) takes texts, or lists of texts; found another number of them",
        ),
        (
            "path_within(5, '/x')",
            0,
            "path_within(path, folder, …) takes texts, or lists of texts; found a whole number and a text",
        ),
        ("path_within(args.x, 'work')", 20, "'work' is no absolute path of a folder, such as '/workspace'"),
        ("sql_read_only(args.x, 'sqlit')", 22, "'sqlit' is no SQL dialect known here; choose one of: postgres,"),
        ("full_match(args.x, 'a)|(b')", 19, "'a)|(b' is no regular expression (RE2)"),
        ("full_match(args.x, '(?=a)')", 19, "'(?=a)' is no regular expression (RE2)"),
        ("caller.user > 5", 12, "'>' cannot be used on a text and a whole number"),
        ("  size(args)", 2, "this is a whole number; a condition is true or false"),
        ("'yes'", 0, "this is a text; a condition is true or false"),
        ("caller.user =", 12, "this is no CEL expression"),
        ("true &&", 7, "this is no CEL expression: it ends too early"),
        ("  ", 0, "the expression is empty"),
        ("args.x == '\0'", 11, "the character U+0000 may not stand in an expression"),
        ("true || " * 2000 + "true", 0, "the expression has 16,004 characters; at most 10,000 are read"),
        ("args.x == 1 &&\n  tool.x == 2", 17, "there is no 'tool.x'; there is tool.server, tool.name"),
        ("args.?x.orValue(true)", 0, "unsupported syntax"),
        ("now.getHours('Europe/Berln') > 8", 13, "'Europe/Berln' is no time zone known on this machine"),
        ("now.getDayOfWeek('') == 1", 17, "'' is no time zone known on this machine"),
        ("now.getHours('../../etc/localtime') > 8", 13, "'../../etc/localtime' is no time zone known"),
        ("now.getHours(args.zone) > 8", 13, "a time zone is written out, such as 'Europe/Berlin'"),
    ],
)
def test_what_is_wrong_is_found_when_it_is_compiled(text: str, offset: int, message: str) -> None:
    found_offset, found = error(text)
    assert found.startswith(message)
    assert found_offset == offset


@pytest.mark.parametrize(
    "text", ["(" * 5000, "1" + " + 1" * 2000 + " > 0", "[" * 400 + "]" * 400, "args" + ".a" * 3000]
)
def test_an_expression_made_to_exhaust_the_parser_is_only_an_error(text: str) -> None:
    with pytest.raises(ExpressionError):
        compile_rule_condition(text)


def next_values(*calls: dict[str, Any], text: str = "") -> dict[str, Any]:
    return {
        "tool_calls": list(calls),
        "text": text,
        "turn": {"rounds": 1, "calls": 0},
        "caller": Caller(user="ann", role="developer", key="laptop"),
        "now": NOW,
    }


def a_call(**args: Any) -> dict[str, Any]:
    return {"id": "call_1", "tool": "files/read_file", "args": args, "verdict": "allow"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("size(tool_calls) > 0", True),
        ('tool_calls.exists(c, c.tool == "files/read_file" && c.verdict == "allow")', True),
        ('tool_calls[0].id == "call_1" && tool_calls[0]["args"].path == "/x"', True),
        ('tool_calls.all(c, c.verdict == "deny")', False),
        ('text.contains("done") || turn.rounds > 3', False),
        ('caller.user == "ann" && now > timestamp("2026-01-01T00:00:00Z")', True),
        ("tool_calls[3].id == 'x'", None),
    ],
)
def test_a_branch_looks_at_the_calls_and_the_text(text: str, expected: bool | None) -> None:
    assert compile_branch_condition(text).evaluate(next_values(a_call(path="/x"))) is expected


def test_unfit_arguments_matter_only_to_a_branch_that_looks_at_them() -> None:
    values = next_values(a_call(content="x" * 100_000), text="a\0b")
    assert compile_branch_condition("size(tool_calls) == 1 && size(text) == 3").evaluate(values) is True
    assert compile_branch_condition("tool_calls[0].args.content == 'x'").evaluate(values) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tool_calls.exists(c, c.tol == 'x')", "a tool call has no field 'tol'; it has id, tool, args, verdict"),
        ("tool_calls[0]['name'] == 'x'", "a tool call has no field 'name'; it has id, tool, args, verdict"),
        ("tool_calls.map(c, c)[0].verdit == 'x'", "a tool call has no field 'verdit'; it has id, tool, args, verdict"),
        ("args.x == 1", "there is no 'args' here; there is tool_calls, message, text, graph, visits, error, now,"),
        ("tool == 'x'", "there is no 'tool' here"),
    ],
)
def test_a_branch_has_its_own_names(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_branch_condition(text)
    assert str(caught.value).startswith(message)


TEXT_VALUES = {"caller": Caller(user="ann", email="a@b", role="dev", key="k"), "now": NOW, "graph": "assistant"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain { braces } and }}", "plain { braces } and }}"),
        ("You help {{ caller.user }} ({{caller.role}}).", "You help ann (dev)."),
        ("Today is {{ now }}.", "Today is 2026-08-01T12:30:00Z."),
        ("{{ 1 + 1 }} {{ 1.5 }} {{ true }} {{ graph }}", "2 1.5 true assistant"),
        ("{{ '{{' }}x{{ '}}' }}", "{{x}}"),
        ("{{ {'a': {'b': 'c'}}.a.b }}", "c"),
        ("{{ \"it's\" + r'\\d' }}", "it's\\d"),
        ("{{ caller.user == 'ann' ? 'yes' : 'no' }}", "yes"),
        ("{{ '''a'}}'b''' }}", "a'}}'b"),
    ],
)
def test_a_prompt_is_filled_in(text: str, expected: str) -> None:
    assert compile_template(text).render(TEXT_VALUES) == expected


def test_what_a_user_is_called_is_never_read_as_a_template() -> None:
    values = TEXT_VALUES | {"caller": Caller(user="{{ graph }}", role="dev", key="k")}
    assert compile_template("Hello {{ caller.user }}").render(values) == "Hello {{ graph }}"


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("ab {{ caller.usr }}", 6, "there is no 'caller.usr'"),
        ("ab {{ caller }}", 6, "'caller' is not a value by itself"),
        ("ab {{ duration('1s') }}", 6, "this is a length of time, which has no form as text"),
        ("ab {{ caller.user", 3, "'{{' without its '}}'"),
        ("ab {{ 'caller.user }}", 3, "'{{' without its '}}'"),
        ("ab {{}}", 5, "the expression is empty"),
        (
            "{{ graph }} {{ args.x }}",
            15,
            "there is no 'args' here; there is message, text, graph, visits, error, now, caller;",
        ),
    ],
)
def test_what_is_wrong_in_a_prompt_is_found_at_its_place(text: str, offset: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_template(text)
    assert str(caught.value).startswith(message)
    assert caught.value.offset == offset


def test_a_prompt_that_fails_when_it_is_filled_in_says_which_part() -> None:
    with pytest.raises(ExpressionError, match=r"\{\{ 1 / size\(caller.email\) \}\} cannot be evaluated"):
        compile_template("{{ 1 / size(caller.email) }}").render(
            TEXT_VALUES | {"caller": Caller(user="ann", role="dev", key="k")}
        )


def test_a_condition_can_be_shared_between_threads() -> None:
    condition = compile_rule_condition('path_within(args.path, "/w") && sql_read_only(args.sql)')
    values = [access_values(path=f"/w/{at}" if at % 2 else "/x", sql="select 1") for at in range(400)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(condition.evaluate, values)) == [bool(at % 2) for at in range(400)]


JSON_VARIABLES = (("x", VarType(kind="any")),)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        ({"b": 1, "a": [None, True]}, '{"a":[null,true],"b":1}'),
        (dict.fromkeys("qwertyuiop", 1), '{"e":1,"i":1,"o":1,"p":1,"q":1,"r":1,"t":1,"u":1,"w":1,"y":1}'),
    ],
)
def test_json_of_a_value_is_the_same_in_every_process(value: Any, expected: str) -> None:
    """A map of CEL has its keys in another order in each process."""
    assert compile_value("json(x)", JSON_VARIABLES).compute_value({"x": value}) == (expected, "")
    made, _ = compile_value("{'z': 1, 'y': x, 'b': 3}", JSON_VARIABLES).compute_value({"x": value})
    assert [*made] == ["b", "y", "z"]


def test_json_of_a_time_is_what_texts_show_of_it() -> None:
    now = {"now": datetime(2026, 11, 28, 12, 30, 1, 5, tzinfo=UTC)}
    assert compile_value("json(now)").compute_value(now) == ('"2026-11-28T12:30:01Z"', "")
