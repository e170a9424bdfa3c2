"""Published files of the VQGAN line are as large as what their configs build here: shapes proved without a weight.

    pytest tests/image/vqgan/test_published_sizes.py
"""

import pytest
from published_sizes import written_numbers
from tokenzoo.zoo.registry import card

_DOWN, _UP = "DownEncoderBlock2D", "UpDecoderBlock2D"


def vqmodel(widths: list[int], codes: int, latent: int, *, attended: bool = False, **more: object) -> dict:
    """A published config.json of diffusers' VQModel: attention at the coarsest level or at none."""
    down, up = [_DOWN] * len(widths), [_UP] * len(widths)
    if attended:
        down[-1], up[0] = "Attn" + _DOWN, "Attn" + _UP
    return {
        "_class_name": "VQModel", "act_fn": "silu", "block_out_channels": widths, "down_block_types": down, "up_block_types": up,
        "in_channels": 3, "latent_channels": latent, "layers_per_block": 2, "num_vq_embeddings": codes, "out_channels": 3, **more,
    }  # fmt: skip


_CHANNELS = {"base_channels": 128, "channel_multiplier": [1, 1, 2, 2, 4], "num_res_blocks": 2, "latent_channels": 256}
PUBLISHED = {
    "amused-512": vqmodel([128, 256, 256, 512, 768], 8192, 64, mid_block_add_attention=False, lookup_from_codebook=True),
    "ldm-vq-f4-celebahq": vqmodel([128, 256, 512], 8192, 3),
    "kandinsky-2-2-movq": vqmodel([128, 256, 256, 512], 16384, 4, attended=True, norm_type="spatial", vq_embed_dim=4),
    "kandinsky-3-movq": vqmodel([256, 512, 512, 1024], 16384, 4, attended=True, norm_type="spatial", vq_embed_dim=4),
    "anole-vqvae": _CHANNELS | {"num_embeddings": 8192, "embed_dim": 256, "attn_resolutions": [], "quant_state_dims": [32, 32]},
}

#: card -> (bytes of the published weights, how many times the file holds the network's float32 numbers).
SIZES = {
    "ibq-1024": (857e6, 2),  # raw and averaged weights
    "ibq-16384": (888e6, 2),
    "open-magvit2-256": (921e6, 2),
    "llamagen-vq16-t2i": (288e6, 1),
    "cosmos-di8x8": (159e6, 0.5),  # bfloat16; the archive holds the model's code too
    "amused-512": (585e6, 1),
    "ldm-vq-f4-celebahq": (221_373_271, 1),
    "kandinsky-2-2-movq": (271e6, 1),
    "kandinsky-3-movq": (1.08e9, 1),
    "anole-vqvae": (275e6, 1),
}


@pytest.mark.parametrize("name", SIZES)
def test_size_of_the_published_file(name: str) -> None:
    size, times = SIZES[name]
    theirs = PUBLISHED.get(name, {}) | card(name).config_overrides
    tolerance = 0.01 if name.startswith("cosmos") else 0.003
    assert 4 * times * written_numbers(card(name).system, theirs) == pytest.approx(size, rel=tolerance)
