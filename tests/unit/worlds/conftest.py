"""Worlds run without a muxer and without log lines."""

from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace

import pytest
import structlog

from districam_ingest.recording import epoch
from support import world_cameras


@pytest.fixture(scope="module", autouse=True)
def made_up_media() -> Iterator[None]:
    """Boxes that list their pictures, instead of MP4; epochs' dice rise, so that a world repeats itself."""
    numbers = count()

    def mux_init(_shape: object, _sets: object, _sound: object = None) -> bytes:
        return world_cameras.INIT

    def dice(size: int) -> bytes:
        return next(numbers).to_bytes(size, "big")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epoch, "mux_fragment", world_cameras.fragment_value)
        patch.setattr(epoch, "mux_init", mux_init)
        patch.setattr(epoch, "decoder_config", mux_init)
        patch.setattr(epoch, "secrets", SimpleNamespace(token_bytes=dice))
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        yield
        structlog.reset_defaults()
