"""EnCodec as facebookresearch/encodec, audiocraft and transformers publish it."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ...layouts.configs import check_round_trip, one_number, the_quantizer
from ...layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import KeyMap, NotWritable, Rename, Row, Unwrap, WeightNorm
from ...layouts.layout import Layout
from ...layouts.seanet_keys import (
    Spelling,
    codebook_rows,
    running_codebooks,
    say_transformers_seanet,
    seanet_config,
    seanet_rows,
    transformers_seanet,
)
from ...quantizers.residual_vq import ResidualVQConfig
from .model import EncodecConfig

#: Arguments of `ResidualVectorQuantizer` that only training reads, in both repositories.
_TRAINING = (
    "kmeans_init", "threshold_ema_dead_code", "orthogonal_reg_weight", "orthogonal_reg_active_codes_only",
    "orthogonal_reg_max_codes", "q_no_quantization_rate",
)  # fmt: skip


def _quantizer(fields: Fields, *, dim: int) -> dict[str, Any]:
    fields.require("dimension", dim)
    fields.drop(*_TRAINING)
    out = {
        "kind": "residual_vq",
        "num_codebooks": fields.take("n_q", 8),
        "codebook_size": fields.take("bins", 1024),
        "decay": fields.take("decay", 0.99),
        "kmeans_iterations": fields.take("kmeans_iters", 50),
        "commitment_weight": 1.0,
        "dropout": 1.0 if fields.take("q_dropout", True) else 0.0,
    }
    fields.done()
    return out


def _original(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of SEANetEncoder, SEANetDecoder, ResidualVectorQuantizer and EncodecModel, by part."""
    top = Fields(config, "config")
    top.drop(*FOLDER_KEYS)
    sides = {}
    for side in ("encoder", "decoder"):
        fields = Fields(top.take(side), side)
        sides[side] = seanet_config(fields)
        fields.done()
    model = Fields(top.take("model"), "model")
    model.drop("name")
    model.require("channels", sides["encoder"]["channels"])
    out = {
        **sides,
        "quantizer": _quantizer(Fields(top.take("quantizer"), "quantizer"), dim=sides["encoder"]["latent_dim"]),
        "sample_rate_hz": model.take("sample_rate"),
        "bandwidths_kbps": model.take("target_bandwidths"),
        "normalize": model.take("normalize", False),
        "segment_seconds": model.take("segment", None),
        "segment_overlap": model.take("overlap", 0.01),
    }
    model.done()
    top.done()
    return out


def _audiocraft(config: Mapping[str, Any]) -> dict[str, Any]:
    """The Hydra configuration's parts `encodec`, `seanet` and `rvq`."""
    top = Fields(config, "config")
    top.drop(*FOLDER_KEYS)
    shared = dict(top.take("seanet"))
    own = {"encoder": dict(shared.pop("encoder", {})), "decoder": dict(shared.pop("decoder", {}))}
    model = Fields(top.take("encodec"), "encodec")
    model.drop("autoencoder", "quantizer", "frame_rate")
    causal, sides = model.take("causal", False), {}
    for side, extra in own.items():
        fields = Fields({**shared, **extra, "causal": causal}, f"seanet.{side}")
        sides[side] = seanet_config(fields, n_residual_layers=3, lstm=0, true_skip=True, norm="none")
        fields.done()
    rvq = top.take("rvq")
    quantizer = Fields({"dimension": sides["encoder"]["latent_dim"], "q_dropout": False, **rvq}, "rvq")
    model.require("channels", sides["encoder"]["channels"])
    out = {
        **sides,
        "quantizer": _quantizer(quantizer, dim=sides["encoder"]["latent_dim"]),
        "sample_rate_hz": model.take("sample_rate"),
        "bandwidths_kbps": [],
        "normalize": model.take("renormalize", False),
    }
    model.done()
    top.done()
    return out


# --- transformers -----------------------------------------------------------------------------------------------------


