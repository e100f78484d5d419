"""All targets and the folders of their corpora."""

from pathlib import Path

from fuzz.bitstream_target import BITSTREAMS
from fuzz.records_target import RECORDS
from fuzz.rtp_target import RTP
from fuzz.rtsp_target import RTSP
from fuzz.sdp_target import SDP
from fuzz.target import Target

TARGETS: dict[str, Target] = {one.name: one for one in (RTSP, RTP, SDP, BITSTREAMS, RECORDS)}
CORPUS = Path(__file__).parent / "corpus"


def corpus_files(name: str) -> list[Path]:
    """The target's inputs in the repository."""
    return sorted(path for path in (CORPUS / name).glob("*") if path.is_file())
