"""LlamaGen's VQ and the MaskGIT-VQGAN against the authors' outputs. Run: pytest tests/image/vqgan/test_llamagen.py"""

import json

import pytest
import torch
from image_cases import check_case
from reference import load_io, reference_folder
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close


@pytest.mark.parametrize("case", ["s0.", "s1."])
@pytest.mark.parametrize("system", ["llamagen", "maskgit-vqgan"])
def test_reference(system, case):
    folder = reference_folder("image", system)
    clip = "decoded_clamped" if system == "maskgit-vqgan" else ""
    check_case(load_reference(folder), load_io(folder), case, atol=5e-5, clip=clip)


def test_odd_sizes_keep_their_size():
    folder = reference_folder("image", "llamagen")
    tok, io = load_reference(folder), load_io(folder)
    x = io["s0.input"][..., :29, :30]
    tokens = tok.encode(x)
    assert tokens.grid == (8, 8) and tok.decode(tokens).shape == x.shape
    assert tok.decode(tokens, original=False).shape[-2:] == (32, 32)


def test_training_options_are_said_aloud():
    folder = reference_folder("image", "llamagen")
    config = json.loads((folder / "config.json").read_text())
    from safetensors.torch import load_file

    state = load_file(folder / "weights.safetensors")
    with pytest.warns(UserWarning, match="entropy_loss_ratio"):
        convert("llamagen", {**config, "entropy_loss_ratio": 0.1}, state)
    with pytest.raises(ValueError, match="norm_type"):
        convert("llamagen", {**config, "encoder": {"norm_type": "batch"}}, state)


@pytest.mark.parametrize("normalise", [False, True])
def test_another_configuration_against_transformers(normalise):
    """`JanusVQVAE` has LlamaGen's network with taming's names; its lookup takes raw codes, its decoder unit ones."""
    janus = pytest.importorskip("transformers.models.janus.modeling_janus", reason="needs transformers")
    from transformers import JanusVQVAEConfig

    torch.manual_seed(0)
    peer = janus.JanusVQVAE(
        JanusVQVAEConfig(
            num_embeddings=40, embed_dim=6, base_channels=32, channel_multiplier=[2, 1, 3], num_res_blocks=2,
            latent_channels=10, projection_dim=6, num_patches=6,
        )
    ).eval()  # fmt: skip
    for p in peer.parameters():
        torch.nn.init.normal_(p, std=0.08)
    state = {_llamagen_name(k): v for k, v in peer.state_dict().items()}
    config = {
        "codebook_size": 40, "codebook_embed_dim": 6, "codebook_l2_norm": normalise, "z_channels": 10,
        "encoder_ch_mult": [2, 1, 3], "decoder_ch_mult": [2, 1, 3], "encoder": {"ch": 32}, "decoder": {"ch": 32},
    }  # fmt: skip
    tok = convert("llamagen", config, state)
    x = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    with torch.no_grad():
        z = peer.quant_conv(peer.encoder(x))
        assert_close(tok.encode_latents(x), z.flatten(2), atol=5e-5, rtol=1e-4)
        tokens = tok.encode(x)
        if not normalise:
            assert torch.equal(tokens.ids.flatten(), peer.quantize(z)[2])
            return
        assert_close(tok.decode(tokens), peer.decode(tokens.ids[:, 0]), atol=5e-5, rtol=1e-4)


def _llamagen_name(key: str) -> str:
    for old, new in ((".down.", ".conv_blocks."), (".up.", ".conv_blocks."), (".block.", ".res.")):
        key = key.replace(old, new)
    for i, part in enumerate(("block_1", "attn_1", "block_2")):
        key = key.replace(f"mid.{part}", f"mid.{i}")
    return key
