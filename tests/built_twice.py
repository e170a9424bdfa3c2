"""Comparison of two builds of a training corpus."""

from pathlib import Path


def assert_same_files(one: Path, two: Path) -> None:
    """Check that two folders hold the same files with the same bytes."""
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert all((one / path).read_bytes() == (two / path).read_bytes() for path in files)
