import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.codec import h264, h265
from districam_ingest.codec.dts_extractor import DtsExtractor
from districam_ingest.codec.nal import Codec
from unit.ingest.samples import TICKS_25, encoded


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize(("b_frames", "pyramid"), [(0, False), (1, False), (2, False), (3, True), (7, True)])
def test_dts_are_those_of_the_encoder(codec: Codec, *, b_frames: int, pyramid: bool):
    stream = encoded(codec, b_frames=b_frames, pyramid=pyramid)
    depth = (h264 if codec == "h264" else h265).parse_video_parameters(stream.sets).reorder_depth
    assert depth is not None
    times = DtsExtractor(depth, TICKS_25)
    assert [times.feed(pts) for _, pts, _, _ in stream.pictures] == [dts for _, _, dts, _ in stream.pictures]


@st.composite
def reordered(draw: st.DrawFn) -> tuple[int, list[int]]:
    """`depth`, and PTS in a decode order that needs at most `depth` pictures of reordering."""
    depth = draw(st.integers(0, 4))
    shown = draw(st.lists(st.integers(1, 9000), min_size=1, max_size=40))
    waiting = [sum(shown[: index + 1]) for index in range(len(shown))]
    order: list[int] = []
    while waiting:
        held = sum(1 for pts in order if pts > waiting[0])  # decoded already, output after the next one
        first = held >= depth
        order.append(waiting.pop(0 if first else draw(st.integers(0, min(4, len(waiting) - 1)))))
    return depth, order


@given(reordered())
def test_dts_increase_and_never_exceed_pts(case: tuple[int, list[int]]):
    depth, order = case
    times = DtsExtractor(depth, 3600)
    given_out = [times.feed(pts) for pts in order]
    assert all(dts <= pts for dts, pts in zip(given_out, order, strict=True))
    assert all(later > earlier for earlier, later in zip(given_out[depth:], given_out[depth + 1 :], strict=False))
    assert given_out[depth:] == sorted(order)[: max(0, len(order) - depth)]


def test_with_too_small_a_depth_dts_do_not_increase():
    stream = encoded(b_frames=3, pyramid=True)
    times = DtsExtractor(1, TICKS_25)
    given_out = [times.feed(pts) for _, pts, _, _ in stream.pictures]
    assert any(later <= earlier for earlier, later in itertools.pairwise(given_out))
