"""X-codec in its authors' layout and in that of transformers."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ...layouts import dac_keys, feature_conv_keys
from ...layouts.configs import check_round_trip, one_number, the_quantizer
from ...layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import KeyMap, NotWritable, Rename, Row, Unwrap, WeightNorm
from ...layouts.layout import Layout
from ...layouts.seanet_keys import codebook_rows, running_codebooks
from ...layouts.speech_keys import Beside, speech_model, tensors_only
from ...quantizers.residual_vq import ResidualVQConfig
from .model import XCodecConfig

#: The authors' names of speech models -> the hub id of each, and its configuration.
_SPEECH = {
    "hubert_base": ("facebook/hubert-base-ls960", {"model_type": "hubert"}),
    "hubert_base_general": ("ZhenYe234/hubert_base_general_audio", {"model_type": "hubert"}),
    "wavlm_base_plus": ("microsoft/wavlm-base-plus", {"model_type": "wavlm"}),
}
#: Key rows of the speech model, which has the same name in both layouts.
_SPEECH_ROWS = speech_model("semantic_model", "semantic_model.model")


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

    Our key `hard_coded_overrides` changes numbers that the constructor fixes: `semantic_width`, `encoder_width`,
    `decoder_width`, `pad`, and a speech model's configuration as `hubert_config` or `wavlm_config`.
    """
    if isinstance(config.get("generator"), Mapping):
        outer, config = config, config["generator"]["config"]
        config = {**config, **{k: outer[k] for k in ("hard_coded_overrides",) if k in outer}}
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
    # The authors count 10 bits for each codebook, whatever its size.
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


def _authors_keys(own: XCodecConfig) -> KeyMap:
    rows = [
        *_SPEECH_ROWS,
        *dac_keys.encoder(len(own.strides)),
        *dac_keys.decoder(len(own.ups), "decoder_2", "decoder"),
        *feature_conv_keys.encoder("encoder_semantic", "semantic_encoder"),
        *feature_conv_keys.decoder("decoder_semantic", "semantic_decoder", own.semantic.strides),
        *codebook_rows("quantizer.vq.layers.{}._codebook", "quantizer.levels.{}.codebook"),
        ("fc_prior.*", "join.*"),
        ("fc_post1.*", "to_semantic.*"),
        ("fc_post2.*", "to_acoustic.*"),
    ]
    norm = WeightNorm(but=("encoder_semantic.**", "decoder_semantic.**"))
    return KeyMap(
        Unwrap("codec_model", "state_dict"), tensors_only(), Beside(("semantic_model.**",), norm), Rename(rows), running_codebooks()
    )


# --- transformers ---------------------------------------------------------------------------------------------------


def _hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our config fields from `XcodecConfig` of transformers. Our key `pad_to_frames` turns on the feature extractor's padding."""
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
        raise ValueError(f"config.codebook_dim is not {acoustic + width}, but there is no map between latents and codebooks.")
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
    a.done(swallowed=True)
    f.done(swallowed=True)
    return out


def _hf_features() -> list[Row]:
    rows: list[Row] = [
        ("encoder_semantic.conv.*", "semantic_encoder.stem.*"),
        ("decoder_semantic.conv1.*", "semantic_decoder.stem.*"),
        ("decoder_semantic.conv2.*", "semantic_decoder.head.*"),
    ]
    for side in ("encoder", "decoder"):
        block, level = f"{side}_semantic.conv_blocks.{{}}", f"semantic_{side}.levels.{{}}"
        rows += [
            (f"{block}.conv.*", f"{level}.conv.*"),
            (f"{block}.res_units.{{}}.conv1.*", f"{level}.units.{{}}.conv_in.*"),
            (f"{block}.res_units.{{}}.conv2.*", f"{level}.units.{{}}.conv_out.*"),
        ]
    return rows


_HF_ROWS: list[Row] = [
    *_SPEECH_ROWS,
    *dac_keys.transformers_side("encoder", "acoustic_encoder", "encoder"),
    *dac_keys.transformers_side("decoder", "acoustic_decoder", "decoder"),
    *_hf_features(),
    *codebook_rows("quantizer.quantizers.{}.codebook", "quantizer.levels.{}.codebook"),
    ("fc.*", "join.*"),
    ("fc1.*", "to_semantic.*"),
    ("fc2.*", "to_acoustic.*"),
]


def _hf_keys(own: XCodecConfig) -> KeyMap:
    return KeyMap(Beside(("semantic_model.**",), WeightNorm(written="")), Rename(_HF_ROWS), running_codebooks())


def _say_hf(own: XCodecConfig) -> dict[str, Any]:
    """`config.json` of transformers. Raises NotWritable where the class cannot be set up like `own`."""
    s, q = own.semantic, the_quantizer(own.quantizer, ResidualVQConfig)
    if not own.bandwidths_kbps:
        raise NotWritable("bandwidths_kbps is empty; the class of transformers computes its number of codebooks from them.")
    out = {
        "architectures": ["XcodecModel"],
        "model_type": "xcodec",
        "sample_rate": own.sample_rate_hz,
        "target_bandwidths": list(own.bandwidths_kbps),
        "codebook_size": one_number("quantizer.codebook_size", q.codebook_size),
        "codebook_dim": own.dim,
        "channel_ratios": [int(r) if r == int(r) else r for r in s.ratios],  # the class requires integers
        "strides": list(s.strides),
        "kernel_size": s.kernel_size,
        "unit_kernel_size": s.unit_kernel,
        "block_dilations": list(s.dilations),
        "acoustic_model_config": {
            "model_type": "dac",
            "encoder_hidden_size": own.encoder_width,
            "decoder_hidden_size": own.decoder_width,
            "downsampling_ratios": list(own.strides),
            "upsampling_ratios": list(own.ups),
            "hidden_size": own.acoustic_dim,
        },
        "semantic_model_config": dict(own.semantic_model),
        "pad_to_frames": own.fill == "frame",
    }
    same = {"decoder_strides": own.ups, "semantic_name": XCodecConfig.semantic_name}
    return check_round_trip(dataclasses.replace(own, **same), out, _hf)


LAYOUTS = (
    Layout(
        system="xcodec",
        upstream="zhenye234/xcodec models/soundstream_semantic.py SoundStream",
        family="xcodec",
        config=_authors,
        keys=_authors_keys,
    ),
    Layout(
        system="xcodec-hf",
        upstream="huggingface/transformers models/xcodec XcodecModel",
        family="xcodec",
        config=_hf,
        keys=_hf_keys,
        authors_config=_say_hf,
        model_type="xcodec",
    ),
)
