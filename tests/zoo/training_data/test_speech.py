"""The speech corpus: speakers by place, cleaning of clips, and a whole build from made-up packages.

Run: pytest tests/zoo/training_data/test_speech.py
"""

from pathlib import Path

import numpy as np
import pytest
from tokenzoo.zoo.training_data import clips, packages, speech, speech_list
from tokenzoo.zoo.training_data.manifest import MANIFEST, read_rows

RATE = 16_000


@pytest.mark.parametrize(
    ("package", "path", "speaker"),
    [
        ("asterisk-core-sounds-en-g722", "usr/share/asterisk/sounds/en_US_f_Allison/digits/1.g722", "asterisk-en"),
        ("asterisk-core-sounds-en-g722", "usr/share/asterisk/sounds/en_US_f_Allison/silence/1.g722", None),
        ("asterisk-core-sounds-ru-g722", "usr/share/asterisk/sounds/ru_RU_f_X/beeperr.g722", None),
        ("festvox-ru", "usr/share/festival/voices/russian/msu/wav/ru_0001.wav", "festvox-ru"),
        ("festvox-ru", "usr/share/festival/voices/russian/msu/lab/ru_0001.lab", None),
        ("fillets-ng-data-cs", "usr/share/games/fillets-ng/sound/city/cs/vit-m-hlava.ogg", "fillets-cs-m"),
        ("fillets-ng-data-nl", "usr/share/games/fillets-ng/sound/city/nl/vit-hs-x.ogg", "fillets-nl-side"),
        ("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps/a/cow_desc_be.ogg", "tuxpaint-be"),
        ("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps/a/cow_desc.ogg", "tuxpaint-en"),
        ("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps/a/7_en_GB.ogg", "tuxpaint-words-en_GB"),
        ("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps/a/7_lt.ogg", "tuxpaint-lt"),
        ("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps/a/7_es.ogg", None),
        ("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps/a/cow.ogg", None),
        ("klettres-data", "usr/share/klettres/nds/syllab/a.ogg", "klettres-nds"),
        ("ktuberling-data", "usr/share/ktuberling/sounds/uk/a.wav", "ktuberling-uk"),
        ("ktuberling-data", "usr/share/ktuberling/sounds/sr@latin/a.wav", None),
    ],
)
def test_speakers_by_place(package, path, speaker):
    assert speech.speaker_of(package, path) == speaker


def test_test_voices_are_in_no_other_split():
    assert not set(speech.TEST_SPEAKERS) & set(speech.VALID_SPEAKERS)
    assert {speech.split_of(name) for name in speech.TEST_SPEAKERS} == {"test"}
    assert {speech.split_of(name, last_sentence=True) for name in speech.VALID_SPEAKERS} == {"valid"}
    assert speech.split_of("festvox-ru") == "train"
    assert speech.split_of("festvox-ru", last_sentence=True) == "test_seen"
    assert speech.split_of("fillets-cs-m", last_sentence=True) == "train"


