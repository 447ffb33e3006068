"""Which addresses are public: one table, the same on every Python, and never wider than what Python itself knows."""

from __future__ import annotations

import ipaddress
import json
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pythons import Python, find_pythons

from graphs.expressions import networks
from graphs.expressions.networks import is_public, spell_ipv6
from graphs.expressions.urls import is_public_url, parse_host

SPECIAL = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
    "168.63.129.16/32", "::/128", "::1/128", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64",
    "100:0:0:1::/64", "2001::/23", "2001::/32", "2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:2::/48",
    "2001:3::/32", "2001:4:112::/48", "2001:10::/28", "2001:20::/28", "2001:30::/28", "2001:db8::/32", "2002::/16",
    "2620:4f:8000::/48", "3ffe::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    "4000::/3", "e000::/4", "::ffff:10.0.0.0/104", "::ffff:127.0.0.0/104", "::ffff:192.0.0.0/120",
    "::ffff:0:0:0/96",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "93.184.216.34", "100.63.255.255", "100.128.0.0",
    "128.0.0.1", "168.63.129.15", "172.15.0.1", "172.32.0.1", "191.255.255.255", "192.0.1.1", "192.0.3.1",
    "192.167.1.1", "198.17.255.255", "198.20.0.0", "203.0.112.1", "223.255.255.255", "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e", "2001:200::1", "2001:4860:4860::8888", "2001:db7::1", "2001:db9::1", "2003::1",
    "2400:cb00::1", "3ffd::1", "::ffff:8.8.8.8",
]  # fmt: skip

ISATAP = ["2606:4700::5efe:7f00:1", "2606:4700::200:5efe:a00:1"]


@pytest.mark.parametrize("network", SPECIAL)
def test_no_address_of_a_special_network_is_public(network: str) -> None:
    addresses = ipaddress.ip_network(network)
    for address in (addresses[0], addresses[-1], addresses[addresses.num_addresses // 2]):
        assert not is_public(str(address))
        assert not is_public_url(f"http://[{address}]/" if address.version == 6 else f"http://{address}/")


@pytest.mark.parametrize("address", PUBLIC)
def test_what_lies_beside_them_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com",
        "fe80::1%eth0",
        "2606:4700::1%1",
        "1.2.3",
        "01.2.3.4",
        "1.2.3.4/32",
        " 1.1.1.1",
        "::g",
        "2606:4700::5efe:7f00:1",
        "2606:4700::200:5efe:a00:1",
    ],
)
def test_what_is_no_address_or_leads_on_to_another_is_not_public(text: str) -> None:
    assert not is_public(text)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_is_public_that_this_python_says_is_not(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if is_public(str(address)):
        known = getattr(address, "ipv4_mapped", None) or address
        assert not known.is_private
        assert not known.is_multicast


def test_a_mapped_address_is_spelled_alike_on_every_python() -> None:
    assert parse_host("http://[::FFFF:808:808]/") == spell_ipv6("::ffff:8.8.8.8") == "::ffff:8.8.8.8"


def addresses() -> list[str]:
    """Both ends of every special network, what lies just outside, and thousands by chance."""
    chance = random.Random(12)
    found = [*PUBLIC]
    for network in map(ipaddress.ip_network, SPECIAL):
        most = 2**network.max_prefixlen - 1
        edges = (int(network[0]) - 1, int(network[0]), int(network[-1]), int(network[-1]) + 1)
        inside = [int(network[0]) + chance.randrange(network.num_addresses) for _ in range(20)]
        kind = type(network[0])
        found += [str(kind(number)) for number in (*edges, *inside) if 0 <= number <= most]
    found += [str(ipaddress.IPv4Address(chance.getrandbits(32))) for _ in range(5000)]
    found += [str(ipaddress.IPv6Address(chance.getrandbits(128))) for _ in range(2000)]
    found += [str(ipaddress.IPv6Address((1 << 125) | chance.getrandbits(125))) for _ in range(5000)]
    return found


ASK = """\
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("networks", sys.argv[1])
networks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)
asked = json.load(sys.stdin)
print(json.dumps([[networks.is_public(one), networks.spell_ipv6(one) if ":" in one else ""] for one in asked]))
"""


@pytest.mark.parametrize("python", find_pythons().values(), ids=str)
def test_every_python_of_the_machine_gives_the_same_answers(python: Python) -> None:
    asked = addresses()
    file = Path(networks.__file__)
    answer = subprocess.run(
        [python.path, "-I", "-c", ASK, str(file)], input=json.dumps(asked), capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == [[is_public(one), spell_ipv6(one) if ":" in one else ""] for one in asked]
