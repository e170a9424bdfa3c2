"""LongCat-Audio-Codec: the encoder's file as `enc.`, the decoder's as `dec.`, statistics of mel bands as `cmvn`.

The encoder's file holds the speech tokenizer too, whose settings are in two YAML files of the authors' repository. The config's
key `semantic_tokenizer` has both in one: `select_layer`, `codebook_dim`, `codebook_size`, `sample_rate`, and `feature` and
`encoder`, each with the published values by default (`{}`). Without that key its weights are left out.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...layouts import dac_keys
from ...layouts.configs import factorised_rvq, part
from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, State, Then, WeightNorm, pointwise, transposed, under
from ...layouts.layout import Layout
from ...quantizers.residual_vq import ResidualVQConfig
from ...serialize import CheckpointError
from .model import LongCatConfig
from .speech import SMALLEST

#: Sampling rate in Hz of each decoder's output, whatever its strides.
_RATES = {"16k": 16000, "24k": 24000}


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of `LongCatAudioCodecEncoder`, `LongCatAudioCodecDecoder`; `semantic_tokenizer`: see the file's head."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    e, d = Fields(f.take("acoustic_encoder"), "acoustic_encoder"), Fields(f.take("decoder"), "decoder")
    speech = f.take("semantic_tokenizer", None)
    f.done()
    width, strides, rate = e.take("encoder_dim", 64), list(e.take("encoder_rates", [2, 4, 8, 8])), e.take("input_sample_rate", 16000)
    latent = d.take("latent_dim", 1024)
    # the encoder's quantizer may hold more levels than the decoder reads; the decoder's number is used
    e.drop("n_codebooks", "codebook_size", "codebook_dim", "semantic_tokenizer_type")
    # None: the encoder's channels at frame rate
    if (e.take("latent_dim", None) or width * 2 ** len(strides)) != latent:
        raise ValueError(f"acoustic_encoder.latent_dim must be decoder.latent_dim, {latent}.")
    size, levels = d.take("codebook_size", 1024), d.take("n_codebooks", 9)
    if not size:
        raise ValueError("decoder.codebook_size is 0: the authors' class does not run without acoustic codebooks either.")
    ups, kind = list(d.take("decoder_rates", [8, 8, 4, 2])), d.one_of("decoder_type", {k: k for k in _RATES}, "16k")
    widths = d.take("codebook_dim", 8)
    out = {
        "sample_rate_hz": rate,
        "strides": strides,
        "encoder_width": width,
        "latent_dim": latent,
        "semantic_size": d.take("semantic_token_nums", 8192),
        "semantic_dim": d.take("semantic_dim", 1280),
        "decoder_strides": ups,
        "decoder_width": d.take("decoder_dim", 1536),
        "causal_decoder": kind == "24k",
        "output_rate_hz": _RATES[kind],
        "quantizer": factorised_rvq(
            num_codebooks=levels,
            codebook_size=size,
            codebook_dim=widths if isinstance(widths, int) else list(widths)[:levels],
            product=2,
        ),
    }
    e.done()
    d.done()
    return out | ({} if speech is None else {"speech": _speech(Fields(speech, "semantic_tokenizer"), out["semantic_size"])})


def _speech(f: Fields, size: int) -> dict[str, Any]:
    """A `SpeechIdsConfig` mapping of both YAML files."""
    f.drop("model_config", "sample_rate", "feat_dim", "left", "right", "stride", "delta_order", *FOLDER_KEYS)
    f.require("codebook_size", size)
    feature, encoder = part(f, "feature", {}), part(f, "encoder", {})
    used = _bank(feature)
    encoder.require("type", "VGGtf_encoder")
    m = part(encoder, "VGGtf_encoder", {})
    encoder.done()
    m.require("feat_dim", used["bands"])
    for key in ("delta_order", "left", "right"):
        m.require(key, 0)
    m.require("subsampling", "conv2d")
    m.drop("stride", "dropout", "layer_drop", "activation")  # the class has GELU and no dropout in eval mode
    strides = [int(s) for s in str(m.take("conv2d_stride", "2,3")).split(",")]
    count, layers = m.take("num_conv_layers", 2), m.take("num_encoder_layers", 26)
    out = used | {
        "strides": strides[:count],
        "width": m.take("d_model", 1280),
        "heads": m.take("nhead", 20),
        "hidden": m.take("dim_feedforward", 5120),
        "layers": min(f.take("select_layer", 26) or layers, layers),
    }
    m.done()
    f.require("codebook_dim", out["width"])
    f.done()
    return out


def _bank(feature: Fields) -> dict[str, Any]:
    """The filter bank's part of a `SpeechIdsConfig` mapping."""
    feature.drop("cmvn_file")
    bank = part(feature, "fbank", {})
    feature.done()
    bank.require("dither", 0.0)
    rate, bands, high = bank.take("freq", 16000), bank.take("num_mel_bins", 80), bank.take("high_freq", -200)
    bank.require("padded_num_mel_bins", bands)
    used = {
        "sample_rate_hz": rate,
        "window_samples": int(rate * bank.take("frame_length", 25) / 1000),
        "hop_samples": int(rate * bank.take("frame_shift", 10) / 1000),
        "bands": bands,
        "low_hz": float(bank.take("low_freq", 40)),
        "high_hz": float(high + rate / 2 if high < 0 else high),
        "preemphasis": float(bank.take("preemphasis", 0.97)),
    }
    bank.done()
    return used


