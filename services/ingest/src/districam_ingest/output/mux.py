"""Makes an epoch's init segment with PyAV, and a fragment's record value: that init, one `moof` and one `mdat`."""
# PyAV types its **kwargs as unknown:
# pyright: reportUnknownMemberType=false

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
from av.audio.codeccontext import AudioCodecContext
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from districam_common.contract import ticks
from districam_common.mp4.writer import AudioSample
from districam_ingest.codec import h264, h265
from districam_ingest.codec.aac import AudioParameters
from districam_ingest.codec.nal import BitstreamError
from districam_ingest.codec.video_parameters import VideoParameters
from districam_ingest.output.boxes import encode_moof_mdat
from districam_ingest.units import UnmuxedFragment

_OPTIONS = {
    # frag_discont keeps absolute decode times. With an edit list, streams with B-frames would be shifted by up to 200 ms.
    "movflags": "empty_moov+default_base_moof+skip_trailer+frag_custom+frag_discont",
    "avoid_negative_ts": "disabled",
    "use_editlist": "0",
    "fflags": "+bitexact",
}
_TIME_BASE = Fraction(1, ticks.VIDEO_RATE)
_ENCODERS = {"h264": "libx264", "hevc": "libx265"}
# channelConfiguration (ISO/IEC 14496-3 table 1.19) → FFmpeg's channel layout
_CHANNEL_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1"}


def decoder_config(video: VideoParameters, parameter_sets: Sequence[bytes]) -> bytes:
    """Returns the avcC or hvcC record (ISO/IEC 14496-15) of the parameter sets.

    Raises:
        BitstreamError: a parameter set is missing.
    """
    return h264.encode_avcc(parameter_sets) if video.codec == "h264" else h265.encode_hvcc(parameter_sets)


def mux_init(video: VideoParameters, parameter_sets: Sequence[bytes], audio: AudioParameters | None = None) -> bytes:
    """Returns `ftyp` + `moov` of an epoch; audio, if any, is the second track. Deterministic: same input, same bytes.

    Raises:
        BitstreamError: a parameter set is missing, or the muxer refuses them.
    """
    config = decoder_config(video, parameter_sets)
    try:
        return _write_init(video, config, audio)
    except (FFmpegError, ValueError) as error:
        raise BitstreamError(f"the MP4 muxer rejected the parameter sets: {type(error).__name__}") from error


def _write_init(video: VideoParameters, config: bytes, audio: AudioParameters | None) -> bytes:
    # The templates are streams of a stub file that nothing is muxed into: an encoder would overwrite the extradata.
    with av.open(io.BytesIO(), "w", format="mp4") as stub:
        sink = io.BytesIO()
        out = av.open(sink, "w", format="mp4", buffer_size=1 << 16, options=_OPTIONS)
        stream = out.add_stream_from_template(stub.add_stream(_ENCODERS[video.codec]), opaque=False)
        context = stream.codec_context
        assert isinstance(context, VideoCodecContext)
        context.extradata, context.width, context.height = config, video.width, video.height
        stream.time_base = _TIME_BASE
        if video.codec == "hevc":
            context.codec_tag = "hvc1"  # hev1, the default, does not play in Safari
        if audio is not None:
            _add_audio_stream(stub, out, audio)
        out.start_encoding()
        out.close()
    return sink.getvalue()


def _add_audio_stream(stub: OutputContainer, out: OutputContainer, audio: AudioParameters) -> None:
    stream = out.add_stream_from_template(stub.add_stream("aac"), opaque=False)
    context = stream.codec_context
    assert isinstance(context, AudioCodecContext)
    context.extradata, context.sample_rate = audio.config, audio.clock_rate
    context.layout = _CHANNEL_LAYOUTS[audio.channels]
    stream.time_base = Fraction(1, audio.clock_rate)


def mux_fragment(init: bytes, fragment: UnmuxedFragment, audio: Sequence[AudioSample] = ()) -> bytes:
    """Returns a fragment's record value, which is playable by itself."""
    return encode_moof_mdat(fragment.units, fragment.last_duration_ticks, audio, prefix=init)


@dataclass(frozen=True, slots=True)
class Muxer:
    """The functions that write an epoch's media; a simulation replaces them."""

    decoder_config: Callable[[VideoParameters, Sequence[bytes]], bytes] = decoder_config
    init: Callable[[VideoParameters, Sequence[bytes], AudioParameters | None], bytes] = mux_init
    fragment: Callable[[bytes, UnmuxedFragment, Sequence[AudioSample]], bytes] = mux_fragment


MP4 = Muxer()
