"""NAL units into pictures: by timestamp, and by the marker bit where a camera sets it as it should.

RFC 6184 section 5.1 and RFC 7798 section 4.1 mark a picture's last packet. Cameras mark every slice, parameter sets, or
nothing. So a camera's markers are believed once they have agreed with its timestamps for a while, and until they do not.
A believed marker saves waiting for the next picture; all else is the same without it.
"""

from typing import Final

from districam_ingest.codec.nal import Codec, is_access_unit_start, is_first_slice, is_slice
from districam_ingest.rtsp.fu_assembler import MAX_PICTURE_BYTES
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.rate_limiter import PICTURE_COST
from districam_ingest.units import Picture

MIN_MARKER_AGREEMENTS: Final = 8
"""So many pictures with one marker, on their last packet, make markers believed."""
MAX_NAL_UNITS: Final = 4096
"""NAL units of a picture. H.264 and H.265 allow at most a few hundred slices (level limits, tables A-1 and A.8)."""
_NAL_OVERHEAD_BYTES: Final = 64


class AccessUnitAssembler:
    """Takes each packet's NAL units in order; `completed` gathers the pictures.

    Not all of one timestamp are one picture: a camera's clock may stand still, or a picture be sent twice. A second
    first slice begins another one, with what stands between the slices (H.264 section 7.4.1.2.3), unless it may be
    the second field of a frame.

    Nor has all of one picture its timestamp: some cameras send parameter sets, or SEI, with the timestamp of the picture
    before (a Reolink RLC-822A, a TP-Link Tapo C260; docs/cameras.md: early-sets, trailing-sei). What begins an access unit
    and stands behind the last slice goes to the next picture, whatever its timestamp.

    Args:
        has_fields: whether two coded pictures may be the fields of one frame, with one timestamp.

    Attributes:
        cost: what the pictures and their NAL units have cost, in the units of `pace`.
    """

    def __init__(self, codec: Codec, *, has_fields: bool) -> None:
        self._codec: Codec = codec
        self._has_fields = has_fields
        self.completed: list[Picture] = []
        self.cost = 0
        self._nals: list[bytes] = []
        self._size = 0
        self._pts: int | None = None
        self._arrival_us: int | None = None
        self._camera_us: int | None = None
        self._lost_packets = 0
        self._is_damaged = self._may_lack_start = False
        self._has_slice = False
        self._has_only_leading = True  # there are no units but such as begin an access unit
        self._tail_start: tuple[int, int] | None = None  # where the next access unit begins, and when that came
        self._marker_count = 0
        self._has_marker = False
        self._marker_agreements = 0

    @property
    def has_marker(self) -> bool:
        """Whether the last packet was."""
        return self._has_marker

    def begin_timestamp(self, pts: int, arrival_us: int, camera_us: int | None) -> None:
        """The packets that follow have another timestamp than those before."""
        if self._pts is not None and not self._lost_packets:
            agrees = self._marker_count == 1 and self._has_marker
            self._marker_agreements = self._marker_agreements + 1 if agrees else 0
        if not self._nals or self._has_slice or not self._has_only_leading or self._is_damaged or self._may_lack_start:
            following = self._detach_tail()
            self._complete_picture()
            self._restart_with(following)
        # What was held came with the picture before; this one came now, and never seems to have come early.
        self._pts, self._arrival_us, self._camera_us = pts, arrival_us, camera_us
        self._marker_count, self._has_marker = 0, False
        self._is_damaged = self._may_lack_start = False

    def report_loss(self, packets: int) -> None:
        """Packets of this picture are missing."""
        self._lost_packets += packets
        self._is_damaged = True

    def mark_damaged(self) -> None:
        """Something of this picture was left out."""
        self._is_damaged = True

    def report_loss_after(self, packets: int) -> int:
        """Packets are missing, and the next one has another timestamp. How many are left to miss before that.

        Which picture they belong to is not known. One that lacks its marker lacks its end.
        """
        if self._has_marker or not self._nals:
            return packets
        self.report_loss(1)
        return packets - 1

    def report_loss_before(self, packets: int) -> None:
        """Packets were missing before this picture. If it is whole, shows in its first slice."""
        self._lost_packets += packets
        self._may_lack_start = True

    def feed_packet(self, nals: list[bytes], arrival_us: int, *, has_marker: bool) -> None:
        """The NAL units that a packet completed; the marker is the packet's.

        Raises:
            RtspError: the picture is larger than any.
        """
        self._has_marker = has_marker
        self._marker_count += has_marker
        self.feed(nals, arrival_us)
        if has_marker and self._marker_agreements >= MIN_MARKER_AGREEMENTS and self._has_slice and not self._has_fields:
            self._complete_picture()

    def feed(self, nals: list[bytes], arrival_us: int) -> None:
        """Like `push`, without a packet."""
        for nal in nals:
            self._feed_nal(nal, arrival_us)

    def close(self) -> None:
        """Nothing more comes: the last picture is done."""
        self._complete_picture()

    def _feed_nal(self, nal: bytes, arrival_us: int) -> None:
        if self._arrival_us is None:
            self._arrival_us = arrival_us
        if is_slice(self._codec, nal):
            if self._has_slice and not self._has_fields and is_first_slice(self._codec, nal):
                self._split_picture(arrival_us)
            if self._may_lack_start and not self._has_slice:
                self._is_damaged = self._is_damaged or not is_first_slice(self._codec, nal)
                self._may_lack_start = False
            self._has_slice, self._tail_start = True, None
        elif not is_access_unit_start(self._codec, nal):
            self._has_only_leading = False
        elif self._has_slice and self._tail_start is None:
            self._tail_start = (len(self._nals), arrival_us)
        self._nals.append(nal)
        self._size += len(nal) + _NAL_OVERHEAD_BYTES
        if self._size > MAX_PICTURE_BYTES:
            raise RtspError("a picture is too large")
        if len(self._nals) > MAX_NAL_UNITS:
            raise RtspError(f"a picture of more than {MAX_NAL_UNITS} NAL units")

    def _split_picture(self, arrival_us: int) -> None:
        began_us = self._tail_start[1] if self._tail_start is not None else arrival_us
        following = self._detach_tail()
        self._complete_picture()
        self._restart_with(following)
        self._arrival_us = began_us

    def _detach_tail(self) -> list[bytes]:
        """Takes off what follows the last slice and begins the next access unit."""
        if self._tail_start is None:
            return []
        place = self._tail_start[0]
        following = self._nals[place:]
        del self._nals[place:]
        return following

    def _restart_with(self, nals: list[bytes]) -> None:
        """Begins a picture with these units, none of them a slice."""
        self._nals = nals
        self._size = sum(len(nal) + _NAL_OVERHEAD_BYTES for nal in nals)

    def _complete_picture(self) -> None:
        """A picture without a slice is left out, unless it is no video; what was lost of it is told with the next one."""
        if self._nals:
            self.cost += PICTURE_COST + len(self._nals)
        is_void = not self._has_slice and (self._is_damaged or self._may_lack_start or self._has_only_leading)
        if self._nals and not is_void and self._pts is not None and self._arrival_us is not None:
            nals, lost, is_damaged = tuple(self._nals), self._lost_packets, self._is_damaged
            self.completed.append(
                Picture(nals, self._pts, self._arrival_us, self._camera_us, lost, is_damaged=is_damaged)
            )
            self._lost_packets, self._is_damaged = 0, False
        self._nals, self._size, self._arrival_us = [], 0, None
        self._has_slice, self._has_only_leading, self._tail_start = False, True, None
