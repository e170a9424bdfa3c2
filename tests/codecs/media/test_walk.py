"""Files of folders, and blobs. Run: pytest tests/codecs/media/test_walk.py"""

import glob
import os
import tarfile
from pathlib import Path

import pytest
from tokenzoo.codecs.media import BrokenBlob, FileBlob, MediaError, MemoryBlob, Seen, TarBlob, at_hand, matches, open_cell, opened, walk


def names(root: Path, endings=(".wav",), **options) -> list[str]:
    return [os.path.relpath(p, root) for p in walk(str(root), endings, **options)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.wav", "a.WAV", "notes.txt", ".hidden.wav", "sub/c.wav", "sub/.dots/d.wav", "empty/x.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_files_come_in_order_and_dots_stay_out(tree):
    assert names(tree) == ["a.WAV", "b.wav", "sub/c.wav"]
    assert names(tree, (".txt", ".md")) == ["notes.txt", "empty/x.md"]


def test_a_link_to_a_parent_multiplies_nothing(tree):
    (tree / "sub" / "back").symlink_to(tree)
    (tree / "self").symlink_to(".")
    assert names(tree) == ["a.WAV", "b.wav", "sub/c.wav"]


def test_folders_that_link_to_each_other_end(tmp_path):
    for a in "xyz":
        (tmp_path / a).mkdir()
        (tmp_path / a / f"{a}.wav").write_bytes(b"1")
        for b in "xyz":
            (tmp_path / a / f"to{b}").symlink_to(tmp_path / b)
    assert sorted(Path(n).name for n in names(tmp_path)) == ["x.wav", "y.wav", "z.wav"]


def test_a_second_name_of_a_folder_or_file_counts_once(tree, tmp_path_factory):
    (tree / "alias").symlink_to(tree / "sub")
    (tree / "z.wav").symlink_to(tree / "b.wav")
    os.link(tree / "b.wav", tree / "hard.wav")
    assert names(tree) == ["a.WAV", "b.wav", "alias/c.wav"]
    outside = tmp_path_factory.mktemp("outside")
    (outside / "o.wav").write_bytes(b"1")
    (tree / "linked").symlink_to(outside)
    assert "linked/o.wav" in names(tree), "links are followed"
    seen = Seen()
    assert names(tree, seen=seen) and not names(tree, seen=seen)


WILDCARDS = ("**/*.wav", "*/**/*.wav", "sub/**/*", "**", "**/sub/*.wav", "s*/**/c.wav", "*.wav", "**.wav", "**/sub", "no/**/*")


@pytest.mark.parametrize("wildcard", WILDCARDS)
@pytest.mark.parametrize("absolute", [False, True])
def test_wildcards_name_what_glob_says(wildcard, absolute, tree, monkeypatch):
    monkeypatch.chdir(tree)
    (tree / "sub" / "deep.wav").mkdir()
    (tree / "sub" / "deep.wav" / "e.wav").write_bytes(b"1")
    pattern = f"{tree}/{wildcard}" if absolute else wildcard
    assert matches(pattern) == [p for p in sorted(glob.glob(pattern, recursive=True)) if p != f"{tree}/"]


def test_wildcards_end_where_folders_link_to_each_other(tmp_path):
    for a in "xyz":
        (tmp_path / a).mkdir()
        (tmp_path / a / f"{a}.wav").write_bytes(b"1")
        for b in "xyz":
            (tmp_path / a / f"to{b}").symlink_to(tmp_path / b)
    assert sorted(Path(p).name for p in matches(f"{tmp_path}/**/*.wav")) == ["x.wav", "y.wav", "z.wav"]


def test_what_cannot_be_entered_or_read_is_told(tree, monkeypatch):
    (tree / "gone.wav").symlink_to(tree / "missing")
    os.mkfifo(tree / "pipe.wav")
    assert names(tree) == ["a.WAV", "b.wav", "gone.wav", "pipe.wav", "sub/c.wav"]
    scan = os.scandir

    def refused(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "no", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    broken: list[OSError] = []
    assert "sub/c.wav" not in names(tree, on_error=broken.append) and len(broken) == 1


def test_blobs(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.add(tmp_path / "x", "in/x")
        at = tar.getmembers()[0]
    with tarfile.open(tmp_path / "t.tar") as tar:
        at = tar.getmembers()[0]
    member = TarBlob(str(tmp_path / "t.tar"), at.name, at.offset_data, at.size)
    for blob in (FileBlob(str(tmp_path / "x")), member, MemoryBlob("m", b"abc")):
        for same in (blob, at_hand(blob)):
            with opened(same) as medium:
                assert medium.file.read() == b"abc" and medium.name.endswith(("x", "m"))
    assert isinstance(at_hand(member), MemoryBlob)
    with pytest.raises(MediaError, match="t.tar/in/x is cut short: 3 of 9000 bytes"):
        TarBlob(member.tar, at.name, (tmp_path / "t.tar").stat().st_size - 3, 9000).open()
    with pytest.raises(MediaError, match="why"), opened(BrokenBlob("b", "why")):
        pass


def test_cells(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    for cell in (b"abc", bytearray(b"abc"), {"bytes": b"abc", "path": "gone"}):
        assert open_cell(cell).read() == b"abc"
    for cell in (str(tmp_path / "x"), tmp_path / "x", {"bytes": None, "path": str(tmp_path / "x")}):
        assert open_cell(cell, allow_paths=True) == tmp_path / "x"
        with pytest.raises(MediaError, match="--allow-paths, or allow_paths=True"):
            open_cell(cell)
    for cell in (None, 3, {}, {"bytes": None, "path": None}):
        with pytest.raises(MediaError, match="holds neither bytes nor a path"):
            open_cell(cell)
