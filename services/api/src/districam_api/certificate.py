"""The certificate by which the api serves, taken up anew when its files change: it is renewed every few weeks."""

import asyncio
import ssl
from pathlib import Path

import structlog

log = structlog.get_logger()


class Certificate:
    """The pair of files; to be made before a context loads them, so that no change between is missed."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._pair = (certificate, key)
        self._tried = self._stamps()

    async def refresh(self, context: ssl.SSLContext) -> None:
        """Has `context` present a pair that has changed to whoever connects; connections keep what they began with.

        One that cannot be served leaves the old one in force, and is told once.
        """
        now = await asyncio.to_thread(self._stamps)
        if now == self._tried:
            return
        self._tried = now
        try:
            await asyncio.to_thread(self._load, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # half a pair stays here
            self._load(context)  # in the loop's thread: no handshake can begin meanwhile
        except OSError as error:  # ssl.SSLError is one
            log.warning("certificate not taken up", file=str(self._pair[0]), why=str(error))
        else:
            log.info("certificate taken up", file=str(self._pair[0]))

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(*self._pair, password="")  # an encrypted key is an error, not a question to a terminal

    def _stamps(self) -> list[tuple[int, int, int]]:
        return [_stamp(file) for file in self._pair]


def _stamp(file: Path) -> tuple[int, int, int]:
    """Differs when the file does, also behind the links by which Kubernetes replaces a secret; zeros when there is none."""
    try:
        found = file.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)
