"""LongCat-Next's image refiner as published: `visual_decoder_config` of config.json, and weights under `image_refiner.`."""

from collections.abc import Mapping
from typing import Any, cast

import torch

from ...config import from_mapping
from ...layers.diffusion_parts import plain_config
from ...layouts.configs import part
from ...layouts.fields import TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, under
from ..refined import fill, read_network
from .refiner import Refiner, RefinerConfig

#: Files in which the weights may stand, the published one first.
WEIGHTS = ("image_decoder/image_decoder.safetensors", "image_decoder.safetensors")


def refiner_config(config: Mapping[str, Any]) -> RefinerConfig:
    """Settings of the refiner of a whole model's config.json, in its `visual_config` or beside it."""
    visual = config.get("visual_config", config)
    inner = visual.get("visual_decoder_config") if isinstance(visual, Mapping) else None
    c = Fields(inner or config.get("visual_decoder_config", {}), "longcat-next.visual_decoder_config")
    transformer, scheduler = part(c, "transformer_config"), part(c, "scheduler_config", {})
    scheduler.drop(*TRANSFORMERS_KEYS, "_class_name", "_diffusers_version", "num_train_timesteps", "dynamic_time_shift")
    scheduler.done(swallowed=True)
    out, width = _transformer(transformer), transformer.take("text_feat_dim")
    code_dim = c.take("codebook_dim", width)
    out |= {"code_dim": code_dim, "condition_dim": width, "map_code": code_dim != width, "vae": _vae(c.take("vae_config"))}
    transformer.done(swallowed=True)
    return from_mapping(RefinerConfig, out, path="refiner")


def _transformer(c: Fields) -> dict[str, Any]:
    c.drop(*TRANSFORMERS_KEYS, "_class_name", "_diffusers_version")
    c.drop("axes_lens", "in_channels")  # axes may be of any length here; the VAE's channels
    c.require("out_channels", None)
    width, several, factor = c.take("hidden_size", 2304), c.take("multiple_of", 256), c.take("ffn_dim_multiplier", None)
    hidden = 4 * width if factor is None else int(factor * 4 * width)
    return {
        "width": width,
        "layers": c.take("num_layers", 26),
        "part_layers": c.take("num_refiner_layers", 2),
        "heads": c.take("num_attention_heads", 24),
        "kv_heads": c.take("num_kv_heads", 8),
        "hidden": -(-hidden // several) * several,
        "axes": list(c.take("axes_dim_rope", (32, 32, 32))),
        "patch_size": c.take("patch_size", 2),
        "eps": float(c.take("norm_eps", 1e-5)),
        "time_scale": float(c.take("timestep_scale", 1.0)),
    }


def _vae(theirs: Mapping[str, Any]) -> dict[str, Any]:
    from diffusers import AutoencoderKL

    known = {k: v for k, v in theirs.items() if k not in TRANSFORMERS_KEYS}
    with torch.device("meta"):
        return plain_config(cast(Any, AutoencoderKL.from_config(known)).config)


_PLAIN: list[Row] = [
    ("norm1.weight", "attention_in.weight"),
    ("norm2.weight", "attention_out.weight"),
    ("ffn_norm1.weight", "mlp_in.weight"),
    ("ffn_norm2.weight", "mlp_out.weight"),
    ("attn.to_{q|k|v}.weight", "{q|k|v}.weight"),
    ("attn.to_out.0.weight", "out.weight"),
    ("attn.norm_{q|k}.weight", "{q|k}_norm.weight"),
    ("feed_forward.linear_1.weight", "gate.weight"),
    ("feed_forward.linear_2.weight", "down.weight"),
    ("feed_forward.linear_3.weight", "up.weight"),
]
_MODULATED: list[Row] = [("norm1.linear.*", "modulation.*"), ("norm1.norm.weight", "attention_in.weight"), *_PLAIN[1:]]
_TRANSFORMER: list[Row] = [
    ("x_embedder.*", "patch_embed.*"),
    ("ref_image_patch_embedder.*", "picture_embed.*"),
    ("image_index_embedding", "picture_number"),
    ("time_caption_embed.timestep_embedder.linear_1.*", "time.mlp.0.*"),
    ("time_caption_embed.timestep_embedder.linear_2.*", "time.mlp.2.*"),
    ("time_caption_embed.caption_embedder.0.weight", "code_norm.weight"),
    ("time_caption_embed.caption_embedder.1.*", "code_embed.*"),
    ("norm_out.linear_1.*", "modulation.*"),
    ("norm_out.linear_2.*", "head.*"),
    *under("noise_refiner.{}.", "latent_blocks.{}.", _MODULATED),
    *under("ref_image_refiner.{}.", "picture_blocks.{}.", _MODULATED),
    *under("context_refiner.{}.", "code_blocks.{}.", _PLAIN),
    *under("layers.{}.", "blocks.{}.", _MODULATED),
]


def refiner_keys() -> KeyMap:
    """The map of the authors' weights, without `image_refiner.`, to those of `Refiner`."""
    rows: list[Row] = [*under("base_transformer.", "transformer.", _TRANSFORMER), ("vae.**", "vae.net.**")]
    return KeyMap(Rename([*rows, ("cond_proj.{weight|bias}", "map_code.{weight|bias}")], also_drop=("cond_proj._dummy",)))


def read_refiner(source: Any) -> Refiner:
    """The refiner in a folder or hub repository with the model's config.json and the decoder's file.

    Raises:
        CheckpointError, ValueError: a file is missing or broken, or holds another network.
    """
    settings, state = read_network(source, config="config.json", weights=WEIGHTS, prefix="image_refiner.")
    config = refiner_config(settings)
    with torch.device("meta"):
        refiner = Refiner(config)
    fill(refiner, refiner_keys().read(state), str(source))
    refiner.vae.net.float()
    return refiner
