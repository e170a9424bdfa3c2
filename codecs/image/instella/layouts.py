"""Instella-T2I's binary autoencoder (AMD-AGI/Instella-T2I): `BAE_Model`, its mmengine config as a mapping."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import open_config
from ...layouts.keymap import Fuse, KeyMap, Rename, Row, as_convolution, under, without_ones
from ...layouts.layout import Layout
from .model import InstellaConfig


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
        "position_scale": c.take("bae_scale", None) or 0,  # the authors set it after construction
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


#: A block, with q, k, v joined, and the two input maps of the gated MLP joined.
_BLOCK: tuple[Row, ...] = (
    ("input_layernorm.weight", "attention_norm.weight"),
    ("attn.qkv.weight", "attention.qkv.weight"),
    ("attn.norm_{q|k}.weight", "attention.{q|k}_norm.weight"),
    ("attn.o_proj.weight", "attention.out.weight"),
    ("post_attention_layernorm.weight", "mlp_norm.weight"),
    ("mlp.gate_up.weight", "gate_up.weight"),
    ("mlp.down_proj.weight", "down.weight"),
)
_ROWS: list[Row] = [
    *under("{encoder|decoder}.transformer_blocks.{}.", "{encoder|decoder}.blocks.{}.", _BLOCK),
    ("{encoder|decoder}.norm_out.weight", "{encoder|decoder}.norm.weight"),
    ("encoder.down_layers.{}.conv.*", "encoder.resizers.{}.conv.*"),
    ("decoder.up_layers.{}.conv.*", "decoder.resizers.{}.conv.*"),
    ("encoder.patch_embedder.*", "patch_embed.*"),
    ("encoder.latent_tokens", "latents"),
    ("encoder.proj_out.*", "encoder_out.*"),
    ("quantizer.proj.0.*", "quantizer.in_proj.*"),
    ("quantizer.embed", "quantizer.table"),
    ("decoder.input_layer.{0|1}.*", "decoder_in.{0|1}.*"),
    ("decoder.mask_tokens", "mask_token"),
    ("decoder.repa_proj.{}.*", "feature_head.{}.*"),
    ("to_pixel.*", "to_pixels.proj.*"),
]


def _keys(own: InstellaConfig) -> KeyMap:
    return KeyMap(
        Fuse(("q_proj", "k_proj", "v_proj"), "qkv", where="**.attn."),
        Fuse(("gate_proj", "up_proj"), "gate_up", where="**.mlp."),
        Rename(_ROWS),
        without_ones("latents"),
        without_ones("mask_token", axes=2),
        as_convolution("to_pixels.proj.weight"),  # a linear map
    )


LAYOUTS = (
    Layout(
        system="instella-bae",
        upstream="AMD-AGI/Instella-T2I BAE_Model",
        family="instella",
        config=_config,
        keys=_keys,
    ),
)
