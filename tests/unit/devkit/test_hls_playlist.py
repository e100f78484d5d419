"""Parsing of HLS playlists."""

import pytest

from districam_devkit.hls_playlist import MediaSegment, parse_playlist

PLAYLIST = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-MAP:URI="/a.mp4?token=1,2",BYTERANGE="700@0"
#EXTINF:4.000000,
#EXT-X-BYTERANGE:1000@700
/a.mp4?token=1,2
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="/b.mp4"
#EXTINF:2.5,
/b.mp4
#EXT-X-ENDLIST
"""


def test_entries_carry_their_map_and_ranges() -> None:
    assert parse_playlist(PLAYLIST) == [
        MediaSegment("/a.mp4?token=1,2", (700, 1000), "/a.mp4?token=1,2", (0, 700), 4.0, is_discontinuous=False),
        MediaSegment("/b.mp4", None, "/b.mp4", None, 2.5, is_discontinuous=True),
    ]


@pytest.mark.parametrize(
    "text",
    ["", "hello", "#EXTM3U\n#EXTINF:1,\n/a.mp4", '#EXTM3U\n#EXT-X-MAP:URI="a",BYTERANGE="7"'],
    ids=["empty", "no playlist", "no map", "a range without its offset"],
)
def test_an_invalid_playlist_is_rejected(text: str) -> None:
    with pytest.raises(ValueError):
        parse_playlist(text)
