"""Client addresses, and the networks that they are counted under."""

from ipaddress import IPv4Address, IPv6Address, ip_address


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address; IPv4-mapped IPv6 becomes IPv4 (RFC 4291 section 2.5.5.2). None if `text` is not an address."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def client_network(text: str) -> str:
    """What an address counts under: IPv4 itself, IPv6 its /64, which one client has. Empty if invalid."""
    found = parse_address(text)
    if found is None:
        return ""
    return found.packed[:8].hex() if isinstance(found, IPv6Address) else str(found)
