"""Who asks, where proxies stand between: what they say, as far as they are trusted (RFC 7239, and X-Forwarded-For)."""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from districam_api.core.addresses import parse_address

Header = Literal["x-forwarded-for", "forwarded"]

MAX_HOPS = 16
"""More proxies stand in nobody's row."""


class TrustedProxies:
    """The networks whose machines are believed, and the one header that they write.

    Only one is read: a proxy leaves the other as the client sent it.
    """

    def __init__(self, networks: Sequence[str], header: Header) -> None:
        """Raises ValueError: one is no network."""
        self.header = header
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(one) for one in networks]

    def is_trusted(self, address: str) -> bool:
        """Whether that is a proxy of ours."""
        found = parse_address(address)
        return found is not None and any(found in network for network in self._networks)

    def client_address(self, peer: str, values: Sequence[str]) -> str:
        """The address of who asks.

        Each proxy adds at the right whom it heard. So from the right on, the first one that is no proxy of ours is who
        asks; what stands further left is anybody's invention.

        Args:
            peer: who is connected with us.
            values: what the lines of the header say, in order.
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
    """The elements, the last one first; a comma inside quotes is none that a proxy of ours wrote."""
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
    """Without a port: `192.0.2.1:80`, `[2001:db8::1]:80`, or either without."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, _, port = text.partition(":")
    return text if ":" in port else host
