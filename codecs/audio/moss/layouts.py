"""MOSS-Audio-Tokenizer (the CAT architecture) in its authors' layout: hub repositories with custom code."""

import math
from collections.abc import Mapping
from typing import Any

from ...layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, Step, WeightNorm, pointwise, under
from ...layouts.layout import Layout
from ...layouts.moshi_config import moshi_transformer
from ...layouts.transformer_keys import MOSHI_BLOCK, rms_gains, rotary_halves
from .model import CATConfig

SIDES = ("encoder", "decoder")
#: Settings without effect on ids and waveforms, in their current and older names.
_RUNTIME = (
    "attention_implementation", "attention_backend", "compute_dtype", "codec_compute_dtype", "codec_weight_dtype", "codec_load_dtype",
)  # fmt: skip


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `CATConfig` from a MOSS config, of the first release (24 kHz) or of Nano and v2 (48 kHz stereo)."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS, *_RUNTIME, "version", "code_dim")
    rate = f.take("sampling_rate", f.take("sample_rate", 24000))
    channels = f.take("number_channels", f.take("channels_numbers", 1))
    if channels > 1:
        f.require("enable_channel_interleave", True, True)
    else:
        f.drop("enable_channel_interleave")
    mirrored = f.take("reversed_decoder_kwargs", None)
    modules = {
        "encoder": f.take("encoder_kwargs"),
        "decoder": f.take("decoder_kwargs") if mirrored is None else f.take("decoder_kwargs", None) or _mirror(mirrored),
    }
    stages = _stages(modules, float(rate * channels), f.take("causal_transformer_context_duration", 10.0))
    quantizer, dim = _quantizer(f)
    hop = math.prod(stage["patch"] for stage in stages["encoder"])
    f.require("downsample_rate", hop // channels, 1920)
    f.done(swallowed=True)
    return {
        "sample_rate_hz": rate,
        "channels": channels,
        **stages,
        "latent_dim": dim,
        "quantizer": quantizer,
        "mask_partial": True,
    }


def _mirror(modules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The decoder's list of modules, from the list of the encoder that it mirrors."""
    swapped = {"input_dimension": "output_dimension", "output_dimension": "input_dimension"}
    return [{swapped.get(k, k): v for k, v in m.items()} for m in reversed(modules)]


def _stages(modules: Mapping[str, Any], rate: float, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """The fields `encoder` and `decoder` of our config: one stage for each module of the authors' lists.

    Args:
        modules: the list of each side.
        rate: samples a second of the single stream into which the channels are merged.
        seconds: length of the attention window of modules that state none.
    """
    out: dict[str, list[dict[str, Any]]] = {"encoder": [], "decoder": []}
    for side in SIDES:
        for module in modules[side]:
            kind = module["module_type"]
            if kind == "PatchedPretransform":
                out[side].append({"patch": module["patch_size"]})
                rate = rate / module["patch_size"] if side == "encoder" else rate * module["patch_size"]
            elif kind == "Transformer":
                values = {k: v for k, v in module.items() if k != "context_duration"}
                context = round(rate * module.get("context_duration", seconds))
                transformer = moshi_transformer(values) | {"context": context}
                out[side].append({"patch": 1, "transformer": transformer, "out_channels": module["output_dimension"]})
            else:
                raise ValueError(f"{side}_kwargs holds the module_type {kind!r}; supported: 'PatchedPretransform', 'Transformer'.")
    return out


def _quantizer(f: Fields) -> tuple[dict[str, Any], int]:
    outer = f.take("quantizer_type", "rlfq")
    q = Fields(f.take("quantizer_kwargs"), "quantizer_kwargs")
    kinds = {"rvq": False, "spec_rvq": False, "rlfq": True, "random_prefix_rlfq": True}
    normalize = q.one_of("quantizer_type", kinds, outer)
    dim = q.take("input_dim", 1024)
    q.require("output_dim", dim)
    stack, width = q.take("rvq_dim", None) or dim, q.take("codebook_dim", 8)
    quantizer = {
        "kind": "residual_vq",
        "num_codebooks": q.take("num_quantizers", 32),
        "codebook_size": q.take("codebook_size", 1024),
        "codebook_dim": width if width != stack else 0,
        "stack_dim": stack if stack != dim else 0,
        "normalize": normalize,
        "update": "gradient",
        "kmeans_init": False,
        "dropout": 1.0,
    }
    q.drop("quantizer_dropout", "commitment", "codebook_loss_weight", "commitment_loss_weight")  # of training
    q.done(swallowed=True)
    return quantizer, dim


_QUANTIZER: list[Row] = [
    ("quantizer.input_proj.*", "quantizer.in_proj.*"),
    ("quantizer.output_proj.*", "quantizer.out_proj.*"),
    ("quantizer.quantizers.{}.{in_proj|out_proj}.*", "quantizer.levels.{}.{in_proj|out_proj}.*"),
    ("quantizer.quantizers.{}.codebook.weight", "quantizer.levels.{}.codebook.embed"),
]


def _keys(own: CATConfig) -> KeyMap:
    rows, last = list(_QUANTIZER), list[Step]()
    for side in SIDES:
        rows += [
            (f"{side}.{{}}.input_proj.weight", f"{side}.stages.{{}}.in_proj.weight"),
            (f"{side}.{{}}.output_proj.weight", f"{side}.stages.{{}}.out_proj.weight"),
            *under(f"{side}.{{}}.transformer.layers.{{}}.", f"{side}.stages.{{}}.blocks.{{}}.", MOSHI_BLOCK),
        ]
        for i, stage in enumerate(getattr(own, side)):
            t, blocks = stage.transformer, f"{side}.stages.{i}.blocks.{{}}."
            if t is not None and t.rope_period is not None:
                last.append(rotary_halves(blocks + "attention.qkv.weight", heads=t.heads, kv_heads=t.kv_heads or t.heads))
            if t is not None and t.norm == "rms":
                last.append(rms_gains(blocks + "{norm_attention|norm_feed_forward}.weight"))
    linear = pointwise("quantizer.{in_proj|out_proj}.weight", "quantizer.levels.{}.{in_proj|out_proj}.weight")
    return KeyMap(WeightNorm(written="parametrizations"), Rename(rows), linear, *last)


LAYOUTS = (
    Layout(
        system="moss-audio-tokenizer",
        upstream="OpenMOSS/MOSS-Audio-Tokenizer MossAudioTokenizerModel",
        family="moss",
        config=_config,
        keys=_keys,
        model_type="moss-audio-tokenizer",  # "speech_tokenizer" in the first release
        class_name="MossAudioTokenizerModel",
    ),
)
