"""All targets, and where what is known of them is kept."""

from pathlib import Path

from fuzz.bitstream import BITSTREAMS
from fuzz.conversation import RTSP
from fuzz.description import SDP
from fuzz.packets import RTP
from fuzz.records import RECORDS
from fuzz.target import Target

TARGETS: dict[str, Target] = {one.name: one for one in (RTSP, RTP, SDP, BITSTREAMS, RECORDS)}
CORPUS = Path(__file__).parent / "corpus"


def kept(name: str) -> list[Path]:
    """The inputs of a target that the repository holds."""
    return sorted(path for path in (CORPUS / name).glob("*") if path.is_file())
