"""`tokenzoo demo`: encodes a photograph and a spoken sentence with the shipped tokenizers, and decodes them again."""

from pathlib import Path


def run(out: Path) -> None:
    """Write tokens, reconstructions and `overview.png` into `out`, and print a table. Needs no network."""
    from .demo import run as _run

    _run(Path(out))
