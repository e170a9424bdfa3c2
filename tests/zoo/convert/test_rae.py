"""CubiD's autoencoder against the authors' outputs. Run: pytest tests/zoo/convert/test_rae.py"""

import pytest
import torch
from reference import load_io, reference_folder
from tokenzoo.codecs.image.rae import sine_positions
from tokenzoo.codecs.layers.vision_tower import TowerConfig, VisionTower
from tokenzoo.codecs.quantizers import build
from tokenzoo.zoo.convert import load_reference
from tokenzoo.zoo.convert.base import rename
from tokenzoo.zoo.convert.rae import _TABLE, fuse_qkv
from torch.testing import assert_close

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def test_reference():
    folder = reference_folder("image", "cubid")
    tok, io = load_reference(folder), load_io(folder)
    x = io["input"]
    z = tok.encode_latents(x)
    assert_close(z, io["latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert tokens.grid == (4, 4) and torch.equal(tokens.ids, io["ids"].flatten(2))
    assert_close(tok.quantizer.decode(tokens.ids), io["dequantized"].flatten(2), **CLOSE)
    assert_close(tok.decode(tokens), io["decoded"], **CLOSE)
    assert_close(tok.decode_latents(z, tokens.grid), io["decoded_unquantized"], **CLOSE)
    assert torch.equal(tok.encode(x[:1]).ids, tokens.ids[:1])
    assert_close(sine_positions(4, 64), tok.positions, atol=1e-6, rtol=0)


def test_grid_of_values():
    io = load_io(reference_folder("image", "cubid"))
    q = build("dimension_wise", dim=1, levels=8, low=-9.0, high=9.0)
    ids = q.encode(io["grid"][None, None])
    assert torch.equal(ids[0, 0], io["grid_ids"])
    assert_close(q.decode(ids)[0, 0], io["grid_dequantized"], **CLOSE)
    assert_close(q.table, io["reconstruction_values"], **CLOSE)


def test_tower_equals_transformers():
    """Another configuration: the peer's own class, with random weights."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Dinov2WithRegistersConfig(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=2, mlp_ratio=3, image_size=20, patch_size=5
    )
    peer = transformers.Dinov2WithRegistersModel(config).eval()
    with torch.no_grad():
        for p in peer.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    state = {f"encoder.encoder.{k}": v for k, v in peer.state_dict().items() if "mask_token" not in k}
    state = fuse_qkv(state, r"encoder\.encoder\.(?:encoder|model)\.layer\.\d+\.attention\.", ("q_proj", "k_proj", "v_proj"))
    norm = {n: state.pop(f"encoder.encoder.layernorm.{n}") for n in ("weight", "bias")}
    state = {k.removeprefix("encoder."): v for k, v in rename(state, _TABLE).items()}
    for key in ("class_token", "registers", "positions"):
        state[key] = state[key].flatten(0, -2)
    tower = VisionTower(
        TowerConfig(image_size=20, patch_size=5, width=24, layers=3, heads=2, hidden=72, norm_out="affine")
    ).eval()
    tower.load_state_dict(state | {f"norm_out.{k}": v for k, v in norm.items()})
    for side in (20, 35):
        x = torch.randn(2, 3, side, side)
        with torch.no_grad():
            assert_close(tower(x), peer(x).last_hidden_state[:, 5:], **CLOSE)
