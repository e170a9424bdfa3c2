"""FocalCodec, looking both ways (files of the first version of its package) and causal."""

from typing import Any

import torch
from layout_options import DROP, Sweep
from peers import Peer
from torch import Tensor


def _focal(**more: Any) -> dict[str, Any]:
    return {
        "focal_window": 3, "focal_level": 2, "focal_factor": 2, "dropout": 0.0, "use_post_norm": False, "use_layerscale": False,
        "layerscale_init": 0.5, "normalize_modulator": False,
    } | more  # fmt: skip


# the keys of lucadellalib/focalcodec_50hz, of February 2025
_BOTH_WAYS: dict[str, Any] = {
    "encoder_name": "WavLM",
    "encoder_config": {
        "hidden_dims": [6, 6], "kernel_sizes": [4, 3], "strides": [4, 3], "num_layers": 2, "dim": 16, "ffn_dim": 24, "num_heads": 2,
        "num_buckets": 16, "max_distance": 40, "dropout": 0.0, "conv_pos": 8, "conv_pos_groups": 4,
    },
    "compressor_name": "FocalEncoder",
    "compressor_config": {"input_dim": 16, "output_dim": 12, "hidden_dims": [16, 12], "downscale_factors": [2, 1]} | _focal(),
    "quantizer_name": "BinarySphericalQuantizer",
    "quantizer_config": {"codebook_size": 4096},
    "decompressor_name": "FocalDecoder",
    "decompressor_config": {"input_dim": 12, "output_dim": 16, "hidden_dims": [12, 16], "upscale_factors": [1, 2]} | _focal(),
    "decoder_name": "Vocos",
    "decoder_config": {
        "input_channels": 16, "num_layers": 2, "dim": 12, "ffn_dim": 20, "kernel_size": 7, "padding": 3, "layerscale_init": None,
        "n_fft": 48, "hop_length": 12,
    },
}  # fmt: skip
_CAUSAL: dict[str, Any] = {
    **_BOTH_WAYS,
    "encoder_config": _BOTH_WAYS["encoder_config"] | {"causal": True, "window_size": 8, "lookahead_size": 3, "max_cached_steps": 64},
    "compressor_config": _BOTH_WAYS["compressor_config"]
    | {"causal": True, "window_size": 8, "downscale_factors": [1, 1], "tanhscale_init": 0.5},
    "decompressor_config": _BOTH_WAYS["decompressor_config"]
    | {
        "causal": True, "window_size": 8, "last_window_size": 6, "lookahead_size": 3, "upscale_factors": [1, 1], "tanhscale_init": 0.5,
    },
    "decoder_name": "WaveNeXt",
    "decoder_config": {"input_dim": 16, "num_layers": 2, "dim": 12, "ffn_dim": 20, "kernel_size": 7, "hop_length": 18, "causal": True},
}  # fmt: skip


def _both(**changes: Any) -> dict[str, Any]:
    return {"compressor_config": changes, "decompressor_config": changes}


def first_version(state: dict[str, Any]) -> dict[str, Any]:
    """The names and tensors of version 0.0.1, of which the published 50, 25 and 12.5 Hz files are."""
    out: dict[str, Any] = {}
    for key, value in state.items():
        if ".qkv_proj." in key:
            out |= {key.replace(".qkv_", f".{name}_"): part for name, part in zip("qkv", value.chunk(3), strict=True)}
            continue
        first = key.startswith("compressor.")  # there the resampling came first
        key = key.replace(".downscale.downscale.", ".0.downscale.").replace(".downscale.activation.", ".0.activation.")
        key = key.replace(".upscale.upscale.", ".1.upscale.").replace(".upscale.activation.", ".1.activation.")
        out[key.replace(".focal_block.", ".1." if first else ".0.")] = value
    width = next(len(v) for k, v in out.items() if k.endswith("attention.out_proj.bias"))
    norm = {f"encoder.encoder.norm.{end}": torch.randn(width) for end in ("weight", "bias")}
    return out | norm | {"quantizer.mask": 2 ** torch.arange(11, -1, -1)}


