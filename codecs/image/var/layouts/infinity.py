"""Infinity's bitwise multi-scale tokenizer (FoundationVision/Infinity @ 4c27bbb54a, flux_vqgan.py `AutoEncoder`)."""

import math
from collections.abc import Mapping
from typing import Any

from ....layouts.configs import open_config
from ....layouts.keymap import KeyMap, Rename, Row, Unwrap
from ....layouts.layout import Layout
from ....layouts.vqgan_keys import SIDE
from ..model import MultiScaleVQGANConfig

#: Sides of the scales for 256 pixels at stride 16 (mode "dynamic"): 521 positions.
_DYNAMIC_256 = [[1, s, s] for s in (1, 2, 4, 6, 8, 12, 16)]


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "infinity-vae")
    c.drop("vqgan_ckpt", "schedule_mode", "test_mode", "codebook_size", "quantizer_type")
    for key, only in _FIXED.items():
        c.require(key, only)
    width, blocks, patch = c.take("base_ch", 128), c.take("num_res_blocks", 2), c.take("patch_size", 16)
    halvings, bits = int(math.log2(patch)), c.take("codebook_dim")
    encoder_mult, decoder_mult = c.take("encoder_ch_mult", [1, 2, 4, 4, 4]), c.take("decoder_ch_mult", [1, 2, 4, 4, 4])
    shuffle = c.take("use_pxsf", False)
    common = {"middle": ["residual", "residual"], "narrow_groups": "24"}
    encoder = {
        **common,
        "widths": [width * m for m in encoder_mult],
        "stem_width": width,
        "blocks": blocks,
        "resample_levels": [i for i in range(len(encoder_mult)) if i < halvings],
    }
    decoder = {
        **common,
        "widths": [width * m for m in decoder_mult],
        "blocks": blocks + 1,
        "resample": "pixel_shuffle" if shuffle else "nearest_conv",
        "resample_levels": [i for i in range(1, len(decoder_mult)) if i <= halvings],
    }
    schedule = c.take("scale_schedule", _DYNAMIC_256)
    if any(t != 1 for t, _, _ in schedule):
        raise ValueError(f"infinity-vae.scale_schedule is {schedule}; only pictures, scales (1, h, w), are supported.")
    scales = [[h, w] for _, h, w in schedule]
    size = [side * patch for side in scales[-1]]
    c.require("image_size", size)
    quantizer = {
        "kind": "multiscale_bsq",
        "bits": bits,
        "bit_order": "msb",
        "scales": scales,
        "entropy_weight": float(c.take("entropy_loss_weight", 0.1)),
        "commitment_weight": float(c.take("commitment_loss_weight", 0.25)),
        "diversity_gamma": float(c.take("diversity_gamma", 1.0)),
    }
    c.done()
    return {
        "encoder": encoder,
        "decoder": decoder,
        "z_channels": bits,
        "embed_dim": 0,
        "quantizer": quantizer,
        "clip": True,
    }


#: Options that change the network or the codes, with their values in all published models.
_FIXED: dict[str, Any] = {
    "use_vae": False,
    "use_freq_enc": False,
    "use_freq_dec": False,
    "preserve_norm": False,
    "ln_before_quant": False,
    "ln_init_by_sqrt": False,
    "new_quant": True,
    "use_decay_factor": False,
    "mask_out": False,
    "use_stochastic_depth": False,
    "drop_when_test": False,
    "use_out_phi": False,
    "use_out_phi_res": False,
    "random_flip": False,
    "random_flip_1lvl": False,
    "remove_residual_detach": False,
    "norm_type": "group",
    "cnn_type": "2d",
    "conv_in_out_2d": "no",
    "conv_inner_2d": "no",
    "res_conv_2d": "no",
    "cnn_attention": "no",
    "cnn_norm_axis": "spatial",
}


#: The authors' convolutions and norms are wrapped in modules; files of earlier 2-D models have no wrappers and are read as well.
_BLOCK = (
    ("{norm1|norm2}[.norm|].*", "{norm1|norm2}.*"),
    ("{conv1|conv2}[.conv|].*", "{conv1|conv2}.*"),
    ("nin_shortcut[.conv|].*", "shortcut.*"),
)


def _rows() -> list[Row]:
    rows: list[Row] = [
        (SIDE + ".conv_in[.conv|].*", SIDE + ".stem.*"),
        (SIDE + ".norm_out[.norm|].*", SIDE + ".norm.*"),
        (SIDE + ".conv_out[.conv|].*", SIDE + ".head.*"),
        ("encoder.down.{}.downsample.conv[.conv|].*", "encoder.levels.{}.resample.conv.*"),
        ("decoder.up.{}.upsample.conv[.conv|].*", "decoder.levels.{}.resample.conv.*"),
    ]
    for theirs, ours in _BLOCK:
        rows += [
            ("encoder.down.{}.block.{}." + theirs, "encoder.levels.{}.blocks.{}." + ours),
            ("decoder.up.{}.block.{}." + theirs, "decoder.levels.{}.blocks.{}." + ours),
            (SIDE + ".mid.block_1." + theirs, SIDE + ".middle.0." + ours),
            (SIDE + ".mid.block_2." + theirs, SIDE + ".middle.1." + ours),
        ]
    return rows


def _keys(own: MultiScaleVQGANConfig) -> KeyMap:
    """The key map; of the state dicts in a published file the authors load the raw weights, `vae`, not their average."""
    dropped = ("{quantizer|quantize}.lfq.{mask|zero}",)  # powers of two, under two names
    return KeyMap(Unwrap("vae", "state_dict"), Rename(_rows(), also_drop=dropped))


LAYOUTS = (
    Layout(
        system="infinity-vae",
        upstream="FoundationVision/Infinity infinity/models/bsq_vae/flux_vqgan.py AutoEncoder",
        family="var",
        config=_config,
        keys=_keys,
    ),
)
