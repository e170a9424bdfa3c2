"""WavTokenizer as jishengpeng/WavTokenizer and transformers publish it."""

import math
from collections.abc import Mapping
from typing import Any

from ...layouts.configs import check_round_trip, the_quantizer
from ...layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import KeyMap, NotWritable, Rename, Row, Unwrap, WeightNorm
from ...layouts.layout import Layout
from ...layouts.seanet_keys import codebook_rows, running_codebooks, say_transformers_seanet, seanet_rows, transformers_seanet
from ...quantizers.vq import VQConfig
from .model import WavTokenizerConfig

_PARTS = ("feature_extractor", "backbone", "head")


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The three parts' init_args, also out of the whole YAML of a run (`model.init_args.backbone.init_args`, ...)."""
    if "model" not in config:
        return dict(config)
    args = config["model"]["init_args"]
    ours = {k: config[k] for k in ("hard_coded_overrides",) if k in config}
    return {part: args[part].get("init_args", {}) for part in _PARTS} | {"sample_rate": args.get("sample_rate", 24000)} | ours


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`init_args` of feature extractor, backbone and head. Our key `hard_coded_overrides` changes numbers that their code fixes."""
    top, feature, fixed, out = network(config)
    out["quantizer"] = {
        "kind": "vq",
        "codebook_size": feature.take("vq_bins", 16384),
        "kmeans_iterations": feature.take("vq_kmeans", 800),
        "commitment_weight": 1.0,
    }
    for fields in (feature, fixed, top):
        fields.done()
    return out


def network(config: Mapping[str, Any]) -> tuple[Fields, Fields, Fields, dict[str, Any]]:
    """Our fields of encoder and decoder, and what is not read yet: the config, the feature extractor's part and fixed numbers."""
    top = Fields(_flat(config), "config")
    top.drop(*FOLDER_KEYS)
    feature, backbone, head = (Fields(top.take(part), part) for part in _PARTS)
    fixed = Fields(top.take("hard_coded_overrides", {}), "hard_coded_overrides")
    fixed.drop("decoder_n_filters", "decoder_ratios")  # of EnCodec's decoder, which the authors build and do not use
    strides = list(reversed(feature.take("dowmsamples", [6, 5, 5, 4])))
    feature.require("encodec_model", "encodec_24khz")
    feature.require("num_quantizers", 1)  # with more, the authors' class keeps the last level's vector only
    feature.drop("bandwidths", "train_codebooks")  # without effect on ids and waveforms
    dim, width = fixed.take("dimension", 512), backbone.take("dim")
    backbone.require("input_channels", dim)
    head.require("dim", width)
    head.require("padding", "same")
    head.require("hop_length", math.prod(strides))  # one frame of the encoder, one of the transform
    out = {
        "sample_rate_hz": top.take("sample_rate", 24000),
        "encoder": {"latent_dim": dim, "width": fixed.take("n_filters", 32), "strides": strides},
        "width": width,
        "hidden": backbone.take("intermediate_dim"),
        "blocks": backbone.take("num_layers"),
        "conditions": backbone.take("adanorm_num_embeddings", None) or 0,
        "layer_scale": float(backbone.take("layer_scale_init_value", None) or 0.0),
        "window_samples": head.take("n_fft"),
    }
    backbone.done()
    head.done()
    return top, feature, fixed, out


# --- transformers -----------------------------------------------------------------------------------------------------


