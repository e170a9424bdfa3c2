"""Stable Codec: `model_config.json` of stable-audio-tools; and its bottlenecks alone."""

from typing import Any

import torch
from layout_options import DROP, Sweep, merged


def _published(state: dict[str, Any]) -> dict[str, Any]:
    """With the buffers that their class saves, and a head of the training."""
    extra = {}
    for key in state:
        if key.endswith("self_attn.to_qkv.weight"):
            block = key.removesuffix("self_attn.to_qkv.weight")
            extra |= {f"{block}rope.inv_freq": torch.ones(2), f"{block}pre_norm.beta": torch.zeros(8)}
    return state | extra | {"proj_head.weight": torch.randn(3, 4)}


def _sides(**changes: Any) -> dict[str, Any]:
    return {"model": {side: {"config": changes} for side in ("encoder", "decoder")}}


def _tiny() -> dict[str, Any]:
    side = {
        "channels": 8, "c_mults": [2, 2], "strides": [1, 2], "latent_dim": 6, "transformer_depths": [1, 1], "sliding_window": [3, 4],
        "use_snake": False, "conformer": False, "checkpointing": True, "layer_scale": True, "use_dilated_conv": False,
    }  # fmt: skip
    return {
        "model_type": "autoencoder", "sample_size": 65536, "sample_rate": 16000, "audio_channels": 1,
        "model": {
            "encoder": {"type": "taae", "requires_grad": True, "config": side | {"in_channels": 5}},
            "decoder": {"type": "taae", "config": side | {"out_channels": 5}},
            "pretransform": {"type": "patched", "config": {"channels": 1, "patch_size": 5}},
            "bottleneck": {"type": "dithered_fsq", "config": {"dim": 6, "levels": 17, "dither_inference": False, "noise_dropout": 0.5}},
            "latent_dim": 6, "downsampling_ratio": 10, "io_channels": 1,
        },
        "training": {"learning_rate": 1e-4}, "dataset": {},
    }  # fmt: skip


_STEREO = {
    "model": {
        "io_channels": 2, "in_channels": 2, "out_channels": 2, "encoder": {"config": {"in_channels": 10}},
        "decoder": {"config": {"out_channels": 10}}, "pretransform": {"config": {"channels": 2}},
    }
}  # fmt: skip

SWEEPS = {
    "stable-codec": Sweep(
        tiny=_tiny(),
        options={
            "as it is": {},
            "to -20 LUFS": {"normalize": True},
            "snake": _sides(use_snake=True),
            "conformer": _sides(conformer=True),
            "dilated units": _sides(use_dilated_conv=True),
            "no layer scale": _sides(layer_scale=False),
            "all positions": _sides(sliding_window=None),
            "default window": _sides(sliding_window=DROP),
            "default flags": _sides(
                use_snake=DROP, conformer=DROP, checkpointing=DROP, layer_scale=DROP, use_dilated_conv=DROP, mapping_style="conv"
            ),
            "strides in all levels": merged(_sides(c_mults=[1, 2], strides=[2, 2]), {"model": {"downsampling_ratio": 20}}),
            "stereo": _STEREO,
            "without patches": {
                "model": {
                    "pretransform": DROP, "downsampling_ratio": 2, "encoder": {"config": {"in_channels": 1}},
                    "decoder": {"config": {"out_channels": 1}},
                }
            },
            "soft clip": {"model": {"decoder": {"soft_clip": True}}},
            "levels channel by channel": {"model": {"bottleneck": {"config": {"levels": [8, 8, 8, 5, 5, 5], "noise_dropout": DROP}}}},
            "several codebooks": {"model": {"bottleneck": {"config": {"dim": 3, "levels": [5, 5, 4], "num_codebooks": 2}}}},
            "a post-hoc bottleneck by name": {"posthoc_bottleneck": "2x15625_700bps"},
            "a post-hoc bottleneck by its stages": {"posthoc_bottleneck": [[[5] * 6, 1.0], [[3] * 6, 0.25]]},
            "only one transformer": _sides(transformer_depths=[0, 2]),
        },
        refused={
            "another encoder": ({"model": {"encoder": {"type": "oobleck"}}}, "type"),
            "another bottleneck": ({"model": {"bottleneck": {"type": "vae"}}}, "type"),
            "patches that overlap": ({"model": {"pretransform": {"config": {"oversampling": 2}}}}, "oversampling"),
            "a ratio that is not the network's": ({"model": {"downsampling_ratio": 7}}, "downsampling_ratio"),
            "linear maps in place of convolutions": (_sides(mapping_style="linear"), "mapping_style"),
            "an unknown bottleneck": ({"posthoc_bottleneck": "3x"}, "posthoc_bottleneck"),
        },
        published=_published,
    ),
    "stable-codec-fsq": Sweep(
        tiny={"fsq": [{"levels": [5, 4]}], "residual": []},
        options={
            "as it is": {},
            "three bottlenecks": {"fsq": [{"levels": [5, 4]}, {"levels": [3, 3]}], "residual": [[[[5, 5], 1.0], [[3, 3], 0.25]]]},
            "a scale": {"fsq": [{"levels": [5, 4], "scale": 1.5}]},
            "noise": {"fsq": [{"levels": [5, 4], "noise_dropout": 0.3, "dither_inference": True}]},
            "no noise": {"fsq": [{"levels": [5, 4], "noise_dropout": 0.0}]},
            "several codebooks": {"fsq": [{"levels": [5, 4], "num_codebooks": 3}]},
            "more than 2^18 codes": {"fsq": [{"levels": [17] * 6}]},
            "several codebooks of more than 2^18 codes": {"fsq": [{"levels": [600, 500], "num_codebooks": 2}]},
            "two levels": {"fsq": [{"levels": [2, 2, 2]}]},
            "residual alone": {"fsq": DROP, "residual": [[[[5, 5], 1.0], [[5, 5], 0.25]]]},
            "stages of different levels": {"fsq": DROP, "residual": [[[[5, 4], 1.0], [[3, 3], 0.5], [[90, 80], 0.25]]]},
            "one stage": {"fsq": DROP, "residual": [[[[6, 6], 1.0]]]},
            "no residual key": {"residual": DROP},
            "large stages": {"fsq": DROP, "residual": [[[[90, 80, 70, 60], 1.0]]]},
        },
        refused={
            "nothing": ({"fsq": []}, "lists a quantizer"),
            "an unknown key": ({"fsq": [{"levels": [5], "codebooks": 2}]}, "codebooks"),
        },
    ),
}  # fmt: skip
