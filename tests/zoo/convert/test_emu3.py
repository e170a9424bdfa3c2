"""Emu3's tokenizer against the authors' outputs and transformers' port. Run: pytest tests/zoo/convert/test_emu3.py"""

import pytest
import torch
from reference import load_io, reference_folder
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 1e-3, "rtol": 1e-4}


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_pictures(case):
    folder = reference_folder("image", "emu3-vq")
    tok, io = load_reference(folder), load_io(folder)
    x = io[case + "input"]
    assert_close(tok.encode_latents(x), io[case + "latent"][:, 0].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io[case + "ids"].flatten(1))
    z_q = io[case + "quantized_from_ids"].flatten(1, 2).transpose(1, 2)  # stored channels last
    assert_close(tok.quantizer.decode(tokens.ids), z_q, **CLOSE)
    assert_close(tok.decode(tokens), io[case + "decoded"], **CLOSE)
    assert torch.equal(tok.encode(x[1:]).ids, tokens.ids[1:])


def test_clips():
    folder = reference_folder("image", "emu3-vq")
    tok, io = load_reference(folder), load_io(folder)
    x = io["v.input"]
    assert_close(tok.encode_video_latents(x).transpose(1, 2), io["v.latent"], **CLOSE)
    tokens = tok.encode_video(x)
    assert tokens.grid == (2, 8, 8) and torch.equal(tokens.ids[:, 0], io["v.ids"].flatten(1))
    assert_close(tok.decode_video(tokens), io["v.decoded"], **CLOSE)
    odd = x[:, :7, :, :15, :13]
    assert tok.decode_video(tok.encode_video(odd)).shape == odd.shape
    with pytest.raises(ValueError, match="decode_video"):
        tok.decode(tokens)


def test_another_configuration_against_transformers():
    emu3 = pytest.importorskip("transformers.models.emu3.modeling_emu3", reason="needs transformers")
    torch.manual_seed(0)
    sizes = {"codebook_size": 60, "embed_dim": 3, "num_res_blocks": 2, "temporal_downsample_factor": 2}
    peer = emu3.Emu3VQVAE(
        emu3.Emu3VQVAEConfig(
            **sizes,
            latent_channels=3,
            base_channels=32,
            channel_multiplier=[2, 1, 1],
            attn_resolutions=[1, 2],
            hidden_size=32,
        )
    ).eval()
    for name, p in peer.named_parameters():
        torch.nn.init.normal_(p, mean=float("norm" in name and name.endswith("weight")), std=0.12)
    torch.nn.init.normal_(peer.quantize.embedding.weight, std=0.05)
    for name, b in peer.named_buffers():
        if "running" in name:
            torch.nn.init.uniform_(b, 0.5, 1.5)
    # The peer keeps attention's norms apart; names to the authors' own.
    state = {}
    for key, value in peer.state_dict().items():
        for old, new in _RENAMED:
            key = key.replace(old, new)
        if any(f".{p}.weight" in key for p in ("q", "k", "v", "proj_out")) and value.ndim == 2:
            value = value[..., None, None]
        state[_own_norm(key)] = value
    config = {**sizes, "z_channels": 3, "ch": 32, "ch_mult": [2, 1, 1], "attn_resolutions": [1, 2]}
    tok = convert("emu3-vq", config, state)
    x = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    with torch.no_grad():
        theirs = torch.stack(peer.encode(x, image_sizes=[(16, 24)] * 2).image_tokens)
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids[:, 0], theirs.flatten(1)) and len(tokens.ids.unique()) > 3
        assert_close(tok.decode(tokens), peer.decode(theirs), **CLOSE)


_RENAMED = (
    ("down_block.down", "down"),
    ("up_block.up", "up"),
    ("middle_block", "mid"),
    ("q_proj", "q"),
    ("k_proj", "k"),
    ("v_proj", "v"),
    ("out_proj", "proj_out"),
)


def _own_norm(key: str) -> str:
    """`attn_norms.N` to `attn.N.norm`, `mid.attn_norm` to `mid.attn_1.norm`."""
    import re

    key = re.sub(r"attn_norms\.(\d+)", r"attn.\1.norm", key)
    return key.replace("mid.attn_norm", "mid.attn_1.norm")
