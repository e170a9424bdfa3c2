"""Emu3's tokenizer in both layouts."""

from typing import Any

import torch
from image_cases import lively
from layout_options import DROP, Sweep

_WIDE = {"embed_dim": 6, "z_channels": 6}


def _published(state: dict) -> dict:
    counters = {k.replace("running_mean", "num_batches_tracked"): torch.tensor(5) for k in state if k.endswith("running_mean")}
    state = lively(state)
    state["quantize.embedding.weight"] *= 0.3  # the latents' size
    return {**state, **counters}


class _Peer:
    """transformers' class."""

    def __init__(self, config: dict) -> None:
        import transformers

        known = {k: v for k, v in config.items() if k not in ("architectures", "not_a_key")}
        self.module = transformers.Emu3VQVAE(transformers.Emu3VQVAEConfig(**known)).eval()
        generator = torch.Generator().manual_seed(2)
        for name, p in self.module.named_parameters():
            center = float("norm" in name and name.endswith("weight"))
            p.data.copy_(center + (0.02 if "quantize" in name else 0.12) * torch.randn(p.shape, generator=generator))

    def state_dict(self) -> dict:
        return self.module.state_dict()

    def ids(self, x: torch.Tensor) -> torch.Tensor:
        uncut = [(10**6, 10**6)] * len(x)  # of clips, transformers would cut the first two axes to the height and the width
        ids = torch.stack(self.module.encode(x, image_sizes=uncut).image_tokens).flatten(1)[:, None]
        assert len(ids.unique()) > 1
        return ids


def _peer(config: dict) -> Any:
    try:
        return _Peer(config)
    except ImportError:
        return None


SWEEPS = {
    "emu3-vq": Sweep(
        tiny={
            "architectures": ["Emu3VisionVQModel"], "attn_resolutions": [1], "ch": 32, "ch_mult": [1, 1], "codebook_size": 32,
            "double_z": False, "dropout": 0.0, "embed_dim": 4, "in_channels": 3, "model_type": "Emu3VisionVQ", "num_res_blocks": 1,
            "out_channels": 3, "temporal_downsample_factor": 2, "z_channels": 4,
        },
        options={
            "as it is": {},
            "four frames": {"temporal_downsample_factor": 4},
            "one frame": {"temporal_downsample_factor": 1},
            "four frames by default": {"temporal_downsample_factor": DROP},
            "no attention but the middle's": {"attn_resolutions": []},
            "attention at both levels": {"attn_resolutions": [0, 1]},
            "a level that is not there": {"attn_resolutions": [1, 7]},
            "widths that grow": {"ch_mult": [1, 2]},
            "three levels": {"ch_mult": [1, 1, 1]},
            "two blocks": {"num_res_blocks": 2},
            "wider codes": _WIDE,
            "codes of 4 by default": {"embed_dim": DROP, "z_channels": DROP},
            "dropout": {"dropout": 0.1},
            "what a hub adds": {"auto_map": {"AutoModel": "x.Y"}, "torch_dtype": "float32", "transformers_version": "4.44.0"},
        },
        shape=(8, 3, 16, 16),
        refused={
            "moments": ({"double_z": True}, "double_z"),
            "three frames": ({"temporal_downsample_factor": 3}, "power of two"),
            "channels that differ": ({"z_channels": 8}, "z_channels"),
        },
        published=_published,
    ),
    "emu3_vqgan-hf": Sweep(
        tiny={
            "architectures": ["Emu3VQVAE"], "attention_dropout": 0.0, "attn_resolutions": [1], "base_channels": 32,
            "channel_multiplier": [1, 1], "codebook_size": 32, "double_latent": False, "dtype": "float32", "embed_dim": 4,
            "hidden_size": 32, "in_channels": 3, "latent_channels": 4, "model_type": "emu3_vqgan", "num_attention_heads": 1,
            "num_res_blocks": 1, "out_channels": 3, "temporal_downsample_factor": 2,
        },
        options={
            "as it is": {},
            "four frames": {"temporal_downsample_factor": 4},
            "one frame": {"temporal_downsample_factor": 1},
            "no attention but the middle's": {"attn_resolutions": []},
            "attention at both levels": {"attn_resolutions": [0, 1]},
            "two heads": {"num_attention_heads": 2},
            "heads by default": {"num_attention_heads": DROP},
            "widths that grow": {"channel_multiplier": [1, 2], "hidden_size": 64},
            "three levels": {"channel_multiplier": [1, 2, 1], "attn_resolutions": [2]},
            "two blocks": {"num_res_blocks": 2},
            "wider codes": {"embed_dim": 6, "latent_channels": 6},
            "codes of 4 by default": {"embed_dim": DROP, "latent_channels": DROP},
            "dropout of attention": {"attention_dropout": 0.1},
            "as an older version wrote it": {"dtype": DROP, "torch_dtype": "bfloat16", "_attn_implementation_autoset": True},
        },
        shape=(8, 3, 16, 16),
        refused={
            "moments": ({"double_latent": True}, "double_latent"),
            "a width that attention does not meet": ({"hidden_size": 64}, "hidden_size"),
            "channels that differ": ({"latent_channels": 8}, "latent_channels"),
        },
        published=_published,
        peer=_peer,
    ),
}  # fmt: skip
