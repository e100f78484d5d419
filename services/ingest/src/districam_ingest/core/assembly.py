"""Pieces of a stream, as RTP brings them, into pictures."""

from districam_ingest.core.nal import Codec, is_slice, split_annexb, starts_picture
from districam_ingest.core.units import Picture

_START_CODES = (b"\0\0\1", b"\0\0\0\1")


class Assembly:
    """Access units out of RTP's pieces: all of one have its timestamp (RFC 6184 section 5.1, RFC 7798 section 4.1).

    Not all of one timestamp are one: a camera's clock may stand still, or a picture be sent twice. A second first
    slice begins another picture, with what stands between the slices (H.264 section 7.4.1.2.3), unless it may be the
    second field of a frame.
    """

    def __init__(self, codec: Codec, *, has_fields: bool) -> None:
        self._codec: Codec = codec
        self._has_fields = has_fields
        self._parts: list[bytes] = []
        self._pts: int | None = None
        self._arrival_us = 0
        self._camera_us: int | None = None
        self._has_slice = False
        self._tail: tuple[int, int] | None = None  # which part follows the last slice, and when it came

    def push(self, data: bytes, pts: int | None, at_us: int, camera_us: int | None) -> Picture | None:
        """Takes the next piece (Annex B); gives the picture that ends before it."""
        if not self._parts and pts is None:
            return None
        done: Picture | None = None
        if pts is not None and pts != self._pts:
            done = self.end()
            self._pts, self._arrival_us, self._camera_us = pts, at_us, camera_us
        if not self._has_fields and data.startswith(_START_CODES):  # else it goes on with a NAL unit
            done = self._look(split_annexb(data), at_us) or done
        self._parts.append(data)
        return done

    def _look(self, nals: list[bytes], at_us: int) -> Picture | None:
        """The picture of the same time that ends before these NAL units."""
        has_slice = any(is_slice(self._codec, nal) for nal in nals)
        if not has_slice:
            if self._has_slice and self._tail is None:
                self._tail = (len(self._parts), at_us)
            return None
        done: Picture | None = None
        if self._has_slice and any(starts_picture(self._codec, nal) for nal in nals):
            place, began_us = self._tail or (len(self._parts), at_us)
            following = self._parts[place:]
            del self._parts[place:]
            done = self._picture()
            self._parts, self._arrival_us = following, began_us
        self._has_slice, self._tail = True, None
        return done

    def end(self) -> Picture | None:
        """The last picture."""
        done = self._picture()
        self._has_slice, self._tail = False, None
        return done

    def _picture(self) -> Picture | None:
        nals = tuple(split_annexb(b"".join(self._parts)))
        self._parts = []
        if not nals or self._pts is None:
            return None
        return Picture(nals, self._pts, self._arrival_us, camera_us=self._camera_us)
