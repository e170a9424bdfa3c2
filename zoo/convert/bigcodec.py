"""BigCodec: arguments of `CodecEncoder` and `CodecDecoder`, state dicts under `CodecEnc.` and `generator.`."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .base import Converter, flat, fold_weight_norm, rename
from .old_dac import factorised_rvq
from .fields import FOLDER_KEYS, Fields


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    top = Fields(config, "config")
    top.drop(*FOLDER_KEYS)
    e, d = Fields(top.take("CodecEnc", {}), "CodecEnc"), Fields(top.take("generator", {}), "generator")
    dim = e.take("out_channels", 1024)
    d.require("in_channels", dim, 1024)
    d.require("vq_dim", dim, 1024)
    # Read by nothing: the decoder's ngf, and two settings that the quantizer's **kwargs swallow.
    d.drop("ngf", "vq_weight_init", "vq_full_commit_loss")
    width = d.take("codebook_dim", 8)
    size = d.take("codebook_size", 8192)
    levels = d.take("vq_num_quantizers", 1)
    if not isinstance(size, int) and len(size) != levels:
        raise ValueError(f"generator.codebook_size has {len(size)} entries for {levels} quantizers.")
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
            num_codebooks=levels,
            codebook_size=size,
            codebook_dim=0 if width == dim else width,  # of the same width: no maps
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


def _act(theirs: str, ours: str) -> tuple[str, str]:
    return (rf"{theirs}\.act\.(alpha|beta)", rf"{ours}.activation.\1")


def _conv(theirs: str, ours: str) -> tuple[str, str]:
    return (rf"{theirs}\.(weight|bias)", rf"{ours}.\1")


def _unit(theirs: str, ours: str) -> list[tuple[str, str]]:
    return [
        _act(rf"{theirs}\.block\.0", f"{ours}.act_in"),
        _conv(rf"{theirs}\.block\.1", f"{ours}.conv_in"),
        _act(rf"{theirs}\.block\.2", f"{ours}.act_out"),
        _conv(rf"{theirs}\.block\.3", f"{ours}.conv_out"),
    ]


def _table(own: Mapping[str, Any]) -> list[tuple[str, str]]:
    downs, ups = len(own["strides"]), len(own["decoder_strides"])
    n, m = len(own["dilations"]), len(own["decoder_dilations"])
    e_lstm, d_lstm = int(own["encoder_lstm_layers"] > 0), int(own["decoder_lstm_layers"] > 0)
    enc, dec = r"CodecEnc\.block", r"generator\.model"
    table = [_conv(rf"{enc}\.0", "encoder.stem")]
    for i in range(downs):
        theirs, ours = rf"{enc}\.{i + 1}", f"encoder.levels.{i}"
        for j in range(n):
            table += _unit(rf"{theirs}\.block\.{j}", f"{ours}.units.{j}")
        table += [_act(rf"{theirs}\.block\.{n}", f"{ours}.act"), _conv(rf"{theirs}\.block\.{n + 1}", f"{ours}.conv")]
    if e_lstm:
        table.append((rf"{enc}\.{downs + 1}\.lstm\.(.*)", r"encoder.lstm.lstm.\1"))
    after = downs + 1 + e_lstm
    table += [_act(rf"{enc}\.{after}", "encoder.act"), _conv(rf"{enc}\.{after + 1}", "encoder.head")]
    table += [
        (r"generator\.quantizer\.layers\.(\d+)\.(in_proj|out_proj)\.(weight|bias)", r"quantizer.levels.\1.\2.\3"),
        (r"generator\.quantizer\.layers\.(\d+)\._codebook\.weight", r"quantizer.levels.\1.codebook.embed"),
        _conv(rf"{dec}\.0", "decoder.stem"),
    ]
    if d_lstm:
        table.append((rf"{dec}\.1\.lstm\.(.*)", r"decoder.lstm.lstm.\1"))
    for i in range(ups):
        theirs, ours = rf"{dec}\.{i + 1 + d_lstm}", f"decoder.levels.{i}"
        table += [_act(rf"{theirs}\.block\.0", f"{ours}.act"), _conv(rf"{theirs}\.block\.1", f"{ours}.conv")]
        for j in range(m):
            table += _unit(rf"{theirs}\.block\.{j + 2}", f"{ours}.units.{j}")
    after = ups + 1 + d_lstm
    return [*table, _act(rf"{dec}\.{after}", "decoder.act"), _conv(rf"{dec}\.{after + 1}", "decoder.head")]


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    dropped = [r".*\.(upsample|downsample\.lowpass)\.filter"]  # fixed filters: computed
    return rename(fold_weight_norm(flat(state)), _table(_config(config)), dropped=dropped)


CONVERTERS = (
    Converter(
        system="bigcodec",
        upstream="Aria-K-Alethia/BigCodec CodecEncoder, CodecDecoder",
        family="bigcodec",
        config=_config,
        weights=_weights,
    ),
)
