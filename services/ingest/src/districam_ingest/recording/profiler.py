"""Measures a camera's stream (rate, GOP, reordering, losses) and lists defects with their remedy for the operator."""

from dataclasses import dataclass
from typing import Final

from districam_ingest.units import AccessUnit

WINDOW_US: Final = 10_000_000
LONG_GOP_S: Final = 10.0
UNEVEN_GOP_S: Final = 4.0
UNEVEN_GOP_RATIO: Final = 2
"""Longest GOP ≥ `UNEVEN_GOP_S` and ≥ 2 × the shortest: reported as a smart codec (dynamic GOP length)."""
SENDER_REPORT_WAIT_US: Final = 2 * WINDOW_US
"""How long to wait for a sender report before its absence is a defect. They come every 5 s or so (RFC 3550 section 6.2)."""
MAX_CLOCK_OFFSET_US: Final = 5_000_000
"""A larger offset of the camera's clock is a defect."""
MIN_DRIFT_WINDOW_US: Final = 60_000_000
"""Minimum time over which drift is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileWindow:
    """One window's measurements.

    Attributes:
        last_gop_s: time between the last two keyframes; None before the second one.
        longest_gop_s: the longest such time in the epoch so far.
        bits_per_s, lost_packets: of the window.
        has_sender_reports: whether the camera sends RTCP sender reports; None while it is too early to tell.
        clock_offset_us: camera clock minus ours.
        clock_drift_ppm: how much faster than ours the camera's clock runs; None before a minute.
    """

    fps: float
    last_gop_s: float | None
    longest_gop_s: float | None
    has_b_frames: bool
    defects: tuple[str, ...]
    bits_per_s: int
    lost_packets: int
    has_sender_reports: bool | None
    clock_offset_us: int | None
    clock_drift_ppm: float | None


class Profiler:
    """Measures one epoch's access units."""

    def __init__(self) -> None:
        self._count = self._bytes = self._lost = 0
        self._epoch_start_us = self._window_start_us = 0
        self._last_keyframe_us = 0
        self._last_gop_us = self._longest_gop_us = self._shortest_gop_us = 0
        self._has_b_frames = self._has_packet_loss = False
        self._first_offset: tuple[int, int] | None = None  # (start_us, offset_us)
        self._offset_us: int | None = None

    def feed(self, unit: AccessUnit) -> ProfileWindow | None:
        """Takes the next access unit; returns the measurements once per window."""
        self._epoch_start_us = self._epoch_start_us or unit.start_us
        self._window_start_us = self._window_start_us or unit.start_us
        self._has_b_frames = self._has_b_frames or unit.pts != unit.dts
        if unit.is_keyframe:
            self._feed_keyframe(unit.start_us)
        if unit.camera_us is not None:
            self._offset_us = unit.camera_us - unit.start_us
            self._first_offset = self._first_offset or (unit.start_us, self._offset_us)
        elapsed_us = unit.start_us - self._window_start_us
        window = self._complete_window(unit.start_us, elapsed_us) if elapsed_us >= WINDOW_US else None
        self._count += 1
        self._bytes += unit.size
        self._lost += unit.lost_packets
        return window

    def _feed_keyframe(self, at_us: int) -> None:
        if self._last_keyframe_us:
            self._last_gop_us = gop_us = at_us - self._last_keyframe_us
            self._longest_gop_us = max(self._longest_gop_us, gop_us)
            self._shortest_gop_us = min(self._shortest_gop_us or gop_us, gop_us)
        self._last_keyframe_us = at_us

    def _complete_window(self, now_us: int, elapsed_us: int) -> ProfileWindow:
        count, size, lost = self._count, self._bytes, self._lost
        self._count = self._bytes = self._lost = 0
        self._window_start_us = now_us
        self._has_packet_loss = self._has_packet_loss or lost > 0
        is_report_overdue = now_us - self._epoch_start_us >= SENDER_REPORT_WAIT_US
        return ProfileWindow(
            fps=count * 1e6 / elapsed_us,
            last_gop_s=round(self._last_gop_us / 1e6, 2) or None,
            longest_gop_s=round(self._longest_gop_us / 1e6, 2) or None,
            has_b_frames=self._has_b_frames,
            defects=self._defects(now_us, is_report_overdue=is_report_overdue),
            bits_per_s=round(size * 8e6 / elapsed_us),
            lost_packets=lost,
            has_sender_reports=True if self._offset_us is not None else False if is_report_overdue else None,
            clock_offset_us=self._offset_us,
            clock_drift_ppm=self._drift_ppm(now_us),
        )

    def _drift_ppm(self, now_us: int) -> float | None:
        if self._first_offset is None or self._offset_us is None:
            return None
        since_us, first_us = self._first_offset
        if now_us - since_us < MIN_DRIFT_WINDOW_US:
            return None
        return round((self._offset_us - first_us) * 1e6 / (now_us - since_us), 1)

    def _defects(self, now_us: int, *, is_report_overdue: bool) -> tuple[str, ...]:
        gop_s = max(self._longest_gop_us, now_us - self._last_keyframe_us) / 1e6
        out: list[str] = []
        if gop_s > LONG_GOP_S:
            out.append(
                f"GOP of {gop_s:.0f} s or more: seeking and reconnecting are slow;"
                " set the camera's I-frame interval to 2 s"
            )
        elif self._longest_gop_us > max(UNEVEN_GOP_S * 1e6, UNEVEN_GOP_RATIO * self._shortest_gop_us):
            out.append("GOP length varies: disable the camera's smart codec")
        if self._has_b_frames:
            out.append("uses B-frames, which add delay: disable them")
        if self._has_packet_loss:
            out.append("packet loss: check the camera's network, or set its transport to tcp")
        if is_report_overdue and self._offset_us is None:
            out.append("sends no RTCP sender reports: the camera's clock is unknown")
        if self._offset_us is not None and abs(self._offset_us) > MAX_CLOCK_OFFSET_US:
            out.append("clock is more than 5 s off: configure an NTP time server on the camera")
        return tuple(out)
