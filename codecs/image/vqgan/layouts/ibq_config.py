"""IBQ's quantizer as its authors and Emu3.5 configure it."""

from typing import Any

from ....layouts.fields import Fields
from ....layouts.keymap import Row

#: Key table of the codebook.
TABLE: tuple[Row, ...] = (("quantize.embedding.weight", "quantizer.embed"),)


def ibq_quantizer(c: Fields) -> dict[str, Any]:
    """The quantizer's settings from the arguments of class `IBQ`."""
    c.drop("l2_normalize", "cosine_similarity")  # passed on, but both are unused in the class
    entropy = c.take("use_entropy_loss", False)  # its weight is in the config of the loss: 0.05 in all recipes
    return {
        "kind": "ibq",
        "codebook_size": c.take("n_embed"),
        "beta": float(c.take("beta", 0.25)),
        "entropy_weight": 0.05 if entropy else 0.0,
        "entropy_temperature": float(c.take("entropy_temperature", 0.01)),
        "sample_weight": float(c.take("sample_minimization_weight", 1.0)),
        "batch_weight": float(c.take("batch_maximization_weight", 1.0)),
    }
