"""H-Codec 1.0: SEANet's numbered layers with a transformer behind them, Vocos-like decoder, RepCodec's convolutions."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...codecs.config import from_mapping
from ...codecs.layers.seanet import SEANetConfig
from .base import Converter, fold_weight_norm, rename
from .fields import FOLDER_KEYS, Fields
from .mimi import join_qkv
from .seanet import layer_names, seanet_config


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
    """The sizes that the authors' constructor holds, changed by `hard_coded_overrides` (by part)."""
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


def _encoder_table(seanet: SEANetConfig) -> list[tuple[str, str]]:
    """SEANet's layers by number up to the last level, then transpose, transformer, transpose, ELU, convolution."""
    layers = layer_names(seanet, "encoder")[:-2]
    n = len(layers)
    table = [
        (rf"encoder\.model\.{number}\.{pattern}", new.format(f"encoder.{name}"))
        for number, (name, keys) in enumerate(layers)
        for pattern, new in keys
    ]
    table += _transformer_table(rf"encoder\.model\.{n + 1}", "encoder.transformer")
    # with an activation that has weights, n + 3 holds them
    return [
        *table,
        (rf"encoder\.model\.{n + 3}\.alpha", "encoder.act.alpha"),
        (rf"encoder\.model\.{n + 4}\.conv\.conv\.(weight|bias)", r"encoder.head.\1"),
    ]


def _transformer_table(theirs: str, ours: str) -> list[tuple[str, str]]:
    theirs, ours = rf"{theirs}\.layers\.(\d+)", rf"{ours}.blocks.\1"
    return [
        (rf"{theirs}\.input_layernorm\.weight", rf"{ours}.norm_attention.weight"),
        (rf"{theirs}\.post_attention_layernorm\.weight", rf"{ours}.norm_feed_forward.weight"),
        (rf"{theirs}\.self_attn\.rnn\.(.*)", rf"{ours}.attention.lstm.\2"),
        (rf"{theirs}\.self_attn\.([qkv])_proj\.(weight|bias)", rf"{ours}.attention.\2_proj.\3"),
        (rf"{theirs}\.self_attn\.o_proj\.weight", rf"{ours}.attention.out.weight"),
        (rf"{theirs}\.mlp\.w1\.weight", rf"{ours}.feed_forward.gate.weight"),
        (rf"{theirs}\.mlp\.w3\.weight", rf"{ours}.feed_forward.value.weight"),
        (rf"{theirs}\.mlp\.w2\.weight", rf"{ours}.feed_forward.down.weight"),
    ]


def _decoder_table() -> list[tuple[str, str]]:
    table = [
        (r"decoder\.embed\.up\.(weight|bias)", r"decoder.up.\1"),
        (r"decoder\.embed\.dw\.(weight|bias)", r"decoder.smooth.\1"),
        *_transformer_table(r"decoder\.prior_net\.3", "decoder.transformer"),
        (r"decoder\.prior_net\.7\.(weight|bias)", r"decoder.norm_after.\1"),
        (r"decoder\.norm\.(weight|bias)", r"decoder.norm_in.\1"),
        (r"decoder\.post_net\.(\d+)\.dwconv\.conv\.(weight|bias)", r"decoder.blocks.\1.depthwise.\2"),
        (r"decoder\.post_net\.(\d+)\.norm\.(weight|bias)", r"decoder.blocks.\1.norm.\2"),
        (r"decoder\.post_net\.(\d+)\.pwconv1\.linear\.(weight|bias)", r"decoder.blocks.\1.up.\2"),
        (r"decoder\.post_net\.(\d+)\.pwconv2\.linear\.(weight|bias)", r"decoder.blocks.\1.down.\2"),
        (r"decoder\.post_net\.(\d+)\.gamma", r"decoder.blocks.\1.scale"),
        (r"decoder\.final_layer_norm\.(weight|bias)", r"decoder.norm_out.\1"),
        (r"decoder\.head\.out\.(weight|bias)", r"decoder.head.out.\1"),
    ]
    for number, ours in ((0, "before.0"), (1, "before.1"), (5, "after.0"), (6, "after.1")):
        theirs = rf"decoder\.prior_net\.{number}"
        table += [
            (rf"{theirs}\.norm1\.(weight|bias)", rf"decoder.{ours}.norm_in.\1"),
            (rf"{theirs}\.norm2\.(weight|bias)", rf"decoder.{ours}.norm_out.\1"),
            (rf"{theirs}\.conv1\.conv\.(weight|bias)", rf"decoder.{ours}.conv_in.\1"),
            (rf"{theirs}\.conv2\.conv\.(weight|bias)", rf"decoder.{ours}.conv_out.\1"),
        ]
    return table


