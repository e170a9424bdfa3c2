"""Errors are one or two lines; the traceback comes when it is asked for. Run: pytest tests/cli/test_errors.py"""

import contextlib
import errno
import io
import warnings

import numpy as np
import pytest
import soundfile
from cli_runs import run, saved
from PIL import Image
from tokenzoo import cli
from tokenzoo.cli.errors import explain
from tokenzoo.zoo import hub


@pytest.mark.parametrize(
    "error, text",
    [
        (ValueError("so and so"), "so and so"),
        (KeyError("no model is called 'x'."), "no model is called 'x'."),
        (RuntimeError("mat1 and mat2\nand more"), "RuntimeError: mat1 and mat2\n--debug shows where it happened."),
        (MemoryError("8 GiB"), "out of memory. Take smaller media, or another --device. (8 GiB)"),
        (ModuleNotFoundError("no", name="av.error"), "this needs the package av: pip install 'tokenzoo[media]'"),
        (ModuleNotFoundError("no", name="foo"), "this needs the package foo: pip install foo"),
        (AssertionError(), "AssertionError: \n--debug shows where it happened."),
    ],
)
def test_what_is_said(error, text):
    assert explain(error) == text


def test_anything_that_is_raised_ends_in_a_line(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a torch error\n  with a page of its own")

    monkeypatch.setattr(hub, "load", broken)
    ran = run("encode", "photo-f16-rvq7", "x.png")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "error: RuntimeError: a torch error\n--debug shows where it happened.\n"
    monkeypatch.setenv("TOKENZOO_DEBUG", "1")
    with pytest.raises(RuntimeError, match="a page of its own"):
        run("encode", "photo-f16-rvq7", "x.png")


def test_debug_may_stand_anywhere(monkeypatch):
    words = ["tokenzoo", "info", "nope", "--debug"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(KeyError):
        run(*words[1:])


def test_a_file_is_named_once_in_its_line(tmp_path):
    """Also where the message, as Python shows it, begins with the file."""
    path = tmp_path / "nan.wav"
    soundfile.write(path, np.array([0.1, np.nan, 0.2]), 16000, subtype="FLOAT")
    ran = run("encode", "speech-16khz-4kbps", path, "-o", tmp_path / "out")
    assert ran.code == 1 and f"  {path}: holds NaN or infinite samples: 1 of 3.\n" in ran.err


def test_debug_shows_why_one_file_failed(monkeypatch, tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    monkeypatch.setenv("TOKENZOO_DEBUG", "1")
    ran = run("encode", "photo-f16-rvq7", tmp_path / "x.png", "-o", tmp_path / "out")
    assert ran.code == 1 and "Traceback" in ran.err and "1 of 1 file failed" in ran.err


def test_warnings_are_one_line_and_those_for_developers_are_not_shown(monkeypatch):
    def warn(*args, **kwargs):
        warnings.warn("the licence forbids this", UserWarning, stacklevel=1)
        warnings.warn("an argument of another package will change", FutureWarning, stacklevel=1)
        raise ValueError("enough")

    monkeypatch.setattr(hub, "load", warn)
    assert run("encode", "photo-f16-rvq7", "x.png").err == "warning: the licence forbids this\nerror: enough\n"


def test_a_run_that_cannot_start_says_so_in_a_line():
    ran = run("train", "no/such/config")
    assert ran.code == 2 and ran.err.startswith("error: ") and ran.err.count("\n") == 1
    ran = run("train", "vqgn")
    assert ran.code == 2 and "Did you mean" in ran.err and "image/vqgan-debug" in ran.err


def test_train_without_a_run_lists_them():
    ran = run("train")
    assert ran.code == 2 and not ran.err
    names = [line.split()[0] for line in ran.out.splitlines() if line.startswith(("  audio/", "  image/"))]
    assert len(names) > 100 and "audio/encodec-24khz" in names


LOST = "error: the reader of the output has gone (broken pipe); what follows was not done.\n"


@pytest.mark.parametrize(
    "error, code, said",
    [
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C.\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, LOST),
        (EOFError("Ran out of input"), 1, "error: a file or stream ended too early (Ran out of input).\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x.tok"), 1, "error: No space left on device: x.tok\n"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 1, "error: Permission denied: x\n"),
        (RecursionError("maximum depth"), 1, "error: RecursionError: maximum depth\n--debug shows where it happened.\n"),
    ],
)
def test_each_end_has_its_line(monkeypatch, error, code, said):
    def broken(*args, **kwargs):
        raise error

    monkeypatch.setattr(hub, "load", broken)
    ran = run("encode", "photo-f16-rvq7", "x.png")
    assert (ran.code, ran.out, ran.err) == (code, "", said)


class Closed(io.StringIO):
    """Output whose reader has gone."""

    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["info", "mimi"]])
def test_a_reader_that_has_read_enough_is_no_error(words):
    err = io.StringIO()
    with contextlib.redirect_stdout(Closed()), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        cli.main(words)
    assert not end.value.code and not err.getvalue()


def test_a_lost_reader_ends_a_verb_that_works_on_files(monkeypatch, tmp_path):
    for name in "ab":
        Image.new("RGB", (16, 16)).save(tmp_path / f"{name}.png")
    model = saved("convnet", tmp_path / "model")
    err = io.StringIO()
    with contextlib.redirect_stdout(Closed()), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        cli.main(["encode", model, str(tmp_path / "a.png"), str(tmp_path / "b.png"), "-o", str(tmp_path / "tok")])
    assert end.value.code == 1 and err.getvalue() == LOST
    assert not (tmp_path / "tok/b.png.tok").exists()


def test_a_full_disk_stops_at_once_and_leaves_nothing_half_written(monkeypatch, tmp_path):
    for name in "abc":
        Image.new("RGB", (16, 16)).save(tmp_path / f"{name}.png")
    model = saved("convnet", tmp_path / "model")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tokenzoo.codecs.files.os.fsync", full)
    ran = run("encode", model, tmp_path / "?.png", "-o", tmp_path / "tok")
    assert ran.code == 1 and not ran.out and "3 of 3 files failed" in ran.err
    assert ran.err.count("No space left") == 1 and ran.err.count("not reached") == 2
    assert list((tmp_path / "tok").iterdir()) == []
