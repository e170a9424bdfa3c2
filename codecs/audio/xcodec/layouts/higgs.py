"""The tokenizer of Higgs Audio v2 in its authors' layout and in that of transformers: X-codec's network with other sizes."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ....layouts.configs import check_round_trip, the_quantizer
from ....layouts.fields import Fields
from ....layouts.layout import Layout
from ....quantizers.residual_vq import ResidualVQConfig
from ..model import XCodecConfig
from .xcodec import authors_keys, authors_network, hf_codebooks, hf_keys, hf_network, residual_quantizer, say_hf_network

#: Samples of silence on both sides at the speech model's rate, fixed in both classes.
_PAD = 160


def _authors(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `HiggsAudioTokenizer`.

    Our key `hard_coded_overrides` changes numbers that the constructor fixes: those of X-codec's layout, `semantic_hop`, the speech
    model's hop, `encoder_dim` and `decoder_dim`, the convolutions' widths, and `pad_per_factor`; `hubert` is the speech model's
    configuration.
    """
    f = Fields(config, "config")
    o = Fields(f.take("hard_coded_overrides", {}), "hard_coded_overrides")
    hubert = f.take("hubert", None)
    f.drop("last_layer_semantic", "merge_mode", "semantic_mode", "device")  # without effect with these speech models
    out = authors_network(f, o)
    if hubert is not None:
        out["semantic_model"] = {"model_type": "hubert", **hubert}
    out |= {"encoder_width": o.take("encoder_dim", out["encoder_width"]), "decoder_width": o.take("decoder_dim", out["decoder_width"])}
    rate, speech_rate = out["sample_rate_hz"], f.take("semantic_sample_rate", None) or 16000
    hop, pad = math.prod(out["strides"]), o.take("pad_per_factor", _PAD)
    step = int(hop / (rate / speech_rate) / o.take("semantic_hop", 320))
    pool = f.one_of("downsample_mode", {"step_down": "first", "avg": "mean"}, "step_down")
    if step < 1:
        raise ValueError(f"config.ratios {out['strides']} at {rate} Hz give less than one frame of the speech model a frame.")
    joint = int((out["acoustic_dim"] + out["semantic"]["width"]) // f.take("vq_scale", 1))
    size, num = f.take("bins", 1024), f.take("n_q", 8)
    if not isinstance(size, int):
        raise ValueError(f"config.bins is {size!r}; a list means residual FSQ, which no published file has and is not supported.")
    width = f.take("codebook_dim", None) or joint
    bandwidths, bits = [float(b) for b in f.take("target_bandwidths", [1, 1.5, 2, 4, 6])], math.log2(size)
    most = math.ceil(rate / hop) * bits * num / 1000  # the class encodes with all codebooks, whatever the last bandwidth is
    out |= {
        "semantic_rate_hz": speech_rate,
        "semantic_step": step,
        "semantic_pool": pool,
        "pad_samples": _PAD,
        "acoustic_pad_samples": pad * step,
        "unequal": "cut",
        "joint_dim": joint,
        "quantizer": residual_quantizer(num, size) | {"codebook_dim": width if width != joint else 0},
        "bandwidths_kbps": [b for b in bandwidths if b < most] + [most],
    }
    o.done()
    f.done()
    return out


def _hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our config fields from `HiggsAudioV2TokenizerConfig`. Our key `pad_to_frames` turns on the feature extractor's padding."""
    f = Fields(config, "config")
    out = hf_network(f, sample_rate=24000)
    out["semantic_model"].setdefault("mask_time_prob", 0.0)  # as the class sets it where the config is silent
    f.drop("pad", "downsample_mode")  # of the authors' config, which the class does not read
    rate, speech_rate = out["sample_rate_hz"], f.take("semantic_sample_rate", 16000)
    hop, size = math.prod(out["strides"]), f.take("codebook_size", 1024)
    joint = out["acoustic_dim"] + out["semantic"]["width"]
    width = f.take("codebook_dim", 64) or joint
    out |= {
        "semantic_rate_hz": speech_rate,
        "semantic_step": max(1, int(hop / (rate / speech_rate) / f.take("downsample_factor", 320))),
        "pad_samples": _PAD,
        "acoustic_pad_samples": hop // 2,
        "quantizer": residual_quantizer(hf_codebooks(out, size), size) | {"codebook_dim": width},
    }
    f.done(swallowed=True)
    return out


def _say_hf(own: XCodecConfig) -> dict[str, Any]:
    """`config.json` of transformers. Raises NotWritable where the class cannot be set up like `own`."""
    rate = own.semantic_rate_hz or own.sample_rate_hz
    out = say_hf_network(own) | {
        "architectures": ["HiggsAudioV2TokenizerModel"],
        "model_type": "higgs_audio_v2_tokenizer",
        "codebook_dim": the_quantizer(own.quantizer, ResidualVQConfig).codebook_dim,
        "semantic_sample_rate": rate,
        "downsample_factor": int(own.hop_samples / (own.sample_rate_hz / rate) / own.semantic_step),
    }
    same = {"decoder_strides": own.ups, "semantic_name": XCodecConfig.semantic_name, "semantic_rate_hz": rate}
    return check_round_trip(dataclasses.replace(own, **same), out, _hf)


LAYOUTS = (
    Layout(
        system="higgs-audio-v2",
        upstream="boson-ai/higgs-audio boson_multimodal/audio_processing/higgs_audio_tokenizer.py HiggsAudioTokenizer",
        family="xcodec",
        config=_authors,
        keys=authors_keys,
    ),
    Layout(
        system="higgs_audio_v2_tokenizer-hf",
        upstream="huggingface/transformers models/higgs_audio_v2_tokenizer HiggsAudioV2TokenizerModel",
        family="xcodec",
        config=_hf,
        keys=hf_keys,
        authors_config=_say_hf,
        model_type="higgs_audio_v2_tokenizer",
    ),
)