# --- weights --------------------------------------------------------------------------------------------------------

_SPEECH = "enc.semantic_tokenizer."
_CMVN = _SPEECH + "feature_extractor.cmvn."
_BLOCK: tuple[Row, ...] = (
    ("norm1.*", "norm_attention.*"),
    ("self_attn.in_proj_{weight|bias}", "qkv.{weight|bias}"),
    ("self_attn.out_proj.*", "out.*"),
    ("norm2.*", "norm_feed_forward.*"),
    ("linear1.*", "up.*"),
    ("linear2.*", "down.*"),
    ("norm3.*", "norm_out.*"),
)


def _speech_rows(layers: int) -> list[Row]:
    """Key rows of the speech tokenizer up to the layer whose output is read; window and filters are computed, not loaded."""
    rows: list[Row] = [
        ("feature_extractor.fbank.*", None),
        ("feature_extractor.cmvn.cmvn_{mean|scale}", "{mean|scale}"),
        ("model.subsampling.conv.subsampling/conv{}.*", "convs.{}.*"),
        ("model.subsampling.affine.*", "proj.*"),
        ("model.subsampling.norm.*", "norm.*"),
        ("kmeans.codebook", "centres"),
    ]
    for i in range(layers):
        rows += under(f"model.encoder.layers.{i}.", f"blocks.{i}.", _BLOCK)
    return under(_SPEECH, "speech.", [*rows, ("model.encoder.layers.{}.**", None)])


def _statistics() -> Then:
    """Mean and inverse deviation of the mel bands, from Kaldi's sums where the encoder's file does not hold them itself.

    The sums are `[2, F + 1]`: of the bands and their number, of their squares.
    """

    def read(state: State) -> State:
        out = dict(state)
        sums: Tensor | None = out.pop("cmvn", None)
        if _CMVN + "cmvn_mean" in out:
            return out
        if sums is None:
            raise CheckpointError(
                "the statistics of the mel bands are missing: neither the encoder's file nor LongCatAudioCodec_encoder_cmvn.npy."
            )
        count = sums[0, -1]
        mean = sums[0, :-1] / count
        deviation = (sums[1, :-1] / count - mean * mean).float().sqrt()
        return out | {_CMVN + "cmvn_mean": mean.float(), _CMVN + "cmvn_scale": 1.0 / deviation.clamp(min=SMALLEST)}

    return Then(read, lambda state: state)


