"""Janus' and Janus-Pro's picture tokenizer, a LlamaGen VQ-16: in DeepSeek's files and in transformers' `JanusVQVAE`.

deepseek-ai/Janus (MIT); huggingface/transformers release v5.24.0. The two differ in the lookup: DeepSeek's code compares normalised
latents and codes (cosine similarity), transformers compares both unnormalised, and only returns normalised codes.
"""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import check_round_trip, legacy_vq, part, the_quantizer
from ....layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ....layouts.keymap import Fuse, KeyMap, Rename, Row
from ....layouts.layout import Layout
from ....layouts.llamagen_keys import llamagen_map
from ....layouts.vqgan_keys import OUTER, TABLE, taming_middle
from ....quantizers.vq import VQConfig
from ..model import VQGANConfig
from .llamagen_config import llamagen_config


def _janus(config: Mapping[str, Any]) -> dict[str, Any]:
    """`gen_vision_config` of Janus: the class is called without arguments, so its `params` must match its defaults."""
    c = Fields(config, "janus-vq16")
    c.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS)
    c.require("cls", "VQ-16")
    params = part(c, "params", {})
    fields = llamagen_config(c.take("arguments", {}), "janus-vq16")  # ours: arguments that differ from the class's defaults
    params.require("image_token_size", fields["quantizer"]["codebook_size"])
    params.require("n_embed", fields["embed_dim"])
    params.done(swallowed=True)
    c.done(swallowed=True)
    return fields


def _janus_keys(own: VQGANConfig) -> KeyMap:
    assert own.decoder is not None
    return llamagen_map(len(own.encoder.widths), len(own.decoder.widths))


# --- transformers -------------------------------------------------------------------------------------------------

#: Keys of the language model, or without effect on ids and pixels; `num_patches` fixes the grid that its decoder takes.
_UNUSED = ("num_patches", "projection_dim", "num_hidden_layers", "hidden_act", "image_token_embed_dim", "initializer_range")


def _hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our config fields from those of `JanusVQVAEConfig`."""
    c = Fields(config, "janus_vqgan-hf")
    c.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS, *_UNUSED)
    c.require("in_channels", 3)
    c.require("out_channels", 3)
    c.require("double_latent", False)
    width, mult, blocks = c.take("base_channels", 128), c.take("channel_multiplier", [1, 1, 2, 2, 4]), c.take("num_res_blocks", 2)
    dropout = float(c.take("dropout", 0.0))
    common = {"widths": [width * m for m in mult], "attention_levels": [len(mult) - 1], "dropout": dropout}
    out = {
        "encoder": {**common, "stem_width": width, "blocks": blocks},
        "decoder": {**common, "blocks": blocks + 1},
        "z_channels": c.take("latent_channels", 256),
        "embed_dim": c.take("embed_dim", 8),
        "quantizer": legacy_vq(c.take("num_embeddings", 16384), 0.25, returns="unit"),
    }
    c.done(swallowed=True)
    return out


def _hf_back(own: VQGANConfig) -> dict[str, Any]:
    """`config.json` of a `JanusVQVAE` with this network."""
    e = own.encoder
    out = {
        "architectures": ["JanusVQVAE"],
        "model_type": "janus_vqgan",
        "base_channels": e.stem_width,
        "channel_multiplier": [w // e.stem_width for w in e.widths],
        "num_res_blocks": e.blocks,
        "dropout": e.dropout,
        "latent_channels": own.z_channels,
        "embed_dim": own.embed_dim,
        "num_embeddings": the_quantizer(own.quantizer, VQConfig).codebook_size,
    }
    return check_round_trip(own, out, _hf)


def _level(theirs: str, ours: str, resample: str) -> list[Row]:
    return [
        (f"{theirs}.block.{{}}.{{norm1|norm2|conv1|conv2}}.*", f"{ours}.blocks.{{}}.{{norm1|norm2|conv1|conv2}}.*"),
        (f"{theirs}.block.{{}}.nin_shortcut.*", f"{ours}.blocks.{{}}.shortcut.*"),
        (f"{theirs}.attn.{{}}.{{norm|qkv}}.*", f"{ours}.attentions.{{}}.{{norm|qkv}}.*"),
        (f"{theirs}.attn.{{}}.proj_out.*", f"{ours}.attentions.{{}}.out.*"),
        (f"{theirs}.{resample}.conv.*", f"{ours}.resample.conv.*"),
    ]


def _hf_keys(own: VQGANConfig) -> KeyMap:
    levels = len(own.encoder.widths)
    rows: list[Row] = [*OUTER, *taming_middle(), *TABLE]
    for i in range(levels):
        rows += _level(f"encoder.down.{i}", f"encoder.levels.{i}", "downsample")
        rows += _level(f"decoder.up.{i}", f"decoder.levels.{levels - 1 - i}", "upsample")  # the authors count from coarse to fine
    return KeyMap(Fuse(("q", "k", "v"), "qkv"), Rename(rows))


LAYOUTS = (
    Layout(
        system="janus-vq16",
        upstream="deepseek-ai/Janus janus/models/vq_model.py VQ_16",
        family="vqgan",
        config=_janus,
        keys=_janus_keys,
    ),
    Layout(
        system="janus_vqgan-hf",
        upstream="huggingface/transformers models/janus JanusVQVAE",
        family="vqgan",
        config=_hf,
        keys=_hf_keys,
        authors_config=_hf_back,
        model_type="janus_vqgan",
    ),
)
