"""How large a file of published weights must be: what a layout writes for a config, without any memory for it."""

from typing import Any

import torch
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.zoo.convert import converter


def written_shapes(system: str, theirs: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights in the authors' keys, of the network that their config describes."""
    layout = converter(system)
    own = layout.own_config(theirs)
    with torch.device("meta"):
        tokenizer = build_tokenizer(layout.family, own)
    return {k: tuple(v.shape) for k, v in layout.write(tokenizer.state_dict(), own).items()}


def written_numbers(system: str, theirs: dict[str, Any]) -> int:
    """How many numbers the weights hold, in the authors' keys."""
    return sum(torch.Size(shape).numel() for shape in written_shapes(system, theirs).values())
