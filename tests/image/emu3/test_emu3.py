"""Emu3's tokenizer against the authors' outputs and transformers' port. Run: pytest tests/image/emu3/test_emu3.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.zoo.convert import convert, converter
from torch.testing import assert_close

#: The authors' own file, and transformers' class (its folder is what `save_pretrained` wrote).
LAYOUT_OF = {"emu3-vq": "emu3-vq", "emu3-vq-hf": "emu3_vqgan-hf"}
CLOSE = {"atol": 1e-3, "rtol": 1e-4}


def stored(system):
    """The tokenizer and the tensors of a reference folder."""
    folder = reference_folder("image", system)
    weights = "weights.safetensors" if system == "emu3-vq" else "model.safetensors"
    config = json.loads((folder / "config.json").read_text())
    return convert(LAYOUT_OF[system], config, load_file(folder / weights)), load_io(folder)


@pytest.mark.parametrize("case", ["s0.", "s1."])
@pytest.mark.parametrize("system", LAYOUT_OF)
def test_pictures(system, case):
    tok, io = stored(system)
    x = io[case + "input"]
    assert_close(tok.encode_latents(x), io[case + "latent"][:, 0].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io[case + "ids"].flatten(1))
    z_q = io[case + "quantized_from_ids"].flatten(1, 2).transpose(1, 2)  # stored channels last
    assert_close(tok.quantizer.decode(tokens.ids), z_q, **CLOSE)
    assert_close(tok.decode(tokens), io[case + "decoded"], **CLOSE)
    assert torch.equal(tok.encode(x[1:]).ids, tokens.ids[1:])


@pytest.mark.parametrize("system", LAYOUT_OF)
def test_clips(system):
    tok, io = stored(system)
    x = io["v.input"]
    assert_close(tok.encode_video_latents(x).transpose(1, 2), io["v.latent"], **CLOSE)
    tokens = tok.encode_video(x)
    assert tokens.grid == (2, 8, 8) and torch.equal(tokens.ids[:, 0], io["v.ids"].flatten(1))
    assert_close(tok.decode_video(tokens), io["v.decoded"], **CLOSE)
    odd = x[:, :7, :, :15, :13]
    assert tok.decode_video(tok.encode_video(odd)).shape == odd.shape
    with pytest.raises(ValueError, match="decode_video"):
        tok.decode(tokens)


def test_both_layouts_hold_the_same_network():
    """transformers' weights, read as such and written in the authors' keys."""
    tok, io = stored("emu3-vq-hf")
    authors = converter("emu3-vq")
    config = {"ch": 32, "ch_mult": [1, 1], "attn_resolutions": [1], "num_res_blocks": 1, "codebook_size": 64, "embed_dim": 4}
    state = authors.write(tok.state_dict(), authors.own_config(config))
    assert "encoder.mid.attn_1.q.weight" in state and "decoder.up.1.attn.0.norm.conv_y.weight" in state
    other = convert("emu3-vq", config, {**state, "encoder.time_res_stack.0.norm1.num_batches_tracked": torch.tensor(3)})
    assert torch.equal(other.encode(io["s0.input"]).ids, tok.encode(io["s0.input"]).ids)


def test_transformers_reads_what_we_write():
    """A tokenizer of ours in transformers' layout: their class loads it strictly and gives the same ids."""
    transformers = pytest.importorskip("transformers")
    tok, io = stored("emu3-vq-hf")
    layout = converter("emu3_vqgan-hf")
    config = layout.authors_config(tok.config)
    assert layout.own_config(config) == tok.config
    peer = transformers.Emu3VQVAE(transformers.Emu3VQVAEConfig(**config)).eval()
    missing, left = peer.load_state_dict(layout.write(tok.state_dict(), tok.config), strict=False)
    assert not left and all(k.endswith("num_batches_tracked") for k in missing)
    x = io["s0.input"]
    with torch.no_grad():
        theirs = torch.stack(peer.encode(x, image_sizes=[(16, 16)] * 2).image_tokens)
    assert torch.equal(tok.encode(x).ids[:, 0], theirs.flatten(1))


def test_hidden_size_must_be_the_width_that_attention_meets():
    with pytest.raises(ValueError, match="attention acts on 32 channels at level 1"):
        converter("emu3_vqgan-hf").own_config(
            {"base_channels": 32, "channel_multiplier": [1, 1], "attn_resolutions": [], "hidden_size": 64}
        )
