"""MOSS-Audio-Tokenizer in its authors' layout (hub repositories with code of their own)."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from .base import Converter, fold_weight_norm, rename
from .fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from .mimi import MOSHI_BLOCK, block_table, finish_blocks, moshi_transformer, squeeze_pointwise


def cat_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `CATConfig` from a MOSS config, of the first release (24 kHz) or of Nano and v2 (48 kHz stereo)."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS, "version", "code_dim", "reversed_decoder_kwargs")
    f.drop("attention_implementation", "compute_dtype", "codec_weight_dtype")  # how it runs, not what it gives
    rate, seconds = f.take("sampling_rate", f.take("sample_rate", 24000)), f.take("causal_transformer_context_duration", 10.0)
    channels = f.take("number_channels", 1)
    if channels > 1:
        f.require("enable_channel_interleave", True, True)
    else:
        f.drop("enable_channel_interleave")
    stages, (encoder, decoder) = _stages(f, float(rate * channels), seconds), ([], [])
    for side, patch, transformer in stages:
        own = {"patch": patch}
        if transformer is not None:
            own |= {"transformer": transformer[0], "out_channels": transformer[1]}
        (encoder if side == "encoder" else decoder).append(own)
    quantizer, dim = _quantizer(f)
    out = {
        "sample_rate_hz": rate,
        "channels": channels,
        "encoder": encoder,
        "decoder": decoder,
        "latent_dim": dim,
        "quantizer": quantizer,
        "mask_partial": True,
    }
    hop = 1
    for stage in encoder:
        hop *= stage["patch"]
    f.require("downsample_rate", hop // channels, 1920)
    f.done()
    return out


def _stages(f: Fields, rate: float, seconds: float) -> list[tuple[str, int, tuple[dict[str, Any], int] | None]]:
    """(side, patch, (transformer, channels out)) of every module of the authors' lists, one stage each.

    Args:
        f: the config.
        rate: of the one stream of samples, in Hz.
        seconds: length of the attention windows of modules that name none (and where none of the encoder's does).
    """
    out = []
    sides = {side: f.take(f"{side}_kwargs") for side in ("encoder", "decoder")}
    kinds = [m for m in sides["encoder"] if m["module_type"] == "Transformer"]
    seconds = min((m.get("context_duration", seconds) for m in kinds), default=seconds)
    for side, modules in sides.items():
        for module in modules:
            if module["module_type"] == "PatchedPretransform":
                out.append((side, module["patch_size"], None))
                rate = rate / module["patch_size"] if side == "encoder" else rate * module["patch_size"]
            elif module["module_type"] == "Transformer":
                own = {k: v for k, v in module.items() if k != "context_duration"}
                context = round(rate * module.get("context_duration", seconds))
                transformer = moshi_transformer(own) | {"context": context}
                out.append((side, 1, (transformer, module["output_dimension"])))
            else:
                raise ValueError(f"{side}_kwargs holds the module_type {module['module_type']!r}; supported: "
                                 "'PatchedPretransform', 'Transformer'.")  # fmt: skip
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
    q.done()
    return quantizer, dim


# Authors' key -> own key; the transformers' blocks follow in `block_table`.
_TABLE = (
    (r"quantizer\.input_proj\.(weight|bias)", r"quantizer.in_proj.\1"),
    (r"quantizer\.output_proj\.(weight|bias)", r"quantizer.out_proj.\1"),
    (r"quantizer\.quantizers\.(\d+)\.(in|out)_proj\.(weight|bias)", r"quantizer.levels.\1.\2_proj.\3"),
    (r"quantizer\.quantizers\.(\d+)\.codebook\.weight", r"quantizer.levels.\1.codebook.embed"),
    (r"(encoder|decoder)\.(\d+)\.input_proj\.weight", r"\1.stages.\2.in_proj.weight"),
    (r"(encoder|decoder)\.(\d+)\.output_proj\.weight", r"\1.stages.\2.out_proj.weight"),
)


def cat_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Own keys and values from the authors' state dict."""
    own = cat_config(config)
    table, sides = list(_TABLE), [(s, i, stage) for s in ("encoder", "decoder") for i, stage in enumerate(own[s])]
    for side, i, _ in sides:
        table += block_table(MOSHI_BLOCK, rf"{side}\.{i}\.transformer\.layers", f"{side}.stages.{i}.blocks")
    out = squeeze_pointwise(rename(fold_weight_norm(state), table), r"quantizer\..*(in|out)_proj\.weight")
    for side, i, stage in sides:
        if "transformer" in stage:
            finish_blocks(out, f"{side}.stages.{i}", stage["transformer"])
    return out


CONVERTERS: Sequence[Converter] = (
    Converter(
        system="moss-audio-tokenizer",
        upstream="OpenMOSS/MOSS-Audio-Tokenizer MossAudioTokenizerModel",
        family="cat",
        config=cat_config,
        weights=cat_weights,
    ),
)
