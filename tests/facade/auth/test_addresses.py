"""Whose address a request comes from."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.auth.addresses import UNKNOWN, find_client, find_group, find_scheme, is_within, parse_networks

PROXIES = parse_networks(["10.0.0.0/8", "::1"])


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ([(b"x-forwarded-for", b"192.0.2.7")], "192.0.2.7"),
        ([(b"x-forwarded-for", b"6.6.6.6, 192.0.2.7, 10.1.2.3")], "192.0.2.7"),
        ([(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"192.0.2.7")], "192.0.2.7"),
        ([(b"x-forwarded-for", b"192.0.2.7:4711")], "192.0.2.7"),
        ([(b"x-forwarded-for", b"[2001:db8::7]:80")], "2001:db8::7"),
        ([(b"x-forwarded-for", b"::ffff:192.0.2.7")], "192.0.2.7"),
        ([(b"x-forwarded-for", b"unknown")], None),
        ([(b"x-forwarded-for", b"192.0.2.7, unknown")], None),
        ([(b"x-forwarded-for", b"")], None),
        ([(b"x-forwarded-for", b"10.1.1.1, 10.2.2.2")], None),
        ([(b"x-forwarded-for", b"\xff\xfe")], None),
        ([(b"x-forwarded-for", b"6.6.6.6," + b"10.0.0.1," * 5000 + b"10.0.0.1")], None),
        ([(b"forwarded", b"for=192.0.2.7;proto=https;by=203.0.113.43")], "192.0.2.7"),
        ([(b"forwarded", b'for=6.6.6.6, For="[2001:db8:cafe::17]:4711", for=10.0.0.9')], "2001:db8:cafe::17"),
        ([(b"forwarded", b"for=_hidden")], None),
        ([(b"forwarded", b"proto=https")], None),
        ([(b"forwarded", b"for=192.0.2.7"), (b"x-forwarded-for", b"192.0.2.7")], "192.0.2.7"),
        ([(b"forwarded", b"for=6.6.6.6"), (b"x-forwarded-for", b"192.0.2.7")], UNKNOWN),
        ([(b"forwarded", b"for=_hidden"), (b"x-forwarded-for", b"192.0.2.7")], UNKNOWN),
        ([(b"forwarded", b"for=_hidden"), (b"x-forwarded-for", b"unknown")], None),
        ([], None),
    ],
)
def test_a_proxy_says_for_whom_it_asks(headers: list[tuple[bytes, bytes]], client: str | None) -> None:
    assert find_client(headers, PROXIES) == client


@given(st.binary(max_size=80), st.sampled_from([b"x-forwarded-for", b"forwarded"]))
@settings(max_examples=200, deadline=None)
def test_what_a_client_writes_before_its_proxy_does_changes_nothing(forged: bytes, name: bytes) -> None:
    own = b"for=192.0.2.7" if name == b"forwarded" else b"192.0.2.7"
    assert find_client([(name, forged), (name, own)], PROXIES) == "192.0.2.7"


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_addresses_are_counted_by_what_one_customer_gets(host: str, group: str) -> None:
    assert find_group(host) == group


def test_a_network_holds_its_addresses() -> None:
    assert is_within("10.200.3.4", PROXIES)
    assert is_within("::1", PROXIES)
    assert is_within("::ffff:10.0.0.1", PROXIES)
    assert not is_within("11.0.0.1", PROXIES)
    assert not is_within("unknown", PROXIES)
    assert not is_within("10.0.0.1", ())


def test_the_scheme_is_one_of_two() -> None:
    assert find_scheme([(b"x-forwarded-proto", b"HTTPS")]) == "https"
    assert find_scheme([(b"x-forwarded-proto", b"javascript")]) is None
    assert find_scheme([]) is None
