import io
from dataclasses import replace

import av
import pytest

from districam_common.mp4 import boxes as mp4
from districam_devkit import bitstream
from districam_ingest.codec import h264, h265
from districam_ingest.codec.aac import parse_audio_specific_config
from districam_ingest.codec.nal import BitstreamError, Codec
from districam_ingest.codec.video_parameters import VideoParameters
from districam_ingest.output.mux import decoder_config, mux_init
from unit.ingest.samples import B_FRAMES, BASELINE, FULL_HD, HEVC, HEVC_10, INTERLACED_HRD, YUV444

STREAMS: list[tuple[Codec, tuple[bytes, ...]]] = [
    *(("h264", sets) for sets in (BASELINE, FULL_HD, B_FRAMES, YUV444, INTERLACED_HRD)),
    *(("hevc", sets) for sets in (HEVC, HEVC_10)),
]


def parse(codec: Codec, sets: tuple[bytes, ...]) -> VideoParameters:
    return (h264 if codec == "h264" else h265).parse_video_parameters(sets)


@pytest.mark.parametrize(("codec", "sets"), STREAMS)
def test_an_init_has_codec_size_and_parameter_sets_and_is_deterministic(codec: Codec, sets: tuple[bytes, ...]):
    video_parameters = parse(codec, sets)
    init = mux_init(video_parameters, sets)
    assert init == mux_init(video_parameters, sets)
    assert b"Lavf" not in init
    box_types = [init[4:8], init[int.from_bytes(init[:4], "big") + 4 :][:4]]
    assert box_types == [b"ftyp", b"moov"]
    with av.open(io.BytesIO(init), "r") as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.width, context.height) == (codec, video_parameters.width, video_parameters.height)
        assert context.codec_tag == ("avc1" if codec == "h264" else "hvc1")
        assert bytes(context.extradata or b"") == decoder_config(video_parameters, sets)
        assert bitstream.parameter_sets(codec, bytes(context.extradata or b"")) == list(sets)


def test_a_missing_parameter_set_is_a_bitstream_error():
    with pytest.raises(BitstreamError):
        mux_init(h264.parse_video_parameters(BASELINE), BASELINE[:1])


def test_an_error_of_the_muxer_is_a_bitstream_error():
    with pytest.raises(BitstreamError):
        mux_init(replace(h264.parse_video_parameters(BASELINE), width=0, height=0), BASELINE)


@pytest.mark.parametrize(("channels", "rate_index", "rate"), [(1, 8, 16_000), (2, 3, 48_000), (6, 4, 44_100)])
def test_audio_is_the_second_track_of_an_init(channels: int, rate_index: int, rate: int):
    config = (2 << 11 | rate_index << 7 | channels << 3).to_bytes(2, "big")
    video_parameters, audio = parse("h264", BASELINE), parse_audio_specific_config(config, rate)
    init = mux_init(video_parameters, BASELINE, audio)
    assert init == mux_init(video_parameters, BASELINE, audio)
    video, audio_track = mp4.tracks(init)
    assert (video.track_id, video.is_video, video.timescale) == (1, True, 90_000)
    assert (audio_track.track_id, audio_track.is_video, audio_track.timescale) == (2, False, rate)
    with av.open(io.BytesIO(init), "r") as container:
        context = container.streams.audio[0].codec_context
        assert (context.name, context.sample_rate, context.layout.nb_channels) == ("aac", rate, channels)
        assert bytes(context.extradata or b"") == config