def _transformers(config: Mapping[str, Any]) -> dict[str, Any]:
    """`EncodecConfig` of transformers; encoder and decoder share every setting."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS)
    seanet, rate = transformers_seanet(f), f.take("sampling_rate", 24000)
    bandwidths, size = f.take("target_bandwidths", [1.5, 3.0, 6.0, 12.0, 24.0]), f.take("codebook_size", 1024)
    if f.take("codebook_dim", None) not in (None, seanet["latent_dim"]):
        raise ValueError("config.codebook_dim differs from hidden_size, between which the authors' class has no map.")
    count = _count(bandwidths[-1], rate, seanet["strides"], size)
    out = {
        "encoder": seanet,
        "decoder": {**seanet, "trim_right": float(f.take("trim_right_ratio", 1.0))},
        "quantizer": {
            "kind": "residual_vq", "num_codebooks": count, "codebook_size": size, "kmeans_iterations": 50,
            "commitment_weight": 1.0, "dropout": 1.0,
        },
        "sample_rate_hz": rate,
        "bandwidths_kbps": bandwidths,
        "normalize": f.take("normalize", False),
        "segment_seconds": f.take("chunk_length_s", None),
        "segment_overlap": f.take("overlap", None) or 0.0,
    }  # fmt: skip
    f.done(swallowed=True)
    return out


def _count(kbps: float, rate: int, strides: list[int], size: int) -> int:
    """Number of codebooks, which the class of transformers computes from the last of its bandwidths."""
    return int(1000 * kbps // (math.ceil(rate / math.prod(strides)) * math.ceil(math.log2(size))))


def _normal(own: EncodecConfig) -> EncodecConfig:
    """`own` with the decoder's settings filled in."""
    return dataclasses.replace(own, decoder=own.decoder or own.encoder)


def _say_transformers(own: EncodecConfig) -> dict[str, Any]:
    """`config.json` of `EncodecModel`."""
    q = the_quantizer(own.quantizer, ResidualVQConfig)
    size, s, decoder = one_number("quantizer.codebook_size", q.codebook_size), own.encoder, own.decoder or own.encoder
    if not own.bandwidths_kbps:
        raise NotWritable("bandwidths_kbps is empty; the class of transformers counts its codebooks from the last of them.")
    theirs = {
        "architectures": ["EncodecModel"],
        "model_type": "encodec",
        "sampling_rate": own.sample_rate_hz,
        "target_bandwidths": list(own.bandwidths_kbps),
        "normalize": own.normalize,
        "chunk_length_s": own.segment_seconds,
        "overlap": own.segment_overlap or None,
        "codebook_size": size,
        "codebook_dim": s.latent_dim,
        "trim_right_ratio": decoder.trim_right,
        **say_transformers_seanet(s),
    }
    return check_round_trip(_normal(own), theirs, _transformers)


# --- weights ----------------------------------------------------------------------------------------------------------


def _rows(own: EncodecConfig, layers: str, codebook: str, spelling: Spelling) -> list[Row]:
    return [
        *seanet_rows(own.encoder, "encoder", f"encoder.{layers}", "encoder", spelling),
        *seanet_rows(own.decoder or own.encoder, "decoder", f"decoder.{layers}", "decoder", spelling),
        *codebook_rows(codebook, "quantizer.levels.{}.codebook"),
    ]


def _norm(own: EncodecConfig, written: str) -> WeightNorm:
    return WeightNorm("" if own.encoder.norm == "group" else written)


def _authors_keys(own: EncodecConfig) -> KeyMap:
    rows = _rows(own, "model", "quantizer.vq.layers.{}._codebook", "authors")
    # audiocraft's exported files have the best weights under `best_state`, files of a run under `best_state.model`
    return KeyMap(Unwrap("best_state"), Unwrap("model"), _norm(own, "weight_g"), Rename(rows), running_codebooks())


def _transformers_keys(own: EncodecConfig) -> KeyMap:
    rows = _rows(own, "layers", "quantizer.layers.{}.codebook", "transformers")
    return KeyMap(_norm(own, "parametrizations"), Rename(rows), running_codebooks())


LAYOUTS = (
    *(
        Layout(
            system=system,
            upstream="facebookresearch/encodec encodec/model.py EncodecModel",
            family="encodec",
            config=_original,
            keys=_authors_keys,
        )
        for system in ("encodec", "encodec-48k")
    ),
    Layout(
        system="encodec-audiocraft",
        upstream="facebookresearch/audiocraft audiocraft/models/encodec.py EncodecModel",
        family="encodec",
        config=_audiocraft,
        keys=_authors_keys,
    ),
    Layout(
        system="encodec-hf",
        upstream="huggingface/transformers models/encodec EncodecModel",
        family="encodec",
        config=_transformers,
        keys=_transformers_keys,
        authors_config=_say_transformers,
        model_type="encodec",
    ),
)
