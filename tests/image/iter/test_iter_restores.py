"""What ITER does to noisy pictures: an encoder that was trained for a short time, and what evaluation and refinement make of its ids.

    pytest -m "slow or not slow" tests/image/iter/test_iter_restores.py
"""

import json

import numpy as np
import pytest
import torch
from effects import effect
from small_runs import error, held_out, trained, write_photo
from tokenzoo.codecs.image.iter.model import RefineOptions
from tokenzoo.train.data.degrade import DegradeConfig, degraded

pytestmark = [pytest.mark.slow, pytest.mark.effect]

SIDE = 32
NOISE = {"blur": 0.0, "down": [1], "gaussian": 1.0, "deviation": [60, 100], "grey": 0.0, "jpeg": 0.0}
#: Five ids, one for each 4 x 4 pixels.
BASE = {"patch_size": 4, "widths": [32], "encoder_blocks": [1], "decoder_blocks": [1], "latent_dim": 4}
BASE |= {"quantizer": {"kind": "vq", "codebook_size": 5, "update": "ema", "kmeans_init": True}}
ENCODER = {"scale": 1, "stem_width": 16, "blocks": 1, "swin": {"width": 16, "stacks": 1, "depth": 1, "heads": 2, "window": 2}}
OPTIONS = {"temperature": 0.0, "threshold": 0.7}
DATA = [f"data.crop={SIDE}", "batch_size=24"]
#: Changes of the debug run that leave its encoder alone, without evaluation and refinement.
ALONE = ["model.config.refinement=null", "losses.refined=null", "losses.first_evaluation=null", "losses.evaluation=null"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photo(tmp_path_factory.mktemp("photo"))


@pytest.fixture(scope="module")
def base(photos, tmp_path_factory):
    """Folder of the tokenizer underneath."""
    folder = tmp_path_factory.mktemp("base")
    trained("image/convnet-debug", photos, folder, *DATA, f"model.config={json.dumps(BASE)}", "steps=150")
    return folder


@pytest.fixture(scope="module")
def restorer(photos, base, tmp_path_factory):
    """The stages over the tokenizer: an encoder of few steps, whose ids are often wrong, then evaluation and refinement over both."""
    two, three = (tmp_path_factory.mktemp(name) for name in ("two", "three"))
    noisy = [*DATA, *settings(NOISE | {"share": 0.5})]
    trained("image/iter-debug", photos, two, *noisy, *ALONE, f"grafts={{base: '{base}'}}", "steps=20")
    start = [f"init={two}", "init_parts=[base, encoder]", "model.frozen=[base, encoder]", "losses.codes=null"]
    return trained("image/iter-debug", photos, three, *noisy, *start, "steps=250")


def settings(noise):
    """Changes of the debug run: the networks, and how its pictures are degraded."""
    degrade = f"data.degrade={json.dumps(noise | {'noise': 1.0})}"
    return [f"model.config.base={json.dumps(BASE)}", f"model.config.encoder={json.dumps(ENCODER)}", degrade]


@pytest.fixture(scope="module")
def crops(restorer):
    """Crops that no run saw, and their noisy copies."""
    return clean_and_noisy(restorer, NOISE)


def clean_and_noisy(tok, noise):
    """Crops `[96, 3, 32, 32]` that no run saw, and their degraded copies."""
    low, high = tok.spec.value_range
    clean = held_out(96, SIDE, (low, high))
    config = DegradeConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in noise.items()})
    return clean, torch.stack([degraded(x, config, np.random.default_rng(i), (low, high)) for i, x in enumerate(clean)])


@torch.no_grad()
def refined(restorer, x, **changes):
    return restorer.refined(restorer.encode_latents(x), (8, 8), RefineOptions(**OPTIONS | changes))


@torch.no_grad()
def right(restorer, clean, ids):
    return float((restorer.base.encode(clean).ids[:, 0] == ids.flatten(1)).float().mean())


def test_more_ids_are_right_after_the_last_step(restorer, crops):
    clean, noisy = crops
    found = refined(restorer, noisy)
    shares = [right(restorer, clean, ids) for ids in found.history]
    print("share of right ids by step:", ", ".join(f"{s:.3f}" for s in shares))
    figure = "share of right ids of noisy pictures, after the last step and before the first"
    effect("refinement (ITER)", figure, with_=shares[-1], without=shares[0])
    assert shares[-1] > shares[0] + 0.01


def test_the_picture_is_nearer_to_the_clean_one(restorer, crops):
    clean, noisy = crops
    with_, without = (error(restorer.decode(restorer.encode(noisy, steps=n, **OPTIONS)), clean) for n in (8, 0))
    figure = "square error of the restored picture, with refined ids and with the encoder's"
    effect("refinement (ITER)", figure, with_=with_, without=without)
    assert with_ < without


def test_ids_that_are_evaluated_as_right_mostly_are(restorer, crops):
    clean, noisy = crops
    found = refined(restorer, noisy)
    hits = restorer.base.encode(clean).ids.view(len(clean), 8, 8) == found.history[0]
    with_, without = float(hits[found.right].float().mean()), float(hits.float().mean())
    figure = "share of right ids of noisy pictures, of those evaluated as right, and of all"
    effect("evaluation (ITER)", figure, with_=with_, without=without)
    assert with_ > without + 0.1


def test_few_steps_reach_what_all_steps_reach(restorer, crops):
    clean, noisy = crops
    few, all_ = (refined(restorer, noisy, threshold=threshold) for threshold in (OPTIONS["threshold"], 1.5))
    steps = float(few.steps.float().mean()), float(all_.steps.float().mean())
    shares = right(restorer, clean, few.ids), right(restorer, clean, all_.ids)
    figure = f"steps for {shares[0]:.3f} right ids, chosen by the evaluation, and for {shares[1]:.3f}, all of them"
    effect("adaptive steps (ITER)", figure, with_=steps[0], without=steps[1])
    assert all(0 <= s <= 8 for s in few.steps.tolist()) and len(few.steps.unique()) > 1
    assert steps[0] < 0.6 * steps[1] and shares[0] > shares[1] - 0.01


def test_the_encoder_knows_noisy_pictures_better_than_the_tokenizer(photos, base, tmp_path):
    """Under strong noise, the encoder that learned the ids of clean pictures finds more of them than the tokenizer itself."""
    strong = NOISE | {"deviation": [110, 170]}
    tok = trained("image/iter-debug", photos, tmp_path, *DATA, *settings(strong), *ALONE, f"grafts={{base: '{base}'}}", "steps=100")
    clean, noisy = clean_and_noisy(tok, strong)
    with_, without = (right(tok, clean, ids) for ids in (tok.encode(noisy).ids, tok.base.encode(noisy).ids))
    figure = "share of ids of noisy pictures that are those of the clean ones, by the encoder of degraded pictures and by the tokenizer"
    effect("restoration (ITER)", figure, with_=with_, without=without)
    assert with_ > without + 0.03
