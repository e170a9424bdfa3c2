"""FocalCodec in its authors' layout (five named parts, each with its arguments), of both versions of their package."""

import math
from collections.abc import Mapping
from typing import Any

from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import Fuse, KeyMap, Rename, Row, Then, under, with_ones
from ...layouts.layout import Layout
from .model import FocalCodecConfig


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `FocalCodecConfig` from the arguments of `FocalCodec`."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, "model_id")
    f.require("encoder_name", "WavLM")
    f.require("compressor_name", "FocalEncoder")
    f.require("quantizer_name", "BinarySphericalQuantizer")
    f.require("decompressor_name", "FocalDecoder")
    decoder_name = f.take("decoder_name", "WaveNeXt")
    encoder = _encoder(Fields(f.take("encoder_config", None) or {}, "encoder_config"))
    c = Fields(f.take("compressor_config", None) or {}, "compressor_config")
    d = Fields(f.take("decompressor_config", None) or {}, "decompressor_config")
    q = Fields(f.take("quantizer_config", None) or {}, "quantizer_config")
    size = q.take("codebook_size", 4096)
    bits = int(math.log2(size))
    if 2**bits != size:
        raise ValueError(f"quantizer_config.codebook_size is {size}; it must be a power of two.")
    widths, factors = list(c.take("hidden_dims", [1024] * 3)), list(c.take("downscale_factors", [1] * 3))
    c.require("input_dim", encoder["width"], 1024)
    c.require("output_dim", bits, 12)
    d.require("input_dim", bits, 12)
    d.require("output_dim", encoder["width"], 1024)
    mirrored = list(d.take("hidden_dims", [1024] * 3)), list(d.take("upscale_factors", [1] * 3))
    if mirrored != (widths[::-1], factors[::-1]):
        raise ValueError("decompressor_config must mirror hidden_dims and factors of compressor_config.")
    compressor, decompressor = _focal(c), _focal(d)
    decoder = _decoder(decoder_name, Fields(f.take("decoder_config", None) or {}, "decoder_config"), encoder["width"])
    last_window, look_ahead = d.take("last_window_size", 512), d.take("lookahead_size", 3)
    out = {
        "encoder": encoder,
        "widths": widths,
        "factors": factors,
        "compressor": compressor,
        "decompressor": decompressor,
        "window": c.take("window_size", 512),
        "decompressor_window": d.take("window_size", 512),
        "last_window": last_window,
        "refine_frames": 1 + look_ahead if decompressor["causal"] and look_ahead > 0 else 0,
        "quantizer": {
            "kind": "bsq", "bits": bits, "normalize": False, "entropy": "exact", "commitment_weight": 0.0,
        },
        "latent_dim": bits,
        "decoder": decoder,
    }  # fmt: skip
    for part in (c, d, q, f):
        part.done()
    return out


def _encoder(e: Fields) -> dict[str, Any]:
    e.drop("dropout", "max_cached_steps", "use_flex_attention")  # speed and training
    out = {
        "conv_widths": e.take("hidden_dims", [512] * 7),
        "conv_kernels": e.take("kernel_sizes", [10, 3, 3, 3, 3, 2, 2]),
        "conv_strides": e.take("strides", [5, 2, 2, 2, 2, 2, 2]),
        "layers": e.take("num_layers", 6),
        "width": e.take("dim", 1024),
        "feed_forward": e.take("ffn_dim", 4096),
        "heads": e.take("num_heads", 16),
        "buckets": e.take("num_buckets", 320),
        "max_distance": e.take("max_distance", 800),
        "position_kernel": e.take("conv_pos", 128),
        "position_groups": e.take("conv_pos_groups", 16),
        "causal": e.take("causal", False),
        "window": e.take("window_size", 512),
        "chunk_frames": 1 + e.take("lookahead_size", 3),
    }
    e.done()
    return out


def _focal(f: Fields) -> dict[str, Any]:
    f.drop("dropout")
    scale = f.take("layerscale_init", 1e-4)
    return {
        "kernel_size": f.take("focal_window", 14),
        "kernel_step": f.take("focal_factor", 4),
        "levels": f.take("focal_level", 2),
        "norm_after": f.take("use_post_norm", False),
        "layer_scale": scale if f.take("use_layerscale", False) else None,
        "average": f.take("normalize_modulator", False),
        "causal": f.take("causal", False),
        "tanh_scale": f.take("tanhscale_init", 0.5),
    }


def _decoder(name: str, d: Fields, width: int) -> dict[str, Any]:
    if name not in ("Vocos", "WaveNeXt"):
        raise ValueError(f"config.decoder_name is {name!r}; supported: 'Vocos', 'WaveNeXt'.")
    vocos = name == "Vocos"
    if vocos:  # the first version's names: `input_channels`, and a `padding` that follows from the kernel today
        d.require("input_dim", width, d.take("input_channels", None) or 1024)
        d.drop("padding")
    else:
        d.require("input_dim", width, 1024)
    out = {
        "head": "vocos" if vocos else "wavenext",
        "width": d.take("dim", 512 if vocos else 1024),
        "blocks": d.take("num_layers", 8),
        "hidden": d.take("ffn_dim", 1536 if vocos else 2048),
        "kernel_size": d.take("kernel_size", 7),
        "layer_scale": d.take("layerscale_init", None) or 0.0,
        "hop_samples": d.take("hop_length", 320 if vocos else 480),
        "causal": d.take("causal", False),
    }
    if vocos:
        out["window_samples"] = d.take("n_fft", 1024)
    d.done(swallowed=vocos)
    return out


