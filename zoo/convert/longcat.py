"""LongCat-Audio-Codec: `enc.*` the acoustic part of the encoder's checkpoint, `dec.*` the decoder's."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...codecs.serialize import CheckpointError
from .base import Converter, fold_weight_norm, rename
from .old_dac import down_keys, factorised_rvq, one_width, pointwise_to_linear, up_keys
from .fields import FOLDER_KEYS, Fields


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of `LongCatAudioCodecEncoder` (its acoustic part) and `LongCatAudioCodecDecoder`."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    e, d = Fields(f.take("acoustic_encoder"), "acoustic_encoder"), Fields(f.take("decoder"), "decoder")
    f.done()
    width, strides = e.take("encoder_dim", 64), list(e.take("encoder_rates", [2, 4, 8, 8]))
    latent = d.take("latent_dim", 1024)
    # the encoder's quantizer may hold more levels than the decoder reads; it is the decoder that counts
    e.drop("n_codebooks", "codebook_size", "codebook_dim", "semantic_tokenizer_type")
    e.require("latent_dim", latent, width * 2 ** len(strides))
    size = d.take("codebook_size", 1024)
    if not size:
        raise ValueError("decoder.codebook_size is 0: decoders without acoustic codebooks are not supported.")
    out = {
        "sample_rate_hz": e.take("input_sample_rate", 16000),
        "strides": strides,
        "encoder_width": width,
        "latent_dim": latent,
        "semantic_size": d.take("semantic_token_nums", 8192),
        "semantic_dim": d.take("semantic_dim", 1280),
        "decoder_strides": list(d.take("decoder_rates", [8, 8, 4, 2])),
        "decoder_width": d.take("decoder_dim", 1536),
        "causal_decoder": d.one_of("decoder_type", {"16k": False, "24k": True}, "16k"),
        "quantizer": factorised_rvq(
            num_codebooks=d.take("n_codebooks", 9),
            codebook_size=size,
            codebook_dim=one_width("codebook_dim", d.take("codebook_dim", 8)),
            product=2,
        ),
    }
    e.done()
    d.done()
    return out


def _quantizer_table(theirs: str, ours: str) -> list[tuple[str, str]]:
    """Two tables a level, `a` and `b`."""
    level, own = rf"{theirs}\.quantizers\.(\d+)", rf"{ours}.levels.\1.tables"
    table = []
    for i, name in enumerate("ab"):
        table += [
            (rf"{level}\.(in_proj|out_proj)_{name}\.(weight|bias)", rf"{own}.{i}.\2.\3"),
            (rf"{level}\.codebook_{name}\.weight", rf"{own}.{i}.codebook.embed"),
        ]
    return table


def _causal_up_keys(theirs: str, ours: str) -> list[tuple[str, str]]:
    """A level of the 24 kHz decoder: its units hold a layer of zeros before the dilated convolution."""
    table = [
        (rf"{theirs}\.block\.0\.alpha", rf"{ours}.act.alpha"),
        (rf"{theirs}\.block\.1\.(weight|bias)", rf"{ours}.conv.\1"),
    ]
    for j in range(3):
        unit, own = rf"{theirs}\.block\.{2 + j}", f"{ours}.units.{j}"
        table += [
            (rf"{unit}\.block\.0\.alpha", rf"{own}.act_in.alpha"),
            (rf"{unit}\.block\.2\.(weight|bias)", rf"{own}.conv_in.\1"),
            (rf"{unit}\.block\.3\.alpha", rf"{own}.act_out.alpha"),
            (rf"{unit}\.block\.4\.(weight|bias)", rf"{own}.conv_out.\1"),
        ]
    return table


def _table(own: Mapping[str, Any]) -> list[tuple[str, str]]:
    downs, ups, causal = len(own["strides"]), len(own["decoder_strides"]), own["causal_decoder"]
    enc, dec, memory = r"enc\.encoder\.block", r"dec\.decoder\.model", r"dec\.decoder\.mem_layers\.0"
    up = _causal_up_keys if causal else up_keys
    return [
        (rf"{enc}\.0\.(weight|bias)", r"encoder.stem.\1"),
        *(pair for i in range(downs) for pair in down_keys(rf"{enc}\.{i + 1}", f"encoder.levels.{i}")),
        (rf"{enc}\.{downs + 1}\.alpha", "encoder.act.alpha"),
        (rf"{enc}\.{downs + 2}\.(weight|bias)", r"encoder.head.\1"),
        *_quantizer_table(r"enc\.acoustic_quantizer", "quantizer.second"),
        (r"dec\.semantic_dequantizer\.dequant\.weight", "quantizer.first.codebook.embed"),
        (rf"{memory}\.lstm_list([12])\.0\.(.*)", r"memory.lstm\1.\2"),
        (rf"{memory}\.ln([12])\.(weight|bias)", r"memory.norm\1.\2"),
        (rf"{dec}\.0\.(weight|bias)", r"decoder.stem.\1"),
        *(pair for i in range(ups) for pair in up(rf"{dec}\.{i + 1}", f"decoder.levels.{i}")),
        (rf"{dec}\.{ups + 1}\.alpha", "decoder.act.alpha"),
        (rf"{dec}\.{ups + (3 if causal else 2)}\.(weight|bias)", r"decoder.head.\1"),
    ]


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    own = _config(config)
    state = fold_weight_norm(state)
    levels = own["quantizer"]["num_codebooks"]
    theirs = "dec.acoustic_quantizer."
    for key in [k for k in state if k.startswith(theirs)]:
        if ".in_proj" not in key and not torch.equal(state[key], state["enc." + key[4:]]):
            raise CheckpointError(f"encoder and decoder differ at {key[4:]!r}: they do not belong together.")
    dropped = [
        r"dec\.acoustic_quantizer\..*",  # the encoder's, see above; its maps down are not used
        r"enc\.semantic_tokenizer\..*",  # the speech tokenizer, not part of the family
        *(rf"enc\.acoustic_quantizer\.quantizers\.{k}\..*" for k in range(levels, 64)),  # more than the decoder reads
    ]
    return pointwise_to_linear(rename(state, _table(own), dropped=dropped))


CONVERTERS = (
    Converter(
        system="longcat-audio-codec",
        upstream="meituan-longcat/LongCat-Audio-Codec LongCatAudioCodecEncoder (acoustic), LongCatAudioCodecDecoder",
        family="longcat",
        config=_config,
        weights=_weights,
    ),
)