def _one_table() -> Then:
    """Both files contain the acoustic codebooks, which must be equal; the decoder's input projections are not used."""
    theirs, first = "dec.acoustic_quantizer.", "enc.acoustic_quantizer."

    def read(state: State) -> State:
        for key in [k for k in state if k.startswith(theirs)]:
            other = first + key.removeprefix(theirs)
            if ".in_proj" not in key and not (other in state and torch.equal(state[key], state[other])):
                raise CheckpointError(f"encoder and decoder differ at {key[4:]!r}: they do not belong together.")
        return {k: v for k, v in state.items() if not k.startswith(theirs)}

    def write(state: State) -> State:
        return state | {theirs + k.removeprefix(first): v for k, v in state.items() if k.startswith(first)}

    return Then(read, write)


def _tables(theirs: str, ours: str) -> list[Row]:
    """Key rows of the two codebooks of each level, `a` and `b`."""
    level, own = f"{theirs}.quantizers.{{}}", f"{ours}.levels.{{}}.tables"
    rows: list[Row] = []
    for i, name in enumerate("ab"):
        rows += [(f"{level}.{way}_{name}.*", f"{own}.{i}.{way}.*") for way in ("in_proj", "out_proj")]
        rows.append((f"{level}.codebook_{name}.weight", f"{own}.{i}.codebook.embed"))
    return rows


def _causal_up(theirs: str, ours: str) -> list[Row]:
    """Key rows of a level of the 24 kHz decoder, whose units have a padding layer before the dilated convolution."""
    rows: list[Row] = [(f"{theirs}.block.0.alpha", f"{ours}.act.alpha"), (f"{theirs}.block.1.*", f"{ours}.conv.*")]
    for j in range(3):
        unit, own = f"{theirs}.block.{2 + j}.block", f"{ours}.units.{j}"
        rows += [(f"{unit}.{n}.*", f"{own}.{name}.*") for n, name in ((0, "act_in"), (2, "conv_in"), (3, "act_out"), (4, "conv_out"))]
    return rows


def _rows(own: LongCatConfig) -> list[Row]:
    ups, causal, memory = len(own.decoder_strides), own.causal_decoder, "dec.decoder.mem_layers.0"
    up = _causal_up if causal else dac_keys.up
    return [
        *dac_keys.encoder(len(own.strides), "enc.encoder", "encoder"),
        *_tables("enc.acoustic_quantizer", "quantizer.second"),
        ("dec.semantic_dequantizer.dequant.weight", "quantizer.first.codebook.embed"),
        *((f"{memory}.lstm_list{i}.0.*", f"memory.lstm{i}.*") for i in (1, 2)),
        *((f"{memory}.ln{i}.*", f"memory.norm{i}.*") for i in (1, 2)),
        ("dec.decoder.model.0.*", "decoder.stem.*"),
        *(row for i in range(ups) for row in up(f"dec.decoder.model.{i + 1}", f"decoder.levels.{i}")),
        (f"dec.decoder.model.{ups + 1}.alpha", "decoder.act.alpha"),
        (f"dec.decoder.model.{ups + (3 if causal else 2)}.*", "decoder.head.*"),
    ]


def _keys(own: LongCatConfig) -> KeyMap:
    assert isinstance(own.quantizer, ResidualVQConfig)
    levels = own.quantizer.num_codebooks
    more = [f"enc.acoustic_quantizer.quantizers.{k}.**" for k in range(levels, 64)]  # than the decoder reads
    rows = _rows(own)
    if own.speech is None:
        more += [_SPEECH + "**", "cmvn"]
    else:
        rows += _speech_rows(own.speech.layers)
    return KeyMap(
        Rename([], also_drop=more, keep_unknown=True),
        *([_statistics()] if own.speech else []),
        WeightNorm(),
        _one_table(),
        Rename(rows),
        pointwise("quantizer.second.levels.{}.tables.{}.{in_proj|out_proj}.weight"),
        *([transposed("speech.centres")] if own.speech else []),
    )


LAYOUTS = (
    Layout(
        system="longcat-audio-codec",
        upstream="meituan-longcat/LongCat-Audio-Codec LongCatAudioCodecEncoder, LongCatAudioCodecDecoder",
        family="longcat",
        config=_config,
        keys=_keys,
    ),
)
