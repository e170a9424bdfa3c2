"""DAC as descriptinc/descript-audio-codec and transformers publish it, and SNAC, which adds blocks to that layout."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from .base import Converter, fold_weight_norm, rename
from .fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields


def factorised_rvq(**settings: Any) -> dict[str, Any]:
    """The residual quantizer of DAC and its heirs: cosine lookup in a narrow space, trained by gradient."""
    base = {"kind": "residual_vq", "normalize": True, "update": "gradient", "kmeans_init": False, "replace_below": 0.0}
    return base | settings


def one_width(name: str, value: int | Sequence[int]) -> int:
    """The one codebook width; ValueError where levels differ."""
    widths = {value} if isinstance(value, int) else set(value)
    if len(widths) != 1:
        raise ValueError(f"{name} is {value}: levels of different widths are not supported.")
    return widths.pop()


#: `quantizer.quantizers.{k}` of all three layouts.
QUANTIZER_KEYS = [
    (r"quantizer\.quantizers\.(\d+)\.(in_proj|out_proj)\.(weight|bias)", r"quantizer.levels.\1.\2.\3"),
    (r"quantizer\.quantizers\.(\d+)\.codebook\.weight", r"quantizer.levels.\1.codebook.embed"),
]


def pointwise_to_linear(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the kernel axis of the quantizer's convolutions of 1: `[o, i, 1]` to the `[o, i]` of a linear map."""
    return {k: v.squeeze(-1) if k.endswith("_proj.weight") and v.ndim == 3 else v for k, v in state.items()}


# --- the authors' numbered layers -------------------------------------------------------------------------------------


def unit_keys(theirs: str, ours: str) -> list[tuple[str, str]]:
    """One residual unit: `{theirs}.block.0` Snake, 1 dilated convolution, 2 Snake, 3 convolution of 1."""
    return [
        (rf"{theirs}\.block\.0\.alpha", rf"{ours}.act_in.alpha"),
        (rf"{theirs}\.block\.1\.(weight|bias)", rf"{ours}.conv_in.\1"),
        (rf"{theirs}\.block\.2\.alpha", rf"{ours}.act_out.alpha"),
        (rf"{theirs}\.block\.3\.(weight|bias)", rf"{ours}.conv_out.\1"),
    ]


def down_keys(theirs: str, ours: str) -> list[tuple[str, str]]:
    """One level of the encoder: three units, Snake, strided convolution."""
    units = [pair for j in range(3) for pair in unit_keys(rf"{theirs}\.block\.{j}", f"{ours}.units.{j}")]
    return [
        *units,
        (rf"{theirs}\.block\.3\.alpha", rf"{ours}.act.alpha"),
        (rf"{theirs}\.block\.4\.(weight|bias)", rf"{ours}.conv.\1"),
    ]


def up_keys(theirs: str, ours: str, *, noise: bool = False) -> list[tuple[str, str]]:
    """One level of the decoder: Snake, transposed convolution, noise block where there is one, three units."""
    first = 3 if noise else 2
    units = [pair for j in range(3) for pair in unit_keys(rf"{theirs}\.block\.{first + j}", f"{ours}.units.{j}")]
    return [
        (rf"{theirs}\.block\.0\.alpha", rf"{ours}.act.alpha"),
        (rf"{theirs}\.block\.1\.(weight|bias)", rf"{ours}.conv.\1"),
        (rf"{theirs}\.block\.2\.linear\.weight", rf"{ours}.noise.gain.weight"),
        *units,
    ]


def dac_table(downs: int, ups: int) -> list[tuple[str, str]]:
    """All of `DAC` with so many levels on either side."""
    return [
        (r"encoder\.block\.0\.(weight|bias)", r"encoder.stem.\1"),
        *(pair for i in range(downs) for pair in down_keys(rf"encoder\.block\.{i + 1}", f"encoder.levels.{i}")),
        (rf"encoder\.block\.{downs + 1}\.alpha", r"encoder.act.alpha"),
        (rf"encoder\.block\.{downs + 2}\.(weight|bias)", r"encoder.head.\1"),
        *QUANTIZER_KEYS,
        (r"decoder\.model\.0\.(weight|bias)", r"decoder.stem.\1"),
        *(pair for i in range(ups) for pair in up_keys(rf"decoder\.model\.{i + 1}", f"decoder.levels.{i}")),
        (rf"decoder\.model\.{ups + 1}\.alpha", r"decoder.act.alpha"),
        (rf"decoder\.model\.{ups + 2}\.(weight|bias)", r"decoder.head.\1"),
    ]


