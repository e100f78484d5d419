"""One connection's sound on its way from the reader to its epochs."""

from districam_ingest.output import g711
from districam_ingest.output.g711 import Transcoder, TranscoderPool
from districam_ingest.readers.reader import Source
from districam_ingest.recording.audio_sync import AudioSync


class AudioPipeline:
    """What the source gives goes to `audio_sync`, G.711 by way of the transcoder."""

    def __init__(self, source: Source, audio_sync: AudioSync, transcoder: Transcoder | None) -> None:
        self.audio_sync = audio_sync
        self._source, self._transcoder = source, transcoder

    def forward(self) -> None:
        """Takes all that has come; waits for nothing."""
        units = self._source.drain_audio()
        if self._transcoder is not None:
            units = self._transcoder.feed(units)
        self.audio_sync.feed_audio(units)


def create_audio_pipeline(source: Source, transcoders: TranscoderPool | None) -> AudioPipeline | None:
    """None if there is no sound to be stored."""
    info = source.info
    if info.audio is not None:
        return AudioPipeline(source, AudioSync(info.audio), None)
    if info.has_g711 and transcoders is not None and info.audio_codec in g711.G711_CODECS:
        return AudioPipeline(source, AudioSync(g711.AAC_PARAMETERS), transcoders.create_transcoder(info.audio_codec))
    return None
