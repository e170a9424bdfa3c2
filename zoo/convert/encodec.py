"""EnCodec as facebookresearch/encodec, audiocraft and transformers publish it."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...codecs.audio.encodec import EncodecConfig
from ...codecs.config import from_mapping
from .base import Converter, fold_weight_norm, rename
from .fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from .seanet import codebook_table, finish_codebooks, seanet_config, seanet_table

#: What `ResidualVectorQuantizer` takes for training alone, in both repositories.
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


def _transformers(config: Mapping[str, Any]) -> dict[str, Any]:
    """`EncodecConfig` of transformers; encoder and decoder share every setting."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS)
    dim, rate = f.take("hidden_size", 128), f.take("sampling_rate", 24000)
    strides = list(reversed(f.take("upsampling_ratios", [8, 5, 4, 2])))
    bandwidths, size = f.take("target_bandwidths", [1.5, 3.0, 6.0, 12.0, 24.0]), f.take("codebook_size", 1024)
    if f.take("codebook_dim", None) not in (None, dim):
        raise ValueError("config.codebook_dim differs from hidden_size, between which the authors' class has no map.")
    seanet = {
        "channels": f.take("audio_channels", 1),
        "latent_dim": dim,
        "width": f.take("num_filters", 32),
        "strides": strides,
        "residual_layers": f.take("num_residual_layers", 1),
        "kernel_size": f.take("kernel_size", 7),
        "last_kernel_size": f.take("last_kernel_size", 7),
        "residual_kernel_size": f.take("residual_kernel_size", 3),
        "dilation_base": f.take("dilation_growth_rate", 2),
        "compress": f.take("compress", 2),
        "identity_skip": not f.take("use_conv_shortcut", True),
        "lstm_layers": f.take("num_lstm_layers", 2),
        "causal": f.take("use_causal_conv", True),
        "padding": f.take("pad_mode", "reflect"),
        "norm": f.one_of("norm_type", {"weight_norm": "none", "time_group_norm": "group"}, "weight_norm"),
    }
    rate_frames = math.ceil(rate / math.prod(strides))
    count = int(1000 * bandwidths[-1] // (rate_frames * math.ceil(math.log2(size))))
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
    f.done()
    return out


def _weights(
    mapping: dict[str, Any], state: dict[str, Tensor], *, layers: str, codebook: str
) -> dict[str, Tensor]:
    own = from_mapping(EncodecConfig, mapping)
    table = [
        *seanet_table(own.encoder, "encoder", f"encoder.{layers}", "encoder"),
        *seanet_table(own.decoder or own.encoder, "decoder", f"decoder.{layers}", "decoder"),
        *codebook_table(codebook, r"quantizer.levels.\1.codebook"),
    ]
    return finish_codebooks(rename(fold_weight_norm(state), table))


_AUTHORS_CODEBOOK = r"quantizer\.vq\.layers\.(\d+)\._codebook"

CONVERTERS = (
    *(
        Converter(
            system=system,
            upstream="facebookresearch/encodec EncodecModel",
            family="encodec",
            config=_original,
            weights=lambda state, config: _weights(
                _original(config), state, layers="model", codebook=_AUTHORS_CODEBOOK
            ),
        )
        for system in ("encodec", "encodec-48k")
    ),
    Converter(
        system="encodec-audiocraft",
        upstream="facebookresearch/audiocraft EncodecModel",
        family="encodec",
        config=_audiocraft,
        weights=lambda state, config: _weights(_audiocraft(config), state, layers="model", codebook=_AUTHORS_CODEBOOK),
    ),
    Converter(
        system="encodec-hf",
        upstream="huggingface/transformers EncodecModel",
        family="encodec",
        config=_transformers,
        weights=lambda state, config: _weights(
            _transformers(config), state, layers="layers", codebook=r"quantizer\.layers\.(\d+)\.codebook"
        ),
    ),
)
