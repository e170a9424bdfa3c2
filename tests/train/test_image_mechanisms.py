"""What training mechanisms of image tokenizers do, each against the same bundled run without it.

    pytest -m effect -s tests/train/test_image_mechanisms.py
"""

import dataclasses

import pytest
import torch
from effects import effect
from small_runs import error, held_out, trained, write_photo
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.image.xqgan.model import PerturbationConfig

#: Smaller than the bundled runs, so that more steps take no longer.
SMALLER = ["data.crop=16", "batch_size=16", "model.config.encoder.layers=1", "model.config.decoder.layers=1"]
SMALL = [*SMALLER, "model.config.image_size=16"]
pytestmark = [pytest.mark.slow, pytest.mark.effect]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photo(tmp_path_factory.mktemp("photo"))


def test_tail_token_drop_puts_the_picture_into_the_first_tokens(photos, tmp_path):
    """One-D-Piece (arXiv 2501.10064): the first tokens of 8 reconstruct better."""
    x, errors = held_out(96, 16), {}
    for drop in (True, False):
        changes = [*SMALL, "model.config.num_latents=8", f"model.config.prefix={str(drop).lower()}", "steps=600"]
        tokenizer = trained("image/one-d-piece-debug", photos, tmp_path / str(drop), *changes)
        reader = build_tokenizer("titok", dataclasses.replace(tokenizer.config, prefix=True)).eval()  # decodes prefixes in both cases
        reader.load_state_dict(tokenizer.state_dict())
        tokens = reader.encode(x)
        errors[drop] = {n: error(reader.decode(tokens.first(positions=n)), x) for n in (1, 2, 8)}
    for n in (1, 2, 8):
        figure = f"error of pixels, the first {n} of 8 tokens"
        effect("tail token drop (One-D-Piece)", figure, with_=errors[True][n], without=errors[False][n])
    assert errors[True][1] < 0.75 * errors[False][1] and errors[True][2] < 0.75 * errors[False][2], errors
    assert errors[True][8] < errors[True][1], errors


def test_nested_dropout_of_registers_lets_the_first_ones_guide_the_flow(photos, tmp_path):
    """FlexTok (arXiv 2502.13967): the velocity under one of 8 tokens is nearer to the true one."""
    x, errors = held_out(48, 16, (-1.0, 1.0)), {}
    small = [*SMALLER, "model.config.image_size=[16,16]", "model.config.num_registers=8", "steps=400"]
    for drop in (True, False):
        kept = [] if drop else ["model.config.condition.drop_sampling=none"]
        tokenizer = trained("image/flextok-debug", photos, tmp_path / str(drop), *small, *kept)
        errors[drop] = {n: velocity_error(tokenizer, x, n) for n in (1, 8)}
    for n in (1, 8):
        figure = f"error of the velocity, the first {n} of 8 tokens"
        effect("nested dropout (FlexTok)", figure, with_=errors[True][n], without=errors[False][n])
    assert errors[True][1] < errors[False][1] - 0.01, errors
    assert errors[False][8] < errors[False][1] - 0.01, errors  # else the tokens said nothing


@torch.no_grad()
def velocity_error(tokenizer, x, count):
    """Mean square error over three times of the flow, with the first `count` tokens as condition."""
    clean = tokenizer.vae_encode(x)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(5))
    z_q = tokenizer.quantizer.decode(tokenizer.encode(x).ids)[:, :, :count]
    times = (0.3, 0.6, 0.9)
    found = [tokenizer.velocity(t * noise + (1 - t) * clean, torch.full((len(x),), t), z_q) for t in times]
    return sum(error(v, noise - clean) for v in found) / len(times)


def test_latent_perturbation_makes_the_decoder_forgive_wrong_ids(photos, tmp_path):
    """RobusTok (arXiv 2503.08354, 2509.12474): with any code in the place of every second one, less of the picture is lost."""
    x, lost = held_out(96, 16, (-1.0, 1.0)), {}
    wrong = PerturbationConfig(rate=0.5, share=1.0, neighbours=64)
    for perturbation in ("{rate: 0.5, share: 0.7, neighbours: 64}", "null"):
        changes = [*SMALL, "steps=500", f"model.config.perturbation={perturbation}"]
        tokenizer = trained("image/robustok-debug", photos, tmp_path / str(len(perturbation)), *changes)
        with torch.no_grad():
            z = tokenizer.encode_latents(x)
            z_q = tokenizer.quantizer(z).z_q
            torch.manual_seed(1)
            lost[perturbation != "null"] = (
                error(tokenizer.decode_latents(z_q), x),
                error(tokenizer.decode_latents(tokenizer.perturb(z, z_q, wrong)), x),
            )
    for i, figure in enumerate(("error of pixels, right ids", "error of pixels, half of the ids wrong")):
        effect("latent perturbation (RobusTok)", figure, with_=lost[True][i], without=lost[False][i])
    assert lost[True][1] < 0.85 * lost[False][1], lost
    assert lost[False][0] < 0.5 * lost[False][1], lost  # else no id was wrong enough to see


def test_perturbation_that_fades_gives_right_ids_back(photos, tmp_path):
    """RobusTok's rate falls to 0: right ids lose less than after a constant rate, wrong ones less than without any."""
    x, lost = held_out(96, 16, (-1.0, 1.0)), {}
    wrong = PerturbationConfig(rate=0.5, share=1.0, neighbours=64)
    constant = "model.config.perturbation={rate: 0.5, share: 0.7, neighbours: 64}"
    fading = "moving={model.perturbation.rate: {first: 0.5, last: 0.0, begin: 150, end: 450}}"
    for name, own in {"none": ["model.config.perturbation=null"], "constant": [constant], "fading": [constant, fading]}.items():
        tokenizer = trained("image/robustok-debug", photos, tmp_path / name, *SMALL, "steps=500", *own)
        with torch.no_grad():
            z = tokenizer.encode_latents(x)
            z_q = tokenizer.quantizer(z).z_q
            torch.manual_seed(1)
            lost[name] = [error(tokenizer.decode_latents(v), x) for v in (z_q, tokenizer.perturb(z, z_q, wrong))]
    name, (right, half) = "perturbation that fades (RobusTok)", lost["fading"]
    effect(name, "error of pixels, right ids, and after a constant rate", with_=right, without=lost["constant"][0])
    effect(name, "error of pixels, half of the ids wrong, and without any perturbation", with_=half, without=lost["none"][1])
    assert right < 0.97 * lost["constant"][0] and half < 0.9 * lost["none"][1], lost
