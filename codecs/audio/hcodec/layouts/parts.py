"""What the layouts of all versions of H-Codec share: configs and key tables of their parts.

SEANet's numbered layers followed by a transformer, a Vocos-like decoder, RepCodec's convolutions.
"""

from typing import Any

from ....config import from_mapping
from ....layers.seanet import SEANetConfig
from ....layouts import feature_conv_keys
from ....layouts.fields import Fields
from ....layouts.keymap import Each, Fuse, KeyMap, Rename, Row, Step, WeightNorm, without_ones
from ....layouts.seanet_keys import codebook_rows, layer_names, running_codebooks, seanet_config
from ..model import HCodecConfig

#: Defaults of `vector_quantize_pytorch.ResidualVQ` and of the features' convolutions, where the authors' classes get a config.
VQ_DEFAULTS = {"decay": 0.8, "kmeans_init": False, "kmeans_iters": 10, "quantize_dropout": False}
CONV_DEFAULTS = {"strides": [1, 1]}


def part(f: Fields, name: str) -> Fields:
    """The mapping under `name`, empty if there is none."""
    return Fields(f.take(name, {}), name)


def quantizer_config(f: Fields) -> dict[str, Any]:
    """A `ResidualVQConfig` mapping from the arguments of `vector_quantize_pytorch.ResidualVQ`; defaults are those of 1.0."""
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


def semantic_config(e: Fields, d: Fields) -> tuple[dict[str, Any], int]:
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


def seanet_parts(e: Fields, d: Fields) -> dict[str, Any]:
    """The fields of a config that an encoder with SEANet and its decoder give, from the arguments of both."""
    seanet = seanet_config(e) | {"lstm_layers": 0}  # this class puts a transformer in its place
    e.drop("use_transformer")
    e.done()
    hop = from_mapping(SEANetConfig, seanet).hop_samples
    return {"seanet": seanet} | decoder_config(d, inputs=2 * seanet["latent_dim"], window=1280, hop=320, encoder_hop=hop)


def decoder_config(d: Fields, *, inputs: int, window: int, hop: int, encoder_hop: int) -> dict[str, Any]:
    """The fields of a config that the decoder gives.

    Args:
        d: the arguments of `CodecDecoder`.
        inputs: channels that it takes.
        window, hop: defaults of the authors' class.
        encoder_hop: samples that one of its frames must have.
    """
    out = {
        "decoder_dim": d.take("dim", 768),
        "decoder_hidden": d.take("intermediate_dim", 2304),
        "decoder_blocks": d.take("convnext_layers", 12),
        "window_samples": d.take("n_fft", window),
    }
    d.require("input_channels", inputs)
    d.require("hop_length", encoder_hop, hop)
    d.require("causal", False)
    d.done()
    return out


def streams(first: Fields, second: Fields, e: Fields, d: Fields, latent: int) -> dict[str, Any]:
    """The fields of both quantizers and of the features' convolutions; all must have the width `latent`.

    Args:
        first, second: arguments of the quantizers of the waveform's and of the features' latents.
        e, d: arguments of the features' encoder and decoder.
        latent: channels that the encoder gives.
    """
    out = {"quantizer": quantizer_config(first), "semantic_quantizer": quantizer_config(second)}
    out["semantic"], dim = semantic_config(e, d)
    for name, got in (("quantizer.dim", out["quantizer"]["dim"]), ("semantic_encoder.out_channels", dim),
                      ("semantic_quantizer.dim", out["semantic_quantizer"]["dim"])):  # fmt: skip
        if got != latent:
            raise ValueError(f"{name} is {got}, the encoder gives {latent}: other widths are not supported.")
    return out


# --- weights --------------------------------------------------------------------------------------------------------


def transformer_rows(theirs: str, ours: str) -> list[Row]:
    """Rows of the transformer with LSTMs; `Fuse` must follow."""
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


