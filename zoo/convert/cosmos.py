"""Cosmos discrete image tokenizers, NVIDIA/Cosmos-Tokenizer @ 3584ae752c, `DiscreteImageTokenizer`.

The authors run FSQ in bfloat16 by default; its values are exact in that type, its rounding of latents is not: ids here
are those of float32.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import attention_levels, decoder_attention_levels, open_config, unwrap
from .base import Converter
from .taming import legacy_vq
from .taming_keys import TABLE, taming_weights


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "cosmos-di")
    c.drop("name", "z_factor")  # the encoder does not read z_factor
    for side in ("encoder", "decoder"):
        c.require(side, "Default")
    c.require("in_channels", 3)
    c.require("out_channels", 3)
    c.drop("dtype")
    width, mult, patch = c.take("channels"), c.take("channels_mult"), c.take("patch_size", 1)
    patching = c.one_of("patch_method", {"haar": "haar", "rearrange": "fold"}, "rearrange")
    halvings = int(math.log2(c.take("spatial_compression"))) - int(math.log2(patch))
    levels, side, wanted = len(mult), c.take("resolution") // patch, c.take("attn_resolutions")
    blocks = c.take("num_res_blocks")
    down, up = list(range(halvings)), list(range(levels - halvings, levels))
    common = {
        "widths": [width * m for m in mult],
        "dropout": float(c.take("dropout", 0.0)),
        "patching": patching,
        "patch_size": patch,
    }
    encoder = {
        **common,
        "stem_width": width,
        "blocks": blocks,
        "resample_levels": down,
        "attention_levels": attention_levels(side, wanted, levels, down),
    }
    decoder = {
        **common,
        "blocks": blocks + 1,
        "resample_levels": up,
        "attention_levels": decoder_attention_levels(side // 2 ** (levels - 1), wanted, levels, up),
    }
    parts = {
        "encoder": encoder,
        "decoder": decoder,
        "z_channels": c.take("z_channels"),
        "embed_dim": c.take("embedding_dim"),
    }
    kind = c.take("quantizer", "RESFSQ")
    levels_of_codes = c.take("levels", None)
    c.drop("num_quantizers")  # of residual FSQ alone
    if kind == "FSQ":
        quantizer = {"kind": "fsq", "levels": levels_of_codes}
    elif kind == "VQ":
        c.require("use_norm", False)
        c.require("legacy", True)
        c.drop("sane_index_shape")
        quantizer = legacy_vq(c.take("num_embeddings"), float(c.take("beta", 0.25)))
    else:
        raise ValueError(f"cosmos-di: the quantizer {kind!r} is not supported; FSQ or VQ is.")
    c.done()
    return {**parts, "quantizer": quantizer}


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    dropped = (
        r"(encoder\.patcher|decoder\.unpatcher)\..*",  # the Haar filters
        r"(quantizer|inv_quant)\.(_levels|_basis|implicit_codebook|quantizer\..*)",  # computed from the levels
    )
    table = tuple((old.replace("quantize", "quantizer"), new) for old, new in TABLE)
    return taming_weights(unwrap(state, "state_dict"), more=table, dropped=dropped)


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="cosmos-di",
        upstream="NVIDIA/Cosmos-Tokenizer cosmos_tokenizer/networks/discrete_image.py DiscreteImageTokenizer",
        family="vqgan",
        config=_config,
        weights=_weights,
    ),
)
