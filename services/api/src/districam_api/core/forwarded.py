"""The client's address behind trusted proxies: X-Forwarded-For, or Forwarded (RFC 7239)."""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from districam_api.core.addresses import parse_address

Header = Literal["x-forwarded-for", "forwarded"]

MAX_HOPS = 16
"""Longer than any real chain of proxies; bounds the work on a forged header."""


class TrustedProxies:
    """The networks of trusted proxies, and the one header that they set.

    Only that one is read: a proxy passes the other on as the client sent it.
    """

    def __init__(self, networks: Sequence[str], header: Header) -> None:
        """Raises ValueError if one is not a network."""
        self.header = header
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(one) for one in networks]

    def is_trusted(self, address: str) -> bool:
        """Whether the address is a trusted proxy's."""
        found = parse_address(address)
        return found is not None and any(found in network for network in self._networks)

    def client_address(self, peer: str, values: Sequence[str]) -> str:
        """The client's address.

        Each proxy appends the address that it received the request from. From the right, the first address that is
        not a trusted proxy's is the client's; anything further left can be forged.

        Args:
            peer: the connection's other end.
            values: the header's lines, in order.
        """
        client = peer
        for hop, _ in zip(_from_the_right(values), range(MAX_HOPS), strict=False):
            if not self.is_trusted(client):
                break
            address = parse_address(_address(hop) if self.header == "x-forwarded-for" else _for(hop))
            if address is None:
                break
            client = str(address)
        return client


def _from_the_right(values: Iterable[str]) -> Iterator[str]:
    """The elements, last first. Commas inside quotes split too: trusted proxies write none."""
    rest = ",".join(values)
    while rest:
        rest, _, last = rest.rpartition(",")
        yield last.strip()


def _for(element: str) -> str:
    """The address in `for=192.0.2.60;proto=https` or `for="[2001:db8::1]:4711"`."""
    for pair in element.split(";"):
        name, _, value = pair.partition("=")
        if name.strip().lower() == "for":
            return _address(value.strip().strip('"'))
    return ""


def _address(text: str) -> str:
    """The address without its port: of `192.0.2.1:80`, `[2001:db8::1]:80`, or either without one."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, _, port = text.partition(":")
    return text if ":" in port else host
