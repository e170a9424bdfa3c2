"""NeMo's audio codecs: the modules of an `AudioCodecModel` checkpoint."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .base import Converter, fold_weight_norm, rename
from .fields import FOLDER_KEYS, Fields

_ACTIVATIONS = {"lrelu": "leaky_relu", "elu": "elu", "snake": "snake", "half_snake": "half_snake"}
#: Parts of a published `model_config.yaml` that are of the trainer or of a speech model used in training only.
_TRAINING = (
    "adv_loss_scale_max", "adv_loss_scale_min", "codebook_loss_scale", "commit_loss_scale", "disc_loss_scale",
    "disc_updates_per_period", "disc_update_period", "discriminator", "discriminator_loss", "feature_loss_scale",
    "feature_loss_type", "gen_loss_scale", "generator_loss", "lightning_version", "log_config", "loss_resolutions",
    "max_epochs", "max_steps", "mel_loss_dim", "mel_loss_dims", "mel_loss_l1_scale", "mel_loss_l2_scale",
    "mel_loss_log_guard", "nemo_version", "optim", "optimizer", "samples_per_frame", "si_sdr_loss_scale",
    "stft_loss_log_guard", "stft_loss_scale", "target", "test_ds", "time_domain_loss_scale", "train_ds",
    "train_n_samples", "use_asr_consitency_loss", "use_scl_loss", "validation_ds", "warmup_steps",
    "weighted_sampling_steps_per_epoch",
)  # fmt: skip


def _class(f: Fields, allowed: tuple[str, ...]) -> str:
    """The class's bare name, from `class_name` or hydra's `_target_`."""
    name = str(f.take("class_name", None) or f.take("_target_", None) or allowed[0]).rsplit(".", 1)[-1]
    f.drop("_target_", "class_name")
    if name not in allowed:
        raise ValueError(f"{f.name} is a {name}; supported: {', '.join(allowed)}.")
    return name


def _side(f: Fields, side: str) -> tuple[dict[str, Any], int]:
    """A `NemoSideConfig` mapping and the width of the latents."""
    encoder = side == "encoder"
    kinds = ("HiFiGANEncoder", "CausalHiFiGANEncoder") if encoder else ("HiFiGANDecoder", "CausalHiFiGANDecoder")
    causal = _class(f, kinds).startswith("Causal")
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
        # a causal side sees zeros whatever this says
        "edge": f.one_of("pad_mode", modes, "zeros" if causal else "reflect"),
        "grouped": False if encoder else bool(f.take("n_groups_equal_to_out_channels", causal)),
    }
    return out, f.take("encoded_dim" if encoder else "input_dim")


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the three modules, `class_name` or `_target_` naming their classes."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *_TRAINING)
    e, d = Fields(f.take("audio_encoder"), "audio_encoder"), Fields(f.take("audio_decoder"), "audio_decoder")
    q = Fields(f.take("vector_quantizer"), "vector_quantizer")
    _class(q, ("GroupFiniteScalarQuantizer",))
    q.require("eps", 1e-3)
    encoder, dim = _side(e, "encoder")
    output = d.one_of("output_activation", {"tanh": "tanh", "clamp": "clamp"}, "tanh")
    decoder, input_dim = _side(d, "decoder")
    groups, levels = q.take("num_groups"), list(q.take("num_levels_per_group"))
    if not dim == input_dim == groups * len(levels):
        raise ValueError(
            f"audio_encoder gives {dim} channels, the quantizer takes {groups * len(levels)}, "
            f"audio_decoder {input_dim}."
        )
    for part in (e, d, q):
        part.done()
    out = {
        "sample_rate_hz": f.take("sample_rate", 22050),
        "encoder": encoder,
        "decoder": decoder,
        "output": output,
        "quantizer": {"kind": "grouped_fsq", "num_groups": groups, "levels": levels},
    }
    f.done()
    return out


def _activation(theirs: str, ours: str) -> list[tuple[str, str]]:
    """Of the activations with weights: `Snake`, and `HalfSnake` around one."""
    theirs = rf"{theirs}\.activation"
    return [(rf"{theirs}\.alpha", rf"{ours}.alpha"), (rf"{theirs}\.snake_act\.alpha", rf"{ours}.snake.alpha")]


def _table(theirs: str, ours: str) -> list[tuple[str, str]]:
    level = rf"{ours}.levels.\1"
    unit, own = rf"{theirs}\.res_layers\.(\d+)\.res_blocks\.(\d+)\.res_blocks\.(\d+)", rf"{level}.units.branches.\2.\3"
    return [
        (rf"{theirs}\.pre_conv\.conv\.(weight|bias)", rf"{ours}.stem.\1"),
        (rf"{theirs}\.post_conv\.conv\.(weight|bias)", rf"{ours}.head.\1"),
        *_activation(rf"{theirs}\.post_activation", rf"{ours}.act"),
        *_activation(rf"{theirs}\.activations\.(\d+)", rf"{level}.act"),
        (rf"{theirs}\.(?:up|down)_sample_conv_layers\.(\d+)\.conv\.(weight|bias)", rf"{level}.conv.\2"),
        (rf"{unit}\.input_conv\.conv\.(weight|bias)", rf"{own}.conv_in.\4"),
        (rf"{unit}\.skip_conv\.conv\.(weight|bias)", rf"{own}.conv_out.\4"),
        *_activation(rf"{unit}\.input_activation", rf"{own}.act_in"),
        *_activation(rf"{unit}\.skip_activation", rf"{own}.act_out"),
    ]


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    table = [*_table("audio_encoder", "encoder"), *_table("audio_decoder", "decoder")]
    dropped = [
        r"vector_quantizer\.fsqs\.\d+\.(dim_base_index|num_levels)",  # computed from the levels
        r"(discriminator|.*loss.*|slm_.*|speaker_encoder|asr_.*)\..*",  # of the training
    ]
    return rename(fold_weight_norm(state), table, dropped=dropped)


CONVERTERS = (
    Converter(
        system="nemo-audio-codec",
        upstream="NVIDIA-NeMo/NeMo nemo.collections.tts.models.AudioCodecModel",
        family="nemo_codec",
        config=_config,
        weights=_weights,
    ),
)
