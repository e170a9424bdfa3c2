"""Stable Codec in the layout of stable-audio-tools: `model_config.json` and the state dict of its `AudioAutoencoder`."""

import math
from collections.abc import Mapping
from typing import Any

from ....config import to_mapping
from ....layouts.configs import part
from ....layouts.fields import FOLDER_KEYS, Fields
from ....layouts.keymap import KeyMap, Rename, Row, State, Then, Unwrap, WeightNorm, pointwise, under, without_prefix
from ....layouts.layout import Layout
from ....serialize import CheckpointError
from ..model import POSTHOC, StableCodecConfig, TAAEConfig
from .stable_fsq import dithered_fsq, residual_fsq

# --- config -----------------------------------------------------------------------------------------------------------


def _side(fields: Fields, name: str, channels: int, latent_dim: int) -> tuple[dict[str, Any], bool]:
    """The fields of a `TAAEConfig` from the entry of `TAAEEncoder` or `TAAEDecoder`; and whether its output goes through tanh."""
    top = part(fields, name)
    top.require("type", "taae")
    top.drop("requires_grad")
    soft_clip = bool(top.take("soft_clip", False))  # the authors read it of the decoder
    c = part(top, "config", {})
    top.done()
    c.drop("checkpointing")
    c.require("direct_resampling", False)
    c.require("mapping_style", "conv")
    if (got := c.take("in_channels" if name == "encoder" else "out_channels", 2)) != channels:
        raise ValueError(f"stable-codec: the {name} has {got} channels, but the patches {channels}.")
    c.require("latent_dim", latent_dim, 32)
    out = {
        "width": c.take("channels", 128),
        "multiples": list(c.take("c_mults", [1, 2, 4, 8])),
        "strides": list(c.take("strides", [2, 4, 8, 8])),
        "depths": list(c.take("transformer_depths", [3, 3, 3, 3])),
        "window": list(c.take("sliding_window", [63, 64]) or [-1, -1]),
        "snake": c.take("use_snake", False),
        "conformer": c.take("conformer", False),
        "layer_scale": 1e-5 if c.take("layer_scale", True) else None,
        "units": c.take("use_dilated_conv", False),
    }
    c.done(swallowed=True)
    return out, soft_clip


def _bottleneck(top: Fields, latent_dim: int) -> dict[str, Any]:
    """The quantizer's config from the entry of a `DitheredFSQBottleneck`."""
    top.require("type", "dithered_fsq")
    top.drop("requires_grad")
    c = part(top, "config")
    top.done()
    dim, levels = c.take("dim"), c.take("levels")
    levels = [levels] * dim if isinstance(levels, int) else list(levels)
    if len(levels) != dim:
        raise ValueError(f"stable-codec: bottleneck.levels has {len(levels)} entries, bottleneck.dim is {dim}.")
    kwargs = {"levels": levels, "num_codebooks": c.take("num_codebooks", 1), "noise_dropout": c.take("noise_dropout", 0.05)}
    c.drop("dither_inference")
    c.done()
    out = dithered_fsq(kwargs, "stable-codec.bottleneck")
    if out["dim"] != latent_dim:
        raise ValueError(f"stable-codec: the bottleneck is {out['dim']} wide, the latents {latent_dim}.")
    return out


