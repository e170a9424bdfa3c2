"""Config and key tables that KARL and ALIT share: the VQGAN underneath, the two transformers, the quantizer."""

from typing import Any

from .configs import legacy_vq, part
from .fields import Fields
from .keymap import Row, under
from .vit_keys import BLOCK
from .vqgan_keys import LEVELS, RESAMPLE, TABLE, taming_middle

#: The VQGAN that both were published with (MAGE's); their configs do not contain it.
_VQGAN = {
    "embed_dim": 256,
    "n_embed": 1024,
    "ddconfig": {
        "double_z": False, "z_channels": 256, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
        "ch_mult": [1, 1, 2, 2, 4], "num_res_blocks": 2, "attn_resolutions": [16], "dropout": 0.0,
    },
}  # fmt: skip


def distilled_config(c: Fields) -> dict[str, Any]:
    """Config fields from the arguments that both classes take."""
    base = part(c, "base_tokenizer", {"id": "vqgan"})
    base.require("id", "vqgan")  # no model over the KL autoencoder has been published to check against
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
    """MAGE's VQGAN: MaskGIT's network (no attention, whatever `attn_resolutions` is) with taming's arguments."""
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


#: Names in files of the authors' trainings; their loaders take the averaged weights.
FILES = ("ema", "model", "state_dict")

_BASE = "base_tokenizer.vqgan."
SHARED: tuple[Row, ...] = (
    ("gan_losses.**", None),  # discriminators and perceptual nets of the second training stage
    (_BASE + "loss.**", None),
    *under(_BASE, "base.vqgan.", (*LEVELS, *RESAMPLE, *taming_middle(with_attention=False), *TABLE)),
    *under("encoder.transformer.{}.", "encoder.{}.", BLOCK),
    *under("decoder.transformer.{}.", "decoder.blocks.{}.", BLOCK),
    ("decoder.ln_pre.*", "decoder.norm_in.*"),
    ("decoder.ln_post.*", "decoder.norm_out.*"),
    ("decoder.ffn.{0|2}.*", "decoder.head.{0|2}.*"),
    ("patch_embed.*", "patch_embed.*"),
    ("pre_quantizer_mlp.*", "to_latent.*"),
    ("latent_tokens", "latents"),
    ("quantize.embedding.weight", "quantizer.codebook.embed"),
)
