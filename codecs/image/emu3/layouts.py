"""Emu3's vision tokenizer: `Emu3VisionVQModel` (baaivision/Emu3 @ f6ea9aaa44, remote code) and transformers' `Emu3VQVAE`."""

from collections.abc import Mapping
from typing import Any

from ...layouts import movq_keys
from ...layouts.configs import check_round_trip, legacy_vq, open_config
from ...layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import Fuse, KeyMap, Rename, Row, Unwrap, as_convolution
from ...layouts.layout import Layout
from ...layouts.vqgan_keys import TABLE
from ...quantizers.base import codebook_size_of
from .model import Emu3Config


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "emu3-vq")
    c.drop(*TRANSFORMERS_KEYS)
    c.require("in_channels", 3)
    c.require("out_channels", 3)
    c.require("double_z", False)  # the published class cannot take True
    width, mult, blocks = c.take("ch", 256), c.take("ch_mult", [1, 2, 2, 4]), c.take("num_res_blocks", 2)
    levels = [i for i in c.take("attn_resolutions", [3]) if 0 <= i < len(mult)]  # numbers of levels, not sides
    dim = c.take("embed_dim", 4)
    c.require("z_channels", dim, 4)
    return _network(c, width, mult, blocks, dim, attention_levels=levels, dropout=float(c.take("dropout", 0.0)))


def _network(c: Fields, width: int, mult: list[int], blocks: int, dim: int, **stacks: Any) -> dict[str, Any]:
    """Our fields, from the keys that both layouts share, taken from `c`; `stacks` are settings of encoder and decoder."""
    common = {"widths": [width * m for m in mult], **stacks}
    # the authors' quantizer has no losses: their published code is for inference only
    out = {
        "encoder": {**common, "stem_width": width, "blocks": blocks},
        "decoder": {**common, "blocks": blocks + 1, "condition": "spatial"},
        "latent_dim": dim,
        "frames": c.take("temporal_downsample_factor", 4),
        "time_blocks": blocks,
        "quantizer": legacy_vq(c.take("codebook_size", 32768), 1.0, commitment_weight=0.25),
    }
    c.done(swallowed=True)
    return out


#: The convolutions over time, and the maps before and after the table.
_TIME: list[Row] = [
    *(
        row
        for side, way in (("encoder", "down"), ("decoder", "up"))
        for row in (
            (f"{side}.time_conv.{{}}.conv.conv.*", f"time_{way}.{{}}.*"),
            (f"{side}.time_res_stack.{{}}.{{conv1|conv2}}.conv.*", f"time_{side}.{{}}.{{conv1|conv2}}.*"),
            (f"{side}.time_res_stack.{{}}.{{norm1|norm2}}.running_mean", f"time_{side}.{{}}.{{norm1|norm2}}.mean"),
            (f"{side}.time_res_stack.{{}}.{{norm1|norm2}}.running_var", f"time_{side}.{{}}.{{norm1|norm2}}.variance"),
            (f"{side}.time_res_stack.{{}}.{{norm1|norm2}}.*", f"time_{side}.{{}}.{{norm1|norm2}}.*"),
        )
    ),
    ("quant_conv.conv.*", "to_code.*"),
    ("post_quant_conv.conv.*", "from_code.*"),
    *TABLE,
]
_COUNTERS = ("**.num_batches_tracked",)


def _keys(own: Emu3Config) -> KeyMap:
    joined = Fuse(("q", "k", "v"), "qkv")
    return KeyMap(Unwrap("state_dict"), joined, Rename([*movq_keys.stacks(), *_TIME], also_drop=_COUNTERS))


# --- transformers -----------------------------------------------------------------------------------------------------


def _config_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """`Emu3VQVAEConfig`, also under `vq_config` in the config of a whole Emu3 model."""
    c = Fields(config, "emu3_vqgan-hf")
    c.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS, "initializer_range", "attention_dropout")
    c.require("in_channels", 3)
    c.require("out_channels", 3)
    c.require("double_latent", False)  # the map after the encoder cannot take twice the channels
    width, mult, blocks = c.take("base_channels", 256), c.take("channel_multiplier", [1, 2, 2, 4]), c.take("num_res_blocks", 2)
    levels = [i for i in c.take("attn_resolutions", [3]) if 0 <= i < len(mult)]  # numbers of levels, not sides
    dim, heads, hidden = c.take("embed_dim", 4), c.take("num_attention_heads", 1), c.take("hidden_size", 1024)
    c.require("latent_channels", dim, 4)  # both go through one stack over time
    for level in sorted({*levels, len(mult) - 1}):
        if width * mult[level] != hidden:
            have = f"{width * mult[level]} channels at level {level}"
            raise ValueError(f"{c.name}.hidden_size is {hidden}, but attention acts on {have}.")
    return _network(c, width, mult, blocks, dim, attention_levels=levels, attention_heads=heads)


def _keys_hf(own: Emu3Config) -> KeyMap:
    return KeyMap(
        Fuse(("q_proj", "k_proj", "v_proj"), "qkv"),
        Rename([*movq_keys.stacks_hf(), *_TIME], also_drop=_COUNTERS),
        as_convolution("{encoder|decoder}.**.{qkv|out}.weight"),
    )


def _write_config_hf(own: Emu3Config) -> dict[str, Any]:
    """Our settings as transformers' config, for `save_pretrained(layout=...)`."""
    e = own.encoder
    width = e.stem_width
    if any(w % width for w in e.widths) or e.widths != own.decoder.widths:
        have = f"{e.widths} and {own.decoder.widths}"
        raise ValueError(f"transformers' Emu3VQVAE has one list of multiples of {width} for both sides; got {have}.")
    theirs = {
        "architectures": ["Emu3VQVAE"],
        "model_type": "emu3_vqgan",
        "codebook_size": codebook_size_of(own.quantizer),
        "embed_dim": own.latent_dim,
        "latent_channels": own.latent_dim,
        "double_latent": False,
        "in_channels": 3,
        "out_channels": 3,
        "temporal_downsample_factor": own.frames,
        "base_channels": width,
        "channel_multiplier": [w // width for w in e.widths],
        "num_res_blocks": e.blocks,
        "attn_resolutions": list(e.attention_levels),
        "hidden_size": e.widths[-1],
        "num_attention_heads": e.attention_heads,
        "attention_dropout": 0.0,
    }
    return check_round_trip(own, theirs, _config_hf)


LAYOUTS = (
    Layout(
        system="emu3-vq",
        upstream="baaivision/Emu3 emu3/tokenizer/modeling_emu3visionvq.py Emu3VisionVQModel",
        family="emu3",
        config=_config,
        keys=_keys,
        model_type="Emu3VisionVQ",
    ),
    Layout(
        system="emu3_vqgan-hf",
        upstream="huggingface/transformers models/emu3 Emu3VQVAE",
        family="emu3",
        config=_config_hf,
        keys=_keys_hf,
        authors_config=_write_config_hf,
        model_type="emu3_vqgan",
    ),
)
