"""SQ-Codec: the keyword arguments of `ScalarModel`, two numbered lists of layers."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from ...codecs.serialize import CheckpointError
from .base import Converter, fold_weight_norm, rename
from .fields import FOLDER_KEYS, Fields


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    out = {
        "sample_rate_hz": f.take("sample_rate"),
        "channels": f.take("num_bands"),
        "pool": max(1, f.take("num_samples")),
        "strides": f.take("downsample_factors"),
        "stride_kernels": f.take("downsample_kernel_sizes"),
        "decoder_strides": f.take("upsample_factors"),
        "decoder_stride_kernels": f.take("upsample_kernel_sizes"),
        "width": f.take("init_channel"),
        "kernel_size": f.take("default_kernel_size"),
        "residual_kernel_size": f.take("res_kernel_size"),
        "delay_kernel_size": f.take("delay_kernel_size"),
        "latent_dim": f.take("latent_hidden_dim"),
        "causal": f.take("causal"),
        # round_func9 in the class; a key of ours for checkpoints of its round_func5
        "quantizer": {"kind": "scalar", "steps": f.take("rounding_steps", 9), "tanh": False},
    }
    f.done()
    return out


def _units(theirs: str, ours: str) -> list[tuple[str, str]]:
    pairs = (("conv1", "conv_in"), ("activation1", "act_in"), ("conv2", "conv_out"), ("activation2", "act_out"))
    return [(rf"{theirs}\.convs\.(\d+)\.{a}\.(weight|bias)", rf"{ours}.\1.{b}.\2") for a, b in pairs]


def _pool(theirs: str, ours: str) -> list[tuple[str, str]]:
    return [
        (rf"{theirs}\.conv\.(weight|bias)", rf"{ours}.pool_conv.\1"),
        (rf"{theirs}\.activation\.weight", rf"{ours}.pool_act.weight"),
    ]


def _table(own: Mapping[str, Any]) -> list[tuple[str, str]]:
    pool, downs, ups = int(own["pool"] > 1), len(own["strides"]), len(own["decoder_strides"])
    table = [(r"encoder\.0\.(weight|bias)", r"encoder.stem.\1"), *(_pool(r"encoder\.1", "encoder") if pool else [])]
    for i in range(downs):
        theirs = rf"encoder\.{i + 1 + pool}"
        table += [
            *_units(theirs, f"encoder.units.{i}"),
            (rf"{theirs}\.down_conv\.layer\.(weight|bias)", rf"encoder.downs.{i}.\1"),
        ]
    table.append((rf"encoder\.{downs + 1 + pool}\.(weight|bias)", r"encoder.head.\1"))
    table.append((r"decoder\.0\.(weight|bias)", r"decoder.stem.\1"))
    for i in range(ups):
        theirs = rf"decoder\.{i + 1}"
        table += [
            *_units(theirs, f"decoder.units.{i}"),
            (rf"{theirs}\.up_conv\.layer\.(weight|bias)", rf"decoder.ups.{i}.\1"),
        ]
    table += _pool(rf"decoder\.{ups + 1}", "decoder") if pool else []
    return [*table, (rf"decoder\.{ups + 1 + pool}\.(weight|bias)", r"decoder.head.\1")]


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    own, state = _config(config), dict(cast("dict[str, Tensor]", state.get("codec_model", state)))
    # One PReLU serves all down-sampling layers (a default argument, made once); its weight stands in the file for each.
    keys = [k for k in state if k.endswith(".down_conv.activation.weight")]
    shared = [state.pop(k) for k in keys]
    if not shared or any(not torch.equal(s, shared[0]) for s in shared):
        raise CheckpointError("the down-sampling layers' PReLU weights differ; the authors' class has one for all.")
    out = rename(fold_weight_norm(state), _table(own))
    return out | {"encoder.down_act.weight": shared[0]}


CONVERTERS = (
    Converter(
        system="sq-codec",
        upstream="yangdongchao/SimpleSpeech ScalarModel",
        family="sq_codec",
        config=_config,
        weights=_weights,
    ),
)
