"""Passes one connection's audio from the reader to `AudioSync`."""

from districam_ingest.codec.audio_codecs import TRANSCODED
from districam_ingest.output import g711
from districam_ingest.output.g711 import Transcoder, TranscoderPool
from districam_ingest.readers.reader import Source
from districam_ingest.recording.audio_sync import AudioSync


class AudioPipeline:
    """Feeds the source's audio to `audio_sync`; G.711 passes through the transcoder first."""

    def __init__(self, source: Source, audio_sync: AudioSync, transcoder: Transcoder | None) -> None:
        self.audio_sync = audio_sync
        self._source, self._transcoder = source, transcoder

    def forward(self) -> None:
        """Forwards all audio received so far, without waiting."""
        units = self._source.drain_audio()
        if self._transcoder is not None:
            units = self._transcoder.feed(units)
        self.audio_sync.feed_audio(units)


def create_audio_pipeline(source: Source, transcoders: TranscoderPool | None) -> AudioPipeline | None:
    """Returns None if the source has no audio that can be stored."""
    info = source.info
    if info.audio is not None:
        return AudioPipeline(source, AudioSync(info.audio), None)
    if info.has_g711 and transcoders is not None and info.audio_codec in TRANSCODED:
        return AudioPipeline(source, AudioSync(g711.AAC_PARAMETERS), transcoders.create_transcoder(info.audio_codec))
    return None
