"""A tokenizer written as its authors' code reads it, for tests that load it there."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenzoo.codecs.tokenizer import Tokenizer
from tokenzoo.zoo.convert import converter


def write_as(tokenizer: Tokenizer, system: str, folder: Path) -> Path:
    """Write config and weights of `tokenizer` in the layout of `system`, under the names that it gives them."""
    layout = converter(system)
    assert layout.authors_config is not None
    folder.mkdir(parents=True, exist_ok=True)
    config, weights = (folder / name for name in layout.files)
    config.write_text(json.dumps(layout.authors_config(tokenizer.config)))
    state = {k: v.detach().clone().contiguous() for k, v in layout.write(tokenizer.state_dict(), tokenizer.config).items()}
    if weights.suffix == ".safetensors":
        save_file(state, weights, metadata={"format": "pt"})
    else:
        torch.save(state, weights)
    return folder
