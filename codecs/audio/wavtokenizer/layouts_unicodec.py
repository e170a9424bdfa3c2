"""UniCodec, a WavTokenizer with a transformer of experts and a SimVQ table in domains, in its authors' layout."""

from collections.abc import Mapping
from typing import Any

from ...layouts.keymap import KeyMap, Rename, Row, Unwrap, WeightNorm, under
from ...layouts.layout import Layout
from ...layouts.seanet_keys import seanet_rows
from ...layouts.transformer_keys import rotary_halves
from .layouts import OF_THE_NETWORK, decoder_rows, network
from .model import WavTokenizerConfig


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`init_args` of feature extractor, backbone and head. Our key `hard_coded_overrides` changes numbers that their code fixes."""
    top, feature, fixed, out = network(config)
    feature.require("use_transformer", True)
    feature.drop("mask", "vq_kmeans")  # of training, and of the other quantizer
    fixed.drop("context")  # the attention is not causal, so that its class does not read it
    out["encoder"] |= {"lstm_layers": 0}
    out |= {
        "experts": {
            "layers": fixed.take("layers", 8),
            "heads": fixed.take("heads", 8),
            "feed_forward": fixed.take("ff", 2048),
        },
        "domains": True,
        "quantizer": {"kind": "simvq", "codebook_size": feature.take("vq_bins", 16384), "bias": True},
    }
    for fields in (feature, fixed, top):
        fields.done()
    return out


_LAYER: list[Row] = [
    ("norm1.*", "norm_attention.*"),
    ("self_attn.in_proj_weight", "attention.qkv.weight"),
    ("self_attn.out_proj.weight", "attention.out.weight"),
    ("layer_scale_1.scale", "scale_attention.scale"),
    ("norm2.*", "norm_feed_forward.*"),
    ("FFNMOE.gate.weight", "feed_forward.router.weight"),
    *(
        (f"FFNMOE.{a}.{w}.weight", f"feed_forward.{b}.{name}.weight")
        for a, b in (("experts.{}", "experts.{}"), ("shared_experts", "shared"))
        for w, name in (("w1", "gate"), ("w2", "down"), ("w3", "up"))
    ),
    ("linear1.weight", None),  # built and not called, as the next two
    ("linear2.weight", None),
    ("layer_scale_2.scale", None),
]


def _keys(own: WavTokenizerConfig) -> KeyMap:
    theirs = "feature_extractor.encodec"
    assert own.experts is not None
    rows: list[Row] = [
        *seanet_rows(own.encoder, "encoder", f"{theirs}.encoder.model", "encoder"),
        *under(f"{theirs}.encoder.transformer_enocoder.transformer.layers.{{}}.", "transformer.blocks.{}.", _LAYER),
        (f"{theirs}.encoder.mask_emb", None),  # of training
        (f"{theirs}.quantizer.vq.embedding.weight", "quantizer.table"),
        (f"{theirs}.quantizer.vq.embedding_proj.*", "quantizer.transform.*"),
        *decoder_rows("out"),
    ]
    normed = WeightNorm(on=(f"{theirs}.encoder.model.**.weight",))
    heads = own.experts.heads
    halves = rotary_halves("transformer.blocks.{}.attention.qkv.weight", heads=heads, kv_heads=heads)
    return KeyMap(Unwrap("state_dict"), OF_THE_NETWORK, normed, Rename(rows), halves)


LAYOUTS = (
    Layout(
        system="unicodec",
        upstream="Jiang-Yidi/UniCodec decoder/pretrained.py Unicodec",
        family="wavtokenizer",
        config=_config,
        keys=_keys,
    ),
)
