"""Which values of callers may stand where in a server's settings, and what they come to there."""

from __future__ import annotations

import re

import pytest

from graphs.config.spec.servers import ServerSpec
from graphs.config.templates import ServerTemplate, Setting, UnfitValue
from graphs.expressions import compile_template
from graphs.policy.rules import Caller


def filling(setting: Setting, text: str) -> ServerTemplate:
    kind, key = setting
    value = [text] if kind == "args" else {str(key): text}
    where = {"url": "http://x/"} if kind == "headers" else {"command": "x"}
    spec = ServerSpec.model_validate({**where, kind: value, "per_user": True})
    return ServerTemplate(spec=spec, templates={setting: compile_template(text, "server")})


def filled(setting: Setting, text: str, user: str, **more: str) -> str:
    made = filling(setting, text)
    spec = made.fill(made.render_values(Caller(**{"user": user, "role": "dev", "key": "ci", **more})))
    kind, key = setting
    return spec.args[0] if kind == "args" else getattr(spec, kind)[key]


ARG, ENV, HEADER = ("args", 0), ("env", "A"), ("headers", "X-A")
FITS = [
    (ENV, "{{ caller.user }}", "../x", "../x"),
    (ENV, "{{ caller.user }}", "\u0141ukasz \U0001f642", "\u0141ukasz \U0001f642"),
    (ENV, "{{ caller.user }}", "{{ caller.key }}", "{{ caller.key }}"),
    (ENV, "{{ caller.user }}", "$(id)", "$(id)"),
    (ENV, "{{ caller.user }}/{{ caller.role }}", "a.b", "a.b/dev"),
    (ENV, "{{ caller.key }}:{{ caller.user.size() }}", "abc", "ci:3"),
    (ARG, "--user={{ caller.user }}", "-x", "--user=-x"),
    (ARG, "--user={{ caller.user }}", "a@b.c", "--user=a@b.c"),
    (ARG, "{{ caller.user }}", "a-b", "a-b"),
    (HEADER, "Bearer {{ caller.user }}", "a b", "Bearer a b"),
    (HEADER, "{{ caller.user }}", "a,b;c=d", "a,b;c=d"),
    (ENV, "https://x/{{ caller.user }}", "ana.b_c-1", "https://x/ana.b_c-1"),
]
UNFIT = [
    (ENV, "{{ caller.user }}", "", "is empty"),
    (ENV, "{{ caller.email }}", "ana", "is empty"),
    (ENV, "{{ caller.user }}", "a\nb", "U+000A"),
    (ENV, "{{ caller.role }}", "a\0b", "U+0000"),
    (ENV, "{{ caller.user }}", "a\ud800", "U+D800"),
    (ENV, "{{ caller.user }}", "a\u2028b", "U+2028"),
    (ENV, "{{ caller.user + '\\n' }}", "ana", "U+000A"),
    (ENV, "{{ caller.user }}", "x" * 1001, "1,001 characters"),
    (ENV, "{{ caller.user }}", "ana ", "white space"),
    (ENV, "{{ caller.user }}", "\u00a0ana", "white space"),
    (ENV, "/data/{{ caller.user }}", "../x", "holds '/'"),
    (ENV, "/data/{{ caller.user }}", "..", "dots alone"),
    (ENV, "/data/.{{ caller.user }}", ".", "dots alone"),
    (ENV, "/data/{{ caller.user }}", "%2e%2e", "holds '%'"),
    (ENV, "/data/u-{{ caller.user }}", "/../../etc", "holds '/'"),
    (ENV, "C:\\\\data\\\\{{ caller.user }}", "a\\b", "holds '\\\\'"),
    (ENV, "https://x/?user={{ caller.user }}", "a&admin=1", "holds '&'"),
    (ENV, "postgres://{{ caller.user }}:pw@db/x", "a@evil", "holds '@'"),
    (ENV, "postgres://{{ caller.user }}:pw@db/x", "a:b", "holds ':'"),
    (ENV, '{"user": "{{ caller.user }}"}', 'a", "admin": "1', "holds '\"'"),
    (ENV, '{"user": "{{ caller.user }}"}', "a\\", "holds '\\\\'"),
    (ARG, "{{ caller.user }}", "--admin", "take it for an option"),
    (ARG, "--users={{ caller.user }},guest", "ana,root", "holds ','"),
    (HEADER, "user={{ caller.user }}; path=x", "a; admin=1", "holds ';'"),
    (HEADER, "{{ caller.user }}", "a\r\nX-Evil: 1", "U+000D"),
    (HEADER, "{{ caller.user }}", "Zo\u00eb", "an HTTP header cannot carry"),
    (HEADER, "{{ caller.user }}", "\u0141ukasz", "an HTTP header cannot carry"),
    (HEADER, "{{ caller.user }}@corp", "root@evil", "holds '@'"),
]


@pytest.mark.parametrize(("setting", "text", "user", "expected"), FITS)
def test_what_fits_stands_there_as_it_is(setting: Setting, text: str, user: str, expected: str) -> None:
    assert filled(setting, text, user) == expected


@pytest.mark.parametrize(("setting", "text", "user", "words"), UNFIT)
def test_what_would_mean_something_else_is_refused_and_not_shown(
    setting: Setting, text: str, user: str, words: str
) -> None:
    with pytest.raises(UnfitValue, match=re.escape(words)) as refused:
        filled(setting, text, user)
    assert len(user) < 4 or user not in str(refused.value)


def test_the_same_lines_fill_in_the_same() -> None:
    one, same = filling(ENV, "{{ caller.user }}"), filling(ENV, "{{ caller.user }}")
    assert one == same
    assert one != filling(ENV, "{{ caller.email }}")
    # What a variable brought is no expression, even where it looks like one.
    assert one != ServerTemplate(spec=one.spec, templates={})
