"""Loads checkpoints of other projects in their authors' own layout.

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
            weights in the authors' keys, under any usual file name. Its contents decide on the layout, not its name.

    Returns:
        The tokenizer in eval mode, with all of its weights from the file.

    Raises:
        ValueError: no layout fits. CheckpointError: weights are missing, left over or of another shape.
    """
    from .loader import Folder, load_files

    return load_files(Folder(Path(folder)))


def convert(system: str, config: Mapping[str, Any], state: Mapping[str, Any], *, name: str = "checkpoint") -> Tokenizer:
    """Build a tokenizer from the authors' config and state dict.

    Args:
        system: the layout, a name of `systems()`.
        config: the authors' settings.
        state: their state dict; tensors may be nested.
        name: of the checkpoint, for messages.

    Raises:
        ValueError: a config that is not supported. CheckpointError: weights are missing, left over or of another shape.
    """
    from .loader import build

    return build(system, config, state, name)
