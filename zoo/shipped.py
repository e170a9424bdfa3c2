"""Facts of the checkpoints in this package, as their files state them. Imports no torch.

    rows("photo-f16-rvq7")      # what `summary.rows_of` says of the loaded tokenizer, but for its device
"""

import json
import math
from importlib import resources
from typing import Any

from ..codecs.spec import AudioSpec, ImageSpec, TokenizerSpec
from ..codecs.summary import facts, parameters_text

_SPECS: dict[str, type[TokenizerSpec]] = {"audio": AudioSpec, "image": ImageSpec}


def rows(name: str) -> dict[str, str]:
    """Facts and size of the shipped checkpoint `name` as short texts, in the precision in which it is loaded."""
    folder = resources.files(__spec__.parent).joinpath("checkpoints", name)
    config = json.loads(folder.joinpath("config.json").read_text(encoding="utf-8"))
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in config["spec"].items()}
    spec = _SPECS[values.pop("modality")](**values)
    out = {"family": config["family"], **facts(spec)}
    return out | {"parameters": parameters_text(_count(folder.joinpath("model.safetensors")), 4, "float32")}


def _count(path: Any) -> int:
    """Floating-point values in a `.safetensors` file, by its header: 8 bytes of length, then JSON."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    tensors = [entry for key, entry in header.items() if key != "__metadata__"]
    return sum(math.prod(t["shape"]) for t in tensors if t["dtype"].startswith(("F", "BF")))