def _dac(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `DAC`."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    out = {
        "sample_rate_hz": f.take("sample_rate", 44100),
        "strides": f.take("encoder_rates", [2, 4, 8, 8]),
        "decoder_strides": f.take("decoder_rates", [8, 8, 4, 2]),
        "encoder_width": f.take("encoder_dim", 64),
        "decoder_width": f.take("decoder_dim", 1536),
        "latent_dim": f.take("latent_dim", None) or 0,
        "quantizer": factorised_rvq(
            num_codebooks=f.take("n_codebooks", 9),
            codebook_size=f.take("codebook_size", 1024),
            codebook_dim=one_width("codebook_dim", f.take("codebook_dim", 8)),
            dropout=float(f.take("quantizer_dropout", 0.0)),
        ),
    }
    f.done()
    return out


def _dac_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    own = _dac(config)
    table = dac_table(len(own["strides"]), len(own["decoder_strides"]))
    return pointwise_to_linear(rename(fold_weight_norm(state), table))


# --- transformers -----------------------------------------------------------------------------------------------------

_HF_UNIT = (("snake1", "act_in"), ("conv1", "conv_in"), ("snake2", "act_out"), ("conv2", "conv_out"))


def hf_table(theirs: str, ours: str) -> list[tuple[str, str]]:
    """One side of `DacModel`, encoder or decoder."""
    units = [
        (rf"{theirs}\.block\.(\d+)\.res_unit{j + 1}\.{a}\.(weight|bias|alpha)", rf"{ours}.levels.\1.units.{j}.{b}.\2")
        for j in range(3)
        for a, b in _HF_UNIT
    ]
    return [
        (rf"{theirs}\.conv1\.(weight|bias)", rf"{ours}.stem.\1"),
        (rf"{theirs}\.snake1\.alpha", rf"{ours}.act.alpha"),
        (rf"{theirs}\.conv2\.(weight|bias)", rf"{ours}.head.\1"),
        (rf"{theirs}\.block\.(\d+)\.snake1\.alpha", rf"{ours}.levels.\1.act.alpha"),
        (rf"{theirs}\.block\.(\d+)\.(?:conv1|conv_t1)\.(weight|bias)", rf"{ours}.levels.\1.conv.\2"),
        *units,
    ]


_HF_TABLE = [*hf_table("encoder", "encoder"), *hf_table("decoder", "decoder"), *QUANTIZER_KEYS]


