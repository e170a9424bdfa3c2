"""DualToken (songweii/DualToken @ 29e7c84d00, modeling/rqvaesigliptransformer/rqvaesiglip/modeling_rqvaesiglip.py)."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...codecs.serialize import CheckpointError
from .attention_projection import KEY_BIAS, projection_keys
from .authors import decoder_attention_levels, open_config, part, unwrap
from .base import Converter
from .fields import TRANSFORMERS_KEYS, Fields
from .rae import fuse_qkv
from .taming_keys import taming_weights
from .tokenflow import SIGLIP_BLOCK_KEYS, siglip_tower
from .vit import under

#: The towers' sizes by the word in their names: (width, layers, heads, hidden).
_SIGLIP = {"base": (768, 12, 12, 3072), "large": (1024, 24, 16, 4096), "so400m": (1152, 27, 16, 4304)}


def _named_tower(name: str) -> dict[str, Any]:
    """The `vision` part of a config of transformers' SigLIP, from the end of a checkpoint's name."""
    found = re.search(r"siglip2?-(base|large|so400m)-patch(\d+)-(\d+)/?$", name)
    if not found:
        raise ValueError(f"dualtoken.pretrained_model is {name!r}; without 'siglip' it must end like 'siglip2-so400m-patch16-256'.")
    width, layers, heads, hidden = _SIGLIP[found[1]]
    return {
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": hidden,
        "patch_size": int(found[2]), "image_size": int(found[3]),
    }  # fmt: skip


def _residual(c: Fields) -> tuple[dict[str, Any], int, int]:
    """One `RQBottleneck` or `RQBottleneck_ema`: quantizer, width of its latents, side of the cells."""
    c.one_of("bottleneck_type", {"rq": 0, "rq_ema": 0})  # differ in when the tables move, in training
    c.drop("ckpt_path")  # not read
    width, latent, code = c.take("embed_dim"), list(c.take("latent_shape")), list(c.take("code_shape"))
    folds = {a // b for a, b in zip(latent[:2], code[:2], strict=True)}
    if latent[2] != width or latent[0] % code[0] or latent[1] % code[1] or len(folds) > 1:
        raise ValueError(f"{c.name}: embed_dim {width}, latent_shape {latent} and code_shape {code} do not fit each other.")
    sizes, decay = c.take("n_embed"), c.take("decay", 0.99)
    decays = {float(d) for d in (decay if isinstance(decay, list) else [decay])}
    if len(decays) > 1:
        raise ValueError(f"{c.name}.decay is {decay}; one decay for all levels is supported.")
    out = {
        "kind": "residual_vq",
        "num_codebooks": code[2],
        "codebook_size": sizes,
        "shared_codebook": c.take("shared_codebook", False),
        "decay": decays.pop(),
        "commitment_weight": 1 / code[2],  # the authors take the mean over levels
        "kmeans_init": False,
        "replace_below": 0.1 if c.take("restart_unused_codes", True) else 0.0,  # theirs: less than one row a batch
    }
    c.done()
    return out, width, folds.pop()


def _decoder(c: Fields) -> tuple[dict[str, Any], int]:
    c.drop("double_z", "in_channels")  # of an encoder that is not here
    c.require("out_ch", 3)
    c.require("give_pre_end", False)
    width, mult, blocks = c.take("ch"), c.take("ch_mult", [1, 2, 4, 8]), c.take("num_res_blocks")
    side, wanted = c.take("resolution"), c.take("attn_resolutions")
    levels = decoder_attention_levels(side // 2 ** (len(mult) - 1), wanted, len(mult), range(1, len(mult)))
    out = {
        "widths": [width * m for m in mult],
        "blocks": blocks + 1,
        "attention_levels": list(levels),
        "dropout": float(c.take("dropout", 0.0)),
        "resample": "nearest_conv" if c.take("resamp_with_conv", True) else "nearest",
    }
    channels = c.take("decoder_in_channels")
    c.done()
    return out, channels


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    config = config["rqvaesiglip"] if isinstance(config.get("rqvaesiglip"), Mapping) else config
    c = open_config(config, "dualtoken")
    c.drop(*TRANSFORMERS_KEYS, "checkpointing", "ignore_keys", "decay")  # not read by the class
    name, towers = c.take("pretrained_model", "google/siglip-large-patch16-256"), part(c, "siglip", {})
    vision = dict(towers.take("vision", {})) or _named_tower(name)
    pool = vision.pop("vision_use_head", True)
    tower = siglip_tower(Fields(vision, "dualtoken.siglip.vision"), norm_out="affine" if pool else "none")
    c.require("hidden_size", tower["width"])
    c.require("image_size", tower["image_size"])
    semantic, semantic_dim, fold = _residual(part(c, "vq_sem"))
    pixel, pixel_dim, pixel_fold = _residual(part(c, "vq_pix"))
    if fold != pixel_fold:
        raise ValueError(f"dualtoken: cells of {fold} and {pixel_fold} positions on a side; both codes must have the same.")
    decoder, channels = _decoder(part(c, "ddconfig"))
    grid, weight = c.take("decoder_latent_shape", None), c.take("weight_shortcut", None)
    out = {
        "tower": tower,
        "pool": pool,
        "pixel_layer": c.take("layer_recon"),
        "semantic_layer": c.take("layer_sem"),
        "shortcut_layer": c.take("layer_shortcut", None),
        "shortcut_weight": 0.0 if weight is None else float(weight),
        "semantic_dim": semantic_dim,
        "pixel_dim": pixel_dim,
        "fold": fold,
        "semantic_quantizer": semantic,
        "pixel_quantizer": pixel,
        "decoder": decoder,
        "decoder_channels": channels,
        "decoder_grid": grid,
    }
    c.done()
    return out


_END = r"(weight|bias)"
_VISION = r"siglip_model\.vision_model\."
_QUANTIZERS = {"sem": "quantizer.first", "pix": "quantizer.second"}
_TABLE = [
    *under(_VISION + r"encoder\.layers\.(\d+)\.", r"tower.blocks.\1.", SIGLIP_BLOCK_KEYS),
    (_VISION + r"embeddings\.patch_embedding\." + _END, r"tower.patch_embed.\1"),
    (_VISION + r"embeddings\.position_embedding\.weight", "tower.positions"),
    (_VISION + r"post_layernorm\." + _END, r"tower.norm_out.\1"),
    (_VISION + r"head\.probe", "pool.query"),
    (_VISION + r"head\.attention\.in_proj_" + _END, r"pool.attention.qkv.\1"),  # split below
    (_VISION + r"head\.attention\.out_proj\." + _END, r"pool.attention.out.\1"),
    (_VISION + r"head\.layernorm\." + _END, r"pool.norm.\1"),
    (_VISION + r"head\.mlp\.fc1\." + _END, r"pool.mlp.0.\1"),
    (_VISION + r"head\.mlp\.fc2\." + _END, r"pool.mlp.2.\1"),
    *projection_keys("prequant_sem", "to_semantic"),
    *projection_keys("prequant_pix", "to_pixel"),
    *projection_keys("prequant_shortcut", "to_shortcut"),
    *projection_keys("postquant_sem", "from_semantic"),
    *projection_keys("postquant_pix", "from_pixel"),
    (r"post_quant_conv\.(norm[12]|conv[12])\." + _END, r"decoder_in.\1.\2"),
    (r"post_quant_conv\.nin_shortcut\." + _END, r"decoder_in.shortcut.\1"),
    (r"(quantizer\.(?:first|second)\..*)", r"\1"),  # renamed below
]
#: The text tower, and what SigLIP's loss needs.
_DROPPED = (r"siglip_model\.text_model\..*", r"siglip_model\.logit_(?:scale|bias)", KEY_BIAS)


def _tables(state: dict[str, Tensor], part_name: str, shared: bool) -> dict[str, Tensor]:
    """Tables and running statistics of one stack; a shared table stands under every level in the authors' file."""
    prefix, ours, out = f"quantizer_{part_name}.codebooks.", _QUANTIZERS[part_name], {}
    keys = [k for k in state if k.startswith(prefix)]
    for key in keys:
        level, _, name = key[len(prefix) :].partition(".")
        first = state[f"{prefix}0.{name}"] if shared and f"{prefix}0.{name}" in state else None
        if first is not None and not torch.equal(first, state[key]):
            raise CheckpointError(f"dualtoken: {key} differs from level 0, but the table is shared.")
        target = f"{ours}.codebook" if shared else f"{ours}.levels.{level}.codebook"
        names = {"weight": "embed", "cluster_size_ema": "counts", "embed_ema": "sums"}
        if name not in names:
            raise CheckpointError(f"weights that the layout does not know: {key}.")
        value = state[key][:-1] if name == "weight" else state[key]  # the last row is padding
        out[f"{target}.{names[name]}"] = value
        out[f"{target}.ready"], out[f"{target}.steps"] = torch.tensor(True), torch.zeros((), dtype=torch.int64)
    for key in keys:
        del state[key]
    return out


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    own = _config(config)
    state = {re.sub(r"^(?:module\.)?(?:rqvaesiglip\.)?", "", k): v for k, v in unwrap(state, "state_dict").items()}
    for name, key in (("sem", "semantic_quantizer"), ("pix", "pixel_quantizer")):
        state |= _tables(state, name, own[key]["shared_codebook"])
    state = fuse_qkv(state, _VISION + r"encoder\.layers\.\d+\.self_attn\.", ("q_proj", "k_proj", "v_proj"))
    unused = () if own["pool"] else (_VISION + r"post_layernorm\..*",)
    out = taming_weights(state, more=_TABLE, dropped=(*_DROPPED, *unused))
    if "pool.query" in out:
        out["pool.query"] = out["pool.query"].flatten(0, -2)
        for end in ("weight", "bias"):
            parts = out.pop(f"pool.attention.qkv.{end}").chunk(3)
            out |= {f"pool.attention.{n}.{end}": v.clone() for n, v in zip("qkv", parts, strict=True)}
    return out


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="dualtoken",
        upstream="songweii/DualToken modeling/rqvaesigliptransformer/rqvaesiglip/modeling_rqvaesiglip.py RQVAESiglipModel",
        family="dualtoken",
        config=_config,
        weights=_weights,
    ),
)
