"""X-codec in its authors' layout and in that of transformers; the layouts of Higgs Audio v2 in `higgs.py` share its parts."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ....layouts import dac_keys, feature_conv_keys
from ....layouts.configs import check_round_trip, one_number, the_quantizer
from ....layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ....layouts.keymap import KeyMap, NotWritable, Rename, Row, Unwrap, WeightNorm
from ....layouts.layout import Layout
from ....layouts.seanet_keys import codebook_rows, running_codebooks
from ....layouts.speech_keys import Beside, speech_model, tensors_only
from ....quantizers.residual_vq import ResidualVQConfig
from ..model import XCodecConfig

#: The authors' names of speech models -> the hub id of each, and its configuration.
SPEECH_MODELS = {
    "hubert_base": ("facebook/hubert-base-ls960", {"model_type": "hubert"}),
    "hubert_base_general": ("ZhenYe234/hubert_base_general_audio", {"model_type": "hubert"}),
    "wavlm_base_plus": ("microsoft/wavlm-base-plus", {"model_type": "wavlm"}),
}
#: Key rows of the speech model, which has the same name in both layouts.
_SPEECH_ROWS = speech_model("semantic_model", "semantic_model.model")


def residual_quantizer(num: int, size: int) -> dict[str, Any]:
    """Settings of the quantizer, with `num` codebooks of `size` codes."""
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
    o = Fields(f.take("hard_coded_overrides", {}), "hard_coded_overrides")
    out = authors_network(f, o)
    rate, size = out["sample_rate_hz"], f.take("bins", 1024)
    bandwidths = [float(b) for b in f.take("target_bandwidths", [1, 1.5, 2, 4, 6])]
    # The authors count 10 bits for each codebook, whatever its size.
    num = int(1000 * bandwidths[-1] // (math.ceil(rate / math.prod(out["strides"])) * 10))
    out |= {"pad_samples": o.take("pad", 160), "quantizer": residual_quantizer(num, size), "bandwidths_kbps": bandwidths}
    o.done()
    f.done()
    return out


def authors_network(f: Fields, o: Fields) -> dict[str, Any]:
    """Our fields of both branches and the decoder, from the constructor's arguments `f` and overrides of fixed numbers `o`."""
    f.drop(*FOLDER_KEYS, "n_filters", "normalize", "causal")  # the constructor reads none of the three
    teacher = f.take("semantic_techer", "hubert_base_general")
    if teacher not in SPEECH_MODELS:
        raise ValueError(f"config.semantic_techer is {teacher!r}; the class knows {', '.join(SPEECH_MODELS)}.")
    name, speech = SPEECH_MODELS[teacher]
    for kind in ("hubert", "wavlm"):
        if given := o.take(f"{kind}_config", None):
            speech = {"model_type": kind, **given}
    width = o.take("semantic_width", 768)
    return {
        "sample_rate_hz": f.take("sample_rate", 16000),
        "strides": list(f.take("ratios", [8, 5, 4, 2])),
        "encoder_width": o.take("encoder_width", 64),
        "decoder_width": o.take("decoder_width", 1024),
        "acoustic_dim": f.take("D", 128),
        "semantic": {"features": width, "width": width, "strides": [1, 1]},
        "semantic_model": {"hidden_size": width, **speech},
        "semantic_name": name,
    }


