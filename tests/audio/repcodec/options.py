"""MaskGCT's semantic codec: the authors' JSON."""

from typing import Any

import torch
from layout_options import DROP, Sweep

_PARTS: dict[str, Any] = {
    "codebook_size": 16, "hidden_size": 12, "codebook_dim": 4, "vocos_dim": 8, "vocos_intermediate_dim": 12, "vocos_num_layers": 2,
}  # fmt: skip


def _features(tok: Any, x: Any) -> torch.Tensor:
    return torch.randn(len(x), tok.config.features, 9, generator=torch.Generator().manual_seed(3))


def _in(**changes: Any) -> dict[str, Any]:
    return {"model": {"semantic_codec": changes}}


SWEEPS = {
    "maskgct-semantic": Sweep(
        tiny={"model": {"semantic_codec": _PARTS, "t2s_model": {"hidden_size": 1536}}},
        shape=(1, 2880),
        features=_features,
        options={
            "as it is": {},
            "its arguments alone": {"model": DROP, **_PARTS},
            "several quantizers": _in(num_quantizers=3),
            "unused convolutions": _in(downsample_scale=2),
            "one quantizer, said": _in(num_quantizers=1, downsample_scale=1),
            "a larger table": _in(codebook_size=64, codebook_dim=6),
            "wider": _in(vocos_dim=12, vocos_intermediate_dim=20),
            "deeper": _in(vocos_num_layers=4),
            "one layer": _in(vocos_num_layers=1),
            "wider features": _in(hidden_size=20),
            "a narrow table": _in(codebook_dim=2),
            "what belongs to the folder": {"source": {"repo": "open-mmlab/Amphion"}, "notes": "none"},
        },
        refused={"a misspelt key": (_in(codebook=8), "codebook")},
    ),
}  # fmt: skip
