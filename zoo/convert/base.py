"""What a foreign layout's file declares, and the tools it declares it with: key tables and weight-norm folding."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...codecs.quantizers.codebook import Codebook
from ...codecs.serialize import CheckpointError


@dataclass(frozen=True, kw_only=True)
class Converter:
    """One foreign layout.

    Attributes:
        system: its name, also the name of a reference folder.
        upstream: repository and class that it was read from.
        family: the family here that runs it.
        config: the authors' config (parsed JSON) to a mapping of the family's config fields (or the dataclass).
        weights: the authors' state dict and config to this library's state dict; must account for every key.
    """

    system: str
    upstream: str
    family: str
    config: Callable[[Mapping[str, Any]], Any]
    weights: Callable[[dict[str, Tensor], Mapping[str, Any]], dict[str, Tensor]]


def rename(state: Mapping[str, Tensor], table: Sequence[tuple[str, str]], *, dropped: Sequence[str] = ()) -> dict[str, Tensor]:
    """Rename every key by the first pattern that matches it whole.

    Args:
        state: authors' keys.
        table: (regular expression over the whole key, replacement with `\\1` groups).
        dropped: expressions of keys that are left out on purpose (unused buffers, teachers).

    Raises:
        CheckpointError: a key that no pattern names, or two keys with one new name.
    """
    out: dict[str, Tensor] = {}
    left: list[str] = []
    for key, value in state.items():
        if any(re.fullmatch(p, key) for p in dropped):
            continue
        for pattern, new in table:
            if re.fullmatch(pattern, key):
                name = re.sub(pattern, new, key)
                if name in out:
                    raise CheckpointError(f"two weights are both renamed to {name!r}; the second is {key!r}.")
                out[name] = value
                break
        else:
            left.append(key)
    if left:
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        raise CheckpointError(f"weights that the layout does not know: {', '.join(left[:5])}{more}.")
    return out


def start_codebooks(tokenizer: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the running statistics of every `Codebook` whose table `state` holds without them: even use, ready.

    Authors that train tables by gradient publish the table alone.
    """
    out = dict(state)
    for name, module in tokenizer.named_modules():
        prefix = name + "."
        if not isinstance(module, Codebook) or prefix + "embed" not in out or prefix + "counts" in out:
            continue
        out[prefix + "counts"] = torch.ones(module.size)
        out[prefix + "ready"] = torch.tensor(True)
        out[prefix + "steps"] = torch.zeros((), dtype=torch.int64)
        if module.config.update == "ema":
            out.setdefault(prefix + "sums", out[prefix + "embed"].clone())
    return out


#: The two spellings of weight norm in state dicts: (gain, direction).
_SPELLINGS = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))


def fold_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace every pair (gain g, direction v) by `weight = g v / |v|`, in either spelling; other keys stay.

    The norm runs over all axes but those where g has length over 1, as in `torch.nn.utils.weight_norm`. Inference then
    computes none, and fine-tuning (`tokenizer.train()`) goes on with the folded weights: weight norm is not put back.
    """
    out = dict(state)
    for gain, direction in _SPELLINGS:
        for key in [k for k in out if k.endswith("." + gain) or k == gain]:
            prefix = key[: -len(gain)]
            g, v = out.pop(key), out.pop(prefix + direction)
            axes = [i for i in range(v.ndim) if g.shape[i] == 1] if max(g.shape) > 1 else list(range(1, v.ndim))
            # The same kernel as torch's weight norm, so that the folded weight is the authors' to the last bit.
            if g.numel() == v.shape[0]:
                out[prefix + "weight"] = torch._weight_norm(v, g, 0)
            else:
                out[prefix + "weight"] = v * (g / v.norm(dim=axes, keepdim=True))
    return out


def flat(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """One state dict of several that stand side by side under their names: `{"a": {"b": t}}` to `{"a.b": t}`."""
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        out |= {f"{key}.{k}": v for k, v in flat(value).items()} if isinstance(value, Mapping) else {key: value}
    return out