def feature_conv_table(theirs_encoder: str, theirs_decoder: str) -> list[tuple[str, str]]:
    """RepCodec's modules to `semantic_encoder` and `semantic_decoder`."""
    table = [
        (rf"{theirs_encoder}\.conv\.conv\.weight", "semantic_encoder.stem.weight"),
        (rf"{theirs_encoder}\.conv2\.conv\.weight", "semantic_encoder.head.weight"),
        (rf"{theirs_decoder}\.conv1\.conv\.weight", "semantic_decoder.stem.weight"),
        (rf"{theirs_decoder}\.conv2\.conv\.weight", "semantic_decoder.head.weight"),
    ]
    for theirs, ours in ((theirs_encoder, "semantic_encoder"), (theirs_decoder, "semantic_decoder")):
        block, level = rf"{theirs}\.conv_blocks\.(\d+)", rf"{ours}.levels.\1"
        table += [
            (rf"{block}\.conv\.(?:conv|deconv)\.(weight|bias)", rf"{level}.conv.\2"),
            (rf"{block}\.res_units\.(\d+)\.conv1\.conv\.weight", rf"{level}.units.\2.conv_in.weight"),
            (rf"{block}\.res_units\.(\d+)\.conv2\.weight", rf"{level}.units.\2.conv_out.weight"),
        ]
    return table


def lucid_table(theirs: str, ours: str) -> list[tuple[str, str]]:
    """Tables of `vector_quantize_pytorch.ResidualVQ` (see `finish_lucid`) to those of `ResidualVQ`."""
    book = rf"{theirs}\.layers\.(\d+)\._codebook"
    return [
        (rf"{book}\.embed", rf"{ours}.levels.\1.codebook.embed"),
        (rf"{book}\.embed_avg", rf"{ours}.levels.\1.codebook.sums"),
        (rf"{book}\.cluster_size", rf"{ours}.levels.\1.codebook.counts"),
        (rf"{book}\.initted", rf"{ours}.levels.\1.codebook.ready"),
    ]


def finish_lucid(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop the tables' axis of heads, and give their statistics the form of `Codebook`."""
    out = dict(state)
    for key in [k for k in out if k.endswith(".codebook.embed")]:
        prefix = key[: -len("embed")]
        for name in ("embed", "sums", "counts"):
            out[prefix + name] = out[prefix + name][0]
        out[prefix + "ready"] = torch.tensor(True)  # a published table is in use whatever its flag says
        out[prefix + "steps"] = torch.zeros((), dtype=torch.int64)
    return out


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    seanet = from_mapping(SEANetConfig, _config(config)["seanet"])
    table = [
        *_encoder_table(seanet),
        *_decoder_table(),
        *feature_conv_table("semantic_encoder", "semantic_decoder"),
        *lucid_table("quantizer", "quantizer.first"),
        *lucid_table("semantic_quantizer", "quantizer.second"),
    ]
    out = rename(fold_weight_norm(state), table, dropped=[r"decoder\.head\.istft\.window"])  # a Hann window
    for key in [k for k in out if k.endswith(".feed_forward.gate.weight")]:
        value = key.replace(".gate.", ".value.")
        out[key.replace(".gate.", ".up.")] = torch.cat([out.pop(key), out.pop(value)])
    return finish_lucid(join_qkv(out))


CONVERTERS = (
    Converter(
        system="h-codec-1.0",
        upstream="alibaba/unified-audio QuarkAudio-HCodec/HCodec-1.0 Codec",
        family="hcodec",
        config=_config,
        weights=_weights,
    ),
)
