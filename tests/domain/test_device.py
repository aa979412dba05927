"""Little is kept of a device: its kind, and the network it was in."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.device import device_type, truncated_address


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("0.0.0.0", "0.0.0.0/24"),
        ("255.255.255.255", "255.255.255.0/24"),
        ("2001:db8:7:1::5", "2001:db8:7::/48"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
    ],
)
def test_an_address_becomes_its_network(address: str, network: str) -> None:
    assert truncated_address(address) == network


@given(st.ip_addresses())
def test_the_network_holds_the_address_and_many_others(address: object) -> None:
    network = ip_network(truncated_address(str(address)))
    parsed = ip_address(str(address))
    mapped = getattr(parsed, "ipv4_mapped", None)
    assert (mapped or parsed) in network
    assert network.num_addresses >= 256


@pytest.mark.parametrize("text", ["", "203.0.113", "203.0.113.256", "example.org", "1.2.3.4/24"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        truncated_address(text)


@pytest.mark.parametrize(
    ("user_agent", "device", "system", "kind"),
    [
        ("(iPhone; CPU iPhone OS 17_2) Mobile/15E148 Safari", "iPhone", "iOS", "mobile"),
        ("(iPad; CPU OS 16_5) Mobile/15E148 Safari", "iPad", "iOS", "tablet"),
        ("(Linux; Android 14; SM-A546E) Mobile Safari", "Samsung SM-A546E", "Android", "mobile"),
        ("(Linux; Android 13; SM-X700) Safari", "SM-X700", "Android", "tablet"),
        ("(Windows NT 10.0; Win64; x64) Chrome", None, "Windows", "desktop"),
        ("(Macintosh; Intel Mac OS X 10_15_7)", "Mac", "Mac OS X", "desktop"),
        ("Googlebot/2.1", "Spider", None, "bot"),
        ("okhttp/4.9", None, None, None),
    ],
)
def test_the_kind_of_a_device_is_read_from_what_it_says(
    user_agent: str, device: str | None, system: str | None, kind: str | None
) -> None:
    assert device_type(user_agent, device=device, system=system) == kind
