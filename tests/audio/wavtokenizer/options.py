"""WavTokenizer in both layouts. In the authors' code the latent width is fixed: 512 would not be tiny."""

from typing import Any

import torch
from layout_options import DROP, Sweep
from lively_audio import lively, twin


def _published(state: dict[str, Any]) -> dict[str, Any]:
    """A Lightning file: with EnCodec's decoder, the window, discriminators and losses."""
    noise = torch.randn(3, 1, 5, generator=torch.Generator().manual_seed(9))
    more = {
        "feature_extractor.encodec.decoder.model.0.conv.conv.weight_g": noise[:, :, :1],
        "feature_extractor.encodec.decoder.model.0.conv.conv.weight_v": noise,
        "head.istft.window": torch.ones(24), "multiperioddisc.discriminators.0.convs.0.weight_g": noise[:, :, :1],
        "multiperioddisc.discriminators.0.convs.0.weight_v": noise, "dac.discriminators.0.convs.0.bias": noise[:, 0, 0],
        "melspec_loss.mel_spec.spectrogram.window": torch.ones(16),
    }  # fmt: skip
    return {"epoch": 3, "global_step": 9, "state_dict": state | more, "optimizer_states": [{"state": {}}], "loops": {}}


def _transformers(theirs: dict[str, Any]) -> Any:
    try:
        from transformers import WavTokenizerConfig, WavTokenizerModel
    except ImportError:  # also a release without the class
        return None
    arguments = {k: v for k, v in theirs.items() if k not in ("model_type", "hop_length")}
    module = WavTokenizerModel(WavTokenizerConfig(**arguments))
    return twin("wavtokenizer-hf", theirs, module, lambda m, x: m.encode(x).audio_codes)


SWEEPS = {
    "wavtokenizer": Sweep(
        tiny={
            "hard_coded_overrides": {"dimension": 12, "n_filters": 4},
            "feature_extractor": {
                "encodec_model": "encodec_24khz", "bandwidths": [6.6, 6.6, 6.6, 6.6], "train_codebooks": True, "num_quantizers": 1,
                "dowmsamples": [3, 2], "vq_bins": 16, "vq_kmeans": 200,
            },
            "backbone": {"input_channels": 12, "dim": 32, "intermediate_dim": 20, "num_layers": 2, "adanorm_num_embeddings": 4},
            "head": {"dim": 32, "n_fft": 24, "hop_length": 6, "padding": "same"},
        },
        options={
            "as it is": {},
            "no conditions": {"backbone": {"adanorm_num_embeddings": None}},
            "no conditions by default": {"backbone": {"adanorm_num_embeddings": DROP}},
            "one condition": {"backbone": {"adanorm_num_embeddings": 1}},
            "a start of the layers' scale": {"backbone": {"layer_scale_init_value": 0.5}},
            "a default start": {"backbone": {"layer_scale_init_value": None}},
            "one block": {"backbone": {"num_layers": 1}},
            "a wide decoder": {"backbone": {"dim": 64}, "head": {"dim": 64}},
            "a longer window": {"head": {"n_fft": 36}},
            "padding by default": {"head": {"padding": DROP}},
            "three levels": {"feature_extractor": {"dowmsamples": [3, 2, 2]}, "head": {"hop_length": 12, "n_fft": 48}},
            "a rate": {"sample_rate": 16000},
            "training settings by default": {"feature_extractor": {"bandwidths": DROP, "train_codebooks": DROP, "vq_kmeans": DROP}},
            "a default of the class": {"feature_extractor": {"encodec_model": DROP, "num_quantizers": DROP}},
            "a larger codebook": {"feature_extractor": {"vq_bins": 40}},
        },
        refused={
            "several codebooks": ({"feature_extractor": {"num_quantizers": 2}}, "num_quantizers"),
            "frames that are not the encoder's": ({"head": {"hop_length": 4}}, "hop_length"),
            "another width between the parts": ({"backbone": {"input_channels": 8}}, "input_channels"),
            "a centred transform": ({"head": {"padding": "center"}}, "padding"),
        },
        enliven=lively,
        published=_published,
    ),
    "wavtokenizer-hf": Sweep(
        tiny={
            "adanorm_num_embeddings": 4, "architectures": ["WavTokenizerModel"], "audio_channels": 1, "codebook_dim": 12,
            "codebook_size": 16, "compress": 2, "decoder_attention_num_groups": 4, "decoder_hidden_size": 16,
            "decoder_intermediate_size": 20, "decoder_num_layers": 2, "dilation_growth_rate": 2, "dtype": "float32",
            "hidden_size": 12, "kernel_size": 7, "last_kernel_size": 7, "model_type": "wavtokenizer", "norm_eps": 1e-06,
            "norm_type": "weight_norm", "num_filters": 4, "num_lstm_layers": 2, "num_residual_layers": 1, "pad_mode": "reflect",
            "residual_kernel_size": 3, "sampling_rate": 24000, "transformers_version": "5.24.0", "upsampling_ratios": [3, 2],
            "use_causal_conv": False, "use_conv_shortcut": True,
        },
        options={
            "as it is": {},
            "causal": {"use_causal_conv": True},
            "not causal by default": {"use_causal_conv": DROP},
            "identity skips": {"use_conv_shortcut": False},
            "group norm": {"norm_type": "time_group_norm"},
            "zeros at the edges": {"pad_mode": "constant"},
            "one LSTM layer": {"num_lstm_layers": 1},
            "defaults of the layers": {"num_lstm_layers": DROP, "num_residual_layers": DROP, "compress": DROP},
            "three residual units": {"num_residual_layers": 3, "dilation_growth_rate": 3},
            "other kernels": {"kernel_size": 5, "last_kernel_size": 3, "residual_kernel_size": 5},
            "one condition": {"adanorm_num_embeddings": 1},
            "conditions by default": {"adanorm_num_embeddings": DROP},
            "one group": {"decoder_attention_num_groups": 1},
            "groups by default": {"decoder_attention_num_groups": DROP, "decoder_hidden_size": 32},
            "another eps": {"norm_eps": 1e-3},
            "one block": {"decoder_num_layers": 1},
            "another rate": {"sampling_rate": 16000},
            "a key that the class does not read": {"hop_length": 512},
        },
        refused={"a table of another width": ({"codebook_dim": 8}, "codebook_dim")},
        enliven=lively,
        peer=_transformers,
    ),
}  # fmt: skip
