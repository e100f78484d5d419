"""The TLS certificate, reloaded when its files change: it is renewed every few weeks."""

import asyncio
import ssl
from pathlib import Path

import structlog

log = structlog.get_logger()


class Certificate:
    """A certificate file and its key file. Create it before a context loads them, so that no change is missed."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._pair = (certificate, key)
        self._last_stamps = self._stamps()

    async def refresh(self, context: ssl.SSLContext) -> None:
        """Loads a changed pair into `context` for new connections; established ones keep theirs.

        A pair that cannot be loaded leaves the old one in use, and is logged once.
        """
        now = await asyncio.to_thread(self._stamps)
        if now == self._last_stamps:
            return
        self._last_stamps = now
        try:
            # Tried on another context first: half a pair must not reach `context`.
            await asyncio.to_thread(self._load, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self._load(context)  # in the loop's thread, so that no handshake sees half a pair
        except OSError as error:  # ssl.SSLError is one
            log.warning("certificate not reloaded", file=str(self._pair[0]), why=str(error))
        else:
            log.info("certificate reloaded", file=str(self._pair[0]))

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(*self._pair, password="")  # else OpenSSL asks the terminal for a passphrase

    def _stamps(self) -> list[tuple[int, int, int]]:
        return [_stamp(file) for file in self._pair]


def _stamp(file: Path) -> tuple[int, int, int]:
    """Inode, size and mtime; zeros if the file is missing. Follows links: Kubernetes swaps a link."""
    try:
        found = file.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)