# --- weights ----------------------------------------------------------------------------------------------------------

_FOCAL_BLOCK: list[Row] = [
    ("modulation_norm.*", "norm_modulation.*"),
    ("feed_forward_norm.*", "norm_feed_forward.*"),
    ("feed_forward.in_proj.*", "up.*"),
    ("feed_forward.out_proj.*", "down.*"),
    ("modulation_gamma", "scale_modulation"),
    ("feed_forward_gamma", "scale_feed_forward"),
    ("modulation.in_proj.*", "modulation.proj.*"),
    ("modulation.layers.{}.0.*", "modulation.convs.{}.*"),
    ("modulation.context_proj.*", "modulation.context.*"),
    ("modulation.norm.*", "modulation.norm.*"),
    ("modulation.out_proj.*", "modulation.out.*"),
]


def _level(part: str, scale: str, number: int) -> list[Row]:
    """Rows of a level of `part`; in version 0.0.1 a level is a list of two parts, in which `number` is the resampling layer."""
    theirs, ours = f"{part}.layers.{{}}.", f"{part}.levels.{{}}."
    return [
        (f"{theirs}[{scale}|{number}].activation.alpha", ours + "act.alpha"),
        (f"{theirs}[{scale}|{number}].{scale}.*", ours + "conv.*"),
        *under(f"{theirs}[focal_block|{1 - number}].", ours + "block.", _FOCAL_BLOCK),
    ]


_WAVLM_BLOCK: list[Row] = [
    ("{attention|feed_forward}_norm.*", "norm_{attention|feed_forward}.*"),
    ("attention.{qkv|out}_proj.*", "attention.{qkv|out}.*"),
    ("attention.gru_rel_pos_linear.*", "attention.gate.*"),
    ("attention.gru_rel_pos_const", "attention.gate_scale"),
    ("feed_forward.in_proj.*", "up.*"),
    ("feed_forward.out_proj.*", "down.*"),
]
_ROWS: list[Row] = [
    ("encoder.feature_extractor.layers.{}.{conv|norm}.*", "encoder.convs.{}.{conv|norm}.*"),
    ("encoder.norm.*", "encoder.norm.*"),
    ("encoder.feature_proj.*", "encoder.proj.*"),
    ("encoder.encoder.positional_embedding.conv.*", "encoder.positions.*"),
    ("encoder.encoder.relative_embedding.weight", "encoder.distances.weight"),
    *under("encoder.encoder.layers.{}.", "encoder.blocks.{}.", _WAVLM_BLOCK),
    *_level("compressor", "downscale", 0),
    ("compressor.out_proj.*", "compressor.out.*"),
    ("decompressor.in_proj.*", "decompressor.proj.*"),
    *_level("decompressor", "upscale", 1),
    ("decompressor.refiner.in_proj.*", "decompressor.refine_up.*"),
    ("decompressor.refiner.out_proj.*", "decompressor.refine_down.*"),
    ("decoder.backbone.embedding.*", "decoder.embed.*"),
    ("decoder.backbone.input_norm.*", "decoder.norm_in.*"),
    ("decoder.backbone.output_norm.*", "decoder.norm_out.*"),
    ("decoder.backbone.layers.{}.dwconv.*", "decoder.blocks.{}.depthwise.*"),
    ("decoder.backbone.layers.{}.norm.*", "decoder.blocks.{}.norm.*"),
    ("decoder.backbone.layers.{}.pwconv1.*", "decoder.blocks.{}.up.*"),
    ("decoder.backbone.layers.{}.pwconv2.*", "decoder.blocks.{}.down.*"),
    ("decoder.backbone.layers.{}.gamma", "decoder.blocks.{}.scale"),
    ("decoder.head.proj.*", "decoder.head.*"),
    # a norm after WavLM's last layer in the first version, which its codec never applied
    ("encoder.encoder.norm.*", None),
    # tables that the modules compute themselves; some files contain them
    ("quantizer.{codebook|codebook_value|mask}", None),
    ("**.position_bias", None),
    ("decoder.head.istft.{window|window_sq}", None),
]
#: Version 0.0.1, which the 50, 25 and 12.5 Hz files are of, has three matrices for queries, keys and values.
_JOIN = Then(Fuse(("q_proj", "k_proj", "v_proj"), "qkv_proj", where="encoder.**attention.").read, lambda state: state)


def _keys(own: FocalCodecConfig) -> KeyMap:
    return KeyMap(_JOIN, Rename(_ROWS), with_ones("{compressor|decompressor}.levels.{}.act.alpha"))


LAYOUTS = tuple(
    Layout(
        system=system,
        upstream="lucadellalib/focalcodec focalcodec/codec.py FocalCodec",
        family="focalcodec",
        config=_config,
        keys=_keys,
    )
    for system in ("focalcodec", "focalcodec-causal")
)
