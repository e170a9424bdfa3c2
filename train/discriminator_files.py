"""Discriminators of a run beside its published tokenizer: plain settings and safetensors, from which another run can start.

    FOLDER/discriminators.json          {"format": 1, "discriminators": {NAME: {"kind": ..., ...}}}, as in a run file
    FOLDER/discriminators.safetensors   the weights, by the names of `DiscriminatorSet`

Loading the tokenizer does not read them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..codecs.config import ConfigError, parse_json
from ..codecs.files import write_bytes, write_text
from ..codecs.serialize import DISCRIMINATOR_FILES, MAX_CONFIG_BYTES, CheckpointError
from .checkpoint import checkpoints, read_meta, read_tensors

FORMAT = 1


@dataclass(frozen=True)
class SavedDiscriminators:
    """Settings by name, as in a run file, and the state dict of all of them together."""

    settings: dict[str, Any]
    weights: dict[str, Tensor]


def write_discriminators(run: Path, folder: Path) -> tuple[Path, Path]:
    """Write the discriminators of a run's newest checkpoint into `folder`.

    Args:
        run: the output folder of a run, or one of its checkpoints.
        folder: of a saved tokenizer.

    Returns:
        The two files.

    Raises:
        CheckpointError: no such run, a damaged checkpoint, or a run without discriminators.
    """
    from safetensors.torch import save

    found = [run] if (run / "state.pt").is_file() else checkpoints(run)
    if not found:
        raise CheckpointError(
            f"{run} holds no checkpoint; discriminators are in the checkpoints of a run: name its folder, or one of its "
            "checkpoint-N folders."
        )
    settings = read_meta(found[-1], files=("state.pt",))["config"].get("discriminators") or {}
    weights = read_tensors(found[-1] / "state.pt").get("discriminators")
    if not settings or weights is None:
        raise CheckpointError(f"{found[-1]} is of a run without discriminators: there are none to publish.")
    described, tensors = (folder / name for name in DISCRIMINATOR_FILES)
    write_bytes(tensors, save({k: v.contiguous() for k, v in weights.items()}, metadata={"format": "pt"}))
    write_text(described, json.dumps({"format": FORMAT, "discriminators": settings}, indent=2) + "\n")
    return described, tensors


def read_discriminators(described: Path, tensors: Path) -> SavedDiscriminators:
    """Read the two files; nothing that they name is imported or built.

    Raises:
        CheckpointError: a file is broken, too large, or of a newer version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if (size := described.stat().st_size) > MAX_CONFIG_BYTES:
        raise CheckpointError(f"{described} has {size} bytes; settings have {MAX_CONFIG_BYTES} at most.")
    try:
        data = parse_json(described.read_bytes())
        weights = load_file(tensors)
    except (ConfigError, SafetensorError) as error:
        raise CheckpointError(f"{described} or {tensors.name} is broken ({error!s:.300}); download or copy both again.") from error
    settings = data.get("discriminators") if isinstance(data, dict) else None
    if not isinstance(settings, dict):
        raise CheckpointError(f"{described} describes no discriminators: the mapping 'discriminators' is missing.")
    if data.get("format") != FORMAT:
        raise CheckpointError(f"{described} has format {data.get('format')!r:.40}; this library reads {FORMAT}. Update tokenzoo.")
    return SavedDiscriminators(settings, weights)
