"""Cosmos discrete image tokenizers, NVIDIA/Cosmos-Tokenizer @ 3584ae752c, `DiscreteImageTokenizer`.

Differs: ids are those of float32. The authors run FSQ in bfloat16 by default, where code values are exact but latents round
differently.
"""

import math
from collections.abc import Mapping
from typing import Any

from ....layouts.configs import attention_levels, decoder_attention_levels, legacy_vq, open_config
from ....layouts.keymap import Row
from ....layouts.layout import Layout
from ....layouts.vqgan_keys import taming_map


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "cosmos-di")
    c.drop("name", "z_factor", "persistent_quantizer")  # the encoder does not read z_factor
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
    c.drop("num_quantizers")  # for residual FSQ only
    if kind == "FSQ":
        c.drop("num_embeddings")
        quantizer = {"kind": "fsq", "levels": levels_of_codes}
    elif kind == "VQ":
        c.require("use_norm", False)
        c.require("legacy", True)
        c.drop("sane_index_shape")
        quantizer = legacy_vq(c.take("num_embeddings"), float(c.take("beta", 0.25)))
    else:
        raise ValueError(f"cosmos-di: the quantizer {kind!r} is not supported; FSQ or VQ is.")
    c.done(swallowed=True)
    return {**parts, "quantizer": quantizer}


_TABLE: tuple[Row, ...] = (("quantizer.embedding.weight", "quantizer.codebook.embed"),)
#: The Haar filters, and buffers that are computed from the levels.
_COMPUTED = ("{encoder.patcher|decoder.unpatcher}.**", "{quantizer|inv_quant}.{_levels|_basis|implicit_codebook}", "inv_quant.**")


LAYOUTS = (
    Layout(
        system="cosmos-di",
        upstream="NVIDIA/Cosmos-Tokenizer cosmos_tokenizer/networks/discrete_image.py DiscreteImageTokenizer",
        family="vqgan",
        config=_config,
        keys=lambda own: taming_map(more=_TABLE, dropped=_COMPUTED),
    ),
)
