import io
from dataclasses import replace

import av
import pytest

from districam_devkit import bitstream
from districam_ingest.core import h264, h265
from districam_ingest.core.nal import BitstreamError, Codec
from districam_ingest.core.shape import VideoShape
from districam_ingest.mux import decoder_config, init_of
from unit.ingest.samples import (
    B_FRAMES,
    BASELINE,
    FULL_HD,
    HEVC,
    HEVC_10,
    INTERLACED_HRD,
    YUV444,
)

STREAMS: list[tuple[Codec, tuple[bytes, ...]]] = [
    *(("h264", sets) for sets in (BASELINE, FULL_HD, B_FRAMES, YUV444, INTERLACED_HRD)),
    *(("hevc", sets) for sets in (HEVC, HEVC_10)),
]


def shape_of(codec: Codec, sets: tuple[bytes, ...]) -> VideoShape:
    return (h264 if codec == "h264" else h265).shape(sets)


@pytest.mark.parametrize(("codec", "sets"), STREAMS)
def test_an_init_holds_codec_size_and_parameter_sets_and_is_the_same_bytes_each_time(
    codec: Codec, sets: tuple[bytes, ...]
):
    shape = shape_of(codec, sets)
    init = init_of(shape, sets)
    assert init == init_of(shape, sets)
    assert b"Lavf" not in init
    kinds = [init[4:8], init[int.from_bytes(init[:4], "big") + 4 :][:4]]
    assert kinds == [b"ftyp", b"moov"]
    with av.open(io.BytesIO(init), "r") as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.width, context.height) == (codec, shape.width, shape.height)
        assert context.codec_tag == ("avc1" if codec == "h264" else "hvc1")
        assert bytes(context.extradata or b"") == decoder_config(shape, sets)
        assert bitstream.parameter_sets(codec, bytes(context.extradata or b"")) == list(sets)


def test_a_missing_parameter_set_is_refused():
    with pytest.raises(BitstreamError):
        init_of(h264.shape(BASELINE), BASELINE[:1])


def test_what_the_muxer_refuses_is_a_fault_of_the_bitstream():
    with pytest.raises(BitstreamError):
        init_of(replace(h264.shape(BASELINE), width=0, height=0), BASELINE)
