"""The old regex tables of DAC, until every layout has moved to `tools/dac_keys.py`."""
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


