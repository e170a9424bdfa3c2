"""MagiCodec: the arguments of its class, and the sizes that the class fixes under their own names."""

from typing import Any

import torch
from layout_options import DROP, Sweep

_SMALL: dict[str, Any] = {
    "sample_rate": 16000, "token_hz": 50, "dim": 16, "e1_dim": 12, "n_layers": 2, "n_heads": 2, "multiple_of": 8,
    "codebook_size": 64, "codebook_dim": 4,
}  # fmt: skip


def _with_frequencies(state: dict[str, Any]) -> dict[str, Any]:
    """The file's tensors: the class registers the rotary frequencies of every layer as a buffer."""
    freqs = 10000.0 ** -(torch.arange(0, 8, 2) / 8)
    layers = [k.removesuffix("Wqkv.weight") for k in state if k.endswith("Wqkv.weight")]
    return state | {f"{k}rotary_emb.inv_freq": freqs.clone() for k in layers}


SWEEPS = {
    "magicodec": Sweep(
        tiny=_SMALL,
        published=_with_frequencies,
        options={
            "as it is": {},
            "rate and ids a second left out": {"sample_rate": DROP, "token_hz": DROP},
            "25 ids a second": {"token_hz": 25},
            "100 ids a second": {"token_hz": 100},
            "another rate": {"sample_rate": 24000},
            "one layer": {"n_layers": 1},
            "more heads": {"n_heads": 4},
            "wider": {"dim": 24, "n_heads": 3},
            "wider between the linear maps": {"e1_dim": 20, "d2_dim": 20},
            "rounded widths": {"multiple_of": 32},
            "a larger table": {"codebook_size": 256, "codebook_dim": 6},
            "short patches": {"frame_len": 40},
            "narrow windows": {"enc_window_size": [2, 0], "dec_window_size": [2, 1]},
            "everything said": {
                "out_dim": 16, "e2_dim": 16, "d1_dim": 16, "causal": False, "use_qk_norm": "head", "window_type": "elemwise",
            },
        },
        refused={
            "a window without limit": ({"enc_window_size": [-1, 0]}, "encoder_window"),
            "ids a second that the class has no sizes for": ({"token_hz": 75}, "token_hz"),
            "a causal mask": ({"causal": True}, "causal"),
            "a window in blocks": ({"window_type": "blockwise"}, "window_type"),
            "norms over all heads": ({"use_qk_norm": "channel"}, "use_qk_norm"),
            "another width of the output": ({"d2_dim": 20}, "d2_dim"),
            "a misspelt key": ({"n_layer": 2}, "n_layer"),
        },
    ),
}  # fmt: skip
