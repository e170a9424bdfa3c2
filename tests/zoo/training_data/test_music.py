"""The music corpus: which pieces of a track are kept, splits by track, and a whole build from made-up packages.

Run: pytest tests/zoo/training_data/test_music.py
"""

import io
import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from built_twice import assert_same_files
from tokenzoo.zoo.training_data import music, packages
from tokenzoo.zoo.training_data.clips import ClipError
from tokenzoo.zoo.training_data.manifest import MANIFEST, read_rows


def sound(seconds: float, seed: int, *, rate: int = 8000, gain: float = 0.2, format: str = "FLAC") -> bytes:
    """A stereo file of noise."""
    samples = gain * np.random.default_rng(seed).standard_normal((int(seconds * rate), 2))
    out = io.BytesIO()
    soundfile.write(out, samples.clip(-1, 1), rate, format=format)
    return out.getvalue()


@pytest.mark.parametrize("seconds, expected", [(3, [0]), (25, [2.5]), (40, [0, 20]), (50, [0, 30]), (65, [0, 22.5, 45])])
def test_pieces_are_evenly_spaced(seconds, expected):
    assert music.starts(seconds) == pytest.approx(expected)


@pytest.mark.parametrize("seconds", [181, 600, 3600])
def test_long_tracks_give_nine_pieces_from_start_to_end(seconds):
    found = music.starts(seconds)
    assert len(found) == 9 and found[0] == 0 and found[-1] == pytest.approx(seconds - music.PIECE_SECONDS)
    assert all(b - a >= music.PIECE_SECONDS for a, b in itertools.pairwise(found))


def test_pieces_are_mono_at_one_rate_and_neither_loud_nor_silent():
    (start, piece), *others = music.pieces(sound(3, 0, gain=0.5), "a")
    assert (start, len(piece), others) == (0, 3 * music.RATE_HZ, [])
    assert np.abs(piece).max() <= music.PEAK + 1e-6
    assert list(music.pieces(sound(3, 0, gain=1e-4), "quiet")) == []
    assert list(music.pieces(sound(0.5, 0), "short")) == []
    with pytest.raises(ClipError, match="damaged"):
        list(music.pieces(b"no sound", "damaged"))


def fake_cache(folder: Path) -> Path:
    """A cache of all packages of the corpus with three short tracks each, one of them twice."""
    for number, package in enumerate(music.SOURCES):
        unpacked = folder / "unpacked" / package
        where = unpacked / "usr" / {"warzone2100-music": "albums/one", "wesnoth-1.16-music": "core/music"}.get(package, "music")
        where = {
            "marsshooter-data": unpacked / "audio" / "music", "fretsonfire-songs-muldjord": unpacked / "songs" / "a",
            "fretsonfire-songs-sectoid": unpacked / "songs" / "a", "hedgewars-data": unpacked / "Data" / "Music",
            "sonic-pi-samples": unpacked / "samples",
        }.get(package, where)  # fmt: skip
        where.mkdir(parents=True)
        files = {f"t{i}.flac": sound(11 if i == 2 else 1.5, 10 * number + i) for i in range(3)}
        files["copy.flac"] = files["t0.flac"]
        if package == "nexuiz-music":
            with zipfile.ZipFile(where / "data.pk3", "w") as archive:
                for name, data in {**files, "readme.txt": b"no sound"}.items():
                    archive.writestr(f"sound/{name}", data)
        else:
            for name, data in files.items():
                (where / name).write_bytes(data)
        unpacked.with_name(f"{package}.sha256").write_text(packages.PACKAGES[package].sha256)
    return folder


def test_the_music_corpus_is_the_same_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(music, "TEST_SHARE", 0.4)
    cache = fake_cache(tmp_path / "cache")
    one, two = (music.build_music(tmp_path / name, cache=cache, workers=1, offline=True) for name in ("one", "two"))
    assert_same_files(one, two)
    rows = read_rows(one / MANIFEST)
    assert len(rows) == 3 * len(music.SOURCES)  # without the copies
    assert {row["split"] for row in rows if row["package"] == music.OUT_OF_SOURCE} == {"test_ood"}
    for row in rows:
        info = soundfile.info(one / row["split"] / f"{row['id']}.flac")
        assert (info.samplerate, info.channels) == (music.RATE_HZ, 1)
        assert info.duration == pytest.approx(float(row["seconds"]), abs=1e-3)
    listed = (one / "test_list.txt").read_text().split()
    long = [row for row in rows if row["split"] in ("test", "test_ood") and float(row["seconds"]) > 10]
    assert len(listed) == len(long) > 0
    assert all(soundfile.info(one / name).duration == pytest.approx(music.LISTED_SECONDS) for name in listed)


def test_names_keep_the_ending_where_nothing_else_tells_two_files_apart():
    paths = ["sounds/grow.ogg", "sounds/grow.wav", "sounds/hop.wav", "music/grow.ogg"]
    tracks = [music.Track(package="p", path=f"a/{path}", file=Path(path)) for path in paths]
    assert list(music.name_tracks(tracks).values()) == ["p/sounds-grow.ogg", "p/sounds-grow.wav", "p/sounds-hop", "p/music-grow"]
    other = music.Track(package="p", path="b/sounds/hop.wav", file=Path("b"))
    with pytest.raises(ValueError, match="sounds-hop"):
        music.name_tracks([*tracks, other])
