"""The init of an epoch, by PyAV; a fragment's value is that init and one `moof` + `mdat`."""
# PyAV types its **kwargs as unknown:
# pyright: reportUnknownMemberType=false

import io
from collections.abc import Sequence
from fractions import Fraction

import av
from av.audio.codeccontext import AudioCodecContext
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from districam_common.contract import ticks
from districam_common.mp4.writer import AudioUnit
from districam_ingest.codec import h264, h265
from districam_ingest.codec.aac import SoundShape
from districam_ingest.codec.nal import BitstreamError
from districam_ingest.codec.shape import VideoShape
from districam_ingest.output.boxes import moof_mdat
from districam_ingest.units import Cut

_OPTIONS = {
    # frag_discont keeps absolute decode times; no edit list, or B-frame streams come out shifted by up to 200 ms.
    "movflags": "empty_moov+default_base_moof+skip_trailer+frag_custom+frag_discont",
    "avoid_negative_ts": "disabled",
    "use_editlist": "0",
    "fflags": "+bitexact",
}
_TIME_BASE = Fraction(1, ticks.VIDEO_RATE)
_ENCODERS = {"h264": "libx264", "hevc": "libx265"}
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1"}


def decoder_config(shape: VideoShape, sets: Sequence[bytes]) -> bytes:
    """The avcC or hvcC of the parameter sets.

    Raises:
        BitstreamError: a set is missing.
    """
    return h264.avcc(sets) if shape.codec == "h264" else h265.hvcc(sets)


def init_of(shape: VideoShape, sets: Sequence[bytes], sound: SoundShape | None = None) -> bytes:
    """`ftyp` + `moov` of an epoch; with sound its track is the second. The same input gives the same bytes.

    Raises:
        BitstreamError: a parameter set is missing, or the muxer refuses them.
    """
    config = decoder_config(shape, sets)
    try:
        return _muxed_init(shape, config, sound)
    except (FFmpegError, ValueError) as error:
        raise BitstreamError(f"no MP4 of such parameter sets: {type(error).__name__}") from error


def _muxed_init(shape: VideoShape, config: bytes, sound: SoundShape | None) -> bytes:
    # Output streams that are never muxed into serve as templates: an encoder's own context would overwrite extradata.
    with av.open(io.BytesIO(), "w", format="mp4") as stub:
        sink = io.BytesIO()
        out = av.open(sink, "w", format="mp4", buffer_size=1 << 16, options=_OPTIONS)
        stream = out.add_stream_from_template(stub.add_stream(_ENCODERS[shape.codec]), opaque=False)
        context = stream.codec_context
        assert isinstance(context, VideoCodecContext)
        context.extradata, context.width, context.height = config, shape.width, shape.height
        stream.time_base = _TIME_BASE
        if shape.codec == "hevc":
            context.codec_tag = "hvc1"  # hev1, the default, does not play in Safari
        if sound is not None:
            _add_sound(stub, out, sound)
        out.start_encoding()
        out.close()
    return sink.getvalue()


def _add_sound(stub: OutputContainer, out: OutputContainer, sound: SoundShape) -> None:
    stream = out.add_stream_from_template(stub.add_stream("aac"), opaque=False)
    context = stream.codec_context
    assert isinstance(context, AudioCodecContext)
    context.extradata, context.sample_rate = sound.config, sound.rate
    context.layout = _LAYOUTS[sound.channels]
    stream.time_base = Fraction(1, sound.rate)


def value_of(init: bytes, cut: Cut, sound: Sequence[AudioUnit] = ()) -> bytes:
    """A fragment's record value, playable alone."""
    return moof_mdat(cut.units, cut.last_ticks, sound, front=init)
