"""H-Codec 1.0: SEANet's numbered layers followed by a transformer, a Vocos-like decoder, RepCodec's convolutions."""

from collections.abc import Mapping
from typing import Any

from ...config import from_mapping
from ...layers.seanet import SEANetConfig
from ...layouts import feature_conv_keys
from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import Each, Fuse, KeyMap, Rename, Row, WeightNorm, without_ones
from ...layouts.layout import Layout
from ...layouts.seanet_keys import codebook_rows, layer_names, running_codebooks, seanet_config
from .model import HCodecConfig


def _part(f: Fields, name: str) -> Fields:
    return Fields(f.take(name, {}), name)


def _quantizer(f: Fields) -> dict[str, Any]:
    """Keyword arguments of `vector_quantize_pytorch.ResidualVQ`."""
    out = {
        "kind": "residual_vq",
        "dim": f.take("dim", 512),
        "num_codebooks": f.take("num_quantizers", 4),
        "codebook_size": f.take("codebook_size", 1024),
        "decay": f.take("decay", 0.99),
        "kmeans_init": bool(f.take("kmeans_init", True)),
        "kmeans_iterations": f.take("kmeans_iters", 50),
        "commitment_weight": float(f.take("commitment_weight", 1.0)),
        "replace_below": 0.0,
        "dropout": 1.0 if f.take("quantize_dropout", True) else 0.0,
    }
    f.require("threshold_ema_dead_code", 0)
    f.done()
    return out


def _semantic(e: Fields, d: Fields) -> tuple[dict[str, Any], int]:
    """A `FeatureConvConfig` mapping and the width of the latent from the arguments of both sides, which must agree."""
    sides = []
    for f, names in ((e, ("input_channels", "encode_channels", "out_channels")),
                     (d, ("output_channels", "decode_channels", "code_dim"))):  # fmt: skip
        features, width, dim = (f.take(name, default) for name, default in zip(names, (768, 768, 512), strict=True))
        own = {
            "features": features,
            "width": width,
            "ratios": list(f.take("channel_ratios", [1, 1])),
            "strides": list(f.take("strides", [2, 1])),
            "kernel_size": f.take("kernel_size", 3),
            "unit_kernel": f.take("unit_kernel_size", 3),
            "dilations": list(f.take("block_dilations", [1, 1])),
            "bias": bool(f.take("bias", True)),
        }
        f.done()
        sides.append((own, dim))
    if sides[0] != sides[1]:
        raise ValueError(f"semantic_encoder and semantic_decoder differ: {sides[0]} and {sides[1]}; they must agree.")
    return sides[0]


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our config fields: the sizes that the authors' constructor fixes, changed by our key `hard_coded_overrides` (by part)."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, "encoder_kwargs", "decoder_kwargs", "quantizer_kwargs")  # the constructor does not read them
    parts = _part(f, "hard_coded_overrides")
    rate = f.take("sample_rate", 16000)
    f.done()
    e, d = Fields({"dimension": 512} | dict(parts.take("encoder", {})), "encoder"), _part(parts, "decoder")
    seanet = seanet_config(e) | {"lstm_layers": 0}  # this class puts a transformer in its place
    e.drop("use_transformer")
    e.done()
    out = {
        "sample_rate_hz": rate,
        "seanet": seanet,
        "decoder_dim": d.take("dim", 768),
        "decoder_hidden": d.take("intermediate_dim", 2304),
        "decoder_blocks": d.take("convnext_layers", 12),
        "window_samples": d.take("n_fft", 1280),
    }
    quantizer = parts.take("quantizer", {})
    out["quantizer"] = _quantizer(Fields(quantizer, "quantizer"))
    out["semantic_quantizer"] = _quantizer(Fields(parts.take("semantic_quantizer", quantizer), "semantic_quantizer"))
    out["semantic"], dim = _semantic(_part(parts, "semantic_encoder"), _part(parts, "semantic_decoder"))
    parts.done()
    latent, hop = seanet["latent_dim"], from_mapping(SEANetConfig, seanet).hop_samples
    for name, got in (("quantizer.dim", out["quantizer"]["dim"]), ("semantic_encoder.out_channels", dim),
                      ("semantic_quantizer.dim", out["semantic_quantizer"]["dim"])):  # fmt: skip
        if got != latent:
            raise ValueError(f"{name} is {got}, the encoder gives {latent}: other widths are not supported.")
    d.require("input_channels", 2 * latent)
    d.require("hop_length", hop, 320)
    d.require("causal", False)
    d.done()
    return out


# --- weights --------------------------------------------------------------------------------------------------------


