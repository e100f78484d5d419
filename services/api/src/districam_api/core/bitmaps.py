"""Windows of day bitmaps: one bit per 10 s slot, most significant bit first, one bitmap per UTC day."""

from base64 import b64encode
from collections.abc import Sequence

import numpy as np

from districam_api.core.times import Window
from districam_common.contract.names import DAY_US, SLOT_US

DAY_SLOTS = DAY_US // SLOT_US


def align_to_slots(window: Window) -> Window:
    """The window, widened to whole slots."""
    return Window(window.from_us // SLOT_US * SLOT_US, -(-window.to_us // SLOT_US) * SLOT_US)


def encode_window(days: Sequence[bytes], window: Window) -> tuple[str, int]:
    """The window's bits in base64, and how many are set.

    Args:
        days: the bitmap of each UTC day that the window intersects; may be short: Redis stores no trailing zeros.
        window: of whole slots.
    """
    whole = b"".join(day.ljust(DAY_SLOTS // 8, b"\0")[: DAY_SLOTS // 8] for day in days)
    first = window.from_us % DAY_US // SLOT_US
    slots = np.unpackbits(np.frombuffer(whole, np.uint8))[first : first + window.length_us // SLOT_US]
    return b64encode(np.packbits(slots).tobytes()).decode(), int(np.count_nonzero(slots))
