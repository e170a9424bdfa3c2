"""SongGeneration (LeVo): separate tokens with flow and VAE, single tokens, the quantizer alone."""

from typing import Any

import torch
from layout_options import DROP, Sweep


def _published(state: dict[str, Any]) -> dict[str, Any]:
    """The VAE's file beside the model's: weights below `state_dict`, an encoder, what a run notes; teachers and heads."""
    noise = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(4))
    vae = {k: v for k, v in state.items() if k.startswith("decoder.layers.")}
    out = {k: v for k, v in state.items() if k not in vae}
    tables = [k for k in out if k.endswith("quantizers.0.codebook.weight")]
    out |= {k.replace("codebook.weight", "stale_counter"): torch.zeros(8) for k in tables}
    if not any(k.startswith("bestrq.") for k in out):  # the quantizer alone
        return out
    return out | {
        "bestrq.model.linear.weight": noise, "bestrq.model.cls_token": noise, "bestrq.model.quantizer_melspec_2048.CODEBOOK": noise,
        "bestrq.model.preprocessor_melspec_2048.mel_stft.spectrogram.window": noise,
        "bestrq.model.conformer.pos_conv_embed.conv.parametrizations.weight.original0": noise[:1, :1],
        "bestrq.model.conformer.pos_conv_embed.conv.parametrizations.weight.original1": noise,
        "rsq48tobestrq.kernel": noise, "zero_cond_embedding1": noise, "hubert.encoder.layers.0.weight": noise,
        "cfm_wrapper.mlp.0.weight": noise, "cfm_wrapper.estimator.h.0.attn.bias": noise, "normfeat.sum_target_x2": noise,
        "state_dict": vae | {"encoder.layers.0.weight_v": noise, "encoder.layers.0.weight_g": noise[:, :1, :1]},
        "epoch": 3, "global_step": 10, "pytorch-lightning_version": "2.0",
    }  # fmt: skip


#: The JSON of the VAE.
_VAE = {
    "model_type": "autoencoder", "sample_size": 65536, "sample_rate": 48000, "audio_channels": 2, "training": {"learning_rate": 1e-4},
    "model": {
        "encoder": {"type": "oobleck", "config": {"in_channels": 2}}, "bottleneck": {"type": "vae"}, "latent_dim": 6,
        "downsampling_ratio": 6, "io_channels": 2,
        "decoder": {
            "type": "oobleck",
            "config": {
                "out_channels": 2, "channels": 4, "c_mults": [1, 2], "strides": [2, 3], "latent_dim": 6, "use_snake": True,
                "final_tanh": False,
            },
        },
    },
}  # fmt: skip

_SINGLE = {"layer_vocal": DROP, "layer_bgm": DROP, "flow": DROP, "model": DROP, "layer_num": 1}

SWEEPS = {
    "songgeneration": Sweep(
        tiny=_VAE | {
            "layer_vocal": 2, "layer_bgm": 1,
            "musicfm": {"n_mels": 8, "conv_dim": 4, "encoder_dim": 16, "encoder_depth": 2},
            "conformer": {"num_attention_heads": 2, "intermediate_size": 12, "conv_depthwise_kernel_size": 3},
            "rvq": {"input_dim": 16, "n_codebooks": 1, "codebook_size": 32, "codebook_dim": 4},
            "flow": {
                "n_positions": 12, "n_layer": 1, "n_head": 2, "n_embd": 48, "n_inner": 20, "num_channels_latents": 6, "mask_dim": 4,
            },
        },
        options={
            "as it is": {},
            "without the way to sound": {"flow": DROP, "model": DROP},
            "flow without VAE": {"model": DROP},
            "VAE without flow": {"flow": DROP},
            "the other layers": {"layer_vocal": 1, "layer_bgm": 2},
            "single tokens": _SINGLE,
            "single tokens by their file": {k: v for k, v in _SINGLE.items() if k != "layer_num"} | {
                "source": {"file": "model_1rvq.py"}, "layer_num": DROP, "musicfm": {"encoder_depth": 6},
            },
            "two tables a track": {"rvq": {"n_codebooks": 2}},
            "width of codes as a list": {"rvq": {"codebook_dim": [4]}},
            "the quantizer alone": {
                **{k: DROP for k in (*_VAE, "layer_vocal", "layer_bgm", "musicfm", "conformer", "flow", "rvq")},
                "input_dim": 8, "codebook_size": 16, "codebook_dim": 2, "stale_tolerance": 200,
            },
            "other norms and periods": {"conformer": {"rotary_embedding_base": 500, "layer_norm_eps": 1e-3, "hidden_act": "silu"}},
            "arguments of training": {"musicfm": {"mask_prob": 0.6, "codebook_size": 8}, "ssl_path": None, "snr_gamma": None},
            "flow of two layers": {"flow": {"n_layer": 2, "layer_norm_epsilon": 1e-4, "vocab_size": 10}},
            "a deeper VAE": {"model": {"decoder": {"config": {"c_mults": [1, 1, 2], "strides": [2, 2, 3]}}}},
        },
        refused={
            "flow of single tokens": (_SINGLE | {"flow": {}}, "no flow transformer"),
            "another decoder": ({"model": {"decoder": {"type": "dac"}}}, "oobleck"),
            "a width that does not fit": ({"flow": {"n_embd": 40}}, "n_embd"),
            "positions that are not rotary": ({"conformer": {"position_embeddings_type": "relative"}}, "position_embeddings_type"),
            "an unknown key": ({"rvq": {"n_codebook": 2}}, "n_codebooks"),
        },
        published=_published,
        parts={"autoencoder": ("state_dict", "epoch", "global_step", "pytorch-lightning_version")},
        cards={"levo-mix": {k: v for k, v in _SINGLE.items() if k != "layer_num"} | {k: DROP for k in _VAE} | {"layer_num": 1}},
    ),
}  # fmt: skip
