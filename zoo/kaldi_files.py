"""Statistics of filter banks as Kaldi's networks hold them (`am.mvn` of FunASR): a text with a row of shifts and a row of scales."""

from pathlib import Path

import torch
from torch import Tensor

from ..codecs.serialize import MAX_CONFIG_BYTES, CheckpointError

#: Parts of the text, and our names.
_PARTS = {"<AddShift>": "shift", "<Rescale>": "scale"}


def read_statistics(path: Path) -> dict[str, Tensor]:
    """Return "shift" and "scale", float32 `[S]` each: a band b is normalised to (b + shift) * scale.

    Raises:
        CheckpointError: the file is larger than `MAX_CONFIG_BYTES`, or lacks one of the rows.
    """
    if (size := path.stat().st_size) > MAX_CONFIG_BYTES:
        raise CheckpointError(f"{path} has {size} bytes; statistics have {MAX_CONFIG_BYTES} at most.")
    words = path.read_text(errors="replace").split()
    try:
        found = {name: _row(words, part) for part, name in _PARTS.items()}
    except ValueError as error:
        raise CheckpointError(f"{path} holds no statistics ({str(error)[:200]}); download or copy it again.") from error
    counts = [v.numel() for v in found.values()]
    if counts[0] != counts[1] or not counts[0] or not all(bool(v.isfinite().all()) for v in found.values()):
        raise CheckpointError(f"{path} holds {counts[0]} shifts and {counts[1]} scales; there is one finite number of each for a band.")
    return found


def _row(words: list[str], part: str) -> Tensor:
    """The numbers between the brackets behind `part`; raises ValueError."""
    start = words.index("[", words.index(part))
    return torch.tensor([float(w) for w in words[start + 1 : words.index("]", start)]])
