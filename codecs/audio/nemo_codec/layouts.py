"""NeMo's audio codecs: the modules of an `AudioCodecModel` checkpoint, whose `.nemo` archive holds config and weights."""

import math
from collections.abc import Mapping
from typing import Any

from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, WeightNorm
from ...layouts.layout import Layout
from .model import NemoCodecConfig

_ACTIVATIONS = {"lrelu": "leaky_relu", "elu": "elu", "snake": "snake", "half_snake": "half_snake"}
_QUANTIZERS = ("GroupFiniteScalarQuantizer", "FiniteScalarQuantizer")

#: Keys of a published `model_config.yaml` that concern the trainer, its losses, or a speech model that only training uses.
_TRAINING = (
    "adv_loss_scale_max", "adv_loss_scale_min", "clip_grad_norm", "codebook_loss_scale", "commit_loss_scale", "disc_loss_scale",
    "disc_start_epoch", "disc_update_period", "disc_updates_per_period", "discriminator", "discriminator_loss",
    "encoder_noise_stdev", "exp_manager", "feature_loss_scale", "feature_loss_type", "gen_loss_scale", "generator_loss",
    "lightning_version", "log_config", "loss_resolutions", "max_epochs", "max_steps", "mel_loss_dim", "mel_loss_dims",
    "mel_loss_l1_scale", "mel_loss_l2_scale", "mel_loss_log_guard", "mmd_loss", "mmd_loss_scale", "mmd_loss_start_epoch",
    "mmd_time_loss", "mmd_time_loss_scale", "name", "nemo_version", "optim", "optimizer", "scl_loss_scale", "si_sdr_loss_scale",
    "skip_nan_gradients", "slm_encoder", "slm_loss_scale", "slm_predictor", "steps_per_epoch", "stft_loss_log_guard",
    "stft_loss_scale", "target", "test_ds", "time_domain_loss_scale", "train_ds", "train_n_samples", "trainer",
    "use_asr_consitency_loss", "use_scl_loss", "use_slm_loss", "validation_ds", "warmup_steps",
    "weighted_sampling_steps_per_epoch",
)  # fmt: skip


def _part(f: Fields, key: str, allowed: tuple[str, ...]) -> tuple[Fields, str]:
    """A module's arguments and its class's name without path, from hydra's `_target_`, its older form `params`, or `class_name`."""
    values = dict(f.take(key))
    if isinstance(values.get("params"), Mapping):
        values |= values.pop("params")
    part = Fields(values, key)
    names = [part.take(k, None) for k in ("class_name", "_target_", "cls")]
    name = str(next((n for n in names if n), allowed[0])).rsplit(".", 1)[-1]
    if name not in allowed:
        raise ValueError(f"{key} is a {name}; supported: {', '.join(allowed)}.")
    return part, name


def _side(f: Fields, *, encoder: bool, causal: bool) -> tuple[dict[str, Any], int]:
    """A `NemoSideConfig` mapping and the width of the latents."""
    strides = f.take("down_sample_rates", [2, 2, 8, 8]) if encoder else f.take("up_sample_rates", [8, 8, 2, 2])
    modes = {"reflect": "reflect", "zeros": "constant", "replicate": "replicate"}
    out = {
        "strides": list(strides),
        "width": f.take("base_channels", 32 if encoder else 512),
        "kernel_in": f.take("in_kernel_size", 7),
        "kernel_out": f.take("out_kernel_size", 7 if encoder else 3),
        "unit_kernels": list(f.take("resblock_kernel_sizes", [3, 7, 11])),
        "unit_dilations": list(f.take("resblock_dilation_sizes", [1, 3, 5])),
        "activation": f.one_of("activation", _ACTIVATIONS, "lrelu"),
        "causal": causal,
        # a causal side is always padded with zeros
        "edge": f.one_of("pad_mode", modes, "zeros" if causal else "reflect"),
        "grouped": False if encoder else bool(f.take("n_groups_equal_to_out_channels", causal)),
    }
    return out, f.take("encoded_dim" if encoder else "input_dim")


