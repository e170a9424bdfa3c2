"""USTokenizer (DualSpeechLM): RepCodec's modules between two strided convolutions; the language model beside them is left out.

The config is the authors' YAML (or its part `model`, or `codec_config` alone). One key is ours: `whisper`, a configuration in
the terms of transformers, says that Whisper's encoder (`speech_encoder.`) is to be taken from the file too; without it those
weights, which the authors freeze, are left out and the published model is used.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import unwrap
from .base import Converter, rename
from .fields import FOLDER_KEYS, Fields
from .hcodec import feature_conv_table

#: Of the language model, its prompts, and training.
_UNUSED = (
    "ckpt", "device_8bit", "end_sym", "freeze_whisper", "llama_path", "lora", "lora_alpha", "lora_dropout", "lora_rank",
    "low_resource", "max_txt_len", "multi_prompt", "phi_path", "prompt_path", "prompt_template", "test_prompt_path",
    "whisper_path",
)  # fmt: skip


def _parts(config: Mapping[str, Any]) -> tuple[Fields, dict[str, Any]]:
    """The codec's own settings, and Whisper's."""
    outer = dict(config["model"]) if isinstance(config.get("model"), Mapping) else dict(config)
    if "codec_config" not in outer:
        whisper = outer.pop("whisper", {})
        codec = Fields(outer, "config")
        codec.drop(*FOLDER_KEYS)
        return codec, whisper
    f = Fields(outer, "config")
    f.drop(*FOLDER_KEYS, *_UNUSED)
    codec, whisper = Fields(f.take("codec_config"), "codec_config"), f.take("whisper", {})
    f.done()
    return codec, whisper


def _side(f: Fields, name: str, features: int, width: int, bias: bool) -> dict[str, Any]:
    return {
        "features": features,
        "width": width,
        "ratios": f.take(f"{name}_ratios", [1, 1]),
        "strides": f.take(f"{name}_strides", [1, 1]),
        "kernel_size": f.take(f"{name}_kernel_size", 3),
        "unit_kernel": f.take(f"{name}_block_kernel_size", 3),
        "dilations": f.take(f"{name}_block_dilations", [1, 1]),
        "bias": bias,
    }


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    f, whisper = _parts(config)
    bias, features = bool(f.take("bias", True)), f.take("input_channels")
    f.require("output_channels", features)
    out = {
        "encoder": _side(f, "enc", features, f.take("encode_channels"), bias),
        "decoder": _side(f, "dec", features, f.take("decode_channels"), bias),
        "latent_dim": f.take("code_dim"),
        "whisper_model": whisper,
        "quantizer": {
            "kind": "residual_vq",
            "num_codebooks": f.take("codebook_num"),
            "codebook_size": f.take("codebook_size"),
            "decay": 0.8,
            "commitment_weight": 1.0,
            "kmeans_init": False,
            "replace_below": 0.0,
        },
    }
    f.done()
    return out


_TABLE = [
    (r"downsampling_conv\.conv\.(weight|bias)", r"down.\1"),
    (r"upsampling_conv\.deconv\.(weight|bias)", r"up.\1"),
    (r"speech_llama_conv_proj\.conv\.weight", r"to_latent.weight"),
    (r"vq\.codebook\.layers\.(\d+)\.embed", r"quantizer.levels.\1.codebook.embed"),
    (r"vq\.codebook\.layers\.(\d+)\.embed_avg", r"quantizer.levels.\1.codebook.sums"),
    (r"vq\.codebook\.layers\.(\d+)\.cluster_size", r"quantizer.levels.\1.codebook.counts"),
    *((a, b.replace("semantic_", "")) for a, b in feature_conv_table("codec_encoder", "codec_decoder")),
]
_DROPPED = (r"(llama_model|llama_linear|llama_conv)\..*",)
_WHISPER = r"speech_encoder\.(.*)"


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    own = bool(_parts(config)[1])
    table = _TABLE + ([(_WHISPER, r"whisper.model.\1")] if own else [])
    out = rename(unwrap(state, "model"), table, dropped=_DROPPED if own else (*_DROPPED, _WHISPER))
    for key in [k for k in out if k.endswith((".codebook.embed", ".codebook.sums"))]:
        out[key] = out[key].t().contiguous()  # theirs are [D, V]
    for key in [k for k in out if k.endswith(".codebook.counts")]:
        prefix = key[: -len("counts")]
        if not bool((out[key] > 0).any()):  # untrained: the means would make nothing of the table
            del out[key], out[prefix + "sums"]
        else:
            out |= {prefix + "ready": out[key].new_ones(()).bool(), prefix + "steps": out[key].new_zeros(()).long()}
    return out


CONVERTERS = (
    Converter(
        system="ustokenizer", upstream="lavendery/UUG USTokenizer", family="ustokenizer", config=_config, weights=_weights
    ),
)
