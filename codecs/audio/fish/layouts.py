"""Fish Audio's codec in its authors' layout: the YAML of hydra, and `codec.pth`."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ...layouts import dac_keys
from ...layouts.configs import factorised_rvq
from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import Fuse, KeyMap, Rename, Row, Unwrap, WeightNorm, pointwise, under, without_prefix
from ...layouts.layout import Layout
from ...layouts.transformer_keys import rotary_halves
from ...quantizers.residual_vq import ResidualVQConfig
from .model import FishConfig, transformer_config

#: Window of the encoder's transformers, which the code fixes, and the number of frames to which it pads clips.
_WINDOW, _FRAMES = 512, 4


def _part(f: Fields, name: str) -> Fields | None:
    value = f.take(name, None)
    if value is None:
        return None
    out = Fields(value, name)
    out.drop("_target_", "_partial_")
    return out


def _arguments(f: Fields, *, width: int, layers: int, heads: int, feed_forward: int, context: int | None) -> dict[str, Any]:
    """A transformer's settings from the authors' `ModelArgs`, as a mapping."""
    f.require("pos_embed_type", "rope")
    f.drop("block_size", "dropout_rate", "attn_dropout_rate", "channels_first", "max_relative_position")
    local = f.take("n_local_heads", -1)
    if local not in (-1, heads):
        raise ValueError(f"{f.name}.n_local_heads is {local}; the class splits only as many as n_head, {heads}.")
    own = transformer_config(
        width=width,
        layers=layers,
        heads=heads,
        head_dim=f.take("head_dim", 64),
        feed_forward=feed_forward,
        context=context,
        rope_period=float(f.take("rope_base", 10000)),
        norm_eps=f.take("norm_eps", 1e-5),
    )
    return dataclasses.asdict(own)


def _middle(q: Fields, name: str, dim: int) -> dict[str, Any] | None:
    f = _part(q, name)
    if f is None:
        return None
    f.require("causal", True)
    f.require("input_dim", dim, 512)
    window, args = f.take("window_size", None), _part(f, "config")
    f.done()
    if args is None:
        raise ValueError(f"{name} lacks the key 'config'.")
    width = args.take("dim", 512)
    hidden = args.take("intermediate_size", 1536)
    hidden = -(-int(2 * 4 * width / 3) // 256) * 256 if hidden is None else hidden
    args.drop("window_size")  # of the encoder's transformers
    out = _arguments(
        args, width=width, layers=args.take("n_layer", 8), heads=args.take("n_head", 8), feed_forward=hidden, context=window
    )
    args.done()
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `DAC` and of its quantizer."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, "_target_", "decoder_transformer_layers")  # the decoder's blocks leave theirs out
    f.require("causal", True)
    f.require("overwrite_decoder", None)
    width, strides = f.take("encoder_dim", 64), list(f.take("encoder_rates", [2, 4, 8, 8]))
    layers, general = list(f.take("encoder_transformer_layers", [0] * len(strides))), f.take("transformer_general_config", {}) or {}
    general = {k: v for k, v in general.items() if k not in ("_target_", "_partial_")}
    transformers: list[dict[str, Any] | None] = []
    for i, count in enumerate(layers):
        wide = width * 2 ** (i + 1)
        args = Fields(general, "transformer_general_config")
        own = _arguments(args, width=wide, layers=count, heads=wide // 64, feed_forward=3 * wide, context=_WINDOW) if count else None
        if own is not None:
            args.done()
        transformers.append(own)
    q = _part(f, "quantizer")
    if q is None:
        raise ValueError("config lacks the key 'quantizer'.")
    dim, factors = q.take("input_dim", 1024), list(q.take("downsample_factor", [2, 2]))
    q.require("downsample_dims", None)
    q.drop("semantic_predictor_module")  # of training
    if math.prod(factors) != _FRAMES:
        raise ValueError(f"quantizer.downsample_factor is {factors}; its product is {_FRAMES}, to which the class pads clips.")
    books, size = q.take("n_codebooks", 9), q.take("codebook_size", 1024)
    latent = f.take("latent_dim", None) or width * 2 ** len(strides)
    if latent != dim:
        raise ValueError(f"quantizer.input_dim is {dim}; the latents are {latent} wide.")
    out = {
        "sample_rate_hz": f.take("sample_rate", 44100),
        "strides": strides,
        "decoder_strides": list(f.take("decoder_rates", [8, 8, 4, 2])),
        "encoder_width": width,
        "decoder_width": f.take("decoder_dim", 1536),
        "latent_dim": latent,
        "encoder_transformers": transformers,
        "frame_strides": factors,
        "before": _middle(q, "pre_module", dim),
        "after": _middle(q, "post_module", dim),
        "quantizer": factorised_rvq(
            num_codebooks=1 + books,
            codebook_size=[q.take("semantic_codebook_size", 4096), *[size] * books],
            codebook_dim=q.take("codebook_dim", 8),
            dropout=float(q.take("quantizer_dropout", 0.5)),
        ),
    }
    q.done()
    f.done()
    return out


# --- keys -----------------------------------------------------------------------------------------------------------

_TRANSFORMER: list[Row] = [
    ("layers.{}.attention.wqkv.weight", "blocks.{}.attention.qkv.weight"),
    ("layers.{}.attention.wo.weight", "blocks.{}.attention.out.weight"),
    ("layers.{}.attention_norm.weight", "blocks.{}.norm_attention.weight"),
    ("layers.{}.attention_layer_scale.gamma", "blocks.{}.scale_attention.scale"),
    ("layers.{}.feed_forward.w13.weight", "blocks.{}.feed_forward.up.weight"),
    ("layers.{}.feed_forward.w2.weight", "blocks.{}.feed_forward.down.weight"),
    ("layers.{}.ffn_norm.weight", "blocks.{}.norm_feed_forward.weight"),
    ("layers.{}.ffn_layer_scale.gamma", "blocks.{}.scale_feed_forward.scale"),
    ("norm.weight", "norm.weight"),
    ("input_proj.*", "in_proj.*"),
    ("output_proj.*", "out_proj.*"),
    ("{freqs_cis|causal_mask}", None),  # computed
]
_NEXT: list[Row] = [
    ("dwconv.conv.*", "depthwise.*"), ("norm.*", "norm.*"), ("pwconv1.*", "up.*"), ("pwconv2.*", "down.*"), ("gamma", "scale"),
]  # fmt: skip


def _without_conv(rows: list[Row]) -> list[Row]:
    """DAC's rows for convolutions that are wrapped once more, under `conv`."""
    return [(a[:-1] + "conv.*" if a.endswith(".*") else a, b) for a, b in rows]


