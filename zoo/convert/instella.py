"""Instella-T2I's binary autoencoder (AMD-AGI/Instella-T2I): `BAE_Model`, its mmengine config as a mapping."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .authors import open_config
from .base import Converter, rename


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "instella-bae")
    c.require("in_channels", 3)

    def size(side: str) -> dict[str, int]:
        heads, layers = c.take(f"{side}_num_heads"), c.take(f"{side}_layers")
        return {"width": heads * c.take(f"{side}_head_dim"), "layers": layers, "heads": heads}

    with_features = c.take("use_repa", False)
    feature_dim, feature_after = c.take("repa_dim", None), c.take("repa_index", None)
    out = {
        "patch_size": c.take("patch_size"),
        "num_latents": c.take("num_latent_tkns"),
        "encoder": size("encoder"),
        "decoder": size("decoder"),
        "rope_axes": list(c.take("axes_dims_rope")),
        "down_after": list(c.take("downsample_idx")),
        "up_after": list(c.take("upsample_idx")),
        "position_scale": c.take("bae_scale", None) or 0,  # the authors set it at use, not in the constructor
        "quantizer": {
            "kind": "bernoulli",
            "bits": c.take("codebook_size"),
            "temperature": c.take("train_temp", 0.1),
            "code_weight": 1.0,
        },
        "feature_dim": feature_dim if with_features else 0,
        "feature_after": feature_after if with_features else -1,
    }
    c.done()
    return out


_BLOCK = r"(encoder|decoder)\.transformer_blocks\.(\d+)\."
_TABLE = [
    (_BLOCK + r"input_layernorm\.weight", r"\1.blocks.\2.attention_norm.weight"),
    (_BLOCK + r"attn\.qkv\.weight", r"\1.blocks.\2.attention.qkv.weight"),
    (_BLOCK + r"attn\.norm_(q|k)\.weight", r"\1.blocks.\2.attention.\3_norm.weight"),
    (_BLOCK + r"attn\.o_proj\.weight", r"\1.blocks.\2.attention.out.weight"),
    (_BLOCK + r"post_attention_layernorm\.weight", r"\1.blocks.\2.mlp_norm.weight"),
    (_BLOCK + r"mlp\.gate_up\.weight", r"\1.blocks.\2.gate_up.weight"),
    (_BLOCK + r"mlp\.down_proj\.weight", r"\1.blocks.\2.down.weight"),
    (r"(encoder|decoder)\.norm_out\.weight", r"\1.norm.weight"),
    (r"encoder\.down_layers\.(\d+)\.conv\.(weight|bias)", r"encoder.resizers.\1.conv.\2"),
    (r"decoder\.up_layers\.(\d+)\.conv\.(weight|bias)", r"decoder.resizers.\1.conv.\2"),
    (r"encoder\.patch_embedder\.(weight|bias)", r"patch_embed.\1"),
    (r"encoder\.latent_tokens", "latents"),
    (r"encoder\.proj_out\.(weight|bias)", r"encoder_out.\1"),
    (r"quantizer\.proj\.0\.(weight|bias)", r"quantizer.in_proj.\1"),
    (r"quantizer\.embed", "quantizer.table"),
    (r"decoder\.input_layer\.(0|1)\.(weight|bias)", r"decoder_in.\1.\2"),
    (r"decoder\.mask_tokens", "mask_token"),
    (r"decoder\.repa_proj\.(\d)\.(weight|bias)", r"feature_head.\1.\2"),
    (r"to_pixel\.(weight|bias)", r"to_pixels.proj.\1"),
]
#: Maps that are one here: (name of the whole, its parts in order).
_JOINED = (("attn.qkv", ("attn.q_proj", "attn.k_proj", "attn.v_proj")), ("mlp.gate_up", ("mlp.gate_proj", "mlp.up_proj")))


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    state = dict(state)
    for whole, parts in _JOINED:
        for key in [k for k in state if k.endswith(f".{parts[0]}.weight")]:
            block = key[: -len(f"{parts[0]}.weight")]
            state[f"{block}{whole}.weight"] = torch.cat([state.pop(f"{block}{part}.weight") for part in parts])
    out = rename(state, _TABLE)
    out["latents"], out["mask_token"] = out["latents"][0], out["mask_token"][0, 0]
    out["to_pixels.proj.weight"] = out["to_pixels.proj.weight"][:, :, None, None]  # a linear map
    return out


CONVERTERS = (
    Converter(
        system="instella-bae",
        upstream="AMD-AGI/Instella-T2I BAE_Model",
        family="instella",
        config=_config,
        weights=_weights,
    ),
)
