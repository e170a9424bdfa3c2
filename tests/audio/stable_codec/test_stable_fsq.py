"""stable-codec's bottlenecks against the authors' outputs. Run: pytest tests/audio/stable_codec/test_stable_fsq.py"""

import json

import pytest
import torch
from audio_cases import as_folder, close
from reference import load_io, reference_folder
from tokenzoo.codecs.audio.stable_codec.layouts.stable_fsq import authors_ids
from tokenzoo.codecs.latent import Latent
from tokenzoo.zoo.convert import convert, load_reference

CASES = ("x_b1", "x_b2")


@pytest.mark.parametrize("case", CASES)
def test_reference(case):
    folder = reference_folder("audio", "stable-codec-fsq")
    tok, io, settings = load_reference(folder), load_io(folder), json.loads((folder / "config.json").read_text())
    assert isinstance(tok, Latent) and tok.config.quantizer == tok.alternatives["fsq0"].config.quantizer
    x = io[f"{case}.input"].transpose(1, 2)  # [B, D, T]
    for i in range(len(settings["fsq"])):
        one, stem = tok.alternatives[f"fsq{i}"], f"{case}.fsq{i}"
        z = x[:, : one.config.dim]
        tokens = one.encode(z)
        assert torch.equal(authors_ids(one.quantizer, tokens.ids).transpose(1, 2), io[f"{stem}.ids"])
        close(one.decode(tokens), io[f"{stem}.from_ids"].transpose(1, 2), 1e-6)
        close(one(z).x_hat, io[f"{stem}.quantized"].transpose(1, 2), 1e-6)
        if one.spec.num_codebooks == 1:
            assert torch.equal(tokens.ids.transpose(1, 2), io[f"{stem}.ids"])
    for i, stages in enumerate(settings["residual"]):
        one, stem = tok.alternatives[f"residual{i}"], f"{case}.residual{i}"
        tokens = one.encode(x)
        want = torch.cat([io[f"{stem}.ids_level{k}"] for k in range(len(stages))], dim=2).transpose(1, 2)
        assert torch.equal(tokens.ids, want) and torch.equal(authors_ids(one.quantizer, tokens.ids), want)
        close(one.decode(tokens), io[f"{stem}.decoded"], 1e-6)
    assert torch.equal(tok.encode(x).ids, tok.alternatives["fsq0"].encode(x).ids)


def numpy_digits(x, levels, scale):
    """The rounding in plain numbers, channel by channel."""
    step = 2 * scale / (torch.tensor(levels, dtype=torch.float64)[:, None] - 1)
    digits = torch.round((x + scale) / step)
    return digits.long(), digits * step - scale


def test_other_options(tmp_path):
    """Several codebooks, a scale, stages of different levels, and stages of more than 2^18 codes."""
    stages = [[[5, 5, 5, 4], 1.0], [[3, 3, 3, 3], 0.25], [[90, 80, 70, 60], 0.125]]
    config = {
        "fsq": [{"levels": [5, 4], "num_codebooks": 2, "scale": 1.5}, {"levels": [600, 500], "num_codebooks": 2}],
        "residual": [stages],
    }
    tok = as_folder(tmp_path, "stable-codec-fsq", config, {})
    x = torch.randn(2, 4, 50, generator=torch.Generator().manual_seed(0))
    u = x.double().tanh()

    one = tok.alternatives["fsq0"]
    digits, values = numpy_digits(u, [5, 4, 5, 4], 1.5)
    tokens = one.encode(x)
    assert torch.equal(tokens.ids, torch.stack([digits[:, 0] + 5 * digits[:, 1], digits[:, 2] + 5 * digits[:, 3]], 1))
    close(one.decode(tokens), values.float(), 1e-6)

    one = tok.alternatives["fsq1"]
    digits, values = numpy_digits(u, [600, 500] * 2, 1.0)
    ids = authors_ids(one.quantizer, one.encode(x).ids, num_codebooks=2)
    assert torch.equal(ids, torch.stack([digits[:, 0] + 600 * digits[:, 1], digits[:, 2] + 600 * digits[:, 3]], 1))
    assert ids.max() > 2**18 > one.encode(x).ids.max()

    one, rest, total = tok.alternatives["residual0"], u, 0
    ids = authors_ids(one.quantizer, one.encode(x).ids)
    for k, (levels, scale) in enumerate(stages):
        digits, values = numpy_digits(rest, levels, scale)
        place = torch.tensor([1, *levels[:-1]]).cumprod(0)[:, None]
        assert torch.equal(ids[:, k], (digits * place).sum(1))
        rest, total = rest - values, total + values
    close(one.decode(one.encode(x)), total.float(), 1e-6)
    assert not one.spec.prefix and one.spec.num_codebooks == 4


def test_strange_settings_are_refused():
    with pytest.raises(ValueError, match="holds"):
        convert("stable-codec-fsq", {"fsq": [{"levels": [5]}]}, {"w": torch.ones(1)})
    with pytest.raises(ValueError, match="lists a quantizer"):
        convert("stable-codec-fsq", {"fsq": []}, {})
