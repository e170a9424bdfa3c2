"""The prior that is trained along with the codes: what it sees, its loss by hand, its gradient, and what it teaches the codes.

    pytest tests/train/losses/test_token_prior.py         # the effect: pytest -m effect -s tests/train/losses/test_token_prior.py
"""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from effects import effect
from loss_cases import IMAGE, inputs, loss
from PIL import Image
from small_runs import held_out, trained, write_photo
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build

SMALL = {"width": 16, "layers": 2, "heads": 2}


def built(dim=6, **options):
    torch.manual_seed(0)
    module = loss("token_prior", IMAGE, **(SMALL | options))
    module.prepare({"z_q": dim, "wide": 7})
    return module


def given(z_q):
    return inputs([0], [0], out=SimpleNamespace(z=z_q, quantized=SimpleNamespace(z_q=z_q), features={}))


def bits(shape=(3, 6, 10), size=1.0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).sign() * size


def test_a_position_is_foretold_from_those_before_it_alone():
    module, codes = built(), bits().transpose(1, 2)
    found = module.predicted(codes)
    for at in (0, 4, 9):
        other = codes.clone()
        other[:, at:] *= -1
        again = module.predicted(other)
        assert torch.allclose(again[:, : at + 1], found[:, : at + 1], atol=1e-6)
        assert at == 9 or not torch.allclose(again[:, at + 1], found[:, at + 1], atol=1e-4)
    assert not torch.allclose(module.predicted(codes.flip(0) * 0 + 1)[:, 1], module.predicted(codes * 0 + 1)[:, 2], atol=1e-4), "places"


@pytest.mark.parametrize("size", [1.0, 0.25])
def test_the_loss_is_the_cross_entropy_of_bits_or_a_share_of_the_variance(size):
    codes = bits(size=size)
    module = built()
    p = 1 / (1 + np.exp(-module.predicted(codes.transpose(1, 2)).detach().double().numpy()))
    one = codes.transpose(1, 2).numpy() > 0
    assert float(module(given(codes)).detach()) == pytest.approx(-np.log(np.where(one, p, 1 - p)).mean(), rel=1e-5)
    module, vectors = built(codes="vectors"), torch.randn(3, 6, 10) * size
    wrong = (module.predicted(vectors.transpose(1, 2)).transpose(1, 2) - vectors).square().mean()
    assert float(module(given(vectors)).detach()) == pytest.approx(float(wrong.detach() / vectors.var(unbiased=False)), rel=1e-5)


@pytest.mark.parametrize("kind, codes", [("sign", "bits"), ("lfq", "bits"), ("bsq", "bits"), ("vq", "vectors")])
def test_its_gradient_reaches_the_encoder_and_moves_codes_to_where_they_are_foretold(kind, codes):
    own = {"codebook_size": 64} if kind == "vq" else {"bits": 6}
    quantizer, z = build(kind, dim=6, **own), (torch.randn(3, 6, 10) * 0.5).requires_grad_()
    module = built(codes=codes)
    value = module(given(quantizer(z).z_q))
    [grad] = torch.autograd.grad(value, [z])
    assert bool((grad.abs().sum((0, 1)) > 0).all()), "every position, the last one too: as a target"
    moved = module(given(quantizer(z - 30 * grad).z_q))
    assert moved.detach() < value.detach()


def test_settings_and_features_are_checked():
    for wrong in ({"width": 15}, {"heads": 3}, {"layers": 0}):
        with pytest.raises(ConfigError, match="width is"):
            built(**wrong)
    with pytest.raises(ConfigError, match="Set codes to 'vectors'"):
        built()(given(torch.randn(2, 6, 4)))
    with pytest.raises(ConfigError, match="no feature 'other'"):
        built(feature="other")


# --- the effect -----------------------------------------------------------------------------------------------------------


WEIGHT, SEEDS = 0.01, 3  # of one seed alone the PSNR wavers by half a dB
#: Smaller than the bundled run, so that more steps take no longer.
SMALLER = ["data.crop=16", "steps=200"]


def crops(photos, count, side):
    """Crops `[count, 3, side, side]` in 0..1 of pictures in a folder."""
    rng, sources = np.random.default_rng(0), [np.asarray(Image.open(p).convert("RGB")) for p in sorted(photos.glob("*.png"))]
    found = []
    for i in range(count):
        picture = sources[i % len(sources)]
        top, left = (int(rng.integers(n - side + 1)) for n in picture.shape[:2])
        found.append(torch.from_numpy(picture[top : top + side, left : left + side].copy()).permute(2, 0, 1) / 255)
    return torch.stack(found)


def bits_a_token(train, test, steps=300):
    """Bits that a fresh model of the same form needs for a position of codes `[N, D, L]` that it has not seen."""
    torch.manual_seed(1)
    module = loss("token_prior", IMAGE, width=64, layers=2, heads=4)
    module.prepare({"z_q": train.shape[1]})
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    for _ in range(steps):
        value = module(given(train[torch.randint(len(train), (32,))]))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    with torch.no_grad():
        return float(module(given(test))) * train.shape[1] / math.log(2)


@pytest.mark.slow
@pytest.mark.effect
def test_codes_of_a_prior_are_easier_for_a_fresh_model_at_the_same_error(tmp_path):
    """UniWeTok (arXiv 2602.14178): fewer bits a token for a generator, and pixels within 0.6 dB."""
    photos, found = write_photo(tmp_path / "photos"), {0.0: [], WEIGHT: []}
    seen, test = crops(photos, 1500, 16) * 2 - 1, held_out(256, 16, (-1.0, 1.0))
    for seed, weight in itertools.product(range(SEEDS), found):
        prior = [f"losses.prior={{kind: token_prior, width: 64, layers: 2, heads: 4, weight: {weight}}}"] if weight else []
        own = [*SMALLER, f"seed={seed}", *prior]
        tokenizer = trained("image/uniwetok-debug", photos, tmp_path / f"{seed}-{weight}", *own)
        with torch.no_grad():
            read = [[tokenizer.quantizer(tokenizer.encode_latents(x)).z_q for x in part.split(64)] for part in (seen, test)]
            train, codes = map(torch.cat, read)
            torch.manual_seed(0)  # the decoder draws noise
            x_hat = torch.cat([tokenizer.decode_latents(z_q, (4, 4)) for z_q in codes.split(64)])
        psnr = float(-10 * ((x_hat.clamp(-1, 1) - test) / 2).square().mean().log10())
        found[weight].append((bits_a_token(train, codes), psnr))
    plain, easier = (np.mean(found[weight], axis=0) for weight in (0.0, WEIGHT))
    figure = f"of held-out crops, uniwetok-debug, mean of {SEEDS} seeds"
    effect("generative prior (UniWeTok)", f"bits a token of a fresh model {figure}", with_=easier[0], without=plain[0])
    effect("generative prior (UniWeTok)", f"PSNR in dB {figure}", with_=easier[1], without=plain[1])
    assert easier[0] < 0.9 * plain[0] and easier[1] > plain[1] - 0.6, found
