"""Infinity's tokenizer against the authors' outputs. Run: pytest tests/image/var/test_infinity.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 5e-5, "rtol": 1e-4}


def test_reference():
    folder = reference_folder("image", "infinity-vae")
    tok, io = load_reference(folder), load_io(folder)
    x = io["input"]
    assert_close(tok.encode_latents(x), io["latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    stored = torch.cat([io[f"bits.scale{i}"].flatten(1, 3) for i in range(5)], dim=1).transpose(1, 2)
    assert torch.equal(tok.quantizer.unpack(tokens.ids).long(), stored)
    z_q = tok.quantizer.decode(tokens.ids, grid=tokens.grid)
    assert_close(z_q, io["quantized_from_ids"].flatten(2), **CLOSE)
    assert_close(z_q, io["quantized"].flatten(2), **CLOSE)
    assert_close(tok.decode(tokens), io["decoded"], **CLOSE)
    assert_close(tok.decoder(z_q.unflatten(2, (8, 8))), io["decoded_unclamped"], **CLOSE)
    assert torch.equal(tok.encode(x[1:]).ids, tokens.ids[1:])
    for scales, positions in ((3, 21), (4, 57)):
        assert_close(tok.decode(tokens.first(positions=positions)), io[f"decoded.first{scales}scales"], **CLOSE)
    assert torch.equal(
        tok.decode(tokens.first(positions=56)), tok.decode(tokens.first(positions=21))
    )  # whole scales count


def test_of_several_state_dicts_the_raw_weights_are_read():
    """A published file holds more than one; the authors' loader takes `vae`, and `ema` only where it is told to."""
    folder = reference_folder("image", "infinity-vae")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    average = {k: torch.randn_like(v) if v.is_floating_point() else v for k, v in state.items()}
    checkpoint = {"ema": average, "vae": state, "discriminator": {"steps": torch.tensor(3)}, "step": 100}
    tok, x = convert("infinity-vae", config, checkpoint), load_io(folder)["input"]
    assert torch.equal(tok.encode(x).ids, convert("infinity-vae", config, state).encode(x).ids)
    flat = {k.replace(".conv.weight", ".weight").replace(".norm.bias", ".bias"): v for k, v in state.items()}  # of 2-D forerunners
    assert torch.equal(tok.encode(x).ids, convert("infinity-vae", config, {"vae": flat}).encode(x).ids)


def test_options_that_are_not_supported_are_named():
    config = json.loads((reference_folder("image", "infinity-vae") / "config.json").read_text())
    with pytest.raises(ValueError, match="use_freq_dec"):
        convert("infinity-vae", {**config, "use_freq_dec": True}, {})
    with pytest.raises(ValueError, match="scale_schedule"):
        convert("infinity-vae", {**config, "scale_schedule": [[1, 1, 1], [2, 8, 8]]}, {})
