"""USTokenizer (DualSpeechLM): RepCodec's modules between two strided convolutions; the file's language model is dropped.

The config is the authors' YAML (or its part `model`, or `codec_config` alone). One key is ours: `whisper`, a configuration in
the terms of transformers. With it, Whisper's encoder (`speech_encoder.`) is read from the file; without it these
weights, which the authors freeze, are dropped and the published model is used.
"""

from collections.abc import Mapping
from typing import Any

import torch

from ...layouts import feature_conv_keys
from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, State, Then, Unwrap, transposed
from ...layouts.layout import Layout
from .model import USTokenizerConfig

#: Keys of the config that concern the language model, its prompts, or training.
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


def _statistics() -> Then:
    """Drop the EMA counts and sums of an untrained codebook; with those of a trained one, mark the codebook as initialised."""

    def read(state: State) -> State:
        out = dict(state)
        for key in [k for k in out if k.endswith(".codebook.counts")]:
            prefix = key[: -len("counts")]
            if bool((out[key] > 0).any()):
                out |= {prefix + "ready": torch.tensor(True), prefix + "steps": torch.zeros((), dtype=torch.int64)}
            else:
                del out[key], out[prefix + "sums"]
        return out

    return Then(read, lambda state: {k: v for k, v in state.items() if not k.endswith((".codebook.ready", ".codebook.steps"))})


def _keys(own: USTokenizerConfig) -> KeyMap:
    book, ours = "vq.codebook.layers.{}", "quantizer.levels.{}.codebook"
    rows: list[Row] = [
        ("{llama_model|llama_linear|llama_conv}.**", None),
        ("speech_encoder.**", "whisper.model.**" if own.whisper_model else None),
        ("downsampling_conv.conv.*", "down.*"),
        ("upsampling_conv.deconv.*", "up.*"),
        ("speech_llama_conv_proj.conv.weight", "to_latent.weight"),
        (f"{book}.embed", f"{ours}.embed"),
        (f"{book}.embed_avg", f"{ours}.sums"),
        (f"{book}.cluster_size", f"{ours}.counts"),
        *feature_conv_keys.encoder("codec_encoder", "encoder"),
        *feature_conv_keys.decoder("codec_decoder", "decoder", own.decoder.strides),
    ]
    return KeyMap(Unwrap("model"), Rename(rows), transposed("**.codebook.{embed|sums}"), _statistics())


LAYOUTS = (
    Layout(
        system="ustokenizer",
        upstream="lavendery/UUG USTokenizer",
        family="ustokenizer",
        config=_config,
        keys=_keys,
    ),
)
