"""X-codec2 and NeuCodec: training files, the hub's small config, and the classes of transformers."""

from collections.abc import Callable
from typing import Any

import torch
from layout_options import DROP, Sweep, merged
from peers import lively, of_transformers
from torch import Tensor

_AUTHORS: dict[str, Any] = {
    "CodecEnc": {"ngf": 3, "up_ratios": [2, 5], "dilations": [1, 3, 9], "hidden_dim": 16},
    "generator": {"hidden_dim": 32, "depth": 2, "heads": 2, "pos_meb_dim": 8, "hop_length": 10, "vq_dim": 40},
    "SemanticEncoder": [12, 16, 16], "fc_prior": [32, 40], "fc_post_a": [40, 32],
}  # fmt: skip
_OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "what the training config holds": {
        "CodecEnc": {"depth": 1, "heads": 16, "pos_meb_dim": 64},
        "generator": {
            "vq_num_quantizers": 1, "vq_commit_weight": 0.25, "vq_weight_init": False, "vq_full_commit_loss": False,
            "codebook_size": 16384, "codebook_dim": 16,
        },
    },
    "arguments by name": {"SemanticEncoder": {"input_channels": 12, "code_dim": 16, "encode_channels": 16}},
    "other widths of the adapter": {"SemanticEncoder": [12, 8, 20], "fc_prior": [24, 40]},
    "a wider kernel": {"SemanticEncoder": [12, 16, 16, 5]},
    "no biases in the adapter": {"SemanticEncoder": {"input_channels": 12, "code_dim": 16, "encode_channels": 16, "bias": False}},
    "three levels": {"CodecEnc": {"up_ratios": [2, 1, 5]}},
    "two units a level": {"CodecEnc": {"dilations": [1, 3]}},
    "default dilations": {"CodecEnc": {"dilations": DROP}},
    "wider convolutions": {"CodecEnc": {"ngf": 4, "hidden_dim": 24}, "fc_prior": [40, 40]},
    "one layer": {"generator": {"depth": 1}},
    "one head": {"generator": {"heads": 1}},
    "wider latents": {"generator": {"vq_dim": 24}, "fc_prior": [32, 24], "fc_post_a": [24, 32]},
    "another rate out": {"generator": {"hop_length": 15}},
}  # fmt: skip
#: config.json of the authors' repository, 222 bytes; the sizes of its class are numbers in the code.
HUB: dict[str, Any] = {
    "model_type": "xcodec2", "semantic_hidden_size": 1024, "codec_encoder_hidden_size": 1024, "codec_decoder_hidden_size": 1024,
    "use_vocos": True, "architectures": ["XCodec2Model"],
}  # fmt: skip


