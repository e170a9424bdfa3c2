"""Higgs Audio v2's tokenizer: its authors' config, and the class of transformers."""

from typing import Any

from layout_options import DROP, Sweep
from peers import fill_buffers, of_transformers
from tokenzoo.codecs.audio.base import pad_to_hop

#: HuBERT with a frame every 16 samples and a reach of less than the silence that the class puts around clips.
_SPEECH = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "conv_dim": [8, 8, 8],
    "conv_kernel": [5, 3, 2], "conv_stride": [4, 2, 2], "num_conv_pos_embeddings": 6, "num_conv_pos_embedding_groups": 2,
    "vocab_size": 8, "num_feat_extract_layers": 3,
}  # fmt: skip
#: The same with a frame every 40 samples of 360.
_LONG = {"conv_dim": [8, 8, 8, 8], "conv_kernel": [40, 17, 9, 9], "conv_stride": [5, 2, 2, 2], "num_feat_extract_layers": 4}


def _acoustic(**changes: Any) -> dict[str, Any]:
    return {"acoustic_model_config": changes}


_HF: dict[str, Any] = {
    "acoustic_model_config": {
        "codebook_dim": 8, "codebook_loss_weight": 1.0, "codebook_size": 1024, "commitment_loss_weight": 0.25,
        "decoder_hidden_size": 32, "downsampling_ratios": [5, 4, 3, 2], "encoder_hidden_size": 3, "hidden_size": 8, "hop_length": 120,
        "model_type": "dac", "n_codebooks": 9, "quantizer_dropout": 0, "sampling_rate": 16000, "upsampling_ratios": [5, 4, 3, 2],
    },
    "architectures": ["HiggsAudioV2TokenizerModel"], "block_dilations": [1, 1], "channel_ratios": [1, 1], "codebook_dim": 12,
    "codebook_size": 16, "downsample_factor": 40, "downsample_mode": "step_down", "dtype": "float32", "initializer_range": 0.02,
    "kernel_size": 3, "model_type": "higgs_audio_v2_tokenizer", "pad": 160, "sample_rate": 24000, "semantic_sample_rate": 16000,
    "semantic_model_config": {"model_type": "hubert", **_SPEECH, **_LONG}, "strides": [1, 1], "target_bandwidths": [1, 2.5, 4.9],
    "unit_kernel_size": 3,
}  # fmt: skip

_AUTHORS: dict[str, Any] = {
    "n_filters": 32, "D": 8, "target_bandwidths": [0.8, 1.6, 3.2], "ratios": [5, 4, 3, 2], "sample_rate": 24000, "bins": 16, "n_q": 4,
    "codebook_dim": 12, "normalize": False, "causal": False, "semantic_techer": "hubert_base_general", "last_layer_semantic": True,
    "merge_mode": "concat", "downsample_mode": "step_down", "semantic_mode": "classic", "vq_scale": 1,
    "hard_coded_overrides": {"semantic_width": 24, "semantic_hop": 40, "encoder_dim": 3, "decoder_dim": 32, "pad_per_factor": 20},
    "hubert": {**_SPEECH, **_LONG},
}  # fmt: skip

SWEEPS = {
    "higgs_audio_v2_tokenizer-hf": Sweep(
        tiny=_HF,
        shape=(1, 695),
        options={
            "as it is": {},
            "padded to whole frames": {"pad_to_frames": True},
            "the same rate for both": {"sample_rate": 16000, "semantic_sample_rate": 16000, "downsample_factor": 60}
            | {"semantic_model_config": {"conv_stride": [5, 3, 2, 2]}},
            "every third frame": _acoustic(downsampling_ratios=[5, 6, 3, 2], upsampling_ratios=[5, 6, 3, 2]),
            "every frame": _acoustic(downsampling_ratios=[5, 4, 3], upsampling_ratios=[5, 4, 3]),
            "a wider table": {"codebook_dim": 20},
            "a table as wide as the latents": {"codebook_dim": 32},
            "more codebooks, of no power of two": {"codebook_size": 20, "target_bandwidths": [2.4, 7]},
            "other kernels": {"channel_ratios": [2, 1], "block_dilations": [1, 3], "kernel_size": 5, "unit_kernel_size": 5},
            "WavLM": {"semantic_model_config": {"model_type": "wavlm", "num_buckets": 16, "max_bucket_distance": 40}},
            "other steps up than down": _acoustic(upsampling_ratios=[2, 3, 4, 5]),
            "wider convolutions": _acoustic(encoder_hidden_size=5, decoder_hidden_size=64, hidden_size=12),
            "one bandwidth": {"target_bandwidths": [4.9]},
            "defaults of the features' convolutions": {
                "block_dilations": DROP, "channel_ratios": DROP, "kernel_size": DROP, "strides": DROP, "unit_kernel_size": DROP,
            },
        },
        refused={"a last level that is wider": ({"channel_ratios": [1, 2]}, "channel_ratios")},
        peer=of_transformers(
            "HiggsAudioV2Tokenizer",
            lambda model, x: model.encode(
                pad_to_hop(x, model.config.hop_length) if getattr(model.config, "pad_to_frames", False) else x
            ).audio_codes,
            lambda model: fill_buffers(model, embed=1.0),
            derived=("pad", "downsample_mode"),
        ),
    ),
    "higgs-audio-v2": Sweep(
        tiny=_AUTHORS,
        shape=(1, 695),
        options={
            "as it is": {},
            "the mean of frames": {"downsample_mode": "avg"},
            "half as wide latents": {"vq_scale": 2},
            "a table as wide as the latents": {"codebook_dim": 32},
            "no maps": {"codebook_dim": None},
            "one codebook": {"n_q": 1},
            "more bandwidth than codebooks": {"target_bandwidths": [0.8, 3.2, 6.4]},
            "a codebook of no power of two": {"bins": 20},
            "the default speech model": {"semantic_techer": DROP},
            "WavLM": {
                "semantic_techer": "wavlm_base_plus", "hubert": DROP,
                "hard_coded_overrides": {
                    "wavlm_config": {**_SPEECH, **_LONG, "num_buckets": 16, "max_bucket_distance": 40},
                },
            },
            "another rate for the speech model": {"semantic_sample_rate": 24000, "ratios": [5, 4, 2], "hubert": _LONG | {
                "conv_stride": [5, 2, 2, 2]}},
            "three levels": {"ratios": [5, 4, 3]},
            "wider convolutions": {"D": 12, "hard_coded_overrides": {"encoder_dim": 5, "decoder_dim": 64}},
            "defaults of arguments without effect": {
                "n_filters": DROP, "normalize": DROP, "causal": DROP, "last_layer_semantic": DROP, "merge_mode": DROP,
                "semantic_mode": DROP, "device": "cpu",
            },
        },
        refused={
            "residual FSQ": ({"bins": [8, 8, 8]}, "bins"),
            "a speech model that the class does not know": ({"semantic_techer": "w2v"}, "semantic_techer"),
            "frames shorter than the speech model's": ({"ratios": [5, 2]}, "less than one frame"),
            "another way to take frames": ({"downsample_mode": "max"}, "downsample_mode"),
        },
    ),
}  # fmt: skip
