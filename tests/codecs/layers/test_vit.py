"""ViT blocks against PyTorch's own and plain NumPy. Run: pytest tests/codecs/layers/test_vit.py"""

import numpy as np
import pytest
import torch
from layer_references import randomised, weights
from tokenzoo.codecs.layers.vit import LatentQueryDecoder, LatentQueryEncoder, PatchesToPixels, QuickGELU, SelfAttention, ViTBlock
from torch import nn


def rows(length: int = 7, width: int = 12) -> torch.Tensor:
    return torch.randn(2, length, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def torchs_attention(own: SelfAttention, width: int, heads: int) -> nn.MultiheadAttention:
    theirs = nn.MultiheadAttention(width, heads, batch_first=True).double().eval()
    bias = torch.zeros(3 * width) if own.qkv.bias is None else own.qkv.bias
    state = {"in_proj_weight": own.qkv.weight, "in_proj_bias": bias, "out_proj.weight": own.out.weight, "out_proj.bias": own.out.bias}
    theirs.load_state_dict(state)
    return theirs


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_attention_is_torchs(qkv_bias):
    own, x = randomised(SelfAttention(12, 3, qkv_bias=qkv_bias)), rows()
    torch.testing.assert_close(own(x), torchs_attention(own, 12, 3)(x, x, x)[0])


def test_a_mask_says_where_a_query_may_look():
    own, x = randomised(SelfAttention(12, 3)), rows()
    mask = torch.ones(7, 7, dtype=torch.bool).tril()
    expected = torchs_attention(own, 12, 3)(x, x, x, attn_mask=~mask)[0]  # theirs: where it may not
    torch.testing.assert_close(own(x, mask), expected)


@pytest.mark.parametrize("keep", [slice(-3, None), slice(1, 5), slice(0, 1)])
def test_a_part_equals_that_part_of_the_whole(keep):
    block, x = randomised(ViTBlock(12, 3, layer_scale=0.5)), rows()
    torch.testing.assert_close(block(x, keep=keep), block(x)[:, keep])


def test_a_block_is_torchs():
    own, x = randomised(ViTBlock(12, 3)), rows()
    theirs = nn.TransformerEncoderLayer(12, 3, 48, activation="gelu", batch_first=True, norm_first=True).double().eval()
    theirs.self_attn = torchs_attention(own.attention, 12, 3)
    ours = (own.attention_norm, own.mlp_norm, own.mlp[0], own.mlp[2])
    for their_part, our_part in zip((theirs.norm1, theirs.norm2, theirs.linear1, theirs.linear2), ours, strict=True):
        their_part.load_state_dict(our_part.state_dict())
    with torch.enable_grad():  # PyTorch's fast way does not take float64
        torch.testing.assert_close(own(x), theirs(x))


def test_layer_scale_and_kinds_of_gelu():
    x = rows()
    block = randomised(ViTBlock(12, 3, layer_scale=0.5, gelu="quick"))
    between = block.mlp[0](block.mlp_norm(x))
    torch.testing.assert_close(QuickGELU()(between), between / (1 + torch.exp(-1.702 * between)))
    with torch.no_grad():
        block.attention_scale.zero_()
        block.mlp_scale.fill_(2.0)
    torch.testing.assert_close(block(x), x + 2 * block.mlp(block.mlp_norm(x)))


def test_pixels_of_a_patch_run_over_row_column_colour():
    own, p = randomised(PatchesToPixels(5, 3)), 3
    x = torch.randn(1, 5, 2, 4, dtype=torch.float64)
    w, found = weights(own), own(x).detach().numpy()
    assert found.shape == (1, 3, 6, 12)
    for row in range(6):
        for column in range(12):
            features = x[0, :, row // p, column // p].numpy()
            for colour in range(3):
                at = (row % p * p + column % p) * 3 + colour
                expected = w["proj.weight"][at, :, 0, 0] @ features + w["proj.bias"][at]
                assert found[0, colour, row, column] == pytest.approx(expected)


def test_latent_queries_come_out_of_one_sequence_with_the_patches():
    own = randomised(LatentQueryEncoder(image_size=8, patch_size=4, num_latents=3, width=12, layers=2, heads=3))
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    patches = torch.stack([own.patch_embed(x[:, :, i : i + 4, j : j + 4])[..., 0, 0] for i in (0, 4) for j in (0, 4)], dim=1)
    sequence = [own.class_token + own.positions[:1], *(patches[:, i] + own.positions[i + 1] for i in range(4))]
    sequence += [own.latents[i] + own.latent_positions[i] for i in range(3)]
    y = own.norm_in(torch.stack([s.expand(2, 12) for s in sequence], dim=1))
    for block in own.blocks:
        y = block(y)
    torch.testing.assert_close(own(x), own.norm_out(y)[:, -3:])


def test_a_prefix_of_latents_keeps_its_places():
    own = randomised(LatentQueryDecoder(grid_size=2, num_latents=4, width=12, layers=1, heads=3))
    latents = torch.randn(1, 4, 12, dtype=torch.float64)
    sequence = [own.class_token + own.positions[:1], *(own.mask_token + own.positions[i : i + 1] for i in range(1, 5))]
    sequence += [latents[:, i] + own.latent_positions[i] for i in range(2)]
    y = own.norm_out(own.blocks[0](own.norm_in(torch.stack(sequence, dim=1))))[:, 1:5]
    np.testing.assert_allclose(own(latents[:, :2])[0].flatten(1).t().detach(), y[0].detach(), atol=1e-12)
