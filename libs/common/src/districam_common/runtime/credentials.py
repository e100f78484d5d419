"""The cameras' user names and passwords, from a mounted YAML file: `{name: {username, password, hosts}}`. Never logged."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import cast

import yaml

from districam_common.errors import Retriable


@dataclass(frozen=True, slots=True)
class Credential:
    """User name and password for a camera.

    Attributes:
        networks: networks to which they may be sent; empty: to any host that the camera's record names.
    """

    username: str
    password: str = field(repr=False)
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def may_be_sent_to(self, address: str) -> bool:
        """Whether they may be sent to that IP address."""
        try:
            host = ip_address(address.partition("%")[0])
        except ValueError:
            return not self.networks
        mapped = getattr(host, "ipv4_mapped", None)
        return not self.networks or any((mapped or host) in network for network in self.networks)


class Credentials:
    """The file's entries; the file is read again when it has changed (mounted secrets are updated in place)."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._entries: dict[str, Credential] = {}

    def find(self, name: str) -> Credential | None:
        """The entry of that name; None if there is none. Calls `stat` on the file, and reads it if it has changed.

        Raises:
            Retriable: the file cannot be read or is malformed; the message contains nothing of the file's content.
        """
        if self._file is None:
            return None
        try:
            stat = self._file.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if stamp != self._stamp:
                self._entries = parse_credentials(self._file.read_text(encoding="utf-8"))
                self._stamp = stamp
        except (OSError, UnicodeDecodeError, ValueError) as error:
            why = (
                error
                if isinstance(error, OSError)
                else "must be YAML of the form {name: {username, password, hosts: [networks]}}"
            )
            raise Retriable(f"the credentials' file {self._file}: {why}") from None
        return self._entries.get(name)


def parse_credentials(text: str) -> dict[str, Credential]:
    """Parses a credentials file.

    Raises:
        ValueError: malformed; the message contains nothing of the content.
    """
    try:
        document: object = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError("not YAML") from None
    if not isinstance(document, dict):
        raise ValueError("not a mapping")  # noqa: TRY004  # callers expect one type of error
    return {str(name): _credential(entry) for name, entry in cast("dict[object, object]", document).items()}


def _credential(entry: object) -> Credential:
    fields = cast("dict[object, object]", entry) if isinstance(entry, dict) else {}
    username, password = fields.get("username"), fields.get("password")
    if not set(fields) <= {"username", "password", "hosts"} or username is None or password is None:
        raise ValueError("an entry has other fields than username, password and hosts")
    return Credential(str(username), str(password), _networks(fields.get("hosts")))


def _networks(hosts: object) -> tuple[IPv4Network | IPv6Network, ...]:
    """Parses addresses and networks (`10.0.4.0/24`); empty if the entry has no `hosts`."""
    if hosts is None:
        return ()
    if not isinstance(hosts, list) or not hosts:
        raise ValueError("hosts must be a non-empty list of addresses and networks")
    return tuple(ip_network(str(one)) for one in cast("list[object]", hosts))
