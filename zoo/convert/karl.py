"""KARL (ShivamDuggal4/karl) and ALIT (ShivamDuggal4/adaptive-length-tokenizer), the kinds over a VQGAN."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import open_config, part, unwrap
from .base import Converter, rename
from .fields import Fields
from .taming import legacy_vq
from .taming_keys import taming_middle, taming_weights
from .vit import BLOCK_KEYS, under

#: The VQGAN that both were published with (MAGE's).
_VQGAN = {
    "embed_dim": 256,
    "n_embed": 1024,
    "ddconfig": {
        "double_z": False, "z_channels": 256, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
        "ch_mult": [1, 1, 2, 2, 4], "num_res_blocks": 2, "attn_resolutions": [16], "dropout": 0.0,
    },
}  # fmt: skip


def _common(c: Fields) -> dict[str, Any]:
    """What both classes take."""
    base = part(c, "base_tokenizer", {"id": "vqgan"})
    base.require("id", "vqgan")  # over the KL autoencoder nothing has been published to check against
    base.drop("pretrained_ckpt_path", "is_requires_grad", "embed_dim")
    params = Fields(base.take("params", _VQGAN), f"{base.name}.params")
    base.done()
    vqgan = _stacks(part(params, "ddconfig"))
    if params.take("embed_dim") != vqgan["z_channels"]:
        raise ValueError(f"{params.name}: embed_dim and z_channels must be equal; there is no convolution between them.")
    codes = params.take("n_embed")
    params.done()

    def size(side: str) -> dict[str, int]:
        return {n: c.take(f"{side}_{k}") for n, k in (("width", "width"), ("layers", "num_layers"), ("heads", "num_heads"))}

    c.require("quantize_latent", True)  # otherwise there are no ids
    c.drop("factorize_latent", "train_stage", "visualize_decoder_attn_weights")
    unit = c.take("vq_use_l2_norm", True)
    return {
        "base": {**vqgan, "embed_dim": 0, "quantizer": legacy_vq(codes, 0.25), "value_range": [0.0, 1.0]},
        "patch_size": c.take("patch_size", 16),
        "encoder": size("encoder"),
        "decoder": size("decoder"),
        "latent_dim": c.take("vq_token_dim", 12),
        "quantizer": {
            "kind": "vq",
            "codebook_size": c.take("vq_codebook_size", 4096),
            "normalize": unit,
            "returns": "normalized" if unit else "raw",
            "commitment_weight": c.take("vq_commitment_cost", 0.25),
            "update": "gradient",
            "kmeans_init": False,
            "replace_below": 0.0,
        },
    }


def _stacks(c: Fields) -> dict[str, Any]:
    """MAGE's VQGAN: MaskGIT's network (no attention whatever `attn_resolutions` says) behind taming's arguments."""
    for key, value in (("in_channels", 3), ("out_ch", 3), ("double_z", False), ("give_pre_end", False)):
        c.require(key, value)
    c.drop("resolution", "attn_resolutions")
    width, mult, blocks = c.take("ch"), c.take("ch_mult", [1, 2, 4, 8]), c.take("num_res_blocks")
    down, up = c.take("resamp_with_conv", None), True
    if down is not None:
        up = down
    common = {
        "widths": [width * m for m in mult],
        "blocks": blocks,
        "middle": ["residual", "residual"],
        "bias": False,
        "shortcut": "output",
        "dropout": float(c.take("dropout", 0.0)),
    }
    z = c.take("z_channels")
    c.done()
    encoder = {**common, "stem_width": width, "resample": "conv" if down else "average", "head_kernel": 1}
    return {"encoder": encoder, "decoder": {**common, "resample": "nearest_conv" if up else "nearest"}, "z_channels": z}


def _karl(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "karl")
    c.drop("num_init_latent_tokens", "max_rollout_iters", "dynamic_halting", "dynamic_halting_threshold")  # ALIT's, not read
    out = {**_common(c), "grid_size": 16, "position_size": c.take("max_grid_tokens", 64), "max_tokens": 512}
    c.done()
    return out


def _alit(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "alit")
    out = _common(c)
    out |= {
        "grid_size": c.take("img_size", 256) // out["patch_size"],
        "tokens_per_rollout": c.take("num_init_latent_tokens", 32),
        "rollouts": c.take("max_rollout_iters", 8),
        "max_tokens": 256,
        "halting": c.take("dynamic_halting", True),
        "halting_threshold": c.take("dynamic_halting_threshold", 0.55),
    }
    c.done()
    return out


