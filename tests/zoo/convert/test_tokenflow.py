"""TokenFlow against the authors' outputs. Run: pytest tests/zoo/convert/test_tokenflow.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.layers.vision_tower import TowerConfig, VisionTower
from tokenzoo.zoo.convert import convert, load_reference
from tokenzoo.zoo.convert.base import rename
from tokenzoo.zoo.convert.rae import fuse_qkv
from tokenzoo.zoo.convert.tokenflow import _TABLE
from torch.testing import assert_close

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def test_reference():
    folder = reference_folder("image", "tokenflow")
    tok, io = load_reference(folder), load_io(folder)
    x = io["input"]
    z = tok.encode_latents(x)
    assert_close(z, io["latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io["ids"])
    assert torch.equal(tok.encode(x[:1]).ids, tokens.ids[:1])
    z_q = tok.quantizer.decode(tokens.ids, grid=(7, 7))
    assert_close(z_q, io["quantized"].flatten(2), **CLOSE)
    assert_close(tok.quantizer.codebook.vectors(tokens.ids[:, 0]), io["code_vectors"], **CLOSE)
    assert_close(tok.decode(tokens, original=False), io["decoded"], **CLOSE)
    assert_close(tok.decode_semantic(tokens), io["decoded_semantic"], **CLOSE)
    for scales, positions in ((1, 1), (3, 14)):
        part = tokens.first(positions=positions)
        assert_close(tok.decode(part, original=False), io[f"decoded.first{scales}scales"], **CLOSE)
        assert_close(tok.decode_semantic(part), io[f"decoded_semantic.first{scales}scales"], **CLOSE)
    out = tok(x)
    assert_close(out.x_hat, io["forward"], **CLOSE)
    assert_close(out.features["semantic"].transpose(1, 2), io["forward_semantic"], **CLOSE)


def test_other_teachers_are_refused():
    folder = reference_folder("image", "tokenflow")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    with pytest.raises(ValueError, match="clipb_224"):
        convert("tokenflow", {**config, "teacher": "clipb_224"}, state)


def test_tower_equals_transformers():
    """Another configuration: SigLIP's own class, with random weights."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SiglipVisionConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=2, image_size=20, patch_size=5
    )
    peer = transformers.SiglipVisionModel(config).eval()
    with torch.no_grad():
        for p in peer.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    state = {f"encoder_vqkd.{k}": v for k, v in peer.state_dict().items()}
    layer = r"encoder_vqkd\.(?:vision_model\.)?encoder\.layers\.\d+\.self_attn\."
    state = fuse_qkv(state, layer, ("q_proj", "k_proj", "v_proj"))
    state = {k: v for k, v in state.items() if ".head." not in k and "post_layernorm" not in k and ".layers.2." not in k}
    tower = VisionTower(
        TowerConfig(image_size=20, patch_size=5, width=24, layers=2, heads=2, hidden=40, class_token=False, registers=0,
                    layer_scale=None, gelu="tanh", norm_out="none")
    ).eval()  # fmt: skip
    tower.load_state_dict({k.removeprefix("tower."): v for k, v in rename(state, _TABLE).items()})
    x = torch.randn(2, 3, 20, 20)
    with torch.no_grad():
        assert_close(tower(x), peer(x, output_hidden_states=True).hidden_states[-2], **CLOSE)
