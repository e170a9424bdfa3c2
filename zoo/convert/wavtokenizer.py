"""WavTokenizer: init_args of feature extractor, backbone and head, the state dict without the trainer's parts."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...codecs.audio.wavtokenizer import WavTokenizerConfig
from ...codecs.config import from_mapping
from .base import Converter, fold_weight_norm, rename
from .fields import FOLDER_KEYS, Fields
from .seanet import codebook_table, finish_codebooks, seanet_table

_PARTS = ("feature_extractor", "backbone", "head")


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The three parts' init_args, also out of the whole YAML of a run (`model.init_args.backbone.init_args`, ...)."""
    if "model" not in config:
        return dict(config)
    args = config["model"]["init_args"]
    return {part: args[part].get("init_args", {}) for part in _PARTS} | {"sample_rate": args.get("sample_rate", 24000)}


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    top = Fields(_flat(config), "config")
    top.drop(*FOLDER_KEYS)
    feature, backbone, head = (Fields(top.take(part), part) for part in _PARTS)
    fixed = Fields(top.take("hard_coded_overrides", {}), "hard_coded_overrides")
    fixed.drop("decoder_n_filters", "decoder_ratios")  # of the EnCodec decoder, which nothing uses
    strides = list(reversed(feature.take("dowmsamples", [6, 5, 5, 4])))
    feature.require("encodec_model", "encodec_24khz")
    feature.require("num_quantizers", 1)  # with more, the authors' class keeps the last level's vector only
    feature.drop("bandwidths", "train_codebooks")  # read, and without effect
    dim, width = fixed.take("dimension", 512), backbone.take("dim")
    backbone.require("input_channels", dim)
    head.require("dim", width)
    head.require("padding", "same")
    head.require("hop_length", math.prod(strides))  # one frame of the encoder, one of the transform
    out = {
        "sample_rate_hz": top.take("sample_rate", 24000),
        "encoder": {"latent_dim": dim, "width": fixed.take("n_filters", 32), "strides": strides},
        "quantizer": {
            "kind": "vq",
            "codebook_size": feature.take("vq_bins", 16384),
            "kmeans_iterations": feature.take("vq_kmeans", 800),
            "commitment_weight": 1.0,
        },
        "width": width,
        "hidden": backbone.take("intermediate_dim"),
        "blocks": backbone.take("num_layers"),
        "conditions": backbone.take("adanorm_num_embeddings", None) or 0,
        "layer_scale": float(backbone.take("layer_scale_init_value", None) or 0.0),
        "window_samples": head.take("n_fft"),
    }
    for fields in (feature, backbone, head, fixed, top):
        fields.done()
    return out


def _norm(theirs: str, ours: str) -> list[tuple[str, str]]:
    return [
        (rf"{theirs}\.(scale|shift)\.weight", rf"{ours}.\g<1>"),
        (rf"{theirs}\.(weight|bias)", rf"{ours}.\g<1>"),
    ]


_BLOCK = (("dwconv", "depthwise"), ("pwconv1", "up"), ("pwconv2", "down"))
_RESIDUAL = (("norm1", "norm_in"), ("conv1", "conv_in"), ("norm2", "norm_out"), ("conv2", "conv_out"))
_ATTENTION = (("norm", "norm"), ("q", "q"), ("k", "k"), ("v", "v"), ("proj_out", "out"))
_DECODER = [
    (r"backbone\.embed\.(weight|bias)", r"decoder.embed.\1"),
    *((rf"backbone\.pos_net\.([0134])\.{a}\.(weight|bias)", rf"decoder.prior.\1.{b}.\2") for a, b in _RESIDUAL),
    *((rf"backbone\.pos_net\.2\.{a}\.(weight|bias)", rf"decoder.prior.2.{b}.\1") for a, b in _ATTENTION),
    (r"backbone\.pos_net\.5\.(weight|bias)", r"decoder.prior.5.\1"),
    *_norm(r"backbone\.norm", "decoder.norm_in"),
    *((rf"backbone\.convnext\.(\d+)\.{a}\.(weight|bias)", rf"decoder.blocks.\1.{b}.\2") for a, b in _BLOCK),
    (r"backbone\.convnext\.(\d+)\.norm\.(scale|shift)\.weight", r"decoder.blocks.\1.norm.\2"),
    (r"backbone\.convnext\.(\d+)\.norm\.(weight|bias)", r"decoder.blocks.\1.norm.\2"),
    (r"backbone\.convnext\.(\d+)\.gamma", r"decoder.blocks.\1.scale"),
    (r"backbone\.final_layer_norm\.(weight|bias)", r"decoder.norm_out.\1"),
    (r"head\.out\.(weight|bias)", r"decoder.head.out.\1"),
]

_DROPPED = [
    r"feature_extractor\.encodec\.decoder\..*",  # EnCodec's decoder, which nothing uses
    r"head\.istft\.window",  # the Hann window: computed
    r"(?!feature_extractor\.|backbone\.|head\.).*",  # the trainer's discriminators and losses
]


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    seanet = from_mapping(WavTokenizerConfig, _config(config)).encoder
    theirs = "feature_extractor.encodec"
    table = [
        *seanet_table(seanet, "encoder", f"{theirs}.encoder.model", "encoder"),
        *codebook_table(r"feature_extractor\.encodec\.quantizer\.vq\.layers\.0\._codebook", "quantizer.codebook"),
        *_DECODER,
    ]
    return finish_codebooks(rename(fold_weight_norm(state), table, dropped=_DROPPED))


CONVERTERS = (
    Converter(
        system="wavtokenizer",
        upstream="jishengpeng/WavTokenizer WavTokenizer",
        family="wavtokenizer",
        config=_config,
        weights=_weights,
    ),
)
