"""NAL units into pictures: by timestamp, and by the marker bit where a camera sets it as it should.

RFC 6184 section 5.1 and RFC 7798 section 4.1 mark a picture's last packet. Cameras mark every slice, parameter sets, or
nothing. So a camera's markers are believed once they have agreed with its timestamps for a while, and until they do not.
A believed marker saves waiting for the next picture; all else is the same without it.
"""

from typing import Final

from districam_ingest.codec.nal import Codec, is_leading, is_slice, starts_picture
from districam_ingest.rtsp.fragments import PICTURE_MOST
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.pace import PICTURE_COST
from districam_ingest.units import Picture

PROVEN: Final = 8
"""So many pictures with one marker, on their last packet, make markers believed."""
UNITS_MOST: Final = 4096
"""NAL units of a picture. H.264 and H.265 allow at most a few hundred slices (level limits, tables A-1 and A.8)."""
_OVERHEAD: Final = 64


class Pictures:
    """Takes each packet's NAL units in order; `done` gathers the pictures.

    Not all of one timestamp are one picture: a camera's clock may stand still, or a picture be sent twice. A second
    first slice begins another one, with what stands between the slices (H.264 section 7.4.1.2.3), unless it may be
    the second field of a frame.

    Nor has all of one picture its timestamp: some cameras send parameter sets, or SEI, with the timestamp of the picture
    before (a Reolink RLC-822A, a TP-Link Tapo C260; docs/cameras.md: early-sets, trailing-sei). What begins an access unit
    and stands behind the last slice goes to the next picture, whatever its timestamp.

    Args:
        has_fields: whether two coded pictures may be the fields of one frame, with one timestamp.

    Attributes:
        spent: what the pictures and their NAL units have cost, in the units of `pace`.
    """

    def __init__(self, codec: Codec, *, has_fields: bool) -> None:
        self._codec: Codec = codec
        self._has_fields = has_fields
        self.done: list[Picture] = []
        self.spent = 0
        self._nals: list[bytes] = []
        self._size = 0
        self._pts: int | None = None
        self._arrival_us: int | None = None
        self._camera_us: int | None = None
        self._lost = 0
        self._is_damaged = self._is_doubtful = False
        self._has_slice = False
        self._leads = True  # there are no units but such as begin an access unit
        self._tail: tuple[int, int] | None = None  # where the next access unit begins, and when that came
        self._markers = 0
        self._is_marked = False
        self._agreed = 0

    @property
    def is_marked(self) -> bool:
        """Whether the last packet was."""
        return self._is_marked

    def begin(self, pts: int, at_us: int, camera_us: int | None) -> None:
        """The packets that follow have another timestamp than those before."""
        if self._pts is not None and not self._lost:
            agrees = self._markers == 1 and self._is_marked
            self._agreed = self._agreed + 1 if agrees else 0
        if not self._nals or self._has_slice or not self._leads or self._is_damaged or self._is_doubtful:
            following = self._cut_tail()
            self._finish()
            self._hold(following)
        # What was held came with the picture before; this one came now, and never seems to have come early.
        self._pts, self._arrival_us, self._camera_us = pts, at_us, camera_us
        self._markers, self._is_marked = 0, False
        self._is_damaged = self._is_doubtful = False

    def miss(self, packets: int) -> None:
        """Packets of this picture are missing."""
        self._lost += packets
        self._is_damaged = True

    def damage(self) -> None:
        """Something of this picture was left out."""
        self._is_damaged = True

    def miss_behind(self, packets: int) -> int:
        """Packets are missing, and the next one has another timestamp. How many are left to miss before that.

        Which picture they belong to is not known. One that lacks its marker lacks its end.
        """
        if self._is_marked or not self._nals:
            return packets
        self.miss(1)
        return packets - 1

    def miss_before(self, packets: int) -> None:
        """Packets were missing before this picture. If it is whole, shows in its first slice."""
        self._lost += packets
        self._is_doubtful = True

    def push(self, nals: list[bytes], at_us: int, *, is_marked: bool) -> None:
        """The NAL units that a packet completed; the marker is the packet's.

        Raises:
            RtspError: the picture is larger than any.
        """
        self._is_marked = is_marked
        self._markers += is_marked
        self.extend(nals, at_us)
        if is_marked and self._agreed >= PROVEN and self._has_slice and not self._has_fields:
            self._finish()

    def extend(self, nals: list[bytes], at_us: int) -> None:
        """Like `push`, without a packet."""
        for nal in nals:
            self._add(nal, at_us)

    def end(self) -> None:
        """Nothing more comes: the last picture is done."""
        self._finish()

    def _add(self, nal: bytes, at_us: int) -> None:
        if self._arrival_us is None:
            self._arrival_us = at_us
        if is_slice(self._codec, nal):
            if self._has_slice and not self._has_fields and starts_picture(self._codec, nal):
                self._split(at_us)
            if self._is_doubtful and not self._has_slice:
                self._is_damaged = self._is_damaged or not starts_picture(self._codec, nal)
                self._is_doubtful = False
            self._has_slice, self._tail = True, None
        elif not is_leading(self._codec, nal):
            self._leads = False
        elif self._has_slice and self._tail is None:
            self._tail = (len(self._nals), at_us)
        self._nals.append(nal)
        self._size += len(nal) + _OVERHEAD
        if self._size > PICTURE_MOST:
            raise RtspError("a picture is too large")
        if len(self._nals) > UNITS_MOST:
            raise RtspError(f"a picture of more than {UNITS_MOST} NAL units")

    def _split(self, at_us: int) -> None:
        began_us = self._tail[1] if self._tail is not None else at_us
        following = self._cut_tail()
        self._finish()
        self._hold(following)
        self._arrival_us = began_us

    def _cut_tail(self) -> list[bytes]:
        """Takes off what follows the last slice and begins the next access unit."""
        if self._tail is None:
            return []
        place = self._tail[0]
        following = self._nals[place:]
        del self._nals[place:]
        return following

    def _hold(self, nals: list[bytes]) -> None:
        """Begins a picture with these units, none of them a slice."""
        self._nals = nals
        self._size = sum(len(nal) + _OVERHEAD for nal in nals)

    def _finish(self) -> None:
        """A picture without a slice is left out, unless it is no video; what was lost of it is told with the next one."""
        if self._nals:
            self.spent += PICTURE_COST + len(self._nals)
        is_void = not self._has_slice and (self._is_damaged or self._is_doubtful or self._leads)
        if self._nals and not is_void and self._pts is not None and self._arrival_us is not None:
            nals, lost, is_damaged = tuple(self._nals), self._lost, self._is_damaged
            self.done.append(
                Picture(nals, self._pts, self._arrival_us, self._camera_us, lost, is_damaged=is_damaged)
            )
            self._lost, self._is_damaged = 0, False
        self._nals, self._size, self._arrival_us = [], 0, None
        self._has_slice, self._leads, self._tail = False, True, None
