"""MiMo-Audio-Tokenizer as its authors publish it: a folder of transformers with a class of their own."""

from collections.abc import Mapping
from typing import Any

from ...layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row
from ...layouts.layout import Layout
from ...layouts.seanet_keys import codebook_rows, running_codebooks
from ...layouts.whisper_keys import hf_blocks, stem_rows
from .model import MiMoAudioConfig

#: Keys of the newer class in MiMo-V2.5, whose network is another one.
_NEWER = ("use_istft_only", "hybrid_attention", "mid_downsample")


def _stack(f: Fields, side: str, names: tuple[str, str, str], width: int, defaults: tuple[int, int, int]) -> dict[str, Any]:
    """A `RotaryStackConfig` mapping of `encoder`, `decoder` or `vocoder`; `names` are those of heads, hidden width and layers."""
    heads, hidden, layers = (f.take(f"{side}_{name}", default) for name, default in zip(names, defaults, strict=True))
    causal = bool(f.take(f"{side}_causal", side == "decoder")) if side != "vocoder" else False
    window = f.take(f"{side}_attn_window_size", None) or ([40, 10] if side == "vocoder" else [-1, -1])
    if not isinstance(window, list) or len(window) != 2:
        raise ValueError(f"config.{side}_attn_window_size is {window!r:.100}; it must be two numbers.")
    reach = [window[0], 0 if causal else window[1]]
    return {"width": width, "heads": heads, "hidden": hidden, "layers": layers, "reach": reach}


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS, "max_audio_seconds", "scale_embedding", "threshold_ema_dead_code")
    for key in _NEWER:
        if f.take(key, None):
            raise ValueError(f"config.{key} is set: this is the newer tokenizer of MiMo-V2.5, whose class is another one.")
    for key, value in (
        ("activation_function", "gelu"), ("kernel_size", 3), ("vocoder_padding", "same"), ("rope_type", "default"),
        ("position_embedding_type", "rope"),
    ):  # fmt: skip
        f.require(key, value)
    width, stride, ending = f.take("d_model", 768), f.take("stride_size", 2), ("attention_heads", "ffn_dim", "layers")
    shared = {
        "rms": f.one_of("ln_type", {"LayerNorm": False, "RMSNorm": True}, "LayerNorm"),
        "rope_period": f.take("rope_theta", 10000),
    }
    shared["rope_period"] = float(shared["rope_period"])
    f.require("decoder_stride_size", stride, 2)  # else an id would decode to another length than it stands for
    vocoder = f.take("vocoder_dim", 512)
    count, sizes = f.take("num_quantizers", 12), f.take("codebook_size", None) or [1024]
    if count < 1:
        raise ValueError(f"config.num_quantizers is {count}: this is an encoder without a quantizer.")
    sizes = [sizes] * count if isinstance(sizes, int) else (sizes + [sizes[-1]] * count)[:count]
    out = {
        "sample_rate_hz": f.take("sampling_rate", 24000),
        "bands": f.take("n_mels", 80),
        "fft_samples": f.take("nfft", 1024),
        "window_samples": f.take("window_size", 1024),
        "hop_samples": f.take("hop_length", 240),
        "low_hz": float(f.take("fmin", 0) or 0),
        "high_hz": float(f.take("fmax", None) or 0),
        "stride": stride,
        "pool": f.take("avg_pooler", 1),
        "encoder": _stack(f, "encoder", ending, width, (12, 3072, 8)) | shared,
        "skip": f.take("encoder_skip_layer_id", None) or 0,
        "decoder": _stack(f, "decoder", ending, width, (12, 3072, 8)) | shared,
        "decoder_kernel": f.take("decoder_kernel_size", 3),
        "vocoder": _stack(f, "vocoder", ("attention_heads", "intermediate_dim", "num_layers"), vocoder, (4, 4096, 30)) | shared,
        "quantizer": {
            "kind": "residual_vq", "num_codebooks": count, "codebook_size": sizes[0] if len(set(sizes)) == 1 else sizes,
            "kmeans_iterations": 50, "commitment_weight": 1.0,
        },
    }  # fmt: skip
    f.done(swallowed=True)
    return out


def _stack_rows(theirs: str, ours: str) -> list[Row]:
    return [*hf_blocks(theirs, ours), (f"{theirs}layer_norm.*", f"{ours}norm.*")]


_BOOK = "encoder.quantizer.vq.layers.{}._codebook"
_ROWS: list[Row] = [
    *codebook_rows(_BOOK, "quantizer.levels.{}.codebook"),
    *stem_rows("encoder.", "encoder.stem."),
    *_stack_rows("encoder.", "encoder.stack."),
    ("encoder.down_sample_layer.0.weight", "encoder.down.weight"),
    ("encoder.down_sample_norm.*", "encoder.norm.*"),
    ("decoder.dconv1.{conv|norm}.*", "decoder.up.{conv|norm}.*"),
    *_stack_rows("decoder.", "decoder.stack."),
    ("decoder.dconv2.{conv|norm}.*", "decoder.mel.{conv|norm}.*"),
    ("decoder.vocoder.embeddings.weight", "decoder.embed.weight"),
    *_stack_rows("decoder.vocoder.", "decoder.vocoder."),
    ("decoder.vocoder.head.istft.window", None),  # a Hann window
    ("decoder.vocoder.head.out.*", "decoder.head.out.*"),
]


def _keys(own: MiMoAudioConfig) -> KeyMap:
    return KeyMap(Rename(_ROWS), running_codebooks())


LAYOUTS = (
    Layout(
        system="mimo-audio",
        upstream="XiaomiMiMo/MiMo-Audio src/mimo_audio_tokenizer/modeling_audio_tokenizer.py MiMoAudioTokenizer",
        family="mimo_audio",
        config=_config,
        keys=_keys,
        model_type="mimo_audio_tokenizer",
        class_name="MiMoAudioTokenizer",
    ),
)
