"""Whom an address stands for."""

from ipaddress import IPv4Address, IPv6Address, ip_address


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address, an IPv4 one also where it is written as IPv6 (RFC 4291 section 2.5.5.2); None: it is none."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def client_network(text: str) -> str:
    """Under which name an address is counted: who has an IPv6 address has the 2^64 others beside it."""
    found = parse_address(text)
    if found is None:
        return ""
    return found.packed[:8].hex() if isinstance(found, IPv6Address) else str(found)
