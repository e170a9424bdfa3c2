"""SQ-Codec: the keyword arguments of `ScalarModel`, two numbered lists of layers."""

from collections.abc import Mapping
from typing import Any

import torch

from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, State, Then, Unwrap, WeightNorm
from ...layouts.layout import Layout
from ...serialize import CheckpointError
from .model import SQCodecConfig


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our config fields from the class's arguments. Our key `rounding_steps` (default 9) is 5 for checkpoints of `round_func5`."""
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
        "quantizer": {"kind": "scalar", "steps": f.take("rounding_steps", 9), "tanh": False},
    }
    f.done()
    return out


def _units(theirs: str, ours: str) -> list[Row]:
    pairs = (("conv1", "conv_in"), ("activation1", "act_in"), ("conv2", "conv_out"), ("activation2", "act_out"))
    return [(f"{theirs}.convs.{{}}.{a}.{{weight|bias}}", f"{ours}.{{}}.{b}.{{weight|bias}}") for a, b in pairs]


def _pool(theirs: str, ours: str) -> list[Row]:
    return [
        (f"{theirs}.conv.{{weight|bias}}", f"{ours}.pool_conv.{{weight|bias}}"),
        (f"{theirs}.activation.weight", f"{ours}.pool_act.weight"),
    ]


def _plain(theirs: str, ours: str) -> Row:
    return (f"{theirs}.{{weight|bias}}", f"{ours}.{{weight|bias}}")


_SHARED = "encoder.down_act.weight"


def _one_prelu(levels: range) -> Then:
    """One PReLU is shared by all down-sampling layers (a default argument); the file has its weight for each layer."""
    keys = [f"encoder.{i}.down_conv.activation.weight" for i in levels]

    def read(state: State) -> State:
        out = dict(state)
        shared = [out.pop(k) for k in keys if k in out]
        if not shared or any(not torch.equal(s, shared[0]) for s in shared):
            raise CheckpointError("the down-sampling layers' PReLU weights differ; the authors' class has one for all.")
        return out | {_SHARED: shared[0]}

    def write(state: State) -> State:
        out = dict(state)
        shared = out.pop(_SHARED)
        return out | {k: shared.clone() for k in keys}

    return Then(read, write)


def _keys(own: SQCodecConfig) -> KeyMap:
    pool, downs, ups = int(own.pool > 1), len(own.strides), len(own.decoder_strides)
    first = 1 + pool  # the authors' number of the encoder's first level
    rows = [_plain("encoder.0", "encoder.stem"), *(_pool("encoder.1", "encoder") if pool else []), (_SHARED, _SHARED)]
    for i in range(downs):
        theirs = f"encoder.{first + i}"
        rows += [*_units(theirs, f"encoder.units.{i}"), _plain(f"{theirs}.down_conv.layer", f"encoder.downs.{i}")]
    rows += [_plain(f"encoder.{first + downs}", "encoder.head"), _plain("decoder.0", "decoder.stem")]
    for i in range(ups):
        theirs = f"decoder.{i + 1}"
        rows += [*_units(theirs, f"decoder.units.{i}"), _plain(f"{theirs}.up_conv.layer", f"decoder.ups.{i}")]
    rows += _pool(f"decoder.{ups + 1}", "decoder") if pool else []
    rows.append(_plain(f"decoder.{ups + 1 + pool}", "decoder.head"))
    normed = WeightNorm(but=("{encoder|decoder}.{}.conv.weight",))
    return KeyMap(Unwrap("codec_model"), normed, _one_prelu(range(first, first + downs)), Rename(rows))


LAYOUTS = (
    Layout(
        system="sq-codec",
        upstream="yangdongchao/SimpleSpeech ldm/models/scalar16k.py ScalarModel",
        family="sq_codec",
        config=_config,
        keys=_keys,
    ),
)
