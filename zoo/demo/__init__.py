"""`tokenzoo demo`: a photograph and a spoken sentence become integers and come back, by the shipped tokenizers."""

from pathlib import Path


def run(out: Path) -> None:
    """Write tokens, reconstructions and `overview.png` into `out`, and print a table. Needs no network."""
    from .demo import run as _run

    _run(Path(out))
