"""DALL-E's discrete VAE against the authors' outputs. Run: pytest tests/image/dalle_dvae/test_dalle_dvae.py"""

import json

import pytest
import torch
from PIL import Image
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.zoo import registry
from tokenzoo.zoo.convert import load_reference
from torch import nn
from torch.testing import assert_close

CLOSE = {"atol": 5e-5, "rtol": 1e-4}


@pytest.fixture(scope="module")
def folder():
    return reference_folder("image", "dalle-dvae")


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_reference(folder, case):
    tok, io = load_reference(folder), {k.removeprefix(case): v for k, v in load_io(folder).items() if k.startswith(case)}
    x = io["input"]
    assert_close(tok.quantizer.logits(tok.encode_latents(x)), io["logits"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io["ids"].flatten(1)) and torch.equal(tok.encode(x[1]).ids, tokens.ids[1:])
    assert_close(tok.statistics(tok.quantizer.decode(tokens.ids), tokens.grid), io["stats"], **CLOSE)
    assert_close(tok.decode(tokens), io["decoded"], **CLOSE)


def test_bytes_lie_in_0_to_1(folder):
    tok, x = load_reference(folder), (load_io(folder)["s1.input"] * 255).round().to(torch.uint8)
    picture = Image.fromarray(x[0].permute(1, 2, 0).numpy())
    assert torch.equal(tok.encode(picture).ids, tok.encode(x[:1].float() / 255).ids)


class Conv(nn.Module):
    """As the authors': its parameters are called w and b, and a pickle of it names a class of theirs."""

    def __init__(self, w: torch.Tensor, b: torch.Tensor) -> None:
        super().__init__()
        self.w, self.b, self.use_float16, self.device = nn.Parameter(w), nn.Parameter(b), True, torch.device("cpu")


def _module(state: dict, prefix: str) -> nn.Module:
    """The half of the weights under `prefix` as nested modules, pickled whole as theirs are."""
    root = nn.Module()
    for key in (k for k in state if k.startswith(prefix) and k.endswith(".w")):
        node, (*path, leaf) = root, key.removeprefix(prefix).removesuffix(".w").split(".")
        for name in path:
            if not hasattr(node, name):
                node.add_module(name, nn.Sequential())
            node = getattr(node, name)
        node.add_module(leaf, Conv(state[key], state[key[:-1] + "b"]))
    return root


def test_the_pickled_modules_are_read_without_their_classes(folder, tmp_path, monkeypatch):
    import dataclasses

    import tokenzoo

    theirs = {k: v for k, v in json.loads((folder / "config.json").read_text()).items() if k not in ("source", "versions", "notes")}
    card = dataclasses.replace(registry.card("dalle-dvae"), config_overrides=theirs)
    monkeypatch.setattr(registry, "cards", lambda: {card.name: card})
    state = load_file(folder / "weights.safetensors")
    for side in ("encoder", "decoder"):
        torch.save(_module(state, side + "."), tmp_path / f"{side}.pkl")
    x = load_io(folder)["s0.input"]
    assert torch.equal(tokenzoo.load("dalle-dvae", folder=tmp_path).encode(x).ids[:, 0], load_io(folder)["s0.ids"].flatten(1))
    assert torch.equal(tokenzoo.load(tmp_path, part="encoder").encode(x).ids[:, 0], load_io(folder)["s0.ids"].flatten(1))


def test_tiles_give_the_ids_of_the_whole_picture():
    torch.manual_seed(0)
    quantizer = {"kind": "gumbel", "codebook_size": 32, "code_dim": 8}
    tok = build_tokenizer("dalle_dvae", {"width": 4, "groups": 3, "blocks": 1, "code_dim": 8, "quantizer": quantizer}).eval()
    with torch.no_grad():
        for p in tok.parameters():
            p.copy_(torch.randn_like(p) * (2 * p[0].numel() ** -0.5 if p.ndim > 1 else 0.1))
        x = torch.rand(1, 3, 90, 130)
        tok.quantizer.scores.bias.sub_(tok.quantizer.logits(tok.encode_latents(x[..., :88, :128])).mean((0, 2)))
    whole = tok.encode(x)
    y = tok.decode(whole)
    tok.piece_positions = 8
    assert torch.equal(tok.encode(x).ids, whole.ids) and len(whole.ids.unique()) > 8
    assert_close(tok.decode(whole), y, **CLOSE)
    tok.context_positions = 0
    assert not torch.equal(tok.encode(x).ids, whole.ids) and not torch.allclose(tok.decode(whole), y, **CLOSE)
