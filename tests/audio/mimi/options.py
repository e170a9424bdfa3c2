"""Mimi in the layout of its authors and in that of transformers."""

from typing import Any

from layout_options import DROP, Sweep
from peers import fill_buffers, of_transformers

# the keys of kyutai/mimi, of September 2024
_HF: dict[str, Any] = {
    "architectures": ["MimiModel"], "attention_dropout": 0.0, "audio_channels": 1, "codebook_dim": 8, "codebook_size": 32,
    "compress": 2, "dilation_growth_rate": 2, "frame_rate": 200.0, "head_dim": 8, "hidden_act": "gelu", "hidden_size": 16,
    "initializer_range": 0.02, "intermediate_size": 24, "kernel_size": 7, "last_kernel_size": 3, "layer_scale_initial_scale": 0.5,
    "max_position_embeddings": 8000, "model_type": "mimi", "norm_eps": 1e-05, "normalize": False, "num_attention_heads": 2,
    "num_filters": 4, "num_hidden_layers": 2, "num_key_value_heads": 2, "num_residual_layers": 1, "num_quantizers": 9,
    "num_semantic_quantizers": 1, "pad_mode": "constant", "residual_kernel_size": 3, "rope_theta": 10000.0, "sampling_rate": 2400,
    "sliding_window": 6, "torch_dtype": "float32", "transformers_version": "4.45.0.dev0", "trim_right_ratio": 1.0,
    "upsample_groups": 16, "upsampling_ratios": [3, 2], "use_cache": False, "use_causal_conv": True, "use_conv_shortcut": False,
    "vector_quantization_hidden_dimension": 8,
}  # fmt: skip

# what releases before 4.45 wrote into every nested config
_GENERATION = {
    "add_cross_attention": False, "bad_words_ids": None, "begin_suppress_tokens": None, "bos_token_id": None,
    "chunk_size_feed_forward": 0, "cross_attention_hidden_size": None, "decoder_start_token_id": None, "diversity_penalty": 0.0,
    "do_sample": False, "early_stopping": False, "encoder_no_repeat_ngram_size": 0, "eos_token_id": None,
    "exponential_decay_length_penalty": None, "finetuning_task": None, "forced_bos_token_id": None, "forced_eos_token_id": None,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "is_decoder": False, "is_encoder_decoder": False,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "length_penalty": 1.0, "max_length": 20, "min_length": 0, "no_repeat_ngram_size": 0,
    "num_beam_groups": 1, "num_beams": 1, "num_return_sequences": 1, "output_attentions": False, "output_hidden_states": False,
    "output_scores": False, "pad_token_id": None, "prefix": None, "problem_type": None, "pruned_heads": {},
    "remove_invalid_values": False, "repetition_penalty": 1.0, "return_dict": True, "return_dict_in_generate": False,
    "sep_token_id": None, "suppress_tokens": None, "task_specific_params": None, "temperature": 1.0, "tf_legacy_loss": False,
    "tie_encoder_decoder": False, "tie_word_embeddings": True, "tokenizer_class": None, "top_k": 50, "top_p": 1.0,
    "torchscript": False, "typical_p": 1.0, "use_bfloat16": False,
}  # fmt: skip


def _transformer(**changes: Any) -> dict[str, Any]:
    return {"transformer": changes}


