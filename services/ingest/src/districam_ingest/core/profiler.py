"""What a camera is seen to be: rate, GOP, reordering, and the defects an operator should know."""

from dataclasses import dataclass

from districam_ingest.core.units import AccessUnit

WINDOW_US = 10_000_000
LONG_GOP_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One window's findings. `gop_s` is the longest distance of keyframes so far, None before the second one."""

    fps: float
    gop_s: float | None
    b_frames: bool
    defects: tuple[str, ...]


class Profiler:
    """Watches one epoch's access units."""

    def __init__(self) -> None:
        self._count = 0
        self._window_us = 0
        self._keyframe_us = 0
        self._gop_us = 0
        self._b_frames = False

    def push(self, unit: AccessUnit) -> Seen | None:
        """Takes an access unit; gives the findings once a window."""
        self._window_us = self._window_us or unit.start_us
        self._b_frames = self._b_frames or unit.pts != unit.dts
        if unit.is_keyframe:
            if self._keyframe_us:
                self._gop_us = max(self._gop_us, unit.start_us - self._keyframe_us)
            self._keyframe_us = unit.start_us
        elapsed_us = unit.start_us - self._window_us
        if elapsed_us < WINDOW_US:
            self._count += 1
            return None
        fps = self._count * 1e6 / elapsed_us
        self._count, self._window_us = 1, unit.start_us
        return Seen(fps=fps, gop_s=self._gop_s(), b_frames=self._b_frames, defects=self._defects(unit))

    def _gop_s(self) -> float | None:
        return round(self._gop_us / 1e6, 2) or None

    def _defects(self, unit: AccessUnit) -> tuple[str, ...]:
        out: list[str] = []
        since_us = max(self._gop_us, unit.start_us - self._keyframe_us)
        if since_us > LONG_GOP_S * 1e6:
            out.append(
                f"a keyframe only every {since_us / 1e6:.0f} s or more: slow to seek, and a reconnect waits for it"
            )
        if self._b_frames:
            out.append("reorders pictures (B-frames): adds delay")
        return tuple(out)