def _posthoc(setting: Any) -> dict[str, Any]:
    """The config of a post-hoc quantizer, from its name in the authors' code or its stages `[levels, scale]`."""
    if isinstance(setting, str):
        if setting not in POSTHOC:
            raise ValueError(f"posthoc_bottleneck is {setting!r}; allowed: {', '.join(POSTHOC)}.")
        return to_mapping(POSTHOC[setting])
    return residual_fsq(setting)


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our config fields from `model_config.json`.

    Two keys of ours stand for arguments of the authors' wrapper: `posthoc_bottleneck` (a preset's name, or stages) and
    `normalize` (true: clips are normalised to -20 LUFS).
    """
    f = Fields(config, "stable-codec")
    f.drop(*FOLDER_KEYS, "sample_size", "audio_channels", "training", "dataset")
    f.require("model_type", "autoencoder")
    rate, posthoc, lufs = f.take("sample_rate"), f.take("posthoc_bottleneck", None), f.take("normalize", False)
    m = part(f, "model")
    f.done()
    m.drop("use_proj_head", "proj_head_dim")  # a head of training
    channels, dim, hop = m.take("io_channels"), m.take("latent_dim"), m.take("downsampling_ratio")
    for name in ("in_channels", "out_channels"):
        if m.take(name, None) not in (None, channels):
            raise ValueError(f"stable-codec: model.{name} differs from io_channels {channels}.")
    patch = 1
    if (given := m.take("pretransform", None)) is not None:
        p = Fields(given, "stable-codec.model.pretransform")
        p.require("type", "patched")
        p.drop("enable_grad", "iterate_batch")
        q = part(p, "config")
        q.require("channels", channels)
        q.require("oversampling", 1)
        patch = q.take("patch_size")
        q.done()
        p.done()
    encoder, _ = _side(m, "encoder", channels * patch, dim)
    decoder, soft_clip = _side(m, "decoder", channels * patch, dim)
    bottleneck = _bottleneck(part(m, "bottleneck"), dim)
    m.done()
    if hop != patch * math.prod(encoder["strides"]):
        raise ValueError(f"stable-codec: model.downsampling_ratio is {hop}, but patches and strides give another.")
    return {
        "sample_rate_hz": rate,
        "channels": channels,
        "patch_samples": patch,
        "encoder": encoder,
        "decoder": decoder,
        "latent_dim": dim,
        "quantizer": _posthoc(posthoc) if posthoc else bottleneck,
        "normalize": "lufs" if lufs else "none",
        "soft_clip": soft_clip,
    }


# --- weights ----------------------------------------------------------------------------------------------------------

#: One `TransformerBlock`.
_BLOCK: tuple[Row, ...] = (
    ("pre_norm.gamma", "norm_attention.weight"),
    ("self_attn.to_qkv.weight", "attention.qkv.weight"),
    ("self_attn.to_out.weight", "attention.out.weight"),
    ("self_attn.{q_norm|k_norm}.*", "attention.{q_norm|k_norm}.*"),
    ("self_attn_scale.scale", "scale_attention.scale"),
    ("ff_norm.gamma", "norm_feed_forward.weight"),
    ("ff.ff.0.proj.*", "feed_forward.0.proj.*"),
    ("ff.ff.2.*", "feed_forward.1.*"),
    ("ff_scale.scale", "scale_feed_forward.scale"),
    ("conformer_scale.scale", "scale_conformer.scale"),
    ("conformer.in_norm.gamma", "conformer.norm_in.weight"),
    ("conformer.pointwise_conv.weight", "conformer.map_in.weight"),
    ("conformer.glu.proj.*", "conformer.gated.proj.*"),
    ("conformer.depthwise_conv.weight", "conformer.conv.weight"),
    ("conformer.mid_norm.gamma", "conformer.norm_out.weight"),
    ("conformer.pointwise_conv_2.weight", "conformer.map_out.weight"),
)

#: One `ResidualUnit`: activation, convolution, activation, convolution.
_UNIT: tuple[Row, ...] = tuple((f"{i}.*", f"{name}.*") for i, name in enumerate(("act_in", "conv_in", "act_out", "conv_out")))


def _level(theirs: str, ours: str, side: TAAEConfig, level: int, *, encoder: bool) -> list[Row]:
    """Key rows of one `TAAEBlock`: units, activation, convolution, transformer in the encoder; the reverse order in the decoder."""
    units = 3 if side.units else 0
    act, conv, transformer = (units, units + 1, units + 2) if encoder else (1, 2, 0)
    first = 0 if encoder else 3
    rows: list[Row] = [(f"{theirs}.{act}.*", f"{ours}.act.*"), (f"{theirs}.{conv}.*", f"{ours}.conv.*")]
    for i in range(units):
        rows += under(f"{theirs}.{first + i}.layers.", f"{ours}.units.{i}.", _UNIT)
    for j in range(side.depths[level]):  # between two transpositions
        rows += under(f"{theirs}.{transformer}.{j + 1}.", f"{ours}.transformer.blocks.{j}.", _BLOCK)
    return rows


def _side_rows(name: str, side: TAAEConfig) -> list[Row]:
    n, encoder = len(side.strides), name == "encoder"
    rows: list[Row] = [
        (f"{name}.layers.0.*", f"{name}.stem.*"),
        (f"{name}.layers.{n + 1}.{{alpha|beta}}", f"{name}.act.{{alpha|beta}}"),
        (f"{name}.layers.{n + 2}.*", f"{name}.head.*"),
    ]
    for i in range(n):
        level = i if encoder else n - 1 - i
        rows += _level(f"{name}.layers.{i + 1}.layers", f"{name}.levels.{i}", side, level, encoder=encoder)
    return rows


def _zero_biases() -> Then:
    """Drop the zero buffers that the authors' norms have in place of a bias; CheckpointError if one is not zero."""

    def read(state: State) -> State:
        for key in [k for k in state if k.endswith("norm.beta")]:
            if bool(state[key].any()):
                raise CheckpointError(f"{key} is not zero; the authors' norms have no bias but this constant.")
        return {k: v for k, v in state.items() if not k.endswith("norm.beta")}

    return Then(read, lambda state: state)


#: Weights that are dropped: rotary frequencies, which are computed, and a head that only training uses.
_DROPPED = ("**.rope.{inv_freq|scale}", "{projection_head|proj_head}.**")


def _keys(own: StableCodecConfig) -> KeyMap:
    return KeyMap(
        Unwrap("state_dict"),
        without_prefix("autoencoder."),
        _zero_biases(),
        WeightNorm(on=("**layers.{}.weight",)),
        Rename([*_side_rows("encoder", own.encoder), *_side_rows("decoder", own.decoder)], also_drop=_DROPPED),
        pointwise("**.conformer.{map_in|map_out}.weight"),
    )


LAYOUTS = (
    Layout(
        system="stable-codec",
        upstream="Stability-AI/stable-audio-tools stable_audio_tools/models/autoencoders.py TAAEEncoder, TAAEDecoder",
        family="stable_codec",
        config=_config,
        keys=_keys,
    ),
)
