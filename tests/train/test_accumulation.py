"""A batch in parts is the same step as the batch in one: weights, tables, replacement, k-means start and running numbers.

    pytest tests/train/test_accumulation.py
"""

import pytest
import torch
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import QUANTIZERS, build
from tokenzoo.codecs.quantizers.parts.codebook import Codebook, one_step
from tokenzoo.train import TrainState, parse_run, train_step
from tokenzoo.train.finite import NonFiniteLoss
from tokenzoo.train.loop import Trainer
from train_media import image_run

TABLE = {"codebook_size": 12, "decay": 0.8, "kmeans_init": False, "replace_below": 0.3}
START = TABLE | {"kmeans_init": True}
#: Every kind with running numbers, with and without a k-means start.
KINDS: dict[str, dict] = {
    "vq": {"kind": "vq", **TABLE},
    "vq, start": {"kind": "vq", **START},
    "vq, start from two steps": {"kind": "vq", **START, "kmeans_batches": 2},
    "vq, cosine": {"kind": "vq", **START, "normalize": True, "codebook_dim": 4},
    "vq, gradient": {"kind": "vq", **START, "update": "gradient"},
    "residual_vq": {"kind": "residual_vq", **TABLE, "num_codebooks": 3},
    "residual_vq, start": {"kind": "residual_vq", **START, "num_codebooks": 3},
    "grouped_vq": {"kind": "grouped_vq", **START, "groups": 2, "levels": 2},
    "product_vq": {"kind": "product_vq"},
    "residual_vq, one table": {"kind": "residual_vq", **START, "num_codebooks": 3, "shared_codebook": True},
    "paired_vq": {"kind": "paired_vq", **START, "semantic_dim": 4},
    "multiscale_vq": {"kind": "multiscale_vq", **START, "scales": [[1, 1], [2, 2], [4, 4]]},
    "dual": {"kind": "dual"},
    "residual_vq, beam": {"kind": "residual_vq", **START, "num_codebooks": 3, "beam": 3},
    "additive_vq": {"kind": "additive_vq", "num_codebooks": 3, "codebook_size": 12, "beam": 3, "replace_below": 0.3},
}
STEPS = 5


def batch(step: int) -> torch.Tensor:
    return torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(step)) * 2 - 1


def state(quantizer: dict, **changes) -> TrainState:
    """A run without data, on a convolutional tokenizer with a 4 x 4 grid.

    Adam divides a gradient next to 0 by its own size, and so makes rounding as large as a step; a large `eps` keeps it small.
    """
    run = image_run("nowhere", "nowhere", steps=20, **changes)
    run["optimizer"] |= {"lr": 0.1, "eps": 1.0}
    run["model"]["config"] = {
        "patch_size": 4, "widths": [8, 8], "encoder_blocks": [1, 1], "decoder_blocks": [1, 1], "latent_dim": 8, "quantizer": quantizer,
    }  # fmt: skip
    return TrainState(parse_run(run))


def moving(kind: str) -> bool:
    return any(isinstance(m, Codebook) for m in build(kind, dim=48).modules())


def test_every_kind_with_a_table_is_here():
    alone = {"gumbel", "ibq", "simvq", "external", "kmeans"}  # tables that only gradients, or nothing, move
    kinds = {k for k in QUANTIZERS.names() if k not in alone and moving(k)}
    assert kinds <= {c["kind"] for c in KINDS.values()}


