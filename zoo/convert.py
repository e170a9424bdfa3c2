"""Checkpoints of other projects in their authors' own layout.

    from tokenzoo.zoo.convert import load_reference
    tok = load_reference("folder/encodec")      # config.json in the authors' terms + weights.safetensors in their keys
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..codecs.layouts.systems import converter, systems
from ..codecs.tokenizer import Tokenizer

__all__ = ["convert", "converter", "load_reference", "systems"]


def load_reference(folder: str | os.PathLike[str]) -> Tokenizer:
    """Build a tokenizer from a folder in its authors' terms.

    Args:
        folder: holds `config.json` (the authors' constructor arguments; its key `source` may name repository and class) and
            weights in the authors' keys, under any usual name. What it contains decides, not how it is called.

    Returns:
        The tokenizer, in eval mode, every weight filled in strictly.

    Raises:
        ValueError: no layout fits. CheckpointError: weights missing, left over or misshapen.
    """
    from .loader import Folder, load_files

    return load_files(Folder(Path(folder)))


def convert(system: str, config: Mapping[str, Any], state: Mapping[str, Any], *, name: str = "checkpoint") -> Tokenizer:
    """Build the tokenizer of `system` from the authors' config and state dict; strict both ways."""
    from .loader import build

    return build(system, config, state, name)
