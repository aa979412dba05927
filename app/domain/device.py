"""What a request tells of the device it came from, and how little of it is kept."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

#: Operating systems, as the uap-core project names them, that only run on desks and laps.
_DESKTOP_SYSTEMS = frozenset(
    {"Windows", "Mac OS X", "Linux", "Ubuntu", "Debian", "Fedora", "Chrome OS", "FreeBSD"}
)

#: What is kept of an address: a network of 256 addresses, or of one site.
_IPV4_BITS = 24
_IPV6_BITS = 48


# A visit is several events from one address.
@lru_cache(maxsize=4096)
def truncated_address(address: str) -> str:
    """The network that an address is in, such as 203.0.113.0/24 or 2001:db8:7::/48.

    An IPv4 address written as IPv6 is taken for what it is. Raises ValueError where it is none.
    """
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is None:
            kept = int(parsed) >> (128 - _IPV6_BITS) << (128 - _IPV6_BITS)
            return f"{IPv6Address(kept)}/{_IPV6_BITS}"
        parsed = parsed.ipv4_mapped
    kept = int(parsed) >> (32 - _IPV4_BITS) << (32 - _IPV4_BITS)
    return f"{IPv4Address(kept)}/{_IPV4_BITS}"


def device_type(user_agent: str, *, device: str | None, system: str | None) -> str | None:
    """desktop, mobile, tablet or bot; None where the user agent does not tell.

    `device` and `system` are families as the uap-core project names them. Browsers of telephones
    say "Mobi"; those of Android tablets do not. An iPad that asks for desktop pages says it is a
    Mac, and is taken for one.
    """
    if device == "Spider":
        return "bot"
    if device in {"iPad", "Kindle"} or "Tablet" in user_agent:
        return "tablet"
    if device == "iPhone" or "Mobi" in user_agent:
        return "mobile"
    if system == "Android":
        return "tablet"
    if system in _DESKTOP_SYSTEMS:
        return "desktop"
    return None
