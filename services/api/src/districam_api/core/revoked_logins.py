"""Logins that were ended before their time."""

from collections.abc import Mapping


class RevokedLogins:
    """What this replica knows of them: id, and when each would have expired by itself, after which it is forgotten.

    Until it has once heard what the others know, it knows nothing: `is_synced`.
    """

    def __init__(self) -> None:
        self._expiries: dict[str, int] = {}
        self.is_synced = False

    def revoke(self, login: str, expires_us: int) -> None:
        """That login opens nothing any more."""
        self._expiries[login] = expires_us

    def has(self, login: str) -> bool:
        return login in self._expiries

    def merge(self, known: Mapping[str, int], now_us: int) -> dict[str, int]:
        """Takes up what all replicas know, and gives what they do not know yet."""
        self._expiries = {
            login: expires_us for login, expires_us in {**self._expiries, **known}.items() if expires_us > now_us
        }
        self.is_synced = True
        return {login: expires_us for login, expires_us in self._expiries.items() if login not in known}
