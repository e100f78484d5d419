"""Audio in the shared scenario: stored once, in sync, and without any effect on the video."""

import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from districam_common.contract.events import Profile
from districam_common.mp4 import boxes as mp4
from districam_devkit.bitstream import parse_stored_pictures
from support import audio_probe
from support.scenario import Scenario
from support.scenario_cameras import (
    AAC,
    ALAW,
    AUDIO_CONFIGS,
    AUDIO_DISABLED,
    AUDIO_LOSSY,
    FFMPEG,
    LATE,
    MUTED,
    NATIVE,
    PLAYED_AUDIO,
    REFUSED,
    TOO_LATE,
    UDP,
    ULAW,
    UNREPORTED,
)

pytestmark = pytest.mark.timeout(300)

NEVER_US = 1_400_000
"""Tolerance for a busy machine; waiting for late or missing audio would take longer."""
FPS = 25
SYNC_S, ARRIVAL_S = 0.05, 0.1
"""With sender reports; from arrival times alone it depends on the machine's speed."""
STEADY = (NATIVE, FFMPEG, UNREPORTED, UDP, LATE)
G711 = (ULAW, ALAW)
TROUBLED = (MUTED, AUDIO_LOSSY, TOO_LATE)


def value_of(scenario: Scenario, camera_id: str) -> bytes:
    """The camera's only epoch as one file."""
    found = [fragment for fragment, _ in scenario.fragments[camera_id]]
    assert len({fragment.info.epoch for fragment in found}) == 1
    assert [fragment.info.seq for fragment in found] == list(range(len(found)))
    assert len({fragment.init for fragment in found}) == 1
    return found[0].init + b"".join(fragment.media for fragment in found)


@pytest.mark.parametrize("camera_id", [*STEADY, *G711, *TROUBLED])
def test_an_epoch_has_two_tracks_and_names_both_codecs(scenario: Scenario, camera_id: str):
    for fragment, _ in scenario.fragments[camera_id]:
        assert fragment.info.codecs.endswith(",mp4a.40.2")
        assert fragment.info.codecs.startswith("avc1.")
        assert fragment.info.access_units == len(parse_stored_pictures(fragment.value))
    video, sound = mp4.tracks(scenario.fragments[camera_id][0][0].init)
    assert video.is_video
    assert not sound.is_video
    assert sound.timescale == (8000 if camera_id in G711 else 16000)


@pytest.mark.parametrize("camera_id", [REFUSED, AUDIO_DISABLED])
def test_without_sound_video_alone_is_stored(scenario: Scenario, camera_id: str):
    fragment, _ = scenario.fragments[camera_id][0]
    assert [track.is_video for track in mp4.tracks(fragment.init)] == [True]
    assert "," not in fragment.info.codecs
    assert len(parse_stored_pictures(value_of(scenario, camera_id))) > 200


@pytest.mark.parametrize("camera_id", [*STEADY, *G711, *TROUBLED])
def test_the_soundtrack_has_no_hole_from_the_first_picture_to_the_last(scenario: Scenario, camera_id: str):
    """Players stall on missing audio, and the video with it."""
    value = value_of(scenario, camera_id)
    found = audio_probe.stored_audio_units(value)
    unit_s = 0.128 if camera_id in G711 else 0.064
    track = mp4.video_track(mp4.init_of(value))
    pictures = mp4.samples(value, track)
    start_s, end_s = pictures[0].dts / 90_000, (pictures[-1].dts + pictures[-1].duration) / 90_000
    assert -0.001 < found[0].at_s - start_s < unit_s
    assert abs(end_s - found[-1].until_s) < unit_s
    assert all(abs(later.at_s - earlier.until_s) < 0.002 for earlier, later in pairwise(found))


@pytest.mark.parametrize("camera_id", STEADY)
def test_each_unit_that_was_sent_is_stored_once_byte_for_byte(scenario: Scenario, camera_id: str):
    placed = audio_probe.loop_positions(audio_probe.stored_audio_units(value_of(scenario, camera_id)), AAC.tone)
    silent = [place is None for place in placed]
    assert not any(silent[4 : -30 if camera_id == LATE else -6])  # except before the first and after the last
    real = [place for place in placed if place is not None]
    assert len(real) > 100
    assert all((later - earlier) % len(AAC.tone.access_units) == 1 for earlier, later in pairwise(real))


