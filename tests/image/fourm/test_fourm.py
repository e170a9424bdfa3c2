"""4M's VQ-VAE against the authors' outputs. Run: pytest tests/image/fourm/test_fourm.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.image.fourm.model import moco_positions
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 2e-5, "rtol": 1e-4}


def test_reference():
    folder = reference_folder("image", "4m-vqvae")
    tok, io = load_reference(folder), load_io(folder)
    x = io["input"]
    z = tok.encode_latents(x)
    assert_close(z, io["latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert tokens.grid == (6, 6) and torch.equal(tokens.ids[:, 0], io["ids"].flatten(1))
    assert torch.equal(tok.encode(x[:1]).ids, tokens.ids[:1])
    assert_close(tok.quantizer.decode(tokens.ids), io["quantized_from_ids"].flatten(2), **CLOSE)
    assert_close(tok.quantizer(z).z_q, io["quantized"].flatten(2), **CLOSE)
    assert_close(tok.decode(tokens), io["decoded"], **CLOSE)
    assert_close(tok(x).x_hat, io["autoencoded"], **CLOSE)


def test_positions_are_the_authors_table():
    folder = reference_folder("image", "4m-vqvae")
    state = load_file(folder / "weights.safetensors")
    assert_close(moco_positions(6, 48), state["encoder.pos_emb"][0], atol=1e-6, rtol=0)


def test_without_the_optional_parts():
    """Another configuration: no MLP with tanh, no refining convolutions, Euclidean search; strict on keys."""
    folder = reference_folder("image", "4m-vqvae")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    less = {k: v for k, v in state.items() if not any(n in k for n in ("post_mlp", "norm_mlp", "out_conv"))}
    tok = convert("4m-vqvae", {**config, "post_mlp": False, "out_conv": False, "norm_codes": False}, less)
    x = load_io(folder)["input"][:, :, :45, :30]
    tokens = tok.encode(x)
    z = tok.encode_latents(torch.nn.functional.pad(x, (0, 2, 0, 3), mode="replicate"))
    table = state["quantize._codebook.embed"]
    assert torch.equal(tokens.ids[:, 0], torch.cdist(z.transpose(1, 2), table.expand(2, -1, -1)).argmin(-1))
    assert tok.decode(tokens).shape == x.shape


def test_what_is_not_supported_is_said():
    folder = reference_folder("image", "4m-vqvae")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    for change in ({"quant_type": "fsq"}, {"num_codebooks": 2}, {"patch_size": [8, 8]}, {"enc_type": "MLP_x"}):
        with pytest.raises(ValueError, match=next(iter(change))):
            convert("4m-vqvae", {**config, **change}, state)


def test_one_channel_is_a_grey_picture():
    """Masks and edges: the first colour counts, and all come out equal; "map" makes a map of it."""
    folder = reference_folder("image", "4m-vqvae")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    config |= {"n_channels": 1, "out_conv": False}
    state = {k: v for k, v in state.items() if "out_conv" not in k}
    state["encoder.proj.weight"] = state["encoder.proj.weight"][:, :1]
    state["decoder.out_proj.weight"], state["decoder.out_proj.bias"] = (state[f"decoder.out_proj.{e}"][:64] for e in ("weight", "bias"))
    x = load_io(folder)["input"][:, :1]
    tok = convert("4m-vqvae", config, state)
    y = tok.decode(tok.encode(x.expand(-1, 3, -1, -1)))
    assert y.shape == (2, 3, 48, 48) and torch.equal(y[:, 0], y[:, 2])
    maps = convert("4m-vqvae", {**config, "input": "map"}, state)
    tokens = maps.encode(x)
    assert maps.spec.modality == "latent" and torch.equal(tokens.ids, tok.encode(x.expand(-1, 3, -1, -1)).ids)
    assert_close(maps.decode(tokens), y[:, :1], **CLOSE)


def test_unused_keys_are_named():
    """The authors' class takes any keyword; published configs may hold some."""
    folder = reference_folder("image", "4m-vqvae")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    with pytest.warns(UserWarning, match="heads = 3"):
        convert("4m-vqvae", {**config, "heads": 3}, state)
