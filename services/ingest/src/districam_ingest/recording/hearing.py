"""One connection's sound on its way from the reader to its epochs."""

from districam_ingest.output import g711
from districam_ingest.output.g711 import Transcoder, Transcoders
from districam_ingest.readers.reading import Source
from districam_ingest.recording.soundtrack import Soundtrack


class Hearing:
    """What the source gives goes to `track`, G.711 by way of the transcoder."""

    def __init__(self, source: Source, track: Soundtrack, transcoder: Transcoder | None) -> None:
        self.track = track
        self._source, self._transcoder = source, transcoder

    def hear(self) -> None:
        """Takes all that has come; waits for nothing."""
        sounds = self._source.take_sound()
        if self._transcoder is not None:
            sounds = self._transcoder.pass_on(sounds)
        self.track.hear(sounds)


def hearing_of(source: Source, transcoders: Transcoders | None) -> Hearing | None:
    """None if there is no sound to be stored."""
    info = source.info
    if info.sound is not None:
        return Hearing(source, Soundtrack(info.sound), None)
    if info.gives_g711 and transcoders is not None and info.sound_name in g711.NAMES:
        return Hearing(source, Soundtrack(g711.SHAPE), transcoders.transcoder(info.sound_name))
    return None
