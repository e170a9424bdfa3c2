"""VAR's tokenizer against the authors' outputs. Run: pytest tests/image/var/test_var.py"""

import json

import pytest
import torch
import torch.nn.functional as F
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 5e-5, "rtol": 1e-4}
SIDES = (1, 2, 3, 4, 6, 8)


def test_reference():
    folder = reference_folder("image", "var")
    tok, io = load_reference(folder), load_io(folder)
    x = io["input"]
    assert_close(tok.encode_latents(x), io["latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io["ids"]) and tokens.scales == tuple((s, s) for s in SIDES)
    q = tok.quantizer
    assert_close(q.decode(tokens.ids), io["quantized_from_ids"].flatten(2), **CLOSE)
    assert_close(q.next_inputs(tokens.ids).transpose(1, 2), io["var_input"], **CLOSE)
    assert_close(tok.decode(tokens), io["decoded"], **CLOSE)
    assert_close(tok(x).x_hat, io["forward"], **CLOSE)
    raw = tok.decoder(tok.from_code(q.decode(tokens.ids).unflatten(2, (8, 8))))
    assert_close(raw, io["decoded_unclamped"], **CLOSE)
    assert torch.equal(tok.encode(x[1:]).ids, tokens.ids[1:])
    positions = 0
    for i, side in enumerate(SIDES):
        positions += side**2
        part = tokens.first(positions=positions)
        assert_close(q.decode(part.ids, grid=(8, 8)), io[f"f_hat.scale{i}"].flatten(2), **CLOSE)
        assert_close(tok.decode(part), io[f"decoded.first{i + 1}scales"], **CLOSE)


@pytest.mark.parametrize("shared", [0, 1, 3])
def test_other_numbers_of_phi(shared):
    """The published formula by hand: ticks in the middle of equal parts, the nearest tick's convolution."""
    folder = reference_folder("image", "var")
    config, state, io = (
        json.loads((folder / "config.json").read_text()),
        load_file(folder / "weights.safetensors"),
        load_io(folder),
    )
    phis = [
        (state[f"quantize.quant_resi.qresi_ls.{i % 4}.weight"], state[f"quantize.quant_resi.qresi_ls.{i % 4}.bias"])
        for i in range(6)
    ]
    other = {k: v for k, v in state.items() if "quant_resi" not in k}
    count = shared or 6
    for i in range(count):
        name = "qresi" if shared == 1 else f"qresi_ls.{i}" if shared else f"{i}"
        other |= {f"quantize.quant_resi.{name}.{end}": t for end, t in zip(("weight", "bias"), phis[i], strict=True)}
    tok = convert("var", {**config, "share_quant_resi": shared}, other)
    ids = io["ids"]
    ticks = [(i + 0.5) / count for i in range(count)]
    total, at = 0, 0
    for i, side in enumerate(SIDES):
        h = (
            F.embedding(ids[:, at : at + side**2], state["quantize.embedding.weight"])
            .transpose(1, 2)
            .unflatten(2, (side, side))
        )
        h = F.interpolate(h, size=(8, 8), mode="bicubic") if i < 5 else h
        weight, bias = phis[min(range(count), key=lambda k: abs(ticks[k] - i / 5))]
        total, at = total + 0.5 * h + 0.5 * F.conv2d(h, weight, bias, padding=1), at + side**2
    assert_close(tok.quantizer.decode(ids[:, None]), total.flatten(2), **CLOSE)


def test_without_attention_and_with_unit_lookup():
    folder = reference_folder("image", "var")
    config, state, io = (
        json.loads((folder / "config.json").read_text()),
        load_file(folder / "weights.safetensors"),
        load_io(folder),
    )
    tok = convert("var", {**config, "using_znorm": True}, state)
    z = io["latent"]
    rows = F.interpolate(z, size=(1, 1), mode="area").flatten(1)
    best = (F.normalize(rows, dim=1) @ F.normalize(state["quantize.embedding.weight"], dim=1).t()).argmax(1)
    assert torch.equal(tok.encode(io["input"]).ids[:, 0, 0], best)
    plain = {
        **config,
        "encoder": {**config["encoder"], "using_mid_sa": False},
        "decoder": {**config["decoder"], "using_mid_sa": False},
    }
    rest = {k: v for k, v in state.items() if "mid.attn_1" not in k}
    assert convert("var", plain, rest).encode(io["input"]).ids.shape == (2, 1, 130)
