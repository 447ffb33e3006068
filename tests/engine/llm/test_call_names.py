"""Which offered tool a written name means, where that is certain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.llm.call_names import OfferedNames
from graphs.tools.names import list_name_forms

OFFERED = {
    "files__echo": ("files", "echo"),
    "files__read_0123456789abcdef": ("files", "read/all"),
    "functions__x": ("functions", "x"),
    "x": None,
    "weather": None,
    "look__up": None,
    "look__UP": None,
}
FORMS = [(name, name) for name in OFFERED] + [
    (form, name) for name, pair in OFFERED.items() if pair for form in list_name_forms(*pair)
]

NAMES = OfferedNames(lambda: FORMS)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("functions.weather", "weather"),
        ("function.weather", "weather"),
        ("functions:weather", "weather"),
        ("functions/weather", "weather"),
        ("tools.weather", "weather"),
        ("tool.weather", "weather"),
        ("default_api.weather", "weather"),
        ("default_api:weather", "weather"),
        ("mcp__files__echo", "files__echo"),
        ("functions.functions.weather", "weather"),
        ("weather<|channel|>commentary", "weather"),
        ("weather<|channel|>json", "weather"),
        ("weather <|constrain|>json", "weather"),
        ("weather<|channel|>commentary to=functions.weather", "weather"),
        ("functions.weather<|channel|>analysis\n<|message|>", "weather"),
        ("assistant<|channel|>commentary to=functions.weather", "weather"),
        ("to=functions.weather", "weather"),
        ("functions.weather:12", "weather"),
        ("default_api.weather()", "weather"),
        ("  'weather'\t", "weather"),
        ("`functions.weather`", "weather"),
        ("Weather", "weather"),
        ("functions.WEATHER", "weather"),
        ("files/echo", "files__echo"),
        ("files.echo", "files__echo"),
        ("files:echo", "files__echo"),
        ("Files/Echo", "files__echo"),
        ("tools.files/echo<|channel|>commentary", "files__echo"),
        ("files/read/all", "files__read_0123456789abcdef"),
        ("files__read/all", "files__read_0123456789abcdef"),
        ("functions.functions__x", "functions__x"),
        ("LOOK__UP", None),  # two differ by case alone
        ("functions.x", None),  # of the server `functions`, or `x` in a namespace
        ("weather<|channel|>commentary to=functions.files__echo", None),
        ("weather2", None),
        ("get_weather", None),
        ("functionsweather", None),
        ("my.weather", None),
        ("wheather", None),
        ("echo", None),
        ("files", None),
        ("functions.", None),
        ("<|channel|>commentary", None),
        ("", None),
        ("\"'`", None),
    ],
)
def test_a_name_means_one_offered_tool_or_stays(written: str, meant: str | None) -> None:
    assert NAMES.find_meant(written) == (meant or written)


@given(st.text(alphabet="aw .:/<|>()`0to=functions", max_size=256))
def test_any_name_is_read_and_means_an_offered_tool_or_stays(written: str) -> None:
    assert NAMES.find_meant(written) in {written, *OFFERED}


@pytest.mark.parametrize("part", ["functions.", ":0", "to=", "to=a ", "()", "<|", "tool.()"])
def test_the_longest_names_have_few_readings(part: str) -> None:
    written = (part * 256)[:256]
    assert NAMES.find_meant(written) == written


def test_the_forms_are_listed_once_and_only_when_a_name_is_looked_for() -> None:
    listed: list[str] = []

    def list_forms() -> list[tuple[str, str]]:
        listed.append("once")
        return FORMS

    names = OfferedNames(list_forms)
    assert listed == []
    assert [names.find_meant(name) for name in ("functions.weather", "files/echo")] == ["weather", "files__echo"]
    assert listed == ["once"]
