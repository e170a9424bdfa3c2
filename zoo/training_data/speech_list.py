"""A short, fixed list of test clips, at most `CLIPS_A_SPEAKER` of each test voice, so that an evaluation takes minutes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .clips import Waveform, write_flac

CLIPS_A_SPEAKER = 7
SHORTEST_SECONDS, LONGEST_SECONDS, JOINED_SECONDS = 2.0, 8.0, 3.0
GAP_SECONDS = 0.1


def write_test_list(corpus: Path, rows: list[dict[str, str]], speakers: tuple[str, ...]) -> list[str]:
    """Write `test_list/<speaker>-<n>.flac` and `test_list.txt` (paths in the corpus folder); returns the paths.

    A speaker's clips of 2 to 8 s are taken in the order of their hashes. For a speaker with too few of them, shorter clips are
    joined, with 0.1 s of silence between them, until each joined clip has 3 s; no clip is used twice.
    """
    import soundfile

    listed: list[str] = []
    for speaker in speakers:
        own = sorted((row for row in rows if row["speaker"] == speaker), key=lambda row: row["sha256"])
        for number, group in enumerate(group_clips([(row["id"], float(row["seconds"])) for row in own])):
            clips, rate_hz = [], 0
            for clip_id in group:
                samples, rate_hz = soundfile.read(corpus / "test" / speaker / f"{clip_id}.flac", dtype="float32")
                clips.append(samples)
            name = f"test_list/{speaker}-{number:02d}.flac"
            write_flac(corpus / name, join(clips, rate_hz), rate_hz)
            listed.append(name)
    (corpus / "test_list.txt").write_text("".join(f"{name}\n" for name in listed), encoding="utf-8")
    return listed


def group_clips(clips: list[tuple[str, float]], *, count: int = CLIPS_A_SPEAKER) -> list[list[str]]:
    """At most `count` groups of clip ids, each 2 to 8 s long with its gaps, from `(id, seconds)` in order."""
    groups = [[name] for name, seconds in clips if SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS][:count]
    group: list[str] = []
    total = 0.0
    for name, seconds in clips:
        if len(groups) >= count:
            break
        if seconds >= SHORTEST_SECONDS:
            continue
        group.append(name)
        total += seconds + (GAP_SECONDS if total else 0.0)
        if total >= JOINED_SECONDS:
            groups.append(group)
            group, total = [], 0.0
    return groups


def join(clips: list[Waveform], rate_hz: int) -> Waveform:
    """Clips [T] one after the other with a gap of silence between them."""
    gap = np.zeros(round(GAP_SECONDS * rate_hz), np.float32)
    parts = [part for clip in clips for part in (gap, clip)]
    return np.concatenate(parts[1:])