def voice(seconds: float, level: float = 0.2) -> np.ndarray:
    """A buzzing tone whose loudness moves like syllables, float32 [T]."""
    t = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 12))
    return (level * buzz * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def test_pauses_are_cut_to_a_third_of_a_second_and_sound_is_kept():
    silence = np.zeros(2 * RATE, np.float32)
    clip = np.concatenate([silence, voice(1.0), silence, voice(0.5), silence])
    cut = clips.shorten_pauses(clip, clips.active_frames(clip, RATE), RATE, 0.3)
    assert len(cut) / RATE == pytest.approx(1.5 + 0.3 + 0.3, abs=0.06)
    assert (np.abs(cut) > 0.02).sum() == pytest.approx((np.abs(clip) > 0.02).sum(), rel=0.01)
    short = np.concatenate([voice(1.0), silence[: RATE // 5], voice(1.0)])
    kept = clips.shorten_pauses(short, clips.active_frames(short, RATE), RATE, 0.3)
    assert len(kept) == pytest.approx(len(short), abs=RATE // 50)


def test_level_and_peak():
    loud = clips.set_level(voice(1.0), -23.0, 0.98)
    assert 10 * np.log10(np.mean(loud.astype(np.float64) ** 2)) == pytest.approx(-23.0, abs=0.01)
    spike = np.zeros(RATE, np.float32)
    spike[50] = 0.5
    assert np.abs(clips.set_level(spike, -23.0, 0.98)).max() == pytest.approx(0.98)


def test_short_and_silent_clips_are_dropped():
    rules = clips.ClipRules()
    assert clips.clean(voice(0.3), RATE, rules) is None
    assert clips.clean(np.zeros(RATE, np.float32), RATE, rules) is None
    mostly_silent = np.concatenate([voice(0.5), np.zeros(5 * RATE, np.float32)])
    assert clips.clean(mostly_silent, RATE, rules) is None
    kept = clips.clean(voice(1.0), RATE, rules)
    assert kept is not None
    assert kept.dtype == np.float32


def test_resampling_keeps_a_tone_and_removes_what_does_not_fit():
    t = np.arange(44_100) / 44_100
    tone = np.sin(2 * np.pi * 1000 * t).astype(np.float32)
    low = clips.resample(tone, 44_100, RATE)
    expected = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    assert len(low) == RATE
    assert np.abs(low - expected)[200:-200].max() < 0.01
    high = np.sin(2 * np.pi * 11_000 * t).astype(np.float32)
    assert np.abs(clips.resample(high, 44_100, RATE))[200:-200].max() < 0.01


def test_g722_is_read_at_16_khz(tmp_path):
    pytest.importorskip("av", reason="reading g722 needs the extra `media`")
    path = tmp_path / "a.g722"
    path.write_bytes(bytes(range(256)) * 10)
    samples, rate = clips.decode(path)
    assert rate == RATE
    assert samples.dtype == np.float32
    assert len(samples) == 2 * 2560  # 64 kbit/s: one byte codes two samples
    assert 0 < np.abs(samples).max() <= 1


def test_undecodable_files_name_themselves(tmp_path):
    (tmp_path / "a.ogg").write_bytes(b"no ogg")
    with pytest.raises(clips.ClipError, match=r"a\.ogg"):
        clips.decode(tmp_path / "a.ogg")


def fake_speech_cache(folder: Path) -> Path:
    """A cache with a handful of made-up clips for three speakers."""
    import soundfile

    root = folder / "unpacked"
    rng = np.random.default_rng(0)

    def write(package: str, path: str, seconds: float) -> None:
        file = root / package / path
        file.parent.mkdir(parents=True, exist_ok=True)
        samples = voice(seconds) + 1e-3 * rng.standard_normal(round(seconds * RATE)).astype(np.float32)
        soundfile.write(file, samples, RATE, format="OGG" if file.suffix == ".ogg" else "WAV")

    for name in speech.PACKAGES:
        (root / name).mkdir(parents=True)
        (root / f"{name}.sha256").write_text(packages.PACKAGES[name].sha256)
    voices = "usr/share/festival/voices/russian/msu"
    for number in range(62):
        write("festvox-ru", f"{voices}/wav/ru_{number:04d}.wav", 0.5)
    (root / "festvox-ru" / voices / "etc").mkdir()
    (root / "festvox-ru" / voices / "etc" / "txt.done.data").write_text('( ru_0061 "last one" )\n', encoding="utf-8")
    for number in range(9):
        write("klettres-data", f"usr/share/klettres/hu/alpha/{number}.ogg", 0.8)
    write("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps/a/cow_desc_el.ogg", 0.8)
    copy = root / "tuxpaint-stamps-default/usr/share/tuxpaint/stamps/b/cow_desc_el.ogg"
    copy.parent.mkdir()
    copy.write_bytes((root / "tuxpaint-stamps-default/usr/share/tuxpaint/stamps/a/cow_desc_el.ogg").read_bytes())
    return folder


def test_the_speech_corpus_from_made_up_packages(tmp_path):
    cache = fake_speech_cache(tmp_path / "cache")
    folder = speech.build_speech(tmp_path, cache=cache, workers=1, offline=True)
    rows = read_rows(folder / MANIFEST)
    count = {split: sum(row["split"] == split for row in rows) for split in ("train", "valid", "test", "test_seen")}
    assert count == {"train": 2, "valid": 1, "test": 9, "test_seen": 60}
    assert len(list(folder.glob("valid/tuxpaint-el/*.flac"))) == 1  # the copy is gone
    for row in rows:
        assert (folder / row["split"] / row["speaker"] / f"{row['id']}.flac").is_file()
    seen = {row["id"]: row for row in read_rows(folder / "transcripts.tsv")}
    assert seen["msu-wav-ru_0061"] == {"id": "msu-wav-ru_0061", "split": "test_seen", "text": "last one"}
    listed = (folder / "test_list.txt").read_text().split()
    assert listed == ["test_list/klettres-hu-00.flac", "test_list/klettres-hu-01.flac"]
    again = speech.build_speech(tmp_path / "again", cache=cache, workers=1, offline=True)
    assert (again / MANIFEST).read_bytes() == (folder / MANIFEST).read_bytes()
    assert (again / listed[0]).read_bytes() == (folder / listed[0]).read_bytes()


def test_long_clips_come_first_and_short_ones_are_joined():
    given = [("a", 1.0), ("b", 2.5), ("c", 9.0), ("d", 1.0), ("e", 1.0), ("f", 1.9), ("g", 0.5)]
    assert speech_list.group_clips(given, count=7) == [["b"], ["a", "d", "e"]]
    assert speech_list.group_clips(given, count=1) == [["b"]]
    joined = speech_list.join([np.ones(1600, np.float32)] * 2, RATE)
    assert len(joined) == 2 * 1600 + 1600
    assert not joined[1600:3200].any()
