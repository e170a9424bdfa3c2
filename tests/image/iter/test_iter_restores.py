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


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photo(tmp_path_factory.mktemp("photo"))


@pytest.fixture(scope="module")
def restorer(photos, tmp_path_factory):
    """The three stages: a tokenizer, the encoder over it, evaluation and refinement over both. Half of the crops are noisy."""
    base, two, three = (tmp_path_factory.mktemp(name) for name in ("base", "two", "three"))
    trained("image/convnet-debug", photos, base, *DATA, f"model.config={json.dumps(BASE)}", "steps=150")
    settings = [f"model.config.base={json.dumps(BASE)}", f"model.config.encoder={json.dumps(ENCODER)}"]
    noisy = [*DATA, *settings, f"data.degrade={json.dumps(NOISE | {'share': 0.5, 'noise': 1.0})}"]
    refining = ("refined", "first_evaluation", "evaluation")
    alone = ["model.config.refinement=null", *(f"losses.{name}=null" for name in refining)]
    trained("image/iter-debug", photos, two, *noisy, *alone, f"grafts={{base: '{base}'}}", "steps=20")
    start = [f"init={two}", "init_parts=[base, encoder]", "model.frozen=[base, encoder]", "losses.codes=null"]
    return trained("image/iter-debug", photos, three, *noisy, *start, "steps=250")


@pytest.fixture(scope="module")
def crops(restorer):
    """Crops that no run saw, and their noisy copies."""
    low, high = restorer.spec.value_range
    clean = held_out(96, SIDE, (low, high))
    config = DegradeConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in NOISE.items()})
    return clean, torch.stack([degraded(x, config, np.random.default_rng(i), (low, high)) for i, x in enumerate(clean)])


@torch.no_grad()
def refined(restorer, x):
    return restorer.refined(restorer.encode_latents(x), (8, 8), RefineOptions(**OPTIONS))


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


def test_a_clean_picture_takes_fewer_steps(restorer, crops):
    clean, noisy = crops
    steps = [refined(restorer, x).steps.float() for x in (clean, noisy)]
    few, many = (float(s.mean()) for s in steps)
    effect("adaptive steps (ITER)", "steps of 8 for clean pictures, and for noisy ones", with_=few, without=many)
    assert all(s.min() >= 0 and s.max() <= 8 for s in steps)
    assert few < many