def authors_keys(own: XCodecConfig) -> KeyMap:
    """Key map of the authors' layout, also of Higgs Audio v2's, which has maps at each level of the quantizer besides."""
    rows = [
        *_SPEECH_ROWS,
        *dac_keys.encoder(len(own.strides)),
        *dac_keys.decoder(len(own.ups), "decoder_2", "decoder"),
        *feature_conv_keys.encoder("encoder_semantic", "semantic_encoder"),
        *feature_conv_keys.decoder("decoder_semantic", "semantic_decoder", own.semantic.strides),
        *codebook_rows("quantizer.vq.layers.{}._codebook", "quantizer.levels.{}.codebook"),
        ("quantizer.vq.layers.{}.project_{in|out}.*", "quantizer.levels.{}.{in|out}_proj.*"),
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
    out = hf_network(f, sample_rate=16000)
    width, acoustic, size = out["semantic"]["width"], out["acoustic_dim"], f.take("codebook_size", 1024)
    if f.take("codebook_dim", None) not in (None, acoustic + width):
        raise ValueError(f"config.codebook_dim is not {acoustic + width}, but there is no map between latents and codebooks.")
    num = hf_codebooks(out, size)
    f.require("num_quantizers", num)  # this and the next: of the class's first version, which derived none of them
    widths = {"hidden_dim": acoustic + width, "output_dim": acoustic, "audio_channels": 1}
    widths |= dict.fromkeys(("input_channels", "encoder_channels", "decoder_channels", "output_channels"), width)
    for key, value in (widths | {"intermediate_dim": width}).items():
        f.require(key, value)
    f.done(swallowed=True)
    return out | {"pad_samples": math.prod(out["strides"]) // 2, "quantizer": residual_quantizer(num, size)}


def hf_network(f: Fields, *, sample_rate: int) -> dict[str, Any]:
    """Our fields of both branches and the decoder, from the keys that the configs of transformers share; with this default rate."""
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS, "initializer_range")
    a = Fields(f.take("acoustic_model_config", {}) or {}, "acoustic_model_config")
    a.drop(*TRANSFORMERS_KEYS, "codebook_dim", "codebook_loss_weight", "codebook_size", "commitment_loss_weight")
    a.drop("n_codebooks", "quantizer_dropout", "sampling_rate", "hop_length")  # of DAC's own quantizer, or derived
    speech = {"model_type": "hubert"} | dict(f.take("semantic_model_config", {}) or {})
    speech = {k: v for k, v in speech.items() if k not in TRANSFORMERS_KEYS or k == "model_type"}
    width = speech.setdefault("hidden_size", 768)
    ratios = list(f.take("channel_ratios", [1, 1]))
    if int(width * ratios[-1]) != width:
        raise ValueError(f"config.channel_ratios ends with {ratios[-1]}; the authors' class needs 1 there.")
    out = {
        "sample_rate_hz": f.take("sample_rate", sample_rate),
        "strides": list(a.take("downsampling_ratios", [8, 5, 4, 2])),
        "decoder_strides": list(a.take("upsampling_ratios", [8, 5, 4, 2])),
        "encoder_width": a.take("encoder_hidden_size", 64),
        "decoder_width": a.take("decoder_hidden_size", 1024),
        "acoustic_dim": a.take("hidden_size", 256),
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
        "bandwidths_kbps": [float(b) for b in f.take("target_bandwidths", [0.5, 1, 1.5, 2, 4])],
        "fill": "frame" if f.take("pad_to_frames", False) else "none",
    }
    a.done(swallowed=True)
    return out


def hf_codebooks(out: Mapping[str, Any], size: int) -> int:
    """Number of codebooks of `size` codes that the classes of transformers derive from the highest bandwidth."""
    frames = math.ceil(out["sample_rate_hz"] / math.prod(out["strides"]))
    return int(1000 * out["bandwidths_kbps"][-1] // (frames * math.ceil(math.log2(size))))


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


HF_ROWS: list[Row] = [
    *_SPEECH_ROWS,
    *dac_keys.transformers_side("encoder", "acoustic_encoder", "encoder"),
    *dac_keys.transformers_side("decoder", "acoustic_decoder", "decoder"),
    *_hf_features(),
    *codebook_rows("quantizer.quantizers.{}.codebook", "quantizer.levels.{}.codebook"),
    ("quantizer.quantizers.{}.project_{in|out}.*", "quantizer.levels.{}.{in|out}_proj.*"),
    ("fc.*", "join.*"),
    ("fc1.*", "to_semantic.*"),
    ("fc2.*", "to_acoustic.*"),
]


def hf_keys(own: XCodecConfig) -> KeyMap:
    """Key map of the classes of transformers, X-codec's and Higgs Audio v2's."""
    return KeyMap(Beside(("semantic_model.**",), WeightNorm(written="")), Rename(HF_ROWS), running_codebooks())


def _say_hf(own: XCodecConfig) -> dict[str, Any]:
    """`config.json` of transformers. Raises NotWritable where the class cannot be set up like `own`."""
    out = say_hf_network(own) | {"architectures": ["XcodecModel"], "model_type": "xcodec", "codebook_dim": own.dim}
    same = {"decoder_strides": own.ups, "semantic_name": XCodecConfig.semantic_name}
    return check_round_trip(dataclasses.replace(own, **same), out, _hf)


def say_hf_network(own: XCodecConfig) -> dict[str, Any]:
    """The keys of `hf_network` for `own`, and the codebooks' size."""
    s, q = own.semantic, the_quantizer(own.quantizer, ResidualVQConfig)
    if not own.bandwidths_kbps:
        raise NotWritable("bandwidths_kbps is empty; the class of transformers computes its number of codebooks from them.")
    return {
        "sample_rate": own.sample_rate_hz,
        "target_bandwidths": list(own.bandwidths_kbps),
        "codebook_size": one_number("quantizer.codebook_size", q.codebook_size),
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


LAYOUTS = (
    Layout(
        system="xcodec",
        upstream="zhenye234/xcodec models/soundstream_semantic.py SoundStream",
        family="xcodec",
        config=_authors,
        keys=authors_keys,
    ),
    Layout(
        system="xcodec-hf",
        upstream="huggingface/transformers models/xcodec XcodecModel",
        family="xcodec",
        config=_hf,
        keys=hf_keys,
        authors_config=_say_hf,
        model_type="xcodec",
    ),
)
