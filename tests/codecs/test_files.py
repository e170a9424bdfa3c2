"""Files and folders that are there whole or not at all."""

import errno
import os
import stat
import threading

import pytest
from tokenzoo.codecs import files
from tokenzoo.codecs.files import PARTIAL, remove_partial, replacing, replacing_folder, write_bytes, write_text


def names(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_new_file_and_one_that_takes_its_place(tmp_path):
    write_bytes(tmp_path / "a.bin", b"one")
    assert (tmp_path / "a.bin").read_bytes() == b"one"
    with replacing(str(tmp_path / "a.bin")) as file:
        file.write(b"two")
        assert (tmp_path / "a.bin").read_bytes() == b"one", "changed before the block ended"
    assert (tmp_path / "a.bin").read_bytes() == b"two"
    write_text(tmp_path / "ä.txt", "ö\n")
    assert (tmp_path / "ä.txt").read_bytes() == "ö\n".encode()
    assert names(tmp_path) == ["a.bin", "ä.txt"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)])
def test_what_goes_wrong_leaves_the_old_file_alone(tmp_path, error):
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(type(error)), replacing(tmp_path / "a") as file:
        file.write(b"new")
        raise error
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, step):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    write_bytes(tmp_path / "a", b"old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(tmp_path / "a", b"new")
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_the_disk_has_the_file_before_its_name(tmp_path, monkeypatch):
    steps = []
    for owner, name in ((os, "fsync"), (os, "replace")):
        inner = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, inner=inner, name=name: (steps.append(name), inner(*a))[1])
    write_bytes(tmp_path / "a", b"x")
    assert steps == ["fsync", "replace", "fsync"], "file, name, folder"


def test_where_no_file_can_be(tmp_path):
    with pytest.raises(FileNotFoundError, match="the folder .*gone does not exist"):
        write_bytes(tmp_path / "gone" / "a", b"x")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(FileExistsError, match=f"{name} is no file"):
            write_bytes(tmp_path / name, b"x")
    with pytest.raises(FileExistsError):
        write_bytes("/dev/null", b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert names(tmp_path) == ["folder", "pipe"]


def test_a_link_is_replaced_not_what_it_leads_to(tmp_path):
    write_bytes(tmp_path / "kept", b"old")
    (tmp_path / "link").symlink_to("kept")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "kept").read_bytes() == b"old" and not (tmp_path / "link").is_symlink()


def test_names_as_long_as_the_disk_allows_and_permissions(tmp_path):
    write_bytes(tmp_path / ("ü" * 127), b"x")
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / ("ü" * 127)).stat().st_mode == plain.stat().st_mode, "others may read what they could before"


def test_threads_that_write_one_file(tmp_path):
    texts = [bytes([65 + i]) * 300_000 for i in range(8)]
    threads = [threading.Thread(target=write_bytes, args=(tmp_path / "a", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_bytes() in texts and names(tmp_path) == ["a"]


def test_a_folder_and_one_that_takes_its_place(tmp_path):
    for text in ("one", "two"):
        with replacing_folder(tmp_path / "deep" / "f") as side:
            (side / "inner").mkdir()
            (side / "inner" / text).write_text(text)
            assert PARTIAL in side.name
    assert names(tmp_path / "deep") == ["f"] and names(tmp_path / "deep" / "f" / "inner") == ["two"]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file"), replacing_folder(tmp_path / "file"):
        pass


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_whose_making_fails(tmp_path, there, monkeypatch):
    target = tmp_path / "f"
    if there:
        target.mkdir()
        (target / "old").touch()
    with pytest.raises(KeyboardInterrupt), replacing_folder(target) as side:
        (side / "new").touch()
        raise KeyboardInterrupt
    inner, count = os.rename, [0]

    def full(*arguments):
        count[0] += 1
        if count[0] == 1 + there:  # the new folder's
            raise OSError(errno.ENOSPC, "No space left on device")
        inner(*arguments)

    monkeypatch.setattr(files.os, "rename", full)
    with pytest.raises(OSError, match="No space left"), replacing_folder(target) as side:
        (side / "new").touch()
    assert names(tmp_path) == (["f"] if there else [])
    assert not there or names(target) == ["old"]


def test_what_killed_processes_left_is_cleared_away(tmp_path):
    (tmp_path / f".a.1-0{PARTIAL}").touch()
    (tmp_path / f".f.1-1{PARTIAL}").mkdir()
    (tmp_path / f".f.1-1{PARTIAL}" / "x").touch()
    (tmp_path / "kept").touch()
    remove_partial(tmp_path)
    assert names(tmp_path) == ["kept"]
