"""Apertus 1.5's vision tokenizer (transformers release v5.24.0): the encoder of Emu3.5's IBQ under other names, without a decoder."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import attention_levels, check_round_trip, the_quantizer
from ....layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ....layouts.keymap import Fuse, KeyMap, Rename, Row
from ....layouts.layout import Layout
from ....layouts.vqgan_keys import OUTER, taming_middle
from ....quantizers.ibq import IBQConfig
from ..model import VQGANConfig
from .ibq_config import TABLE


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our config fields from those of `Apertus1p5VisionTokenizerConfig`."""
    c = Fields(config, "apertus1p5_vision_tokenizer-hf")
    c.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS, "spatial_scale_factor")  # the factor follows from the multipliers
    c.require("in_channels", 3)
    width, mult = c.take("base_channels", 256), c.take("channel_multiplier", [1, 1, 2, 2, 4])
    levels, resolution, wanted = len(mult), c.take("resolution", 256), c.take("attn_resolutions", [16])
    out = {
        "encoder": {
            "widths": [width * m for m in mult],
            "stem_width": width,
            "blocks": c.take("num_res_blocks", 4),
            "attention_levels": attention_levels(resolution, wanted, levels, range(levels - 1)),
            "dropout": float(c.take("dropout", 0.0)),
        },
        "decoder": None,
        "z_channels": c.take("latent_channels", 256),
        "embed_dim": c.take("embed_dim", 256),
        "quantizer": {"kind": "ibq", "codebook_size": c.take("codebook_size", 131072), "entropy_weight": 0.0},
    }
    c.done(swallowed=True)
    return out


def _back(own: VQGANConfig) -> dict[str, Any]:
    """`config.json` of Apertus' class with this encoder."""
    e = own.encoder
    resolution = 2 ** len(e.widths) * 8  # without effect where no level has attention
    out = {
        "architectures": ["Apertus1p5VisionTokenizerModel"],
        "model_type": "apertus1p5_vision_tokenizer",
        "base_channels": e.stem_width,
        "channel_multiplier": [w // e.stem_width for w in e.widths],
        "num_res_blocks": e.blocks,
        "resolution": resolution,
        "attn_resolutions": [resolution // 2**i for i in e.attention_levels],
        "dropout": e.dropout,
        "latent_channels": own.z_channels,
        "embed_dim": own.embed_dim,
        "codebook_size": the_quantizer(own.quantizer, IBQConfig).codebook_size,
    }
    return check_round_trip(own, out, _config)


_STAGE, _LEVEL = "encoder.stages.{}.layers.{}", "encoder.levels.{}"
_ROWS: tuple[Row, ...] = (
    (_STAGE + ".resnet.{norm1|norm2|conv1|conv2}.*", _LEVEL + ".blocks.{}.{norm1|norm2|conv1|conv2}.*"),
    (_STAGE + ".resnet.nin_shortcut.*", _LEVEL + ".blocks.{}.shortcut.*"),
    (_STAGE + ".attention.{norm|qkv}.*", _LEVEL + ".attentions.{}.{norm|qkv}.*"),
    (_STAGE + ".attention.proj_out.*", _LEVEL + ".attentions.{}.out.*"),
    ("encoder.stages.{}.downsample.conv.*", _LEVEL + ".resample.conv.*"),
)

LAYOUTS = (
    Layout(
        system="apertus1p5_vision_tokenizer-hf",
        upstream="huggingface/transformers models/apertus1p5 Apertus1p5VisionTokenizerModel",
        family="vqgan",
        config=_config,
        keys=lambda own: KeyMap(Fuse(("q", "k", "v"), "qkv"), Rename([*_ROWS, *OUTER, *taming_middle(), *TABLE])),
        authors_config=_back,
        model_type="apertus1p5_vision_tokenizer",
    ),
)