def _transformers(config: Mapping[str, Any]) -> dict[str, Any]:
    """`WavTokenizerConfig` of transformers."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS)
    encoder = transformers_seanet(f, hidden_size=512, use_causal_conv=False, upsampling_ratios=(6, 5, 5, 4))
    f.require("codebook_dim", encoder["latent_dim"], 512)
    out = {
        "sample_rate_hz": f.take("sampling_rate", 24000),
        "encoder": encoder,
        "quantizer": {
            "kind": "vq", "codebook_size": f.take("codebook_size", 4096), "kmeans_iterations": 200, "commitment_weight": 1.0,
        },
        "width": f.take("decoder_hidden_size", 768),
        "hidden": f.take("decoder_intermediate_size", 2304),
        "blocks": f.take("decoder_num_layers", 12),
        "conditions": f.take("adanorm_num_embeddings", 4),
        "groups": f.take("decoder_attention_num_groups", 32),
        "eps": f.take("norm_eps", 1e-6),
        "window_samples": 4 * math.prod(encoder["strides"]),
    }  # fmt: skip
    f.done(swallowed=True)
    return out


def _say_transformers(own: WavTokenizerConfig) -> dict[str, Any]:
    """`config.json` of `WavTokenizerModel`."""
    if not own.conditions:
        raise NotWritable("conditions is 0; the class of transformers has at least one.")
    theirs = {
        "architectures": ["WavTokenizerModel"],
        "model_type": "wavtokenizer",
        "sampling_rate": own.sample_rate_hz,
        **say_transformers_seanet(own.encoder),
        "codebook_size": the_quantizer(own.quantizer, VQConfig).codebook_size,
        "codebook_dim": own.encoder.latent_dim,
        "decoder_hidden_size": own.width,
        "decoder_intermediate_size": own.hidden,
        "decoder_num_layers": own.blocks,
        "adanorm_num_embeddings": own.conditions,
        "decoder_attention_num_groups": own.groups,
        "norm_eps": own.eps,
    }
    return check_round_trip(own, theirs, _transformers)


# --- weights ----------------------------------------------------------------------------------------------------------

_BLOCK = (("dwconv", "depthwise"), ("pwconv1", "up"), ("pwconv2", "down"))
_RESIDUAL = (("norm1", "norm_in"), ("conv1", "conv_in"), ("norm2", "norm_out"), ("conv2", "conv_out"))
_ATTENTION = (("norm", "norm"), ("q", "q"), ("k", "k"), ("v", "v"), ("proj_out", "out"))


def _conditioned(theirs: str, ours: str) -> list[Row]:
    return [
        (f"{theirs}.{{scale|shift}}.weight", f"{ours}.{{scale|shift}}"),
        (f"{theirs}.{{weight|bias}}", f"{ours}.{{weight|bias}}"),
    ]


def decoder_rows(head: str) -> list[Row]:
    """Backbone and head; `head` is the authors' name of the linear map in the latter."""
    return [
        ("backbone.embed.*", "decoder.embed.*"),
        *((f"backbone.pos_net.{{0|1|3|4}}.{a}.*", f"decoder.prior.{{0|1|3|4}}.{b}.*") for a, b in _RESIDUAL),
        *((f"backbone.pos_net.2.{a}.*", f"decoder.prior.2.{b}.*") for a, b in _ATTENTION),
        ("backbone.pos_net.5.*", "decoder.prior.5.*"),
        *_conditioned("backbone.norm", "decoder.norm_in"),
        *((f"backbone.convnext.{{}}.{a}.*", f"decoder.blocks.{{}}.{b}.*") for a, b in _BLOCK),
        *_conditioned("backbone.convnext.{}.norm", "decoder.blocks.{}.norm"),
        ("backbone.convnext.{}.gamma", "decoder.blocks.{}.scale"),
        ("backbone.final_layer_norm.*", "decoder.norm_out.*"),
        (f"head.{head}.*", "decoder.head.out.*"),
    ]


#: Keeps what the network uses of a run's checkpoint.
OF_THE_NETWORK = Rename(
    [
        ("feature_extractor.encodec.decoder.**", None),  # EnCodec's decoder, which the authors build and do not use
        ("head.istft.window", None),  # the Hann window: computed
        ("{feature_extractor|backbone|head}.**", "{feature_extractor|backbone|head}.**"),
        ("**", None),  # the trainer's discriminators and losses
    ]
)


def _keys(own: WavTokenizerConfig) -> KeyMap:
    theirs = "feature_extractor.encodec"
    rows = [
        *seanet_rows(own.encoder, "encoder", f"{theirs}.encoder.model", "encoder"),
        *codebook_rows(f"{theirs}.quantizer.vq.layers.0._codebook", "quantizer.codebook"),
        *decoder_rows("out"),
    ]
    normed = WeightNorm(on=(f"{theirs}.encoder.model.**.weight",))
    return KeyMap(Unwrap("state_dict"), OF_THE_NETWORK, normed, Rename(rows), running_codebooks())


def _transformers_keys(own: WavTokenizerConfig) -> KeyMap:
    # files written before the class had its encoder as a part have no `encoder_model.`
    theirs = "[encoder_model.encoder|encoder].layers"
    rows = [
        *seanet_rows(own.encoder, "encoder", theirs, "encoder", "transformers"),
        *codebook_rows("[encoder_model.quantizer|quantizer].codebook", "quantizer.codebook"),
        *decoder_rows("linear"),
    ]
    grouped = own.encoder.norm == "group"
    normed = WeightNorm("" if grouped else "parametrizations", on=("encoder_model.encoder.layers.**.conv.weight",))
    return KeyMap(normed, Rename(rows), running_codebooks())


LAYOUTS = (
    Layout(
        system="wavtokenizer",
        upstream="jishengpeng/WavTokenizer decoder/pretrained.py WavTokenizer",
        family="wavtokenizer",
        config=_config,
        keys=_keys,
    ),
    Layout(
        system="wavtokenizer-hf",
        upstream="huggingface/transformers models/wavtokenizer WavTokenizerModel",
        family="wavtokenizer",
        config=_transformers,
        keys=_transformers_keys,
        authors_config=_say_transformers,
        model_type="wavtokenizer",
    ),
)
