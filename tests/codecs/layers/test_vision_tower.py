"""The vision tower against timm's. Run: pytest tests/codecs/layers/test_vision_tower.py"""

import functools

import pytest
import torch
from layer_references import randomised
from tokenzoo.codecs.layers.vision_tower import AttentionPool, TowerConfig, VisionTower
from torch import nn

timm = pytest.importorskip("timm")

KINDS = {
    "DINOv2": {"layer_scale": 0.5, "norm_out": "affine"},
    "SigLIP": {"class_token": False, "layer_scale": None, "norm_out": "affine", "gelu": "tanh"},
    "CLIP": {"layer_scale": None, "norm_in": True, "norm_out": "affine", "gelu": "quick", "patch_bias": False},
}


def timms(c: TowerConfig) -> nn.Module:
    from timm.layers.activations import GELUTanh, QuickGELU

    return timm.models.vision_transformer.VisionTransformer(
        img_size=c.image_size,
        patch_size=c.patch_size,
        embed_dim=c.width,
        depth=c.layers,
        num_heads=c.heads,
        mlp_ratio=c.hidden / c.width,
        class_token=c.class_token,
        init_values=c.layer_scale,
        pre_norm=c.norm_in,
        act_layer={"none": nn.GELU, "tanh": GELUTanh, "quick": QuickGELU}[c.gelu],
        norm_layer=functools.partial(nn.LayerNorm, eps=c.eps),
        global_pool="",
        num_classes=0,
    )


def renamed(tower: VisionTower) -> dict[str, torch.Tensor]:
    """Weights in timm's names."""
    names = {"patch_embed.": "patch_embed.proj.", "norm_in.": "norm_pre.", "norm_out.": "norm.", "positions": "pos_embed"}
    names |= {"class_token": "cls_token", "attention_norm": "norm1", "mlp_norm": "norm2", "attention.out": "attn.proj"}
    names |= {"attention.qkv": "attn.qkv", "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2"}
    names |= {"attention_scale": "ls1.gamma", "mlp_scale": "ls2.gamma"}
    out = {}
    for name, value in tower.state_dict().items():
        new = name
        for ours, theirs in names.items():
            new = new.replace(ours, theirs)
        out[new] = value[None] if new in ("pos_embed", "cls_token") else value
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_timms(kind):
    config = TowerConfig(image_size=16, patch_size=4, width=12, layers=2, heads=3, hidden=20, registers=0, **KINDS[kind])
    tower, theirs = randomised(VisionTower(config)), timms(config).double().eval()
    theirs.load_state_dict(renamed(tower))
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(tower(x, patches_only=False), theirs.forward_features(x))


def test_registers_stand_between_class_token_and_patches_without_positions():
    config = TowerConfig(image_size=16, patch_size=4, width=12, layers=1, heads=3, hidden=20, registers=2)
    tower = randomised(VisionTower(config))
    sequence = tower.embed(torch.randn(1, 3, 16, 16, dtype=torch.float64))
    assert sequence.shape == (1, 1 + 2 + 16, 12)
    assert torch.equal(sequence[0, 0], tower.class_token[0] + tower.positions[0])
    assert torch.equal(sequence[0, 1:3], tower.registers)
    assert tower(torch.zeros(1, 3, 16, 16, dtype=torch.float64)).shape == (1, 16, 12)


def test_another_grid_keeps_what_its_positions_mean():
    """A table that rises evenly with the column does so on a grid of another size."""
    config = TowerConfig(image_size=32, patch_size=4, width=4, layers=1, heads=2, hidden=4, registers=0, class_token=False)
    tower = VisionTower(config)
    with torch.no_grad():
        tower.positions.copy_(torch.arange(8.0).repeat(8)[:, None].expand(-1, 4))
        found = tower._grid_positions(8, 16).view(8, 16, 4)
    expected = (torch.arange(16) + 0.5) / 2 - 0.5
    torch.testing.assert_close(found[:, 4:-4, 0], expected[4:-4].expand(8, -1))


def test_one_query_reads_all_features():
    config = TowerConfig(image_size=16, patch_size=4, width=12, layers=1, heads=3, hidden=20, registers=0, class_token=False)
    pool, x = randomised(AttentionPool(config)), torch.randn(2, 5, 12, dtype=torch.float64)
    own, theirs = pool.attention, nn.MultiheadAttention(12, 3, batch_first=True).double()
    theirs.load_state_dict({
        "in_proj_weight": torch.cat([own.q.weight, own.k.weight, own.v.weight]),
        "in_proj_bias": torch.cat([own.q.bias, own.k.bias, own.v.bias]),
        "out_proj.weight": own.out.weight, "out_proj.bias": own.out.bias,
    })  # fmt: skip
    y = theirs(pool.query.expand(2, -1, -1), x, x)[0]
    torch.testing.assert_close(pool(x), (y + pool.mlp(pool.norm(y)))[:, 0])