def _encoder(own: FishConfig) -> list[Row]:
    count, place, rows = len(own.strides), 0, list[Row]()
    for i, transformer in enumerate(own.encoder_transformers):
        rows += dac_keys.down(f"encoder.block.{i + 1}", f"encoder.levels.{place}")
        place += 1
        if transformer is not None:
            rows = under(f"encoder.block.{i + 1}.block.5.", f"encoder.levels.{place}.", _TRANSFORMER) + rows
            place += 1
    convs = [row for row in rows if ".block.5." not in row[0]]
    return [
        *(row for row in rows if ".block.5." in row[0]),
        *_without_conv(convs),
        ("encoder.block.0.conv.*", "encoder.stem.*"),
        (f"encoder.block.{count + 1}.alpha", "encoder.act.alpha"),
        (f"encoder.block.{count + 2}.conv.*", "encoder.head.*"),
    ]


def _keys(own: FishConfig) -> KeyMap:
    rows = [*_encoder(own), *_without_conv(dac_keys.decoder(len(own.ups), "decoder", "decoder.wave"))]
    for side, ours in (("downsample", "encoder.down"), ("upsample", "decoder.up")):
        for i in range(len(own.frame_strides)):
            rows += [(f"quantizer.{side}.{i}.0.conv.*", f"{ours}.{2 * i}.*")]
            rows += under(f"quantizer.{side}.{i}.1.", f"{ours}.{2 * i + 1}.", _NEXT)
    rows += under("quantizer.pre_module.", "encoder.transformer.", _TRANSFORMER)
    rows += under("quantizer.post_module.", "decoder.transformer.", _TRANSFORMER)
    assert isinstance(own.quantizer, ResidualVQConfig)
    for k in range(own.quantizer.num_codebooks):
        theirs = "quantizer.semantic_quantizer.quantizers.0" if k == 0 else f"quantizer.quantizer.quantizers.{k - 1}"
        rows += [(f"{theirs}.{{in_proj|out_proj}}.*", f"quantizer.levels.{k}.{{in_proj|out_proj}}.*")]
        rows += [(f"{theirs}.codebook.weight", f"quantizer.levels.{k}.codebook.embed")]
    levels = [i for i, t in enumerate(own.encoder_transformers) if t is not None]
    turned = {f"encoder.levels.{i + 1 + n}": own.encoder_transformers[i] for n, i in enumerate(levels)}
    turned |= {"encoder.transformer": own.before, "decoder.transformer": own.after}
    halves = [
        rotary_halves(f"{name}.blocks.{{}}.attention.qkv.weight", heads=t.heads, kv_heads=t.heads)
        for name, t in turned.items()
        if t is not None
    ]
    dropped = ("quantizer.semantic_predictor_module.**",)
    return KeyMap(
        Unwrap("state_dict"),
        without_prefix("generator."),
        WeightNorm("parametrizations", on=("encoder.block.**.conv.weight", "decoder.model.**.conv.weight")),
        WeightNorm("weight_g", on=("quantizer.**.{in_proj|out_proj}.weight",)),
        Fuse(("w1", "w3"), "w13", where="**feed_forward."),
        Rename(rows, also_drop=dropped),
        *halves,
        pointwise("quantizer.levels.{}.{in_proj|out_proj}.weight"),
    )


LAYOUTS = (
    Layout(
        system="fish-s1",
        upstream="fishaudio/fish-speech fish_speech/models/dac/modded_dac.py DAC",
        family="fish",
        config=_config,
        keys=_keys,
    ),
)
