"""BigCodec: arguments of `CodecEncoder` and `CodecDecoder`, state dicts under `CodecEnc` and `generator`."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import factorised_rvq
from ...layouts.dac_keys import snake_without_aliases, unit
from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, Then, WeightNorm, flat
from ...layouts.layout import Layout
from .model import BigCodecConfig


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by class, under the names of the checkpoint's parts or those of the authors' YAML (`codec_encoder`, ...)."""
    top = Fields(config, "config")
    top.drop(*FOLDER_KEYS, "mpd", "mstft")  # discriminators
    e = Fields(top.take("CodecEnc", top.take("codec_encoder", {})), "CodecEnc")
    d = Fields(top.take("generator", top.take("codec_decoder", {})), "generator")
    dim = e.take("out_channels", 1024)
    d.require("in_channels", dim, 1024)
    d.require("vq_dim", dim, 1024)
    # The authors' code never reads these: the decoder's ngf, and two settings that the quantizer accepts as **kwargs.
    d.drop("ngf", "vq_weight_init", "vq_full_commit_loss")
    width, size, levels = d.take("codebook_dim", 8), d.take("codebook_size", 8192), d.take("vq_num_quantizers", 1)
    out = {
        "sample_rate_hz": top.take("sample_rate", 16000),
        "strides": e.take("up_ratios", [2, 2, 2, 5, 5]),
        "decoder_strides": d.take("up_ratios", [5, 5, 2, 2, 2]),
        "encoder_width": e.take("ngf", 48),
        "decoder_width": d.take("upsample_initial_channel", 1536),
        "dilations": e.take("dilations", [1, 3, 9]),
        "decoder_dilations": d.take("dilations", [1, 3, 9]),
        "latent_dim": dim,
        "quantizer": factorised_rvq(
            num_codebooks=levels if isinstance(size, int) else len(size),  # a list of sizes has one entry for each level
            codebook_size=size,
            codebook_dim=0 if width == dim else width,  # of the same width: no projections
            commitment_weight=d.take("vq_commit_weight", 0.25),
        ),
    }
    for side, f in (("encoder", e), ("decoder", d)):
        layers, both = f.take("rnn_num_layers", 2), f.take("rnn_bidirectional", False)
        out[f"{side}_lstm_layers"] = layers if f.take("use_rnn", True) else 0
        out[f"{side}_lstm_bidirectional"] = both
        f.done()
    top.done()
    return out


def _conv(theirs: str, ours: str) -> Row:
    return (f"{theirs}.{{weight|bias}}", f"{ours}.{{weight|bias}}")


def _encoder(own: BigCodecConfig) -> list[Row]:
    theirs, downs, units = "CodecEnc.block", len(own.strides), len(own.dilations)
    rows = [_conv(f"{theirs}.0", "encoder.stem")]
    for i in range(downs):
        a, b = f"{theirs}.{i + 1}", f"encoder.levels.{i}"
        rows += [row for j in range(units) for row in unit(f"{a}.block.{j}", f"{b}.units.{j}", act=snake_without_aliases)]
        rows += [*snake_without_aliases(f"{a}.block.{units}", f"{b}.act"), _conv(f"{a}.block.{units + 1}", f"{b}.conv")]
    after = downs + 1
    if own.encoder_lstm_layers:
        rows.append((f"{theirs}.{after}.lstm.*", "encoder.lstm.lstm.*"))
        after += 1
    return [*rows, *snake_without_aliases(f"{theirs}.{after}", "encoder.act"), _conv(f"{theirs}.{after + 1}", "encoder.head")]


def _decoder(own: BigCodecConfig) -> list[Row]:
    theirs, first = "generator.model", 1
    rows = [_conv(f"{theirs}.0", "decoder.stem")]
    if own.decoder_lstm_layers:
        rows.append((f"{theirs}.1.lstm.*", "decoder.lstm.lstm.*"))
        first = 2
    for i in range(len(own.ups)):
        a, b = f"{theirs}.{first + i}", f"decoder.levels.{i}"
        rows += [*snake_without_aliases(f"{a}.block.0", f"{b}.act"), _conv(f"{a}.block.1", f"{b}.conv")]
        for j in range(len(own.decoder_dilations or own.dilations)):
            rows += unit(f"{a}.block.{j + 2}", f"{b}.units.{j}", act=snake_without_aliases)
    after = first + len(own.ups)
    return [*rows, *snake_without_aliases(f"{theirs}.{after}", "decoder.act"), _conv(f"{theirs}.{after + 1}", "decoder.head")]


_QUANTIZER: tuple[Row, ...] = (
    ("generator.quantizer.layers.{}.{in_proj|out_proj}.*", "quantizer.levels.{}.{in_proj|out_proj}.*"),
    ("generator.quantizer.layers.{}._codebook.weight", "quantizer.levels.{}.codebook.embed"),
)

#: Every convolution, and the quantizer's linear maps.
_NORMED = ("CodecEnc.block.**.weight", "generator.model.**.weight", "generator.quantizer.layers.{}.{in_proj|out_proj}.weight")


def _keys(own: BigCodecConfig) -> KeyMap:
    rows = [*_encoder(own), *_QUANTIZER, *_decoder(own)]
    return KeyMap(Then(flat, dict), WeightNorm(on=_NORMED), Rename(rows))


LAYOUTS = (
    Layout(
        system="bigcodec",
        upstream="Aria-K-Alethia/BigCodec vq/codec_encoder.py CodecEncoder, vq/codec_decoder.py CodecDecoder",
        family="bigcodec",
        config=_config,
        keys=_keys,
    ),
)
