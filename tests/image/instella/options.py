"""Instella-T2I's binary autoencoder: one safetensors file, loaded strictly as it is."""

from image_cases import lively
from layout_options import DROP, Sweep

SWEEPS = {
    "instella-bae": Sweep(
        tiny={
            "in_channels": 3, "encoder_layers": 2, "encoder_head_dim": 8, "encoder_num_heads": 2, "patch_size": 4, "num_latent_tkns": 4,
            "axes_dims_rope": [4, 2, 2], "downsample_idx": [0], "decoder_layers": 2, "decoder_head_dim": 8, "decoder_num_heads": 2,
            "upsample_idx": [0], "codebook_size": 8, "bae_scale": 32,
        },
        options={
            "as it is": {},
            "no scale of positions": {"bae_scale": DROP},
            "a scale of 0": {"bae_scale": 0},
            "more latents": {"num_latent_tkns": 6},
            "64 bits": {"codebook_size": 64},
            "two halvings": {"downsample_idx": [0, 1], "upsample_idx": [0, 1]},
            "resized behind the last block": {"downsample_idx": [1], "upsample_idx": [1]},
            "other axes": {"axes_dims_rope": [2, 2, 4]},
            "wider heads": {"encoder_head_dim": 12, "decoder_head_dim": 12, "axes_dims_rope": [4, 4, 4]},
            "a smaller decoder": {"decoder_num_heads": 1, "decoder_layers": 1},
            "a deeper encoder": {"encoder_layers": 3},
            "larger patches": {"patch_size": 8},
            "features of a teacher": {"use_repa": True, "repa_dim": 5, "repa_index": 1},
            "a teacher that is switched off": {"use_repa": False, "repa_dim": 5, "repa_index": 1},
            "temperature": {"train_temp": 0.5},
        },
        shape=(3, 16, 24),
        published=lively,
        refused={
            "a misspelt key": ({"encoder_layer": 2}, "encoder_layers"),
            "grey pictures": ({"in_channels": 1}, "in_channels"),
            "heads that the axes do not fill": ({"axes_dims_rope": [2, 2, 2]}, "rope_axes"),
        },
    ),
}  # fmt: skip