_END = r"(weight|bias)"
_SHARED = [
    *under(r"encoder\.transformer\.(\d+)\.", r"encoder.\1.", BLOCK_KEYS),
    *under(r"decoder\.transformer\.(\d+)\.", r"decoder.blocks.\1.", BLOCK_KEYS),
    (rf"decoder\.ln_pre\.{_END}", r"decoder.norm_in.\1"),
    (rf"decoder\.ln_post\.{_END}", r"decoder.norm_out.\1"),
    (rf"decoder\.ffn\.(0|2)\.{_END}", r"decoder.head.\1.\2"),
    (rf"patch_embed\.{_END}", r"patch_embed.\1"),
    (rf"pre_quantizer_mlp\.{_END}", r"to_latent.\1"),
    (r"latent_tokens", "latents"),
    (r"quantize\.embedding\.weight", "quantizer.codebook.embed"),
]
_KARL = [
    (rf"encoder_ln_pre\.{_END}", r"encoder_norm_in.\1"),
    (rf"encoder_ln_post\.{_END}", r"encoder_norm_out.\1"),
    (rf"encoder_ln_post_halt\.{_END}", r"halting_norm.\1"),
    (rf"halting_mlp\.(0|2)\.{_END}", r"halting.\1.\2"),
    (rf"decoder_embed\.{_END}", r"from_latent.\1"),
    (r"(encoder|decoder)_positional_embedding", r"\1_positions"),
    (r"decoder_mask_token", "mask_token"),
    (r"decoder_latent_tokens_timestep_embed", "token_positions"),
    (r"rec_loss_embeddings", "error_tokens"),
]
_ALIT = [
    (rf"encoder_ln_pre\.{_END}", r"norm_in.\1"),
    (rf"encoder_ln_recursive\.{_END}", r"norm_again.\1"),
    (rf"encoder_ln_post\.{_END}", r"norm_out.\1"),
    (rf"decoder\.decoder_embed\.{_END}", r"from_latent.\1"),
    (r"decoder\.latent_token_positional_embedding", "token_positions"),
    (r"encoder_class_embedding", "class_token"),
    (r"encoder_mask_token", "mask_token"),
    (r"encoder_positional_embedding", "positions"),
    (r"decoder_class_embedding", "decoder_class_token"),
    (r"decoder_mask_token", "decoder_mask_token"),
    (r"decoder_positional_embedding", "decoder_positions"),
    (r"latent_token_positional_embedding", "latent_positions"),
    (r"timestep_embedding", "rollout_tokens"),
]
_DROPPED = [r"gan_losses\..*"]  # discriminators and perceptual nets of the second training stage
_BASE = "base_tokenizer.vqgan."


def _weights(state: dict[str, Tensor], table: list[tuple[str, str]]) -> dict[str, Tensor]:
    state = unwrap(state, "model", "state_dict")
    base = {k.removeprefix(_BASE): v for k, v in state.items() if k.startswith(_BASE)}
    out = rename({k: v for k, v in state.items() if not k.startswith(_BASE)}, [*_SHARED, *table], dropped=_DROPPED)
    return out | {f"base.vqgan.{k}": v for k, v in taming_weights(base, middle=taming_middle(with_attention=False)).items()}


def _karl_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    out = _weights(state, _KARL)
    for name in ("encoder_positions", "decoder_positions"):
        out[name] = out[name].permute(1, 2, 0).contiguous()  # channels stand first there
    out["mask_token"] = out["mask_token"][0, 0]
    return out


def _alit_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    out = _weights(state, _ALIT)
    out["mask_token"], out["decoder_mask_token"] = out["mask_token"][0, 0], out["decoder_mask_token"][0]
    return out


CONVERTERS = (
    Converter(
        system="karl", upstream="ShivamDuggal4/karl KARLTokenizer", family="karl", config=_karl, weights=_karl_weights
    ),
    Converter(
        system="alit",
        upstream="ShivamDuggal4/adaptive-length-tokenizer AdaptiveLengthImageTokenizer",
        family="alit",
        config=_alit,
        weights=_alit_weights,
    ),
)