def features(tok: Any, x: Tensor) -> Tensor:
    """Random features of the speech model, as many as the clips' frames."""
    frames = -(-x.shape[-1] // tok.spec.hop_samples)
    return torch.randn(x.shape[0], tok.config.semantic_in, frames, generator=torch.Generator().manual_seed(3))


def _hub_file(state: dict[str, Any]) -> dict[str, Any]:
    """What `model.safetensors` and `pytorch_model.bin` of the authors' repository hold: the speech model too, and fixed filters."""
    more = {"semantic_model.encoder.layers.0.ffn1.intermediate_dense.weight": torch.randn(3, 2)}
    more["CodecEnc.conv_final_block.0.upsample.filter"] = torch.randn(1, 1, 12)
    more["CodecEnc.conv_final_block.0.downsample.lowpass.filter"] = torch.randn(1, 1, 12)
    return state | more | {"generator.head.istft.window": torch.randn(40)}


def _neucodec_file(state: dict[str, Any]) -> dict[str, Any]:
    more = {"SemanticDecoder_module.initial_conv.weight": torch.randn(2, 2, 3), "fc_post_s.weight": torch.randn(2, 2)}
    return _hub_file(state) | more


def _by_extractor(name: str) -> Callable[[Any, Tensor], Tensor]:
    """Ids of clips, through the feature extractor that transformers has for the class."""

    def ids(model: Any, x: Tensor) -> Tensor:
        import transformers

        extractor = getattr(transformers, f"{name}FeatureExtractor")()
        inputs = extractor([clip[0].numpy() for clip in x], sampling_rate=16000, return_tensors="pt")
        return model.encode(inputs["input_values"], inputs["input_features"]).audio_codes

    return ids


_SPEECH = {
    "model_type": "wav2vec2-bert", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "output_hidden_size": 16, "conv_depthwise_kernel_size": 5, "vocab_size": 8, "left_max_position_embeddings": 6,
    "right_max_position_embeddings": 4,
}  # fmt: skip
_HF: dict[str, Any] = {
    "activation_dropout": 0.1, "architectures": ["Xcodec2Model"], "attention_bias": False, "attention_dropout": 0.0,
    "downsampling_ratios": [4, 8, 10], "dtype": "float32", "encoder_hidden_size": 2, "head_dim": 16, "hidden_act": "silu",
    "hidden_size": 32, "initializer_range": 0.02, "intermediate_size": 48, "max_position_embeddings": 4096, "model_type": "xcodec2",
    "num_attention_heads": 2, "num_hidden_layers": 2, "num_key_value_heads": 2, "pad_token_id": None, "quantization_dim": 48,
    "quantization_levels": [5, 4, 3, 3], "rms_norm_eps": 1e-06, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "sampling_rate": 16000, "semantic_model_config": _SPEECH, "tie_word_embeddings": False, "transformers_version": "5.23.0",
}  # fmt: skip
_HF_OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "one layer of speech": {"semantic_model_config": {"num_hidden_layers": 1}},
    "another speech model": {"semantic_model_config": {"hidden_size": 24, "output_hidden_size": 24}, "quantization_dim": 56},
    "biases in attention": {"attention_bias": True},
    "another epsilon": {"rms_norm_eps": 1e-3},
    "published levels": {"quantization_levels": [4] * 8},
    "default levels": {"quantization_levels": DROP},
    "fewer levels": {"quantization_levels": [3, 5]},
    "four heads": {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8},
    "default dropout": {"activation_dropout": DROP},
    "two levels": {"downsampling_ratios": [16, 20]},
    "wider convolutions": {"encoder_hidden_size": 3},
    "wider inside": {"intermediate_size": 64},
    "an older rotary key": {"rope_parameters": DROP, "rope_theta": 10000.0},
}  # fmt: skip
_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "fewer key-value heads": ({"num_key_value_heads": 1}, "num_key_value_heads"),
    "heads of another width": ({"head_dim": 64}, "head_dim"),
    "another activation": ({"hidden_act": "gelu"}, "hidden_act"),
    "latents of another width": ({"quantization_dim": 64}, "quantization_dim"),
}
_NEUCODEC_HF = merged(
    _HF, {"architectures": ["NeuCodecModel"], "model_type": "neucodec", "sampling_rate": DROP, "input_sampling_rate": 16000}
)

SWEEPS = {
    "xcodec2": Sweep(
        tiny=_AUTHORS,
        options=_OPTIONS | {"beside the hub's config": HUB, "in a copy that says xcodec": HUB | {"model_type": "xcodec"}},
        refused={
            "a map of another width": ({"fc_prior": [16, 40]}, "fc_prior"),
            "a misspelt key": ({"CodecEnc": {"up_ratio": [2]}}, "up_ratios"),
            "too few arguments": ({"SemanticEncoder": [12]}, "SemanticEncoder"),
        },
        features=features,
        enliven=lively,
        published=_hub_file,
    ),
    "neucodec": Sweep(
        tiny=merged(_AUTHORS, {"generator": {"hop_length": 15}}),
        options=_OPTIONS | {"the rate that goes in": {"generator": {"hop_length": 10}}},
        features=features,
        enliven=lively,
        published=_neucodec_file,
    ),
    "xcodec2-hf": Sweep(
        tiny=_HF,
        shape=(1, 1603),
        options=_HF_OPTIONS,
        refused=_REFUSED,
        enliven=lively,
        peer=of_transformers("Xcodec2", _by_extractor("Xcodec2"), lively),
    ),
    "neucodec-hf": Sweep(
        tiny=merged(_NEUCODEC_HF, {"output_sampling_rate": 24000}),
        shape=(1, 1603),
        options=_HF_OPTIONS | {"the default rate": {"output_sampling_rate": DROP}, "32 kHz": {"output_sampling_rate": 32000}},
        refused=_REFUSED,
        enliven=lively,
        peer=of_transformers("NeuCodec", _by_extractor("NeuCodec"), lively),
    ),
}  # fmt: skip
