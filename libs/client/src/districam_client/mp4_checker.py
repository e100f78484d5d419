"""Checks while a fragmented MP4 arrives whether it is complete, and how far it is (ISO/IEC 14496-12). Pure."""

from collections.abc import Iterator

_BUFFERED = frozenset({b"moov", b"moof"})
_MAX_BUFFERED_BYTES = 16 << 20
_CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"moof", b"traf"})


class InvalidMp4(Exception):
    """The data is not a complete clip."""


class FragmentedMp4Checker:
    """Checks an MP4 of `ftyp moov (moof mdat)…` as it arrives; buffers one `moof` at most.

    Attributes:
        newest_start_s: media time at which the newest fragment starts.
        end_s: media time at which it ends.
        received_bytes: bytes received so far.
    """

    def __init__(self) -> None:
        self.newest_start_s = 0.0
        self.end_s = 0.0
        self.received_bytes = 0
        self._buffer = bytearray()
        self._skip_bytes = 0
        self._header_boxes: list[bytes] = []
        self._last_box = b""
        self._timescale = 0

    def feed(self, data: bytes) -> None:
        """Checks the next bytes.

        Raises:
            InvalidMp4: they do not belong to such a file.
        """
        self.received_bytes += len(data)
        passed = min(self._skip_bytes, len(data))
        self._skip_bytes -= passed
        self._buffer += data[passed:]
        while self._buffer and self._step():
            pass

    def close(self, min_end_s: float = 0.0) -> None:
        """Checks that the file is complete; `min_end_s` is the least media time at which it may end.

        Raises:
            InvalidMp4: something is missing.
        """
        if self._buffer or self._skip_bytes:
            raise InvalidMp4(f"it ends inside a box after {self.received_bytes} bytes")
        if self._last_box != b"mdat":
            raise InvalidMp4("it has no footage, or ends before a fragment's mdat")
        if self.end_s and self.end_s < min_end_s:
            raise InvalidMp4(f"it ends after {self.end_s:.1f} s, expected at least {min_end_s:.1f}")

    def _step(self) -> bool:
        """Consumes one box; False if more bytes are needed."""
        if len(self._buffer) < 8:
            return False
        size, kind = int.from_bytes(self._buffer[:4], "big"), bytes(self._buffer[4:8])
        if size < 8 or not kind.isalnum():
            raise InvalidMp4(f"not a box at byte {self.received_bytes - len(self._buffer)}")
        if kind in _BUFFERED:
            if size > _MAX_BUFFERED_BYTES:
                raise InvalidMp4(f"a {kind.decode()} of {size} bytes is too large")
            if size > len(self._buffer):
                return False
            self._parse_times(bytes(self._buffer[:size]))
        self._check_order(kind)
        self._skip_bytes = max(0, size - len(self._buffer))
        del self._buffer[:size]
        return True

    def _check_order(self, kind: bytes) -> None:
        if kind == b"mdat" and self._last_box != b"moof":
            raise InvalidMp4("an mdat without its moof")
        if kind not in {b"ftyp", b"moov"} and self._header_boxes != [b"ftyp", b"moov"]:
            raise InvalidMp4(f"it begins with {self._header_boxes}, not with ftyp and moov")
        if kind in {b"ftyp", b"moov"}:
            self._header_boxes.append(kind)
        self._last_box = kind

    def _parse_times(self, data: bytes) -> None:
        """Reads the times of the first track, the video's."""
        starts = 0
        for kind, body in _walk(data):
            version = body[0] if body else 0
            if kind == b"mdhd" and not self._timescale:
                self._timescale = int.from_bytes(body[20:24] if version else body[12:16], "big")  # timescale (8.4.2)
            elif kind == b"tfdt" and self._timescale:
                starts = int.from_bytes(body[4 : 12 if version else 8], "big")  # baseMediaDecodeTime (8.8.12)
                self.newest_start_s = max(self.newest_start_s, starts / self._timescale)
            elif kind == b"trun" and self._timescale:
                self.end_s = max(self.end_s, (starts + _run_duration(body)) / self._timescale)
                return


def _run_duration(run: bytes) -> int:
    """Total duration of a `trun`'s samples in ticks (section 8.8.8); 0 if it has no sample durations."""
    flags, count = int.from_bytes(run[1:4], "big"), int.from_bytes(run[4:8], "big")  # tr_flags, sample_count
    if not flags & 0x100:  # sample-duration-present
        return 0
    table = run[8 + 4 * (bool(flags & 0x01) + bool(flags & 0x04)) :]  # after data_offset, first_sample_flags
    step = 4 * sum(bool(flags & flag) for flag in (0x100, 0x200, 0x400, 0x800))  # duration, size, flags, cto
    return sum(int.from_bytes(table[at : at + 4], "big") for at in range(0, min(count * step, len(table)), step))


def _walk(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of the boxes in `data`, and of those inside _CONTAINERS."""
    at = 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size < 8 or at + size > len(data):
            raise InvalidMp4(f"a box {kind!r} exceeds its container")
        body = data[at + 8 : at + size]
        yield kind, body
        if kind in _CONTAINERS:
            yield from _walk(body)
        at += size