def _peer(config: dict[str, Any]) -> Peer | None:
    """The authors' class, where their package is installed."""
    try:
        from focalcodec import FocalCodec
    except ImportError:
        return None
    torch.manual_seed(0)

    def ids(model: Any, x: Tensor) -> Tensor:
        return model.sig_to_toks(x[:, 0])[:, None]

    return Peer(FocalCodec(**config), ids)


SWEEPS = {
    "focalcodec": Sweep(
        tiny=_BOTH_WAYS,
        options={
            "as it is": {},
            "today's name of the decoder's input": {"decoder_config": {"input_channels": DROP, "padding": DROP, "input_dim": 16}},
            "no joined frames": {
                "compressor_config": {"downscale_factors": [1, 1]}, "decompressor_config": {"upscale_factors": [1, 1]},
            },
            "norms behind": _both(use_post_norm=True),
            "layer scales": _both(use_layerscale=True),
            "a mean of levels": _both(normalize_modulator=True),
            "three levels": _both(focal_level=3),
            "an even window": _both(focal_window=4),
            "default focal windows": _both(focal_window=DROP, focal_factor=DROP),
            "a start of the tangents": _both(tanhscale_init=0.25),
            "the other decoder": {"decoder_name": "WaveNeXt", "decoder_config": {
                "input_channels": DROP, "padding": DROP, "n_fft": DROP, "input_dim": 16,
            }},
            "a start of the decoder's scales": {"decoder_config": {"layerscale_init": 0.3}},
            "default spectrum": {"decoder_config": {"n_fft": DROP}},
            "more layers": {"encoder_config": {"num_layers": 3}},
            "a cache of positions": {"encoder_config": {"max_cached_steps": 512, "use_flex_attention": False}},
            "another codebook": {
                "quantizer_config": {"codebook_size": 2048}, "compressor_config": {"output_dim": 11},
                "decompressor_config": {"input_dim": 11},
            },
        },
        refused={
            "two names that disagree": ({"decoder_config": {"input_dim": 8}}, "input_dim"),
            "another encoder": ({"encoder_name": "HuBERT"}, "encoder_name"),
            "another decoder": ({"decoder_name": "HiFiGAN"}, "decoder_name"),
            "a misspelt key": ({"encoder_config": {"num_layerz": 2}}, "num_layers"),
            "no power of two": ({"quantizer_config": {"codebook_size": 30}}, "power of two"),
            "a decoder that is no mirror": ({"decompressor_config": {"upscale_factors": [2, 1]}}, "mirror"),
        },
        published=first_version,
        peer=_peer,
    ),
    "focalcodec-causal": Sweep(
        tiny=_CAUSAL,
        options={
            "as it is": {},
            "joined frames": {"compressor_config": {"downscale_factors": [2, 1]}, "decompressor_config": {"upscale_factors": [1, 2]}},
            "no look-ahead": {"encoder_config": {"lookahead_size": 0}, "decompressor_config": {"lookahead_size": 0}},
            "default look-ahead": {"encoder_config": {"lookahead_size": DROP}, "decompressor_config": {"lookahead_size": DROP}},
            "another last window": {"decompressor_config": {"last_window_size": 4}},
            "norms behind": _both(use_post_norm=True),
            "layer scales": _both(use_layerscale=True),
            "a mean of levels": _both(normalize_modulator=True),
            "three levels": _both(focal_level=3),
            "an even window": _both(focal_window=4),
            "default tangents": _both(tanhscale_init=DROP),
            "as many samples out": {"decoder_config": {"hop_length": 12}},
            "the other decoder": {"decoder_name": "Vocos", "decoder_config": {"n_fft": 48}},
            "a default decoder's name": {"decoder_name": DROP},
        },
        refused={
            "the first version's name, which this decoder does not know": (
                {"decoder_config": {"input_channels": 16}}, "input_channels",
            ),
        },
        peer=_peer,
    ),
}  # fmt: skip
