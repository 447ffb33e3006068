"""What servers.yaml says between `{{` and `}}`: compiled for servers that are `per_user`, refused elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from graphs.config.reader import ParsedFile
from graphs.config.source import Path
from graphs.config.spec.servers import ServerSpec, ServersSpec
from graphs.config.templates import Setting
from graphs.errors import Problem
from graphs.expressions import ExpressionError, Template, compile_template

_SHARED = (
    "this server's one connection serves every user, so nothing of the caller can be filled in; add 'per_user: true'"
    ", or, to write the braces themselves, write {{ '{{' }}"
)
_NOT_FILLED = "nothing is filled in here; '{{ … }}' may stand in the values of 'env', 'headers' and 'args'"
_FROM_VARIABLE = "the value of a variable brings '{{' into this text; give the variable a text of its own"
_CODE = "would be run as a program's text, whatever the caller is called; pass it by 'env', and read the variable"
_INTERPRETERS = re.compile(
    r"(sh|bash|dash|zsh|ksh|ash|fish|cmd|powershell|pwsh|python[0-9.]*|node|perl|ruby|php)(\.exe)?", re.IGNORECASE
)
_TAKES_CODE = re.compile(r"-[A-Za-z]*[ceEr]|--(eval|command|print)=?|/[cCkK]|-[Cc]ommand", re.ASCII)

Templates = Mapping[Setting, Template]


def compile_templates(servers: ParsedFile[ServersSpec]) -> tuple[Mapping[str, Templates], list[Problem]]:
    """The texts of every server that hold a `{{ … }}`, compiled, and everything that is wrong with them."""
    if servers.spec is None:
        return {}, []
    source = servers.source
    found: dict[str, Templates] = {}
    problems: list[Problem] = []
    for name, spec in servers.spec.mcpServers.items():
        at: Path = ("mcpServers", name)
        problems += [source.build_problem((*at, *rest), _NOT_FILLED) for rest in _find_misplaced_braces(spec)]
        texts: dict[Setting, Template] = {}
        for setting, text in _iter_settings(spec):
            path = (*at, *setting)
            written = source.raw_texts.get(path, text)
            # What a variable holds is taken as it is: a password may well hold two braces.
            if "{{" not in written or source.is_broken(path):
                continue
            try:
                texts[setting] = _compile_setting(spec, setting, text, written)
            except ExpressionError as error:
                problems.append(source.build_text_problem(path, error.offset, str(error)))
        found[name] = texts
    return found, problems


def render_braces(spec: ServerSpec, texts: Templates) -> ServerSpec:
    """A shared server with what stands for braces in its texts written out."""
    env, args, headers = dict(spec.env), list(spec.args), dict(spec.headers)
    for (kind, key), text in texts.items():
        if isinstance(key, int):
            args[key] = text.render({})
        else:
            (env if kind == "env" else headers)[key] = text.render({})
    return spec.model_copy(update={"args": args, "env": env, "headers": headers})


def _compile_setting(spec: ServerSpec, setting: Setting, text: str, written: str) -> Template:
    """Raises ExpressionError."""
    if text.count("{{") != written.count("{{"):
        raise ExpressionError(_FROM_VARIABLE)
    start = text.find("{{")
    try:
        compiled = compile_template(text, "server")
        if not spec.per_user:
            compiled.render({})
    except ExpressionError as error:
        if spec.per_user:
            raise
        raise ExpressionError(_SHARED, start) from error
    if spec.per_user and setting[0] == "args" and _is_code(spec, int(setting[1])):
        raise ExpressionError(f"what stands here {_CODE}", start)
    return compiled


def _iter_settings(spec: ServerSpec) -> Iterator[tuple[Setting, str]]:
    yield from ((("args", at), text) for at, text in enumerate(spec.args))
    yield from ((("env", name), text) for name, text in spec.env.items())
    yield from ((("headers", name), text) for name, text in spec.headers.items())


def _find_misplaced_braces(spec: ServerSpec) -> Iterator[Path]:
    for name in ("command", "cwd", "url"):
        if "{{" in (getattr(spec, name) or ""):
            yield (name,)
    for kind, names in (("env", spec.env), ("headers", spec.headers)):
        yield from ((kind, name) for name in names if "{{" in name)


def _is_code(spec: ServerSpec, at: int) -> bool:
    """Whether an interpreter is told to run this argument: `sh -c`, `docker run image sh -c`, `node --eval=…`."""
    own, _, _ = spec.args[at].partition("{{")
    before = [spec.command or "", *spec.args[:at], *([own] if own.startswith("-") else [])]
    if not _TAKES_CODE.fullmatch(before[-1]):
        return False
    program = next((part for part in reversed(before) if not part.startswith(("-", "/c", "/C", "/k", "/K"))), "")
    return _INTERPRETERS.fullmatch(PurePath(program).name) is not None
