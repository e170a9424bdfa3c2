"""X-codec in its authors' layout and in that of transformers."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import unwrap
from .base import Converter, fold_weight_norm, rename
from .old_dac import down_keys, hf_table, up_keys
from .fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from .hcodec import feature_conv_table
from .seanet import codebook_table, finish_codebooks

#: The authors' names of speech models: where they are published, and their configuration.
_SPEECH = {
    "hubert_base": ("facebook/hubert-base-ls960", {"model_type": "hubert"}),
    "hubert_base_general": ("ZhenYe234/hubert_base_general_audio", {"model_type": "hubert"}),
    "wavlm_base_plus": ("microsoft/wavlm-base-plus", {"model_type": "wavlm"}),
}


def _quantizer(num: int, size: int) -> dict[str, Any]:
    return {
        "kind": "residual_vq",
        "num_codebooks": num,
        "codebook_size": size,
        "kmeans_iterations": 50,
        "commitment_weight": 1 / num,
        "dropout": 1.0,
    }


# --- the authors' layout --------------------------------------------------------------------------------------------


def _authors(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `SoundStream`, also inside the YAML of a training run.

    What the constructor holds as numbers can be changed under `hard_coded_overrides`: `semantic_width`, `encoder_width`,
    `decoder_width`, `pad`, and a speech model's configuration as `hubert_config` or `wavlm_config`.
    """
    if isinstance(config.get("generator"), Mapping):
        config = {"source": config.get("source"), **config["generator"]["config"]}
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, "n_filters", "normalize", "causal")  # the constructor reads none of the three
    o = Fields(f.take("hard_coded_overrides", {}), "hard_coded_overrides")
    teacher = f.take("semantic_techer", "hubert_base_general")
    if teacher not in _SPEECH:
        raise ValueError(f"config.semantic_techer is {teacher!r}; the class knows {', '.join(_SPEECH)}.")
    name, speech = _SPEECH[teacher]
    for kind in ("hubert", "wavlm"):
        if given := o.take(f"{kind}_config", None):
            speech = {"model_type": kind, **given}
    width = o.take("semantic_width", 768)
    strides, rate, size = list(f.take("ratios", [8, 5, 4, 2])), f.take("sample_rate", 16000), f.take("bins", 1024)
    bandwidths = [float(b) for b in f.take("target_bandwidths", [1, 1.5, 2, 4, 6])]
    # The authors count 10 bits a codebook, whatever its size.
    num = int(1000 * bandwidths[-1] // (math.ceil(rate / math.prod(strides)) * 10))
    out = {
        "sample_rate_hz": rate,
        "strides": strides,
        "encoder_width": o.take("encoder_width", 64),
        "decoder_width": o.take("decoder_width", 1024),
        "acoustic_dim": f.take("D", 128),
        "semantic": {"features": width, "width": width, "strides": [1, 1]},
        "semantic_model": {"hidden_size": width, **speech},
        "semantic_name": name,
        "pad_samples": o.take("pad", 160),
        "quantizer": _quantizer(num, size),
        "bandwidths_kbps": bandwidths,
    }
    o.done()
    f.done()
    return out


def _authors_table(levels: int) -> list[tuple[str, str]]:
    return [
        (r"encoder\.block\.0\.(weight|bias)", r"encoder.stem.\1"),
        *(pair for i in range(levels) for pair in down_keys(rf"encoder\.block\.{i + 1}", f"encoder.levels.{i}")),
        (rf"encoder\.block\.{levels + 1}\.alpha", "encoder.act.alpha"),
        (rf"encoder\.block\.{levels + 2}\.(weight|bias)", r"encoder.head.\1"),
        (r"decoder_2\.model\.0\.(weight|bias)", r"decoder.stem.\1"),
        *(pair for i in range(levels) for pair in up_keys(rf"decoder_2\.model\.{i + 1}", f"decoder.levels.{i}")),
        (rf"decoder_2\.model\.{levels + 1}\.alpha", "decoder.act.alpha"),
        (rf"decoder_2\.model\.{levels + 2}\.(weight|bias)", r"decoder.head.\1"),
        *feature_conv_table("encoder_semantic", "decoder_semantic"),
        *codebook_table(r"quantizer\.vq\.layers\.(\d+)\._codebook", r"quantizer.levels.\1.codebook"),
        (r"fc_prior\.(weight|bias)", r"join.\1"),
        (r"fc_post1\.(weight|bias)", r"to_semantic.\1"),
        (r"fc_post2\.(weight|bias)", r"to_acoustic.\1"),
    ]


def _split_speech(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The speech model's weights under our names, in the spelling of weight norm that transformers reads; and the others."""
    spelling = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    speech, rest, prefix = {}, {}, "semantic_model."
    for key, value in state.items():
        if not key.startswith(prefix):
            rest[key] = value
            continue
        head, _, last = key.rpartition(".")
        key = f"{head}.{spelling.get(last, last)}"
        speech[f"semantic_model.model.{key[len(prefix) :]}"] = value
    return speech, rest


def _authors_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    speech, rest = _split_speech(unwrap(state, "codec_model", "state_dict"))
    table = _authors_table(len(_authors(config)["strides"]))
    return speech | finish_codebooks(rename(fold_weight_norm(rest), table))


# --- transformers ---------------------------------------------------------------------------------------------------


def _hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """`XcodecConfig` of transformers. A key of ours, `pad_to_frames`, asks for the feature extractor's padding."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS, "initializer_range")
    a = Fields(f.take("acoustic_model_config", {}) or {}, "acoustic_model_config")
    a.drop(*TRANSFORMERS_KEYS, "codebook_dim", "codebook_loss_weight", "codebook_size", "commitment_loss_weight")
    a.drop("n_codebooks", "quantizer_dropout", "sampling_rate", "hop_length")  # of DAC's own quantizer, or derived
    speech = {"model_type": "hubert"} | dict(f.take("semantic_model_config", {}) or {})
    speech = {k: v for k, v in speech.items() if k not in TRANSFORMERS_KEYS or k == "model_type"}
    width = speech.setdefault("hidden_size", 768)
    strides, acoustic = list(a.take("downsampling_ratios", [8, 5, 4, 2])), a.take("hidden_size", 256)
    ratios = list(f.take("channel_ratios", [1, 1]))
    if int(width * ratios[-1]) != width:
        raise ValueError(f"config.channel_ratios ends with {ratios[-1]}; the authors' class needs 1 there.")
    if f.take("codebook_dim", None) not in (None, acoustic + width):
        raise ValueError(f"config.codebook_dim is not {acoustic + width}, but between latents and codebooks stands no map.")
    rate, size = f.take("sample_rate", 16000), f.take("codebook_size", 1024)
    bandwidths = [float(b) for b in f.take("target_bandwidths", [0.5, 1, 1.5, 2, 4])]
    hop = math.prod(strides)
    num = int(1000 * bandwidths[-1] // (math.ceil(rate / hop) * math.ceil(math.log2(size))))
    f.require("num_quantizers", num)  # this and the next: of the class's first version, which derived none of them
    widths = {"hidden_dim": acoustic + width, "output_dim": acoustic, "audio_channels": 1}
    widths |= dict.fromkeys(("input_channels", "encoder_channels", "decoder_channels", "output_channels"), width)
    for key, value in (widths | {"intermediate_dim": width}).items():
        f.require(key, value)
    out = {
        "sample_rate_hz": rate,
        "strides": strides,
        "decoder_strides": list(a.take("upsampling_ratios", [8, 5, 4, 2])),
        "encoder_width": a.take("encoder_hidden_size", 64),
        "decoder_width": a.take("decoder_hidden_size", 1024),
        "acoustic_dim": acoustic,
        "semantic": {
            "features": width,
            "width": width,
            "ratios": ratios,
            "strides": list(f.take("strides", [1, 1])),
            "kernel_size": f.take("kernel_size", 3),
            "unit_kernel": f.take("unit_kernel_size", 3),
            "dilations": list(f.take("block_dilations", [1, 1])),
            "up_bias": False,
        },
        "semantic_model": speech,
        "pad_samples": hop // 2,
        "quantizer": _quantizer(num, size),
        "bandwidths_kbps": bandwidths,
        "fill": "frame" if f.take("pad_to_frames", False) else "none",
    }
    a.done()
    f.done()
    return out


_CONV = r"\.conv\.(weight|bias)"
_UNIT = r"\.res_units\.(\d+)\.conv"
_HF_TABLE = [
    *hf_table("acoustic_encoder", "encoder"),
    *hf_table("acoustic_decoder", "decoder"),
    (r"encoder_semantic\.conv\.weight", "semantic_encoder.stem.weight"),
    (r"decoder_semantic\.conv1\.weight", "semantic_decoder.stem.weight"),
    (r"decoder_semantic\.conv2\.weight", "semantic_decoder.head.weight"),
    *(
        row
        for side in ("encoder", "decoder")
        for block, level in [(rf"{side}_semantic\.conv_blocks\.(\d+)", rf"semantic_{side}.levels.\1")]
        for row in (
            (block + _CONV, level + r".conv.\2"),
            (block + _UNIT + r"1\.weight", level + r".units.\2.conv_in.weight"),
            (block + _UNIT + r"2\.weight", level + r".units.\2.conv_out.weight"),
        )
    ),
    *codebook_table(r"quantizer\.quantizers\.(\d+)\.codebook", r"quantizer.levels.\1.codebook"),
    (r"fc\.(weight|bias)", r"join.\1"),
    (r"fc1\.(weight|bias)", r"to_semantic.\1"),
    (r"fc2\.(weight|bias)", r"to_acoustic.\1"),
]


def _hf_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    speech, rest = _split_speech(state)
    return speech | finish_codebooks(rename(fold_weight_norm(rest), _HF_TABLE))


CONVERTERS = (
    Converter(
        system="xcodec",
        upstream="zhenye234/xcodec models/soundstream_semantic.py SoundStream",
        family="xcodec",
        config=_authors,
        weights=_authors_weights,
    ),
    Converter(
        system="xcodec-hf",
        upstream="huggingface/transformers models/xcodec XcodecModel",
        family="xcodec",
        config=_hf,
        weights=_hf_weights,
    ),
)
