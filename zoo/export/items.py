"""Items through an exported encoder, as a program without this library would encode them: for the comparison of ids."""

import importlib.util
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...codecs.tokenizer import Tokenizer
from ...codecs.tokens import Tokens
from .check import runner
from .errors import NotExportable
from .formats import write
from .run import traced

#: Samples, or pixels of a side, of the graph's example.
_EXAMPLE = {"audio": 4096, "image": 64}


class NoRuntime(ModuleNotFoundError):
    """ONNX Runtime, or what writes its files, is not installed."""


def through_onnxruntime(tokenizer: Tokenizer, media: Sequence[Any]) -> tuple[list[Tokens], list[Tokens]]:
    """Tokens of items by the tokenizer itself, and by its exported encoder in ONNX Runtime.

    Args:
        tokenizer: on a CPU.
        media: items as `encode` takes them; where the file takes multiples of a size, the rest of an item is left out.

    Raises:
        NoRuntime: a package is missing.
        NotExportable: the encoder cannot be exported, or only for one size.
    """
    missing = [p for p in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(p) is None]
    if missing:
        raise NoRuntime(f"{' and '.join(missing)} not installed: pip install 'tokenzoo[export]'")
    half, program = traced(tokenizer, "encoder", size=_EXAMPLE.get(tokenizer.spec.modality))
    axes = half.inputs[0].axes
    items = []
    for item in (tokenizer.prepare(m)[0] for m in media):
        x = item.x
        for dim, axis in enumerate(axes[1:]):
            x = x.narrow(dim, 0, x.shape[dim] // axis.multiple * axis.multiple) if axis.multiple else x
            if x.shape[dim] != axis.size and not (axis.multiple and x.shape[dim] >= axis.multiple * axis.least):
                raise NotExportable(tokenizer, "encoder", f"its graph takes {axis.described} as {axis.name}, not {x.shape[dim]}")
        whole = item.size if x.shape == item.x.shape else tuple(x.shape[-1:] if x.ndim == 2 else x.shape[-2:])
        items.append(replace(item, x=x, size=whole))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "encoder.onnx")
        write(program, half, path, "onnx")
        run = runner(path)
        own, other = [tokenizer.encode_prepared([item]) for item in items], []
        for item, tokens in zip(items, own, strict=True):
            ids = run(item.x[None].float())[0]
            other.append(replace(tokens, ids=ids.flatten(2)))
    return own, other
