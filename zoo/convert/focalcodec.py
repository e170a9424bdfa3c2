"""FocalCodec in its authors' layout (five named parts, each with its arguments)."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .base import Converter, rename
from .fields import FOLDER_KEYS, Fields


def focalcodec_config(config: Mapping[str, Any]) -> dict[str, Any]:
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
    decoder = Fields(f.take("decoder_config", None) or {}, "decoder_config")
    decoder = _decoder(decoder_name, decoder, encoder["width"])
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
    strides = [5, 2, 2, 2, 2, 2, 2]
    out = {
        "conv_widths": e.take("hidden_dims", [512] * 7),
        "conv_kernels": e.take("kernel_sizes", [10, 3, 3, 3, 3, 2, 2]),
        "conv_strides": e.take("strides", strides),
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
    if vocos:
        d.require("input_channels", None)
        d.drop("padding")
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
    d.done()
    return out


# Authors' key -> own key.
_LEVEL = (
    (r"(?:down|up)scale\.activation\.alpha", "act.alpha"),
    (r"(?:down|up)scale\.(?:down|up)scale\.(weight|bias)", r"conv.\1"),
    (r"focal_block\.modulation_norm\.(weight|bias|alpha)", r"block.norm_modulation.\1"),
    (r"focal_block\.feed_forward_norm\.(weight|bias|alpha)", r"block.norm_feed_forward.\1"),
    (r"focal_block\.feed_forward\.in_proj\.(weight|bias)", r"block.up.\1"),
    (r"focal_block\.feed_forward\.out_proj\.(weight|bias)", r"block.down.\1"),
    (r"focal_block\.modulation_gamma", "block.scale_modulation"),
    (r"focal_block\.feed_forward_gamma", "block.scale_feed_forward"),
    (r"focal_block\.modulation\.in_proj\.(weight|bias)", r"block.modulation.proj.\1"),
    (r"focal_block\.modulation\.layers\.(\d+)\.0\.(weight|bias)", r"block.modulation.convs.\1.\2"),
    (r"focal_block\.modulation\.context_proj\.(weight|bias)", r"block.modulation.context.\1"),
    (r"focal_block\.modulation\.norm\.(weight|bias|alpha)", r"block.modulation.norm.\1"),
    (r"focal_block\.modulation\.out_proj\.(weight|bias)", r"block.modulation.out.\1"),
)
_BLOCK = r"encoder\.encoder\.layers\.(\d+)\."
_TABLE = (
    (r"encoder\.feature_extractor\.layers\.(\d+)\.(conv|norm)\.(weight|bias)", r"encoder.convs.\1.\2.\3"),
    (r"encoder\.norm\.(weight|bias)", r"encoder.norm.\1"),
    (r"encoder\.feature_proj\.(weight|bias)", r"encoder.proj.\1"),
    (r"encoder\.encoder\.positional_embedding\.conv\.(weight|bias)", r"encoder.positions.\1"),
    (r"encoder\.encoder\.relative_embedding\.weight", "encoder.distances.weight"),
    (_BLOCK + r"(attention|feed_forward)_norm\.(weight|bias)", r"encoder.blocks.\1.norm_\2.\3"),
    (_BLOCK + r"attention\.(qkv|out)_proj\.(weight|bias)", r"encoder.blocks.\1.attention.\2.\3"),
    (_BLOCK + r"attention\.gru_rel_pos_linear\.(weight|bias)", r"encoder.blocks.\1.attention.gate.\2"),
    (_BLOCK + r"attention\.gru_rel_pos_const", r"encoder.blocks.\1.attention.gate_scale"),
    (_BLOCK + r"feed_forward\.in_proj\.(weight|bias)", r"encoder.blocks.\1.up.\2"),
    (_BLOCK + r"feed_forward\.out_proj\.(weight|bias)", r"encoder.blocks.\1.down.\2"),
    (r"compressor\.out_proj\.(weight|bias)", r"compressor.out.\1"),
    (r"decompressor\.in_proj\.(weight|bias)", r"decompressor.proj.\1"),
    (r"decompressor\.refiner\.in_proj\.(weight|bias)", r"decompressor.refine_up.\1"),
    (r"decompressor\.refiner\.out_proj\.(weight|bias)", r"decompressor.refine_down.\1"),
    *(
        (rf"{part}\.layers\.(\d+)\." + a, rf"{part}.levels.\1." + b.replace(r"\2", r"\3").replace(r"\1", r"\2"))
        for part in ("compressor", "decompressor")
        for a, b in _LEVEL
    ),
    (r"decoder\.backbone\.embedding\.(weight|bias)", r"decoder.embed.\1"),
    (r"decoder\.backbone\.input_norm\.(weight|bias)", r"decoder.norm_in.\1"),
    (r"decoder\.backbone\.output_norm\.(weight|bias)", r"decoder.norm_out.\1"),
    (r"decoder\.backbone\.layers\.(\d+)\.dwconv\.(weight|bias)", r"decoder.blocks.\1.depthwise.\2"),
    (r"decoder\.backbone\.layers\.(\d+)\.norm\.(weight|bias)", r"decoder.blocks.\1.norm.\2"),
    (r"decoder\.backbone\.layers\.(\d+)\.pwconv1\.(weight|bias)", r"decoder.blocks.\1.up.\2"),
    (r"decoder\.backbone\.layers\.(\d+)\.pwconv2\.(weight|bias)", r"decoder.blocks.\1.down.\2"),
    (r"decoder\.backbone\.layers\.(\d+)\.gamma", r"decoder.blocks.\1.scale"),
    (r"decoder\.head\.proj\.(weight|bias)", r"decoder.head.\1"),
)
#: Tables that the authors' modules rebuild after loading; some files hold them.
_REBUILT = (r"quantizer\.(codebook|codebook_value|mask)", r".*\.position_bias", r"decoder\.head\.istft\.window(_sq)?")


def focalcodec_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Own keys and values from the authors' state dict."""
    out = rename(state, _TABLE, dropped=_REBUILT)
    return {k: v[None] if k.endswith("act.alpha") else v for k, v in out.items()}  # [D, 1] to [1, D, 1]


CONVERTERS = tuple(
    Converter(
        system=system,
        upstream="lucadellalib/focalcodec focalcodec/codec.py FocalCodec",
        family="focalcodec",
        config=focalcodec_config,
        weights=focalcodec_weights,
    )
    for system in ("focalcodec", "focalcodec-causal")
)