@pytest.mark.parametrize("name", KINDS)
def test_parts_are_one_step(name):
    """Four parts, in float32: equal ids, and weights and tables to rounding."""
    whole, parts, moved = state(KINDS[name]), state(KINDS[name]), 0.0
    before = {k: v.clone() for k, v in whole.tokenizer.quantizer.state_dict().items()}
    for step in range(STEPS):
        train_step(whole, batch(step))
        train_step(parts, list(batch(step).chunk(4)))
    ours, theirs = whole.tokenizer.state_dict(), parts.tokenizer.state_dict()
    for key, value in ours.items():
        if value.is_floating_point():
            torch.testing.assert_close(theirs[key], value, rtol=2e-3, atol=2e-4, msg=lambda m, key=key: f"{key}: {m}")
        else:
            assert torch.equal(theirs[key], value), key
    for key, value in before.items():
        moved = max(moved, float((ours["quantizer." + key].double() - value.double()).abs().max()))
    assert moved > 0.05, "the test must see a table that moves"
    x = batch(99)
    for run in (whole, parts):
        run.tokenizer.eval()
    assert torch.equal(whole.tokenizer.encode(x, value_range=(-1, 1)).ids, parts.tokenizer.encode(x, value_range=(-1, 1)).ids)


def test_running_numbers_of_losses():
    """LeCam's means and the balancer's norms: one move a step."""
    game = {
        "losses": {"pixel": {}, "quantizer": {}, "adversarial": {"weight": 0.1, "lecam_weight": 0.01, "lecam_decay": 0.5}},
        "discriminators": {"patchgan": {"channels": 4, "layers": 1, "norm": "none"}},
    }
    whole, parts = (state(KINDS["vq"], **game) for _ in range(2))
    for step in range(STEPS):
        train_step(whole, batch(step))
        train_step(parts, list(batch(step).chunk(4)))
    ours, theirs = whole.objective.losses["adversarial"], parts.objective.losses["adversarial"]
    assert float(ours.mean_real) != 0
    torch.testing.assert_close(theirs.mean_real, ours.mean_real, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(theirs.mean_fake, ours.mean_fake, rtol=1e-4, atol=1e-6)

    balanced = {"losses": {"pixel": {}, "quantizer": {}}, "balance": {"kind": "gradients", "decay": 0.9}}
    parts = state(KINDS["vq"], **balanced)
    train_step(parts, list(batch(0).chunk(4)))
    assert float(parts.objective.balancer.filled.max()) == pytest.approx(0.1)  # one move, not four


def test_a_step_that_is_given_up_moves_nothing():
    run = state(KINDS["residual_vq, start"])
    train_step(run, list(batch(0).chunk(4)))
    before = {k: v.clone() for k, v in run.tokenizer.state_dict().items()}
    bad = list(batch(1).chunk(4))
    bad[2] = bad[2] * float("nan")
    with pytest.raises(NonFiniteLoss):
        train_step(run, bad)
    assert all(torch.equal(v, before[k]) for k, v in run.tokenizer.state_dict().items())
    whole = state(KINDS["residual_vq, start"])
    train_step(whole, list(batch(0).chunk(4)))
    for each in (run, whole):  # and leaves nothing behind for the next
        train_step(each, batch(2))
    assert all(torch.equal(v, whole.tokenizer.state_dict()[k]) for k, v in run.tokenizer.state_dict().items())


def test_outside_of_a_step_every_forward_is_one():
    z = torch.randn(4, 8, 20, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    alone, inside = (build("vq", dim=8, **TABLE).train() for _ in range(2))
    alone(z), alone(z)
    with one_step(2):
        inside(z), inside(z)
    assert int(alone.codebook.steps) == 2 and int(inside.codebook.steps) == 1


def test_tables_that_move_by_themselves_are_refused(tmp_path):
    external = {"kind": "external", "name": "VectorQuantize", "options": {"codebook_size": 8}}
    with pytest.raises(ConfigError, match="accumulation above 1: VectorQuantize of vector-quantize-pytorch updates"):
        train_step(state(external), list(batch(0).chunk(2)))
    train_step(state(external), batch(0))
    still = external | {"name": "LFQ", "options": {"codebook_size": 8}}
    train_step(state(still), list(batch(0).chunk(2)))
    run = image_run("nowhere", tmp_path, steps=2, accumulation=2)
    run["model"]["config"] = run["model"]["config"] | {"quantizer": external}
    with pytest.raises(ConfigError, match="accumulation"):
        Trainer(parse_run(run))
