"""NeMo's audio codecs: the parts of `model_config.yaml` that make the network, and the training around them."""

from typing import Any

import torch
from layout_options import DROP, Sweep

_MODULES = "nemo.collections.tts.modules.audio_codec_modules."


def _published(state: dict[str, Any]) -> dict[str, Any]:
    """With the buffers of FSQ, a discriminator, the losses' windows and the head of a speech model; latents made louder."""
    noise = torch.randn(4, 1, 5, generator=torch.Generator().manual_seed(9))
    gain = "audio_encoder.post_conv.conv.parametrizations.weight.original0"
    return state | {
        gain: 30 * state[gain],
        "vector_quantizer.fsqs.0.dim_base_index": torch.ones(1, 3, 1, dtype=torch.int32),
        "vector_quantizer.fsqs.0.num_levels": torch.ones(1, 3, 1, dtype=torch.int32),
        "discriminator.discriminators.0.conv_post.conv.parametrizations.weight.original0": noise[:, :1, :1],
        "discriminator.discriminators.0.conv_post.conv.parametrizations.weight.original1": noise,
        "mel_loss_fn.mel_features.0.featurizer.fb": noise,
        "slm_predictor.input_layer.weight": noise,
    }


SWEEPS = {
    "nemo-audio-codec": Sweep(
        tiny={
            "sample_rate": 22050, "samples_per_frame": 10, "max_epochs": 10, "steps_per_epoch": None, "loss_resolutions": [[32, 8, 32]],
            "mel_loss_dims": [5], "stft_loss_scale": 20.0, "train_ds": {"dataset": {"dataset_meta": "${train_ds_meta}"}},
            "optim": {"_target_": "torch.optim.Adam"}, "target": "nemo.collections.tts.models.audio_codec.AudioCodecModel",
            "discriminator": {"_target_": _MODULES + "Discriminator"}, "nemo_version": "2.0.0",
            "audio_encoder": {
                "_target_": _MODULES + "HiFiGANEncoder", "down_sample_rates": [2, 5], "encoded_dim": 6, "base_channels": 4,
                "activation": "lrelu", "pad_mode": "replicate", "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [1],
            },
            "audio_decoder": {
                "_target_": _MODULES + "CausalHiFiGANDecoder", "up_sample_rates": [5, 2], "input_dim": 6, "base_channels": 16,
                "activation": "half_snake", "output_activation": "clamp", "pad_mode": "zeros", "n_groups_equal_to_out_channels": True,
                "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [1],
            },
            "vector_quantizer": {
                "_target_": _MODULES + "GroupFiniteScalarQuantizer", "num_groups": 2, "num_levels_per_group": [9, 8, 7],
            },
        },
        options={
            "as it is": {},
            "both sides causal": {"audio_encoder": {"_target_": _MODULES + "CausalHiFiGANEncoder", "pad_mode": DROP}},
            "both sides centred": {
                "audio_decoder": {
                    "_target_": _MODULES + "HiFiGANDecoder", "pad_mode": "reflect", "n_groups_equal_to_out_channels": DROP,
                }
            },
            "several branches and dilations": {
                "audio_encoder": {"resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [1, 3]},
                "audio_decoder": {"resblock_kernel_sizes": [3, 7], "resblock_dilation_sizes": [1, 2, 5]},
            },
            "default branches": {"audio_encoder": {"resblock_kernel_sizes": DROP, "resblock_dilation_sizes": DROP}},
            "other outer kernels": {
                "audio_encoder": {"in_kernel_size": 5, "out_kernel_size": 3},
                "audio_decoder": {"in_kernel_size": 3, "out_kernel_size": 5},
            },
            "Snake": {"audio_encoder": {"activation": "snake"}, "audio_decoder": {"activation": "snake"}},
            "ELU and half Snake": {"audio_encoder": {"activation": "half_snake"}, "audio_decoder": {"activation": "elu"}},
            "default activations": {
                "audio_encoder": {"activation": DROP}, "audio_decoder": {"activation": DROP, "output_activation": DROP},
            },
            "joint transposed convolutions": {"audio_decoder": {"n_groups_equal_to_out_channels": False}},
            "mirrored edges": {"audio_encoder": {"pad_mode": DROP}},
            "zeros beyond the edges": {"audio_encoder": {"pad_mode": "zeros"}},
            "one group": {"vector_quantizer": {"num_groups": 1, "num_levels_per_group": [4, 4, 4, 3, 3, 2]}},
            "FSQ without groups": {
                "vector_quantizer": {
                    "_target_": _MODULES + "FiniteScalarQuantizer", "num_groups": DROP, "num_levels_per_group": DROP,
                    "num_levels": [4, 4, 4, 3, 3, 2],
                }
            },
            "two levels": {"vector_quantizer": {"num_groups": 3, "num_levels_per_group": [2, 3]}},
            "three levels of the network": {
                "samples_per_frame": 20, "audio_encoder": {"down_sample_rates": [2, 2, 5]},
                "audio_decoder": {"up_sample_rates": [5, 2, 2]},
            },
            "hydra's older form": {
                "audio_encoder": {"down_sample_rates": DROP, "params": {"down_sample_rates": [5, 2]}},
            },
            "modules alone": {"samples_per_frame": DROP, "sample_rate": DROP, "loss_resolutions": DROP, "target": DROP},
            "dither that is off": {"vector_quantizer": {"dithered_acoustic_fsq": False, "num_semantic_groups": 1}},
        },
        refused={
            "another encoder": ({"audio_encoder": {"_target_": _MODULES + "MultiBandMelEncoder"}}, "MultiBandMelEncoder"),
            "other frames": ({"samples_per_frame": 20}, "samples_per_frame"),
            "another rate out": ({"output_sample_rate": 44100}, "output_sample_rate"),
            "a semantic codec beside it": ({"semantic_codec": {}}, "semantic_codec"),
            "an open reference": ({"audio_encoder": {"base_channels": "${channels}"}}, r"encoder.width.*\$\{channels\}"),
            "a key the encoder does not take": ({"audio_encoder": {"kernel": 3}}, "kernel"),
            "dither": ({"vector_quantizer": {"dithered_acoustic_fsq": True}}, "dithered_acoustic_fsq"),
        },
        published=_published,
    ),
}  # fmt: skip
