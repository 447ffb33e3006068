"""`host` and `public_url` say where a URL leads only if every program that reads it would go there."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from graphs.expressions import compile_rule_condition
from graphs.expressions.urls import MAX_CHARACTERS, is_public_url, parse_host


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com", "example.com"),
        ("http://Example.COM:8080/a?b=c#d", "example.com"),
        ("HTTPS://example.com/", "example.com"),
        ("https://example.com.", "example.com"),
        ("https://a-b.c_d.example.com/x@y", "a-b.c_d.example.com"),
        ("https://example.com?next=http://evil.com", "example.com"),
        ("https://example.com#@evil.com", "example.com"),
        ("https://example.com/?q=a@b:c", "example.com"),
        ("https://bücher.example", "xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("http://93.184.216.34/", "93.184.216.34"),
        ("http://[2606:4700:4700::1111]/", "2606:4700:4700::1111"),
        ("http://[2606:4700:4700:0:0:0:0:1111]:443/", "2606:4700:4700::1111"),
        ("http://localhost", "localhost"),
        ("https://1password.com", "1password.com"),
    ],
)
def test_the_host_of_a_plain_url(url: str, expected: str) -> None:
    assert parse_host(url) == expected


UNREADABLE = [
    "",
    "example.com",
    "//example.com",
    "/a/b",
    "http:example.com",
    "http:/example.com",
    "http:///example.com",
    "https:\\\\example.com",
    "http://good.example\\@evil.com",
    "http://good.example\\.evil.com",
    "http://good.example@evil.com",
    "http://good.example:80@evil.com",
    "http://user:password@good.example/",
    "http://good.example%40evil.com",
    "http://good.example#@evil.com@x\\y",
    "http://evil.com%2f.good.example",
    "http://%65vil.com",
    "http://good.example%00.evil.com",
    "http://good.example\0.evil.com",
    "http://good.example\t.evil.com",
    "http://good.exa\nmple",
    " http://good.example",
    "http://good.example ",
    "http://good example",
    "ht\ntp://good.example",
    "ftp://good.example/a",
    "file:///etc/passwd",
    "file://good.example/etc/passwd",
    "gopher://good.example",
    "javascript://good.example/%0aalert(1)",
    "data:text/html,x",
    "http://good.example:0/",
    "http://good.example:65536/",
    "http://good.example:99999999/",
    "http://good.example:80:80/",
    "http://good.example:/80a/..:x@y\\",
    "http://:80/",
    "http://.",
    "http://..",
    "http://.example.com",
    "http://good..example",
    "http://-good.example",
    "http://good-.example",
    "http://[::1",
    "http://::1/",
    "http://[::1]evil.com/",
    "http://[fe80::1%25eth0]/",
    "http://[not-an-address]/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.0.01/",
    "http://127.0.0.1./x\\",
    "http://256.1.1.1/",
    "http://1.2.3.4.5/",
    "http://good.example.0x1/",
    "http://good。example\\",
    "http://xn--/",
    "http://" + "a" * 64 + ".example/",
    "http://" + "a." * 130 + "example/",
    "http://good.example/" + "x" * MAX_CHARACTERS,
    "http://\ud800.example/",
    "http://good.example/\u00a0",
    "http://good.example<evil>/",
    'http://good.example"/',
]


@pytest.mark.parametrize("url", UNREADABLE)
def test_what_programs_may_read_differently_has_no_host_and_is_not_public(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|name|number|port|address|permitted|Expected|At most|Only"):
        parse_host(url)
    assert not is_public_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "http://LOCALHOST.:80/",
        "http://127.0.0.1/",
        "http://127.255.255.254/",
        "http://0.0.0.0/",
        "http://10.1.2.3/",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://192.0.2.1/",
        "http://198.18.0.1/",
        "http://203.0.113.7/",
        "http://224.0.0.1/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://[::]/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:7f00:1::]/",
        "http://[fe80::1]/",
        "http://[fc00::1]/",
        "http://[fd12:3456::1]/",
        "http://[ff02::1]/",
        "http://[2001:db8::1]/",
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "http://no-such-host.invalid/",
    ],
)
def test_what_does_not_lead_to_the_public_net_is_not_public(url: str) -> None:
    assert not is_public_url(url)


@pytest.mark.parametrize(
    "url", ["http://93.184.216.34/", "https://[2606:4700:4700::1111]/x", "http://[::ffff:8.8.8.8]/"]
)
def test_public_addresses_are_public(url: str) -> None:
    assert is_public_url(url)


@pytest.mark.parametrize(
    ("addresses", "public"),
    [
        (["93.184.216.34"], True),
        (["93.184.216.34", "2606:4700:4700::1111"], True),
        (["93.184.216.34", "127.0.0.1"], False),
        (["93.184.216.34", "::ffff:10.0.0.1"], False),
        (["fe80::1%eth0"], False),
        ([], False),
    ],
)
def test_every_address_of_a_name_counts(monkeypatch: pytest.MonkeyPatch, addresses: list[str], public: bool) -> None:
    def answer(name: str, *_: Any, **__: Any) -> list[Any]:
        assert name == "example.com"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert is_public_url("https://Example.com./x") is public


def test_rules_use_them_and_fail_closed() -> None:
    rule = compile_rule_condition('host(args.url) == "api.example.com" || host(args.url).endsWith(".good.example")')
    assert rule.evaluate({"args": {"url": "https://api.example.com/x"}}) is True
    assert rule.evaluate({"args": {"url": "https://a.good.example"}}) is True
    assert rule.evaluate({"args": {"url": "https://evil.com/.good.example"}}) is False
    assert rule.evaluate({"args": {"url": "https://api.example.com\\@evil.com"}}) is None
    assert rule.evaluate({"args": {"url": ["https://api.example.com"]}}) is None
    assert rule.effort.waits is None
    assert compile_rule_condition("public_url(args.url)").effort.waits == "names"