def _dac_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """`DacConfig` of transformers. A key of ours, `pad_to_frames`, asks for the feature extractor's padding."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS)
    strides, width = f.take("downsampling_ratios", [2, 4, 8, 8]), f.take("encoder_hidden_size", 64)
    f.require("upsampling_ratios", list(reversed(strides)))  # the class derives these three
    f.require("hidden_size", width * 2 ** len(strides))
    f.require("hop_length", math.prod(strides))
    out = {
        "sample_rate_hz": f.take("sampling_rate", 16000),
        "strides": strides,
        "encoder_width": width,
        "decoder_width": f.take("decoder_hidden_size", 1536),
        "quantizer": factorised_rvq(
            num_codebooks=f.take("n_codebooks", 9),
            codebook_size=f.take("codebook_size", 1024),
            codebook_dim=f.take("codebook_dim", 8),
            dropout=float(f.take("quantizer_dropout", 0.0)),
            commitment_weight=f.take("commitment_loss_weight", 0.25),
            codebook_weight=f.take("codebook_loss_weight", 1.0),
        ),
        "fill": "frame" if f.take("pad_to_frames", False) else "none",
    }
    f.done()
    return out


# --- SNAC -----------------------------------------------------------------------------------------------------------


def _snac(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `SNAC`."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    strides, width = f.take("encoder_rates", [3, 3, 7, 7]), f.take("encoder_dim", 64)
    top = width * 2 ** len(strides)
    if f.take("latent_dim", None) not in (None, top):
        raise ValueError(f"config.latent_dim must be {top}, the encoder's width: nothing maps it to another.")
    levels = f.take("vq_strides", [8, 4, 2, 1])
    out = {
        "sample_rate_hz": f.take("sampling_rate", 44100),
        "strides": strides,
        "decoder_strides": f.take("decoder_rates", [7, 7, 3, 3]),
        "encoder_width": width,
        "decoder_width": f.take("decoder_dim", 1536),
        "window": f.take("attn_window_size", 32) or 0,
        "depthwise": f.take("depthwise", True),
        "noise": f.take("noise", True),
        "quantizer": factorised_rvq(
            num_codebooks=len(levels),
            strides=levels,
            codebook_size=f.take("codebook_size", 4096),
            codebook_dim=f.take("codebook_dim", 8),
        ),
    }
    f.done()
    return out


def _attention_keys(theirs: str, ours: str) -> list[tuple[str, str]]:
    return [
        (rf"{theirs}\.norm\.(weight|bias)", rf"{ours}.norm.\1"),
        (rf"{theirs}\.to_qkv\.weight", rf"{ours}.qkv.weight"),
        (rf"{theirs}\.to_out\.weight", rf"{ours}.out.weight"),
    ]


def _snac_table(own: Mapping[str, Any]) -> list[tuple[str, str]]:
    downs, ups, window = len(own["strides"]), len(own["decoder_strides"]), int(bool(own["window"]))
    stem = 2 if own["depthwise"] else 1
    first = stem + window  # the authors' number of the decoder's first level
    return [
        (r"encoder\.block\.0\.(weight|bias)", r"encoder.stem.\1"),
        *(pair for i in range(downs) for pair in down_keys(rf"encoder\.block\.{i + 1}", f"encoder.levels.{i}")),
        *(_attention_keys(rf"encoder\.block\.{downs + 1}", "encoder.attention") if window else []),
        (rf"encoder\.block\.{downs + 1 + window}\.(weight|bias)", r"encoder.head.\1"),
        *QUANTIZER_KEYS,
        *(
            [(r"decoder\.model\.([01])\.(weight|bias)", r"decoder.stem.\1.\2")]
            if own["depthwise"]
            else [(r"decoder\.model\.0\.(weight|bias)", r"decoder.stem.\1")]
        ),
        *(_attention_keys(rf"decoder\.model\.{stem}", "decoder.attention") if window else []),
        *(
            pair
            for i in range(ups)
            for pair in up_keys(rf"decoder\.model\.{first + i}", f"decoder.levels.{i}", noise=own["noise"])
        ),
        (rf"decoder\.model\.{first + ups}\.alpha", r"decoder.act.alpha"),
        (rf"decoder\.model\.{first + ups + 1}\.(weight|bias)", r"decoder.head.\1"),
    ]


def _snac_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    dropped = [r".*\.rel_pos\.(inv_freq|scale)"]  # rotary frequencies: computed
    return pointwise_to_linear(rename(fold_weight_norm(state), _snac_table(_snac(config)), dropped=dropped))


CONVERTERS = (
    Converter(
        system="dac",
        upstream="descriptinc/descript-audio-codec DAC",
        family="dac",
        config=_dac,
        weights=_dac_weights,
    ),
    Converter(
        system="dac-hf",
        upstream="huggingface/transformers DacModel",
        family="dac",
        config=_dac_hf,
        weights=lambda state, config: pointwise_to_linear(rename(fold_weight_norm(state), _HF_TABLE)),
    ),
    Converter(system="snac", upstream="hubertsiuzdak/snac SNAC", family="snac", config=_snac, weights=_snac_weights),
)
