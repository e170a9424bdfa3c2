"""MagiCodec in its authors' layout: the state dict of `Generator` alone; there is no config, the class fixes the sizes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import Each, KeyMap, Rename, Row
from ...layouts.layout import Layout
from .model import MagiCodecConfig

#: Ids a second -> samples of a patch, the encoder's and the decoder's window: 640 ms back and 40 ms ahead at each rate.
_RATES: dict[int, tuple[int, list[int], list[int]]] = {
    25: (640, [16, 0], [16, 1]),
    50: (320, [32, 0], [32, 2]),
    100: (160, [64, 0], [64, 4]),
}


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Generator`. Other sizes than its own may be given under the names that they have in the authors' code."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    hop, before, after = f.one_of("token_hz", _RATES, 50)
    width = f.take("dim", 1024)
    inner = f.take("e1_dim", 768)
    for key, value in (("out_dim", width), ("e2_dim", width), ("d1_dim", width), ("d2_dim", inner)):
        f.require(key, value)
    f.require("causal", False)
    f.require("use_qk_norm", "head")
    f.require("window_type", "elemwise")
    multiple = f.take("multiple_of", 256)
    out = {
        "sample_rate_hz": f.take("sample_rate", 16000),
        "hop_samples": f.take("frame_len", hop),
        "width": width,
        "inner": inner,
        "layers": f.take("n_layers", 8),
        "heads": f.take("n_heads", 16),
        "feed_forward": multiple * -(-int(2 * 4 * width / 3) // multiple),
        "encoder_window": f.take("enc_window_size", before),
        "decoder_window": f.take("dec_window_size", after),
    }
    out["latent_dim"] = f.take("codebook_dim", 16)
    out["quantizer"] = {"kind": "simvq", "codebook_size": f.take("codebook_size", 131072), "bias": True}
    f.done()
    return out


def _stack(side: str) -> list[Row]:
    theirs, ours = f"{side}.transformer.layers", f"{side}.transformer"
    names = {
        "norm1": "attention_norm", "mixer.Wqkv": "attention.qkv", "mixer.q_norm": "attention.q_norm",
        "mixer.k_norm": "attention.k_norm", "mixer.out_proj": "attention.out", "norm2": "mlp_norm", "mlp.fc1": "gate_up",
        "mlp.fc2": "down",
    }  # fmt: skip
    blocks: list[Row] = [(f"{theirs}.layers.{{}}.{a}.weight", f"{ours}.blocks.{{}}.{b}.weight") for a, b in names.items()]
    return [*blocks, (f"{theirs}.ln_f.weight", f"{ours}.norm.weight")]


def _swap(weight: Tensor) -> Tensor:
    """Exchange the halves of a gated network's rows: the gate comes second in the authors' file and first here."""
    return torch.cat(weight.chunk(2)[::-1])


def _keys(own: MagiCodecConfig) -> KeyMap:
    rows: list[Row] = [
        ("encoder.linear_1.weight", "encoder.patch.weight"),
        ("encoder.linear_2.*", "encoder.widen.*"),
        *_stack("encoder"),
        ("encoder.linear_out.*", "encoder.out.*"),
        ("quantizer.codebook.weight", "quantizer.table"),
        ("quantizer.codebook_proj.*", "quantizer.transform.*"),
        ("decoder.linear_in.*", "decoder.widen.*"),
        *_stack("decoder"),
        ("decoder.linear_1.*", "decoder.narrow.*"),
        ("decoder.linear_2.weight", "decoder.patch.weight"),
    ]
    # frequencies of the rotary positions, which the class computes itself
    dropped = ("{encoder|decoder}.transformer.layers.layers.{}.mixer.rotary_emb.inv_freq",)
    return KeyMap(Rename(rows, also_drop=dropped), Each(("**.gate_up.weight",), _swap, _swap))


LAYOUTS = (
    Layout(
        system="magicodec",
        upstream="Ereboas/MagiCodec codec/generator.py Generator",
        family="magicodec",
        config=_config,
        keys=_keys,
    ),
)
