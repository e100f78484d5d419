"""Groups NAL units into pictures by RTP timestamp, and by the marker bit of cameras that set it correctly.

The marker bit belongs on a picture's last packet (RFC 6184 section 5.1, RFC 7798 section 4.1), but some
cameras set it on every slice, on parameter sets, or never. It is used after `MIN_MARKER_AGREEMENTS` pictures
in which it agreed with the timestamps, until it disagrees. It only saves waiting for the next picture; the
pictures are the same without it.
"""

from typing import Final

from districam_ingest.codec.nal import Codec, is_access_unit_start, is_first_slice, is_slice
from districam_ingest.rtsp.fu_assembler import MAX_PICTURE_BYTES
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.rate_limiter import PICTURE_COST
from districam_ingest.units import Picture

MIN_MARKER_AGREEMENTS: Final = 8
"""Consecutive pictures with one marker bit, on their last packet, after which the marker bit is used."""
MAX_NAL_UNITS: Final = 4096
"""NAL units of a picture. The levels allow a few hundred slices (H.264 section A.3.3, H.265 table A.8)."""
_NAL_OVERHEAD_BYTES: Final = 64  # counted for each, so that MAX_PICTURE_BYTES bounds tiny ones too


class AccessUnitAssembler:
    """Takes each packet's NAL units in order and collects whole pictures in `completed`.

    Several pictures may share a timestamp: a camera's clock may be frozen, or a picture sent twice. Another
    first slice starts a new picture, together with the NAL units between the slices (H.264 section
    7.4.1.2.3), unless it may be the second field of a frame.

    Some cameras send parameter sets or SEI with the timestamp of the previous picture (a Reolink RLC-822A, a
    TP-Link Tapo C260; docs/cameras.md: early-sets, trailing-sei). NAL units after the last slice that start
    an access unit go to the next picture, whatever their timestamp.

    Args:
        has_fields: whether two coded pictures may be the fields of one frame, with one timestamp.

    Attributes:
        completed: pictures in decode order; the caller takes them out.
        cost: cost units (`rate_limiter`) of all pictures and NAL units so far.
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
        self._has_only_leading = True  # all NAL units so far are of kinds that start an access unit
        # Index of the next access unit's first NAL unit, and its arrival_us.
        self._tail_start: tuple[int, int] | None = None
        self._marker_count = 0
        self._has_marker = False
        self._marker_agreements = 0

    @property
    def has_marker(self) -> bool:
        """Whether the last packet had the marker bit."""
        return self._has_marker

    def begin_timestamp(self, pts: int, arrival_us: int, camera_us: int | None) -> None:
        """Starts the next timestamp: packets from here on have another one than those before."""
        if self._pts is not None and not self._lost_packets:
            agrees = self._marker_count == 1 and self._has_marker
            self._marker_agreements = self._marker_agreements + 1 if agrees else 0
        if not self._nals or self._has_slice or not self._has_only_leading or self._is_damaged or self._may_lack_start:
            following = self._detach_tail()
            self._complete_picture()
            self._restart_with(following)
        # What was carried over arrived with the previous picture; with its arrival this one would seem early.
        self._pts, self._arrival_us, self._camera_us = pts, arrival_us, camera_us
        self._marker_count, self._has_marker = 0, False
        self._is_damaged = self._may_lack_start = False

    def report_loss(self, packets: int) -> None:
        """Counts `packets` of the current picture as lost, and marks it damaged."""
        self._lost_packets += packets
        self._is_damaged = True

    def mark_damaged(self) -> None:
        """Marks the current picture as damaged: a part of it was dropped."""
        self._is_damaged = True

    def report_loss_after(self, packets: int) -> int:
        """Records `packets` lost before a timestamp change; returns how many remain unattributed.

        The current picture has lost one of them if the marker bit, which ends it, has not come.
        """
        if self._has_marker or not self._nals:
            return packets
        self.report_loss(1)
        return packets - 1

    def report_loss_before(self, packets: int) -> None:
        """Records `packets` lost before the current picture. It is damaged if its first slice is missing."""
        self._lost_packets += packets
        self._may_lack_start = True

    def feed_packet(self, nals: list[bytes], arrival_us: int, *, has_marker: bool) -> None:
        """Takes the NAL units that a packet completed, and the packet's marker bit.

        Raises:
            RtspError: the picture exceeds `MAX_PICTURE_BYTES` or `MAX_NAL_UNITS`.
        """
        self._has_marker = has_marker
        self._marker_count += has_marker
        self.feed(nals, arrival_us)
        if has_marker and self._marker_agreements >= MIN_MARKER_AGREEMENTS and self._has_slice and not self._has_fields:
            self._complete_picture()

    def feed(self, nals: list[bytes], arrival_us: int) -> None:
        """Takes NAL units without a marker bit; raises as `feed_packet` does."""
        for nal in nals:
            self._feed_nal(nal, arrival_us)

    def close(self) -> None:
        """Completes the last picture."""
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
            raise RtspError(f"a picture exceeds {MAX_PICTURE_BYTES} bytes")
        if len(self._nals) > MAX_NAL_UNITS:
            raise RtspError(f"a picture has more than {MAX_NAL_UNITS} NAL units")

    def _split_picture(self, arrival_us: int) -> None:
        began_us = self._tail_start[1] if self._tail_start is not None else arrival_us
        following = self._detach_tail()
        self._complete_picture()
        self._restart_with(following)
        self._arrival_us = began_us

    def _detach_tail(self) -> list[bytes]:
        """Removes and returns the NAL units after the last slice that belong to the next access unit."""
        if self._tail_start is None:
            return []
        place = self._tail_start[0]
        following = self._nals[place:]
        del self._nals[place:]
        return following

    def _restart_with(self, nals: list[bytes]) -> None:
        """Begins a picture with NAL units of which none is a slice."""
        self._nals = nals
        self._size = sum(len(nal) + _NAL_OVERHEAD_BYTES for nal in nals)

    def _complete_picture(self) -> None:
        """Appends the picture to `completed`. One without slices is dropped, and its losses count for the next.

        An undamaged one with NAL units of other kinds than those that start an access unit is kept, so that a
        stream that is not video is noticed (`nal.is_corrupt`).
        """
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
