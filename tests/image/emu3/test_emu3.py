"""Emu3's tokenizer against the authors' outputs and transformers' port. Run: pytest tests/image/emu3/test_emu3.py"""

import json

import pytest
import tokenzoo
import torch
from clip_cases import check_picture, check_windows
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.image.emu3 import model
from tokenzoo.zoo.convert import convert, converter
from tokenzoo.zoo.corpus.packing.raster import RasterConfig
from tokenzoo.zoo.corpus.vocabulary import Books, Vocabulary
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
    z_q = io[case + "quantized_from_ids"].flatten(1, 2).transpose(1, 2)  # stored channels last
    assert_close(tok.quantizer.decode(io[case + "ids"].flatten(1)[:, None]), z_q, **CLOSE)
    check_picture(tok, x, io[case + "ids"], io[case + "decoded"], **CLOSE)


@pytest.mark.parametrize("system", LAYOUT_OF)
def test_clips(system):
    tok, io = stored(system)
    x = io["v.input"]
    assert_close(tok.encode_latents(x), io["v.latent"].transpose(1, 2).flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert tokens.grid == (2, 8, 8) and torch.equal(tokens.ids[:, 0], io["v.ids"].flatten(1))
    assert_close(tok.decode(tokens), io["v.decoded"], **CLOSE)


def test_clips_of_any_length_and_size_come_back(tmp_path):
    tok, io = stored("emu3-vq")
    clip = io["v.input"][0]
    tokens = tok.encode([clip, clip[:6, :, :15, :13], clip[:5, :, :15, :13]])
    assert tokens.grids.tolist() == [[2, 8, 8], [2, 8, 7], [2, 8, 7]]
    tokens.save(tmp_path / "a.tok")
    back = tok.decode(tokenzoo.Tokens.load(tmp_path / "a.tok"))
    assert [tuple(y.shape) for y in back] == [(8, 3, 16, 16), (6, 3, 15, 13), (5, 3, 15, 13)]
    short = clip[:6, :, :15, :13]
    filled = torch.cat([short, short[-1:].expand(2, -1, -1, -1)])
    assert torch.equal(tok.encode(filled).ids, tokens[1].ids)
    assert_close(tok.decode(tok.encode(filled))[0, :6], back[1], **CLOSE)
    assert_close(tok(short[None]).x_hat[0], back[1], **CLOSE)
    assert tok.decode(tokens[1], original=False).shape == (1, 8, 3, 16, 14), "all frames of all steps"


def test_nothing_depends_on_later_steps():
    tok, io = stored("emu3-vq")
    clip = io["v.input"]
    later = torch.cat([clip[:, :4], -clip[:, 4:]], dim=1)
    z, other = tok.encode_latents(clip), tok.encode_latents(later)
    assert_close(other[..., :64], z[..., :64], **CLOSE)
    assert not torch.allclose(other[..., 64:], z[..., 64:], **CLOSE)
    start, whole = tok.encode(clip[:, :4]), tok.encode(clip)
    assert torch.equal(whole.ids[..., :64], start.ids)
    assert_close(tok.decode(whole)[:, :4], tok.decode(start), **CLOSE)


@pytest.mark.parametrize("frames", [1, 3, 7])
def test_long_clips_go_through_the_networks_in_pieces(frames, monkeypatch):
    tok, io = stored("emu3-vq")
    clip = torch.cat([io["v.input"], io["v.input"].flip(1)], dim=1)[:, :14]
    monkeypatch.setattr(model, "_FRAMES", 100)
    whole = tok.encode(clip)
    decoded, seen = tok.decode(whole), []
    monkeypatch.setattr(model, "_FRAMES", frames)
    tok.encoder.register_forward_hook(lambda module, given, out: seen.append(len(given[0])))
    tok.decoder.register_forward_hook(lambda module, given, out: seen.append(len(given[0])))
    assert torch.equal(tok.encode(clip).ids, whole.ids) and sum(seen) == 14
    assert_close(tok.decode(whole), decoded, **CLOSE)
    assert max(seen) == frames and sum(seen) == 28, "frames of `fill` are not computed"
    tok.decode(tok.encode(clip[0, 0]))
    assert seen[-2:] == [1, 1], "of a picture one frame is computed"


def test_windows_are_clips_of_their_own():
    tok, io = stored("emu3-vq")
    check_windows(tok, io["v.input"][0], 3, (3, 8, 8), 2, **CLOSE)  # 3, 3 and 2 frames


def test_pictures_are_packed_in_rows():
    tok, io = stored("emu3-vq")
    tokens = tok.encode(io["s1.input"][:, None])
    vocabulary = Vocabulary(media=(Books(name="emu3", modality="image", vocab_sizes=tok.spec.vocab_sizes),))
    packing = RasterConfig(tokenizer="emu3", vocabulary=vocabulary, row_ends=True).build()
    packed = packing.pack(tokens)
    assert packed.input_ids.shape[1] >= 12 * 9
    drawn = packing.unpack(packed.input_ids).tokens  # as from a model: ids alone
    assert drawn.grid == (12, 8) and torch.equal(drawn.ids, tokens.ids)
    assert_close(tok.decode(drawn)[:, :1], tok.decode(tokens), **CLOSE)
    with pytest.raises(ValueError, match=r"\(h, w\), got \(2, 8, 8\)"):
        packing.pack(tok.encode(io["v.input"]))


def test_both_layouts_hold_the_same_network():
    """transformers' weights, read as such and written in the authors' keys."""
    tok, io = stored("emu3-vq-hf")
    authors = converter("emu3-vq")
    config = {"ch": 32, "ch_mult": [1, 1], "attn_resolutions": [1], "num_res_blocks": 1, "codebook_size": 64, "embed_dim": 4}
    state = authors.write(tok.state_dict(), authors.own_config(config))
    assert "encoder.mid.attn_1.q.weight" in state and "decoder.up.1.attn.0.norm.conv_y.weight" in state
    other = convert("emu3-vq", config, {**state, "encoder.time_res_stack.0.norm1.num_batches_tracked": torch.tensor(3)})
    assert torch.equal(other.encode(io["v.input"]).ids, tok.encode(io["v.input"]).ids)


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
    assert torch.equal(tok.encode(x[:, None]).ids[:, 0], theirs.flatten(1))


def test_hidden_size_must_be_the_width_that_attention_meets():
    with pytest.raises(ValueError, match="attention acts on 32 channels at level 1"):
        converter("emu3_vqgan-hf").own_config(
            {"base_channels": 32, "channel_multiplier": [1, 1], "attn_resolutions": [], "hidden_size": 64}
        )