def test_lost_audio_becomes_silence_and_the_rest_is_stored_once(scenario: Scenario):
    for camera_id, least, most in ((MUTED, 60, 90), (AUDIO_LOSSY, 10, 80)):
        found = audio_probe.stored_audio_units(value_of(scenario, camera_id))
        placed = audio_probe.loop_positions(found, AAC.tone)
        assert least <= placed.count(None) <= most
        real = [(unit.at_s, place) for unit, place in zip(found, placed, strict=True) if place is not None]
        for (at_s, place), (later_s, later) in pairwise(real):
            steps = round((later_s - at_s) / 0.064)
            assert (later - place) % len(AAC.tone.access_units) == steps % len(AAC.tone.access_units)


def test_late_audio_is_replaced_by_silence(scenario: Scenario):
    placed = audio_probe.loop_positions(audio_probe.stored_audio_units(value_of(scenario, TOO_LATE)), AAC.tone)
    assert not any(place is None for place in placed[4:30])
    assert set(placed[-100:]) == {None}


@pytest.mark.parametrize("camera_id", [*STEADY, *G711])
def test_beeps_are_in_sync_with_their_pictures(scenario: Scenario, camera_id: str):
    """A beep starts at each 25th picture of the camera."""
    value = value_of(scenario, camera_id)
    pictures = parse_stored_pictures(value)
    start_s = pictures[0].dts / 90_000
    shown_s = {one.number // FPS: one.dts / 90_000 - start_s for one in pictures if one.number % FPS == 0}
    found = [beep for beep in audio_probe.detect_beeps(value, start_s) if beep.at_s > 1]
    assert len(found) >= 8
    compared = 0
    for beep in found:
        second = min(shown_s, key=lambda n: abs(shown_s[n] - beep.at_s))
        if abs(shown_s[second] - beep.at_s) < 0.5:  # otherwise its picture was never sent: the simulator was suspended
            compared += 1
            assert second % 8 == beep.second, (beep, found, shown_s)
            assert abs(shown_s[second] - beep.at_s) < (ARRIVAL_S if camera_id == UNREPORTED else SYNC_S)
    assert compared >= 6


@pytest.mark.parametrize("camera_id", [*STEADY, *G711, *TROUBLED, REFUSED])
def test_pictures_never_wait_for_sound(scenario: Scenario, camera_id: str):
    def latest_us(which: str) -> int:
        rows = scenario.fragments[which][2:-1]
        return max(record.append_us - fragment.info.end_us for fragment, record in rows)

    assert latest_us(camera_id) < max(latest_us(AUDIO_DISABLED), 0) + NEVER_US
    stored = [one.number for one in parse_stored_pictures(value_of(scenario, camera_id))]
    sent = [one.number for one in scenario.sent[camera_id]]
    assert stored == sent[sent.index(stored[0]) :][: len(stored)]
    assert len(stored) > 200


@pytest.mark.parametrize("camera_id", [*STEADY, *G711, *TROUBLED])
def test_ffmpeg_decodes_without_warnings(scenario: Scenario, camera_id: str, tmp_path: Path):
    value = value_of(scenario, camera_id)
    segment_starts = [n for n, (f, _) in enumerate(scenario.fragments[camera_id]) if f.info.starts_segment]
    middle = scenario.fragments[camera_id][segment_starts[1] : segment_starts[2]]
    segment = middle[0][0].init + b"".join(fragment.media for fragment, _ in middle)
    command_line = ["ffmpeg", "-nostdin", "-v", "warning", "-xerror"]
    for n, content in enumerate((value, segment, middle[0][0].value)):
        (tmp_path / f"{n}.mp4").write_bytes(content)
        command_line += ["-i", f"{tmp_path}/{n}.mp4"]
    maps = [word for n in range(3) for word in ("-map", str(n))]
    decoded = subprocess.run(
        [*command_line, *maps, "-f", "null", "-"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (decoded.returncode, decoded.stdout + decoded.stderr) == (0, "")


@pytest.mark.parametrize("camera_id", PLAYED_AUDIO)
def test_chromium_plays_every_picture(scenario: Scenario, shown_by_chromium: dict[str, dict[str, Any]], camera_id: str):
    shown = shown_by_chromium[camera_id]
    assert "error" not in shown
    assert shown["ended"]
    assert abs(shown["frames"] - len(scenario.fragment_numbers(camera_id))) <= 2


def test_the_profile_names_the_sound(scenario: Scenario):
    decoded = {
        event.camera_id: event.audio
        for camera_id in AUDIO_CONFIGS
        for event, _ in scenario.events[camera_id]
        if isinstance(event, Profile)
    }
    assert decoded[NATIVE] == decoded[FFMPEG] == decoded[REFUSED] == decoded[AUDIO_DISABLED] == "aac"
    assert (decoded[ULAW], decoded[ALAW]) == ("pcm_mulaw", "pcm_alaw")
