"""Logins that were revoked before they expired."""

from collections.abc import Mapping


class RevokedLogins:
    """Revoked logins known to this replica, by id, with their expiry; after that they are dropped.

    Until the other replicas' have been read once, they are not known: `is_synced` is False.
    """

    def __init__(self) -> None:
        self._expiries: dict[str, int] = {}
        self.is_synced = False

    def revoke(self, login: str, expires_us: int) -> None:
        self._expiries[login] = expires_us

    def has(self, login: str) -> bool:
        return login in self._expiries

    def merge(self, known: Mapping[str, int], now_us: int) -> dict[str, int]:
        """Adds what all replicas know, and returns what they do not know yet."""
        self._expiries = {
            login: expires_us for login, expires_us in {**self._expiries, **known}.items() if expires_us > now_us
        }
        self.is_synced = True
        return {login: expires_us for login, expires_us in self._expiries.items() if login not in known}
