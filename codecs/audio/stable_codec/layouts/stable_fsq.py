"""stable-codec's bottlenecks alone (Stability-AI/stable-codec @ 8535544199, MIT): `DitheredFSQ` and `ResidualFSQBottleneck`.

A folder lists several of each, all over the same kind of latents and without weights:

    fsq       keyword arguments of each `DitheredFSQ`
    residual  for each `ResidualFSQBottleneck` its stages, [levels, scale]

The tokenizer's own quantizer is the first of the list; `tok.alternatives` holds each by name, "fsq0", "residual1".
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ....latent import LatentConfig
from ....layouts.fields import FOLDER_KEYS, Fields
from ....layouts.keymap import KeyMap, State, Then
from ....layouts.layout import Layout
from ....quantizers.fsq import FSQ, MAX_CODEBOOK_SIZE
from ....quantizers.grouped_fsq import GroupedFSQ
from ....quantizers.residual_fsq import ResidualFSQ
from ....serialize import CheckpointError


def dithered_fsq(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """`DitheredFSQ`'s keyword arguments to a quantizer's config, `dim` included."""
    c = Fields(config, name)
    levels, groups = list(c.take("levels")), c.take("num_codebooks", 1)
    out = {
        "kind": "fsq",
        "convention": "stable",
        "dim": len(levels) * groups,
        "levels": levels,
        "scale": float(c.take("scale", 1.0)),
        "noise_dropout": float(c.take("noise_dropout", 0.5)),
    }
    c.drop("dither_inference")  # stored by the class, but never read
    c.done()
    if groups == 1:
        return out
    if math.prod(levels) <= MAX_CODEBOOK_SIZE:
        return out | {"kind": "grouped_fsq", "num_groups": groups}
    return out | {"levels": levels * groups}


def residual_fsq(stages: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """`ResidualFSQBottleneck`'s stages, each `[levels, scale]`, to a quantizer's config."""
    levels = [list(stage[0]) for stage in stages]
    out = {"kind": "residual_fsq", "dim": len(levels[0]), "convention": "stable", "scales": [float(s) for _, s in stages]}
    if all(v == levels[0] for v in levels) and math.prod(levels[0]) <= MAX_CODEBOOK_SIZE:
        return out | {"levels": levels[0], "num_codebooks": len(levels)}
    return out | {"stages": levels}


def authors_ids(quantizer: FSQ | ResidualFSQ, ids: Tensor, *, num_codebooks: int = 1) -> Tensor:
    """Convert ids `[B, K, L]` to the authors' numbering: one integer for each codebook or stage, which may be larger than 2^18.

    Args:
        quantizer: the quantizer that returned `ids`.
        ids: its ids `[B, K, L]`.
        num_codebooks: number of codebooks of the authors' `DitheredFSQ`; not needed for a `grouped_fsq`.

    Returns:
        int64 `[B, codebooks or stages, L]`.
    """
    if isinstance(quantizer, ResidualFSQ):
        widths = [len(grid.groups) for grid in quantizer.stage_grids]
        parts = zip(quantizer.stage_grids, ids.split(widths, dim=1), strict=True)
        digits = [grid.unpack(part) for grid, part in parts]
        levels = quantizer.config.levels_by_stage
    else:
        if isinstance(quantizer, GroupedFSQ):
            num_codebooks = quantizer.config.num_groups
        digits = list(quantizer.grid.unpack(ids).chunk(num_codebooks, dim=1))
        levels = (quantizer.grid.sizes[: digits[0].shape[1]],) * num_codebooks
    places = [torch.tensor([1, *v[:-1]], device=ids.device).cumprod(0).unsqueeze(-1) for v in levels]  # [n, 1]
    return torch.stack([(d.long() * p).sum(1) for d, p in zip(digits, places, strict=True)], dim=1)


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = Fields(config, "stable-codec-fsq")
    c.drop(*FOLDER_KEYS)
    found = {f"fsq{i}": dithered_fsq(kwargs, f"stable-codec-fsq.fsq[{i}]") for i, kwargs in enumerate(c.take("fsq", []))}
    found |= {f"residual{i}": residual_fsq(stages) for i, stages in enumerate(c.take("residual", []))}
    c.done()
    if not found:
        raise ValueError("stable-codec-fsq: neither 'fsq' nor 'residual' lists a quantizer.")
    first = next(iter(found.values()))
    return {"dim": first["dim"], "quantizer": first, "alternatives": found}


def _keys(own: LatentConfig) -> KeyMap:
    def read(state: State) -> State:
        if state:
            raise CheckpointError(f"stable-codec-fsq has no weights, but the file holds {sorted(state)[:5]}.")
        return {}

    return KeyMap(Then(read, lambda state: {}))


LAYOUTS = (
    Layout(
        system="stable-codec-fsq",
        upstream="Stability-AI/stable-codec stable_codec/fsq.py DitheredFSQ, residual_fsq.py ResidualFSQBottleneck",
        family="latent",
        config=_config,
        keys=_keys,
    ),
)