def seanet_encoder_rows(seanet: SEANetConfig) -> list[Row]:
    """SEANet's layers by number up to the last level, then transpose, transformer, transpose, activation, convolution."""
    layers = layer_names(seanet, "encoder")[:-2]
    n = len(layers)
    return [
        *((f"encoder.model.{number}.{a}", f"encoder.{name}{b}") for number, (name, rows) in enumerate(layers) for a, b in rows),
        *transformer_rows(f"encoder.model.{n + 1}", "encoder.transformer"),
        (f"encoder.model.{n + 3}.alpha", "encoder.act.alpha"),  # of an activation that has weights
        (f"encoder.model.{n + 4}.conv.conv.*", "encoder.head.*"),
    ]


def decoder_rows(up: list[Row]) -> list[Row]:
    """Rows of the decoder; `up` are those of its first layer."""
    rows: list[Row] = [
        ("decoder.head.istft.window", None),  # a Hann window
        *up,
        *transformer_rows("decoder.prior_net.3", "decoder.transformer"),
        ("decoder.prior_net.7.*", "decoder.norm_after.*"),
        ("decoder.norm.*", "decoder.norm_in.*"),
        *convnext_rows("decoder.post_net.{}", "decoder.blocks.{}"),
        ("decoder.final_layer_norm.*", "decoder.norm_out.*"),
        ("decoder.head.out.*", "decoder.head.out.*"),
    ]
    for number, ours in ((0, "before.0"), (1, "before.1"), (5, "after.0"), (6, "after.1")):
        for a, b in (("norm1", "norm_in"), ("norm2", "norm_out"), ("conv1.conv", "conv_in"), ("conv2.conv", "conv_out")):
            rows.append((f"decoder.prior_net.{number}.{a}.*", f"decoder.{ours}.{b}.*"))
    return rows


def convnext_rows(theirs: str, ours: str) -> list[Row]:
    """Rows of a ConvNeXt block."""
    return [
        (f"{theirs}.dwconv.conv.*", f"{ours}.depthwise.*"),
        (f"{theirs}.norm.*", f"{ours}.norm.*"),
        (f"{theirs}.pwconv1.linear.*", f"{ours}.up.*"),
        (f"{theirs}.pwconv2.linear.*", f"{ours}.down.*"),
        (f"{theirs}.gamma", f"{ours}.scale"),
    ]


def lucid_rows(theirs: str, ours: str) -> list[Row]:
    """Key rows of the codebooks of `vector_quantize_pytorch.ResidualVQ`; the steps `lucid_axes`, `running_codebooks` must follow."""
    book = f"{theirs}.layers.{{}}._codebook"
    return [(f"{book}.initted", f"{ours}.levels.{{}}.codebook.ready"), *codebook_rows(book, f"{ours}.levels.{{}}.codebook")[:3]]


#: Our names of the blocks of `transformer_rows`.
_BLOCK = "{encoder|decoder}.transformer.blocks.{}"

#: Rows of the first layer of a decoder that learns to up-sample.
LEARNED_UP: list[Row] = [("decoder.embed.up.*", "decoder.up.*"), ("decoder.embed.dw.*", "decoder.smooth.*")]


def key_map(own: HCodecConfig, encoder: list[Row], up: list[Row], *more: Step) -> KeyMap:
    """The map of a whole model from the rows of its encoder, of its decoder's first layer and of what else it has.

    Args:
        own: our config.
        encoder: rows of the encoder and of parts that only one version has.
        up: rows of the decoder's first layer.
        more: further steps, after those of the shared parts.
    """
    rows = [
        *encoder,
        *decoder_rows(up),
        *feature_conv_keys.encoder("semantic_encoder", "semantic_encoder"),
        *feature_conv_keys.decoder("semantic_decoder", "semantic_decoder", own.semantic.strides),
        *lucid_rows("quantizer", "quantizer.first"),
        *lucid_rows("semantic_quantizer", "quantizer.second"),
    ]
    return KeyMap(
        WeightNorm(on=("encoder.model.**.conv.conv.weight",)),
        Rename(rows),
        Fuse(("q_proj", "k_proj", "v_proj"), "qkv", where=f"{_BLOCK}.attention."),
        Fuse(("gate", "value"), "up", where=f"{_BLOCK}.feed_forward."),
        lucid_axes(),
        running_codebooks(),
        *more,
    )


def lucid_axes() -> Each:
    """Remove the leading axis of heads, of length 1, from the codebooks of `vector_quantize_pytorch`."""
    return without_ones("**.codebook.{embed|sums|counts}")
