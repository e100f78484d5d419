"""Whether an MP4 of fragments is whole, and how far it has got, told while it arrives (ISO/IEC 14496-12). Pure."""

from collections.abc import Iterator

_KEPT = frozenset({b"moov", b"moof"})
_KEPT_MOST_BYTES = 16 << 20
_INSIDE = frozenset({b"moov", b"trak", b"mdia", b"moof", b"traf"})


class Broken(Exception):
    """What has come is not a whole clip."""


class Watched:
    """An MP4 `ftyp moov (moof mdat)…` that is fed as it comes; keeps one `moof` at most.

    Attributes:
        seconds: media time at which the newest fragment begins.
        ends_s: media time at which it ends.
        bytes: how much has come.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.ends_s = 0.0
        self.bytes = 0
        self._held = bytearray()
        self._passing = 0
        self._front: list[bytes] = []
        self._last = b""
        self._rate = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes.

        Raises:
            Broken: they are none of such a file.
        """
        self.bytes += len(data)
        passed = min(self._passing, len(data))
        self._passing -= passed
        self._held += data[passed:]
        while self._held and self._step():
            pass

    def finish(self, least_s: float = 0.0) -> None:
        """Says that no more comes, and at which media time it was to end at the earliest.

        Raises:
            Broken: something is missing.
        """
        if self._held or self._passing:
            raise Broken(f"it ends inside a box, after {self.bytes} bytes")
        if self._last != b"mdat":
            raise Broken("it has no footage, or ends before a fragment's media")
        if self.ends_s and self.ends_s < least_s:
            raise Broken(f"it ends after {self.ends_s:.1f} s of at least {least_s:.1f}")

    def _step(self) -> bool:
        """Takes a box off the front; False: more has to come first."""
        if len(self._held) < 8:
            return False
        size, kind = int.from_bytes(self._held[:4], "big"), bytes(self._held[4:8])
        if size < 8 or not kind.isalnum():
            raise Broken(f"no box at byte {self.bytes - len(self._held)}")
        if kind in _KEPT:
            if size > _KEPT_MOST_BYTES:
                raise Broken(f"a {kind.decode()} of {size} bytes")
            if size > len(self._held):
                return False
            self._note(bytes(self._held[:size]))
        self._follows(kind)
        self._passing = max(0, size - len(self._held))
        del self._held[:size]
        return True

    def _follows(self, kind: bytes) -> None:
        if kind == b"mdat" and self._last != b"moof":
            raise Broken("media without a fragment's header")
        if kind not in {b"ftyp", b"moov"} and self._front != [b"ftyp", b"moov"]:
            raise Broken(f"it begins with {self._front}")
        if kind in {b"ftyp", b"moov"}:
            self._front.append(kind)
        self._last = kind

    def _note(self, data: bytes) -> None:
        """Of the first track alone, the video's."""
        starts = 0
        for kind, body in _walk(data):
            version = body[0] if body else 0
            if kind == b"mdhd" and not self._rate:
                self._rate = int.from_bytes(body[20:24] if version else body[12:16], "big")
            elif kind == b"tfdt" and self._rate:
                starts = int.from_bytes(body[4 : 12 if version else 8], "big")
                self.seconds = max(self.seconds, starts / self._rate)
            elif kind == b"trun" and self._rate:
                self.ends_s = max(self.ends_s, (starts + _lasts(body)) / self._rate)
                return


def _lasts(run: bytes) -> int:
    """Ticks that the samples of a `trun` last together (section 8.8.8); 0 if it does not say."""
    flags, count = int.from_bytes(run[1:4], "big"), int.from_bytes(run[4:8], "big")
    if not flags & 0x100:
        return 0
    table = run[8 + 4 * (bool(flags & 0x01) + bool(flags & 0x04)) :]
    step = 4 * sum(bool(flags & flag) for flag in (0x100, 0x200, 0x400, 0x800))
    return sum(
        int.from_bytes(table[at : at + 4], "big") for at in range(0, min(count * step, len(table)), step)
    )


def _walk(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes in `data`, and of those inside them that lead to times."""
    at = 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size < 8 or at + size > len(data):
            raise Broken(f"a box {kind!r} does not fit")
        body = data[at + 8 : at + size]
        yield kind, body
        if kind in _INSIDE:
            yield from _walk(body)
        at += size
