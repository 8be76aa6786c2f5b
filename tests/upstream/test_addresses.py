from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.upstream.addresses import is_public, is_this_machine, literal


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_is_public__addresses_of_the_internet(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",  # noqa: S104 - an address to be refused
        "0.1.2.3",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001:0:7f00:1::1",
        "2001:db8::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
        "4000::1",
    ],
)
def test_is_public__all_others_are_not(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_is_public__mapped_address__is_as_the_one_inside(address: ipaddress.IPv4Address) -> None:
    assert is_public(f"::ffff:{address}") == is_public(f"64:ff9b::{address}") == is_public(address)


@given(st.ip_addresses(v=4).filter(lambda address: address.is_private))
def test_is_public__private_ipv4__never(address: ipaddress.IPv4Address) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0x7f000001",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "1",
        "1.2.3.4.5",
        "a.1",
        "a.0x7f",
    ],
)
def test_literal__disguised_address__is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="disguised"):
        literal(host)


@pytest.mark.parametrize("host", ["index.example", "a", "x1", "1.2.3.x4", "0x7g", "1a", "xn--fsq.example"])
def test_literal__name__is_none(host: str) -> None:
    assert literal(host) is None


@given(st.ip_addresses())
def test_literal__plain_address__is_that_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert literal(str(address)) == address


def test_literal__zone__is_no_part_of_the_address() -> None:
    assert literal("fe80::1%25eth0") == ipaddress.ip_address("fe80::1")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "index.localhost"])
def test_is_this_machine__names_of_loopback(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize("host", ["localhost.example", "notlocalhost", "index.example"])
def test_is_this_machine__other_names(host: str) -> None:
    assert not is_this_machine(host)