def _transformer(theirs: str, ours: str) -> list[Row]:
    theirs, ours = f"{theirs}.layers.{{}}", f"{ours}.blocks.{{}}"
    return [
        (f"{theirs}.input_layernorm.*", f"{ours}.norm_attention.*"),
        (f"{theirs}.post_attention_layernorm.*", f"{ours}.norm_feed_forward.*"),
        (f"{theirs}.self_attn.rnn.*", f"{ours}.attention.lstm.*"),
        (f"{theirs}.self_attn.{{q_proj|k_proj|v_proj}}.*", f"{ours}.attention.{{q_proj|k_proj|v_proj}}.*"),
        (f"{theirs}.self_attn.o_proj.*", f"{ours}.attention.out.*"),
        (f"{theirs}.mlp.w1.*", f"{ours}.feed_forward.gate.*"),
        (f"{theirs}.mlp.w3.*", f"{ours}.feed_forward.value.*"),
        (f"{theirs}.mlp.w2.*", f"{ours}.feed_forward.down.*"),
    ]


def _encoder(seanet: SEANetConfig) -> list[Row]:
    """SEANet's layers by number up to the last level, then transpose, transformer, transpose, activation, convolution."""
    layers = layer_names(seanet, "encoder")[:-2]
    n = len(layers)
    return [
        *((f"encoder.model.{number}.{a}", f"encoder.{name}{b}") for number, (name, rows) in enumerate(layers) for a, b in rows),
        *_transformer(f"encoder.model.{n + 1}", "encoder.transformer"),
        (f"encoder.model.{n + 3}.alpha", "encoder.act.alpha"),  # of an activation that has weights
        (f"encoder.model.{n + 4}.conv.conv.*", "encoder.head.*"),
    ]


def _decoder() -> list[Row]:
    rows: list[Row] = [
        ("decoder.head.istft.window", None),  # a Hann window
        ("decoder.embed.up.*", "decoder.up.*"),
        ("decoder.embed.dw.*", "decoder.smooth.*"),
        *_transformer("decoder.prior_net.3", "decoder.transformer"),
        ("decoder.prior_net.7.*", "decoder.norm_after.*"),
        ("decoder.norm.*", "decoder.norm_in.*"),
        ("decoder.post_net.{}.dwconv.conv.*", "decoder.blocks.{}.depthwise.*"),
        ("decoder.post_net.{}.norm.*", "decoder.blocks.{}.norm.*"),
        ("decoder.post_net.{}.pwconv1.linear.*", "decoder.blocks.{}.up.*"),
        ("decoder.post_net.{}.pwconv2.linear.*", "decoder.blocks.{}.down.*"),
        ("decoder.post_net.{}.gamma", "decoder.blocks.{}.scale"),
        ("decoder.final_layer_norm.*", "decoder.norm_out.*"),
        ("decoder.head.out.*", "decoder.head.out.*"),
    ]
    for number, ours in ((0, "before.0"), (1, "before.1"), (5, "after.0"), (6, "after.1")):
        for a, b in (("norm1", "norm_in"), ("norm2", "norm_out"), ("conv1.conv", "conv_in"), ("conv2.conv", "conv_out")):
            rows.append((f"decoder.prior_net.{number}.{a}.*", f"decoder.{ours}.{b}.*"))
    return rows


def lucid_rows(theirs: str, ours: str) -> list[Row]:
    """Key rows of the codebooks of `vector_quantize_pytorch.ResidualVQ`; the steps `lucid_axes`, `running_codebooks` must follow."""
    book = f"{theirs}.layers.{{}}._codebook"
    return [(f"{book}.initted", f"{ours}.levels.{{}}.codebook.ready"), *codebook_rows(book, f"{ours}.levels.{{}}.codebook")[:3]]


def _keys(own: HCodecConfig) -> KeyMap:
    rows = [
        *_encoder(own.seanet),
        *_decoder(),
        *feature_conv_keys.encoder("semantic_encoder", "semantic_encoder"),
        *feature_conv_keys.decoder("semantic_decoder", "semantic_decoder", own.semantic.strides),
        *lucid_rows("quantizer", "quantizer.first"),
        *lucid_rows("semantic_quantizer", "quantizer.second"),
    ]
    return KeyMap(
        WeightNorm(on=("encoder.model.**.conv.conv.weight",)),
        Rename(rows),
        Fuse(("q_proj", "k_proj", "v_proj"), "qkv", where="**.attention."),
        Fuse(("gate", "value"), "up", where="**.feed_forward."),
        lucid_axes(),
        running_codebooks(),
    )


def lucid_axes() -> Each:
    """Remove the leading axis of heads, of length 1, from the codebooks of `vector_quantize_pytorch`."""
    return without_ones("**.codebook.{embed|sums|counts}")


LAYOUTS = (
    Layout(
        system="h-codec-1.0",
        upstream="alibaba/unified-audio QuarkAudio-HCodec/HCodec-1.0 Codec",
        family="hcodec",
        config=_config,
        keys=_keys,
    ),
)