SWEEPS = {
    "mimi-hf": Sweep(
        tiny=_HF,
        options={
            "as it is": {},
            "half the convolutions' rate by default": {"frame_rate": DROP},
            "both spellings of the frame rate": {"_frame_rate": 200.0},
            "nested in an older dump": _GENERATION | {"_name_or_path": "kyutai/mimi", "torch_dtype": "float16"},
            "a frame of four": {"frame_rate": 100.0},
            "convolution around units": {"use_conv_shortcut": True},
            "two units a level": {"num_residual_layers": 2, "dilation_growth_rate": 3},
            "other kernels": {"kernel_size": 5, "last_kernel_size": 5, "residual_kernel_size": 5},
            "one key-value head": {"num_key_value_heads": 1, "num_attention_heads": 4},
            "heads of another width": {"head_dim": 6},
            "default width of heads": {"head_dim": DROP},
            "biases in attention": {"attention_bias": True},
            "padding with the last sample": {"pad_mode": "replicate"},
            "groups of the last step up": {"upsample_groups": 4},
            "two semantic codebooks": {"num_semantic_quantizers": 2},
            "tables as wide as the latents": {"codebook_dim": 16, "vector_quantization_hidden_dimension": 16},
            "another activation": {"hidden_act": "silu"},
            "rotary parameters of transformers 5": {
                "rope_theta": DROP, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}, "dtype": "float32",
            },
            "default ratios": {"upsampling_ratios": None, "num_filters": 2, "sampling_rate": 24000, "frame_rate": 12.5},
            "stereo": {"audio_channels": 2},
        },
        refused={
            "convolutions that look ahead": ({"use_causal_conv": False}, "use_causal_conv"),
            "two widths of codes": ({"codebook_dim": 4}, "codebook_dim"),
            "scaled rotary angles": ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "rope_type"),
        },
        peer=of_transformers(
            "Mimi",
            lambda model, x: model.encode(x).audio_codes,
            lambda model: fill_buffers(model, embed_sum=1.0),
        ),
    ),
    "mimi": Sweep(
        tiny={
            "channels": 1, "sample_rate": 2400, "frame_rate": 200, "num_codebooks": 3,
            "seanet": {
                "channels": 1, "dimension": 16, "causal": True, "n_filters": 4, "n_residual_layers": 1, "activation": "ELU",
                "compress": 2, "dilation_base": 2, "disable_norm_outer_blocks": 0, "kernel_size": 7, "residual_kernel_size": 3,
                "last_kernel_size": 3, "norm": "none", "pad_mode": "constant", "ratios": [3, 2], "true_skip": True,
            },
            "transformer": {
                "d_model": 16, "num_heads": 2, "num_layers": 2, "causal": True, "layer_scale": 0.5, "context": 6, "conv_layout": True,
                "max_period": 10000, "gating": "none", "norm": "layer_norm", "positional_embedding": "rope", "dim_feedforward": 24,
                "input_dimension": 16, "output_dimensions": [16],
            },
            "quantizer": {"dimension": 8, "n_q": 4, "bins": 32, "input_dimension": 16, "output_dimension": 16},
        },
        options={
            "as it is": {},
            "all codebooks": {"num_codebooks": DROP},
            "a gated network": _transformer(gating="silu"),
            "a gated network of four widths": _transformer(gating="gelu", dim_feedforward=64),
            "RMSNorm": _transformer(norm="rms_norm"),
            "RMSNorm of the other epsilon": _transformer(norm="rms_norm_f32"),
            "sinusoids": _transformer(positional_embedding="sin"),
            "rotary pairs and sinusoids": _transformer(positional_embedding="sin_rope"),
            "rotary pairs as halves": _transformer(positional_embedding="rope_concat"),
            "no positions": _transformer(positional_embedding="none"),
            "no layer scale, all earlier steps": _transformer(layer_scale=None, context=None),
            "narrower inside": _transformer(d_model=8),
            "no transformers": {"transformer": None},
            "weight norm": {"seanet": {"norm": "weight_norm"}},
            "default units": {"seanet": {"n_residual_layers": DROP}},
            "two semantic codebooks": {"quantizer": {"n_q_semantic": 2}},
            "no strided convolution": {"frame_rate": 400},
            "a frame of four": {"frame_rate": 100},
            "settings of training": {"quantizer": {"q_dropout": True, "no_quantization_rate": 0.5, "decay": 0.9}},
        },
        refused={
            "an attention that looks ahead": (_transformer(causal=False), "causal"),
            "a rate that is no divisor": ({"frame_rate": 130}, "frame_rate"),
        },
    ),
}  # fmt: skip
