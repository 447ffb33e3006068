"""Secrets inside texts: well-known kinds of keys and tokens, passwords in addresses, headers, assignments and commands.

Of the libraries that do this, detect-secrets reads files through global settings and had its last release in 2024, and
the others are young; here every kind has marks that are looked for first, so that a text without secrets costs a few
microseconds. No expression repeats without a bound inside another repetition: none can be made slow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

REDACTED = "[redacted]"


@dataclass(frozen=True)
class SecretKind:
    """One kind of secret."""

    marks: tuple[str, ...]
    """A text without any of these, in lower case, holds none."""
    pattern: re.Pattern[str]
    """Group 1, if there is one, is what may stay."""


def _build_kind(marks: str, pattern: str, flags: int = 0) -> SecretKind:
    return SecretKind(tuple(marks.split("|")), re.compile(pattern, flags))


_I = re.IGNORECASE
_NAME = r"(?:password|passwd|passphrase|passcode|pwd|secret|api[_.-]?key|access[_.-]?key|private[_.-]?key|credentials?)"
_NAME_MARKS = "password|passwd|passphrase|passcode|pwd|secret|key|credential"
_QUOTED = r"""\\?["'][^"'\r\n]{1,4000}"""
_TO_END = r"""[^"'\r\n]{1,4000}"""
_WORD = r"""[^\s"'&;,(){}<>|]{1,4000}"""

KINDS: tuple[SecretKind, ...] = (
    _build_kind(
        "private key",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r".*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
        re.DOTALL,
    ),
    _build_kind("putty-user-key-file|private-lines", r"(Private-Lines: *\d{1,5}).{1,8000}", re.DOTALL | _I),
    # Headers, to the end of their line.
    _build_kind(
        "authorization|cookie|api-key|auth-token",
        r"""((?:authorization|cookie|x-api-key|api-key|x-auth-token)\\?["']?\s{0,5}[:=]\s{0,5}\\?["']?)"""
        r"""(?!\[redacted\])[^"'\r\n]{1,4000}""",
        _I,
    ),
    _build_kind("bearer", r"(\bbearer\s{1,5})[\w.~+/=:-]{6,4000}", _I),
    _build_kind("basic ", r"(\bbasic\s{1,5})(?=[A-Za-z0-9+/]{0,500}[0-9=+/])[A-Za-z0-9+/]{6,4000}={0,2}", _I),
    # Addresses: `scheme://user:password@host`, `https://token@host`.
    _build_kind("://", r"(://[^\s:/?#@\"']{0,200}:)[^\s\"'<>]{1,500}@"),
    _build_kind("://", r"(https?://)[^\s:/?#@\"']{16,200}@", _I),
    _build_kind("sig", r"([?&](?:sig|signature|x-amz-signature|x-goog-signature)=)[^\s&\"']{4,2000}", _I),
    # SQL: `PASSWORD 'x'`, `IDENTIFIED BY 'x'`.
    _build_kind(
        "password|identified",
        r"""(\b(?:password|identified\s{1,5}by)\s{0,5}\(?\s{0,5}e?)(?:'[^']{1,4000}|"[^"]{1,4000})""",
        _I,
    ),
    # Assignments: `password=…` to the next blank or `&`, `password: …` to the end of its line, in quotes to their end.
    _build_kind(
        _NAME_MARKS,
        rf"""({_NAME}[\w-]{{0,20}}\\?["']?\s{{0,5}}(?:=>?|:=)\s{{0,5}})(?!\[redacted\])(?:{_QUOTED}|{_WORD})""",
        _I,
    ),
    _build_kind(
        _NAME_MARKS,
        rf"""({_NAME}[\w-]{{0,20}}\\?["']?\s{{0,5}}:\s{{0,5}})(?!\[redacted\])(?:{_QUOTED}|{_TO_END})""",
        _I,
    ),
    _build_kind(
        "token",
        rf"""(token\\?["']?\s{{0,5}}(?:=>?|:)\s{{0,5}})(?!\[redacted\]|\d{{1,9}}\b)(?:{_QUOTED}|{_WORD})""",
        _I,
    ),
    # Commands: `--password x`, `curl -u name:password`; `-u 1000:1000` are numbers of users.
    _build_kind(
        "--|-p|-s|-t|-a",
        rf"""((?:^|[\s"'])--?[\w-]{{0,30}}(?:{_NAME}|token)\s{{1,5}})(?!\[redacted\]|-)(?:{_QUOTED}|{_WORD})""",
        _I,
    ),
    _build_kind(
        "-u|-user",
        r"""((?:^|[\s"'])(?:-u|--user|--proxy-user)[\s=]{0,5}["']?[^\s:"'/]{1,200}:)(?!\d{1,10}\b)[^\s"']{1,500}""",
    ),
    # Tokens that say whose they are.
    _build_kind("eyj", r"\beyJ[\w-]{8,}(?:\.[\w-]*){0,4}"),
    _build_kind("ilk_", r"\bilk_[\w-]{6,}"),
    _build_kind("sk-|rk-", r"\b[sr]k-(?=[\w-]{0,200}\d|[\w-]{16})[\w-]{4,}"),
    _build_kind("_live_|_test_", r"\b(?:sk|rk|pk|whsec)_(?:live|test)_\w{8,}"),
    _build_kind("whsec_", r"\bwhsec_[\w+/=-]{8,}"),
    _build_kind("akia|asia|abia|acca", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}"),
    _build_kind("ghp_|gho_|ghu_|ghs_|ghr_|github_pat_", r"\bgh[pousr]_\w{16,}|\bgithub_pat_\w{20,}"),
    _build_kind("glpat-|gldt-|glrt-", r"\bgl(?:pat|dt|rt)-[\w-]{16,}"),
    _build_kind("xox|xapp-", r"\b(?:xox[a-z]|xapp)-[\w-]{8,}"),
    _build_kind("hooks.slack.com", r"(hooks\.slack\.com/(?:services|workflows)/)[\w/-]{8,}"),
    _build_kind("discord", r"(discord(?:app)?\.com/api/webhooks/)[\w/-]{8,}"),
    _build_kind("aiza", r"\bAIza[\w-]{30,}"),
    _build_kind("ya29.", r"\bya29\.[\w.-]{10,}"),
    _build_kind("gocspx-", r"\bGOCSPX-[\w-]{10,}"),
    _build_kind("npm_", r"\bnpm_[A-Za-z0-9]{20,}"),
    _build_kind("pypi-", r"\bpypi-[\w-]{20,}"),
    _build_kind("hf_", r"\bhf_[A-Za-z0-9]{16,}"),
    _build_kind("sg.", r"\bSG\.[\w-]{10,}\.[\w-]{10,}"),
    _build_kind("hvs.|hvb.", r"\bhv[sb]\.[\w-]{16,}"),
    _build_kind("dop_v1_|doo_v1_|dor_v1_", r"\bdo[opr]_v1_[a-f0-9]{20,}"),
    _build_kind("shpat_|shpss_|shpca_", r"\bshp(?:at|ss|ca)_[A-Fa-f0-9]{20,}"),
    _build_kind("age-secret-key-", r"\bAGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    _build_kind(":aa", r"\b\d{8,10}:AA[\w-]{30,}"),
)


def scrub_text(text: str) -> str:
    """Return `text` with "[redacted]" for every secret that its form gives away."""
    lowered = text.lower()
    for kind in KINDS:
        for mark in kind.marks:
            if mark in lowered:
                text = kind.pattern.sub(_redact_match, text)
                break
    return text


def _redact_match(match: re.Match[str]) -> str:
    if match.re.groups == 0:
        return REDACTED
    # The quote that opens the value stays, so that the text stays readable; so does the `@` that ends a password.
    taken = match[0][len(match[1]) :]
    before = re.match(r"""\\?["']?""", taken)
    return (
        f"{match[1]}{before[0] if before else ''}{REDACTED}{'@' if taken.endswith('@') and '://' in match[1] else ''}"
    )


def build_redactor(values: list[str]) -> Callable[[str], str] | None:
    """Build a function that hides exactly these values wherever they stand; None where there are none."""
    if not values:
        return None
    # The longest first: one may begin with another.
    pattern = re.compile("|".join(map(re.escape, sorted(set(values), key=lambda value: (-len(value), value)))))
    return lambda text: pattern.sub(REDACTED, text)
