"""X-codec: its authors' YAML, and the class of transformers."""

import io
from typing import Any

from layout_options import DROP, Sweep
from peers import fill_buffers, of_transformers
from tokenzoo.codecs.audio.base import pad_to_hop

_SPEECH = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "conv_dim": [8, 8, 8],
    "conv_kernel": [5, 3, 2], "conv_stride": [4, 2, 2], "num_conv_pos_embeddings": 6, "num_conv_pos_embedding_groups": 2,
    "vocab_size": 8, "num_feat_extract_layers": 3,
}  # fmt: skip

# the keys of hf-audio/xcodec-*
_HF: dict[str, Any] = {
    "acoustic_model_config": {
        "codebook_dim": 8, "codebook_loss_weight": 1.0, "codebook_size": 1024, "commitment_loss_weight": 0.25,
        "decoder_hidden_size": 16, "downsampling_ratios": [2, 8], "encoder_hidden_size": 3, "hidden_size": 8, "hop_length": 16,
        "model_type": "dac", "n_codebooks": 9, "quantizer_dropout": 0, "sampling_rate": 16000, "upsampling_ratios": [8, 2],
    },
    "architectures": ["XcodecModel"], "block_dilations": [1, 1], "channel_ratios": [1, 1], "codebook_dim": 32, "codebook_size": 16,
    "dtype": "float32", "initializer_range": 0.02, "kernel_size": 3, "model_type": "xcodec", "sample_rate": 16000,
    "semantic_model_config": {"model_type": "hubert", **_SPEECH}, "strides": [1, 1], "target_bandwidths": [1.5, 5, 11],
    "unit_kernel_size": 3,
}  # fmt: skip


def _acoustic(**changes: Any) -> dict[str, Any]:
    return {"acoustic_model_config": changes}


def _speech(**changes: Any) -> dict[str, Any]:
    return {"semantic_model_config": changes}


def _generator(**changes: Any) -> dict[str, Any]:
    return {"generator": {"config": changes}}


def _published(state: dict[str, Any]) -> dict[str, Any]:
    """A file of a training run: the older spelling of weight norm in the speech model, and no tensors beside them."""
    out = {}
    for key, value in state.items():
        if key.startswith("semantic_model."):
            key = key.replace("parametrizations.weight.original0", "weight_g").replace("parametrizations.weight.original1", "weight_v")
        out[key] = value
    return out | {"bytes_io": io.BytesIO(b"bytes"), "steps": 7}


SWEEPS = {
    "xcodec-hf": Sweep(
        tiny=_HF,
        shape=(1, 171),
        options={
            "as it is": {},
            "padded to whole frames": {"pad_to_frames": True},
            "wider in a level, other kernels": {
                "channel_ratios": [2, 1], "block_dilations": [1, 3], "kernel_size": 5, "unit_kernel_size": 5,
            },
            "fewer frames than the speech model": {"strides": [2, 1]} | _speech(conv_stride=[4, 2, 1]),
            "more codebooks, of no power of two": {"codebook_size": 20, "target_bandwidths": [5, 14]},
            "WavLM": _speech(model_type="wavlm", num_buckets=16, max_bucket_distance=40),
            "a codebook's width by default": {"codebook_dim": None},
            "three levels": _acoustic(downsampling_ratios=[2, 4, 2], upsampling_ratios=[4, 2, 2]),
            "other steps up than down": _acoustic(upsampling_ratios=[4, 4]),
            "wider convolutions": _acoustic(encoder_hidden_size=5, decoder_hidden_size=32, hidden_size=12) | {"codebook_dim": 36},
            "the first version's derived keys": {
                "audio_channels": 1, "input_channels": 24, "encoder_channels": 24, "decoder_channels": 24, "output_channels": 24,
                "hidden_dim": 32, "intermediate_dim": 24, "output_dim": 8, "num_quantizers": 2, "torch_dtype": "float32",
            },
            "defaults of the features' convolutions": {
                "block_dilations": DROP, "channel_ratios": DROP, "kernel_size": DROP, "strides": DROP, "unit_kernel_size": DROP,
            },
            "one bandwidth": {"target_bandwidths": [11]},
            "two residual dilations": {"block_dilations": [1, 2]},
        },
        refused={
            "a map that is not there": ({"codebook_dim": 64}, "codebook_dim"),
            "a last level that is wider": ({"channel_ratios": [1, 2]}, "channel_ratios"),
            "another number of codebooks": ({"num_quantizers": 4}, "num_quantizers"),
        },
        peer=of_transformers(
            "Xcodec",
            lambda model, x: model.encode(pad_to_hop(x, 16) if getattr(model.config, "pad_to_frames", False) else x).audio_codes,
            lambda model: fill_buffers(model, embed=1.0),
            derived=("num_quantizers",),
        ),
    ),
    "xcodec": Sweep(
        tiny={
            "generator": {
                "name": "SoundStream",
                "config": {
                    "n_filters": 32, "D": 8, "target_bandwidths": [1.5, 5, 21], "ratios": [2, 8], "sample_rate": 16000, "bins": 16,
                    "semantic_techer": "hubert_base",
                },
            },
            "hard_coded_overrides": {
                "semantic_width": 24, "encoder_width": 3, "decoder_width": 16, "pad": 8, "hubert_config": _SPEECH,
            },
        },
        shape=(1, 171),
        options={
            "as it is": {},
            "what else stands in the YAML": {
                "d_list": ["mfd"], "mfd": {"name": "MultiFrequencyDiscriminator"}, "optimizer": {"g": {"name": "AdamW"}},
                "criterion": {"g_criterion": {"config": {"use_mel_loss": False}}}, "audio_norm_scale": 0.95, "seed": 2333,
            },
            "the default speech model": _generator(semantic_techer=DROP),
            "HuBERT on general audio": _generator(semantic_techer="hubert_base_general"),
            "WavLM": _generator(semantic_techer="wavlm_base_plus") | {
                "hard_coded_overrides": {
                    "hubert_config": DROP, "wavlm_config": _SPEECH | {"num_buckets": 16, "max_bucket_distance": 40},
                },
            },
            "one bandwidth": _generator(target_bandwidths=[11]),
            "four codebooks": _generator(target_bandwidths=[40]),
            "a codebook of no power of two": _generator(bins=20),
            "three levels": _generator(ratios=[2, 4, 2]),
            "wider latents": _generator(D=12),
            "wider convolutions": {"hard_coded_overrides": {"encoder_width": 5, "decoder_width": 32}},
            "arguments that the constructor does not read": _generator(normalize=True, causal=True, n_filters=DROP),
            "another rate": _generator(sample_rate=32000, target_bandwidths=[40]),
            "the constructor's arguments alone": {
                "generator": DROP, "D": 8, "target_bandwidths": [21], "ratios": [2, 8], "bins": 16,
            },
        },
        refused={
            "a speech model that the class does not know": (_generator(semantic_techer="w2v"), "semantic_techer"),
            "a misspelt key": (_generator(semantic_teacher="hubert_base"), "semantic_techer"),
        },
        published=_published,
    ),
}  # fmt: skip
