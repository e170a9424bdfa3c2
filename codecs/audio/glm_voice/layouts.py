"""GLM-4-Voice's tokenizer as published, in transformers' keys of Whisper; of a whole Whisper, the encoder up to the quantizer."""

from collections.abc import Mapping
from typing import Any

from ...layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, State, Then
from ...layouts.layout import Layout
from ...layouts.whisper_keys import hf_blocks, stem_rows
from .model import GLMVoiceConfig

#: Keys of Whisper's decoder, of its other heads, and of training; names that transformers no longer writes.
_UNUSED = (
    "activation_dropout", "apply_spec_augment", "attention_dropout", "classifier_proj_size", "decoder_attention_heads",
    "decoder_ffn_dim", "decoder_layerdrop", "decoder_layers", "dropout", "encoder_layerdrop", "encoder_layers", "init_std",
    "mask_feature_length", "mask_feature_min_masks", "mask_feature_prob", "mask_time_length", "mask_time_min_masks",
    "mask_time_prob", "max_target_positions", "median_filter_width", "num_hidden_layers", "quantize_commit_coefficient",
    "quantize_ema_decay", "quantize_encoder_only", "quantize_loss_scale", "quantize_restart_interval", "scale_embedding",
    "skip_language_detection", "use_weighted_layer_sum", "vocab_size",
)  # fmt: skip


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`WhisperVQConfig`; its class takes and ignores unknown keys. `scale_embedding` is read by no line of the encoder."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS, *_UNUSED)
    f.require("activation_function", "gelu")
    codes = f.take("quantize_vocab_size", None)
    if codes is None:
        raise ValueError("config.quantize_vocab_size is not set: this is a Whisper without a quantizer.")
    layers, pool, after = f.take("quantize_position", 16), f.take("pooling_kernel_size", None), f.take("pooling_position", 0)
    if pool is not None and after > layers:
        raise ValueError(f"config.pooling_position is {after}, behind the quantizer at quantize_position {layers}.")
    kind = f.one_of("pooling_type", {"avg": "mean", "max": "max"}, "max")
    block = f.take("quantize_causal_block_size", None)
    causal = f.take("encoder_causal_attention", False) or f.take("quantize_causal_encoder", False)
    f.drop("quantize_causal_encoder")
    out = {
        "bands": f.take("num_mel_bins", 80),
        "width": f.take("d_model", 384),
        "heads": f.take("encoder_attention_heads", 6),
        "hidden": f.take("encoder_ffn_dim", 1536),
        "layers": layers,
        "table": f.take("max_source_positions", 1500),
        "causal_stem": bool(f.take("encoder_causal_convolution", False)),
        "attention": "causal" if causal else "full" if block is None else "block",
        "quantizer": {"kind": "vq", "codebook_size": codes, "kmeans_init": False},
    }
    out |= {"block": block} if out["attention"] == "block" else {}
    # position 0 stands for the convolutions, behind which no block ends: nothing is pooled then
    out |= {"pool": pool, "pool_after": after, "pooling": kind} if pool and after else {"pool": 1}
    f.done(swallowed=True)
    return out


_P = "[model.encoder.||encoder.]"
_ROWS: list[Row] = [
    *stem_rows(_P, "encoder.stem."),
    (f"{_P}embed_positions.weight", "encoder.table"),
    *hf_blocks(_P, "encoder."),
    (f"{_P}codebook.weight", "quantizer.codebook.embed"),
    (f"{_P}ema_{{count|weight}}", None),  # statistics of the authors' training
    (f"{_P}embed_positions2.weight", None),  # added to the code vectors in front of Whisper's second half
    (f"{_P}layer_norm.*", None),
    ("[model.|]decoder.**", None),
    ("proj_out.weight", None),
]


def _without_later_layers(own: GLMVoiceConfig) -> Then:
    """Whisper's layers from the quantizer on are in the file, and no part of the tokenizer."""

    def read(state: State) -> State:
        def is_later(key: str) -> bool:
            head, found, tail = key.partition("layers.")
            number = tail.partition(".")[0]
            return bool(found) and head in ("", "model.encoder.", "encoder.") and number.isdigit() and int(number) >= own.layers

        return {k: v for k, v in state.items() if not is_later(k)}

    return Then(read, lambda state: state)


def _keys(own: GLMVoiceConfig) -> KeyMap:
    return KeyMap(_without_later_layers(own), Rename(_ROWS))


LAYOUTS = (
    Layout(
        system="glm-4-voice",
        upstream="THUDM/GLM-4-Voice speech_tokenizer/modeling_whisper.py WhisperVQEncoder",
        family="glm_voice",
        config=_config,
        keys=_keys,
        class_name="WhisperVQEncoder",
    ),
)