def _levels(f: Fields, name: str) -> tuple[int, list[int]]:
    """Number of groups, and the FSQ levels of one group."""
    f.require("eps", 1e-3)
    if name == "FiniteScalarQuantizer":
        return 1, list(f.take("num_levels"))
    f.require("dithered_acoustic_fsq", False)
    f.drop("num_semantic_groups")  # read with the dither only
    return f.take("num_groups"), list(f.take("num_levels_per_group"))


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`model_config.yaml`, or keyword arguments of the three modules alone."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *_TRAINING)
    e, encoder_class = _part(f, "audio_encoder", ("HiFiGANEncoder", "CausalHiFiGANEncoder"))
    d, decoder_class = _part(f, "audio_decoder", ("HiFiGANDecoder", "CausalHiFiGANDecoder"))
    q, quantizer_class = _part(f, "vector_quantizer", _QUANTIZERS)
    encoder, dim = _side(e, encoder=True, causal=encoder_class.startswith("Causal"))
    output = d.one_of("output_activation", {"tanh": "tanh", "clamp": "clamp"}, "tanh")
    decoder, input_dim = _side(d, encoder=False, causal=decoder_class.startswith("Causal"))
    groups, levels = _levels(q, quantizer_class)
    if not dim == input_dim == groups * len(levels):
        raise ValueError(
            f"audio_encoder returns {dim} channels, the quantizer takes {groups * len(levels)}, "
            f"audio_decoder {input_dim}."
        )
    e.done()
    d.done(swallowed=decoder_class.startswith("Causal"))
    q.done()
    rate = f.take("sample_rate", 22050)
    f.require("samples_per_frame", math.prod(encoder["strides"]))
    f.require("output_sample_rate", rate)
    for key in ("semantic_codec", "semantic_codec_path", "hybrid_codec"):
        f.require(key, None)
    f.done(swallowed=True)
    return {
        "sample_rate_hz": rate,
        "encoder": encoder,
        "decoder": decoder,
        "output": output,
        "quantizer": {"kind": "grouped_fsq", "num_groups": groups, "levels": levels},
    }


def _activation(theirs: str, ours: str) -> list[Row]:
    """Key rows of the activations that have weights: `Snake`, and `HalfSnake`, which contains a `Snake`."""
    return [
        (f"{theirs}.activation.alpha", f"{ours}.alpha"),
        (f"{theirs}.activation.snake_act.alpha", f"{ours}.snake.alpha"),
    ]


def _side_rows(theirs: str, ours: str, way: str) -> list[Row]:
    unit, own = f"{theirs}.res_layers.{{}}.res_blocks.{{}}.res_blocks.{{}}", f"{ours}.levels.{{}}.units.branches.{{}}.{{}}"
    return [
        (f"{theirs}.pre_conv.conv.*", f"{ours}.stem.*"),
        (f"{theirs}.post_conv.conv.*", f"{ours}.head.*"),
        *_activation(f"{theirs}.post_activation", f"{ours}.act"),
        *_activation(f"{theirs}.activations.{{}}", f"{ours}.levels.{{}}.act"),
        (f"{theirs}.{way}_sample_conv_layers.{{}}.conv.*", f"{ours}.levels.{{}}.conv.*"),
        (f"{unit}.input_conv.conv.*", f"{own}.conv_in.*"),
        (f"{unit}.skip_conv.conv.*", f"{own}.conv_out.*"),
        *_activation(f"{unit}.input_activation", f"{own}.act_in"),
        *_activation(f"{unit}.skip_activation", f"{own}.act_out"),
    ]


#: Weights that are dropped: buffers that are computed from the FSQ levels, and parts that only training uses.
_DROPPED = (
    "vector_quantizer.fsqs.{}.{dim_base_index|num_levels}", "vector_quantizer.{dim_base_index|num_levels}",
    "discriminator.**", "*_loss_fn.**", "slm_*.**", "speaker_encoder.**", "speaker_encoder_resampler.**", "asr_*.**",
)  # fmt: skip


def _keys(own: NemoCodecConfig) -> KeyMap:
    rows = [*_side_rows("audio_encoder", "encoder", "down"), *_side_rows("audio_decoder", "decoder", "up")]
    # dropped before weight norm is folded: no work on discriminators
    return KeyMap(Rename([], also_drop=_DROPPED, keep_unknown=True), WeightNorm("parametrizations"), Rename(rows))


LAYOUTS = (
    Layout(
        system="nemo-audio-codec",
        upstream="NVIDIA-NeMo/NeMo nemo.collections.tts.models.AudioCodecModel",
        family="nemo_codec",
        config=_config,
        keys=_keys,
    ),
)
