"""What quantizers of the surveys do to patches of a photograph, on its part that none has seen.

pytest tests/codecs/quantizers/test_quantizer_effects.py
"""

import pytest
import torch
from effects import effect
from small_runs import held_out, photo_crops
from tokenzoo.codecs.quantizers import build
from torch import Tensor

pytestmark = pytest.mark.effect
DIM = 8


@pytest.fixture(scope="module")
def patches():
    """Patches of 4 x 4 pixels as `[N, 8]`, of the photograph's left part and of its right one: principal components of the left's."""
    seen, unseen = (_cut(crops(24, 32)) for crops in (photo_crops, held_out))
    middle = seen.mean(0)
    axes = torch.linalg.svd(seen - middle, full_matrices=False).Vh[:DIM].T
    return (seen - middle) @ axes, (unseen - middle) @ axes


def _cut(crops: Tensor) -> Tensor:
    return crops.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1)


def error(quantizer, rows: Tensor) -> float:
    """Squared error as a share of the variance."""
    with torch.no_grad():
        off = quantizer.decode(quantizer.encode(rows.T[None])) - rows.T
    return float(off.square().sum() / rows.square().sum())


def residual(rows: Tensor, **config):
    """A residual quantizer whose tables are k-means of the residuals."""
    torch.manual_seed(0)
    quantizer = build("residual_vq", dim=DIM, num_codebooks=3, codebook_size=32, kmeans_iterations=30, **config).train()
    quantizer(rows.T[None])
    return quantizer.eval()


def test_tables_that_are_fitted_together_come_nearer(patches):
    seen, unseen = patches
    torch.manual_seed(0)
    additive = build("additive_vq", dim=DIM, num_codebooks=3, codebook_size=32)
    additive.fit(seen)
    near, plain = error(additive, unseen), error(residual(seen), unseen)
    effect("additive tables, least squares and a beam", "squared error of patches, 15 bits each", with_=near, without=plain)
    assert near < 0.95 * plain


def test_a_beam_comes_nearer_with_the_same_tables(patches):
    seen, unseen = patches
    greedy = residual(seen)
    wide = build("residual_vq", dim=DIM, num_codebooks=3, codebook_size=32, beam=16).eval()
    wide.load_state_dict(greedy.state_dict())
    near, plain = error(wide, unseen), error(greedy, unseen)
    effect("beam of 16 in a residual stack", "squared error of patches, the same tables", with_=near, without=plain)
    assert near < 0.97 * plain


def test_several_anchors_describe_better_than_the_nearest(patches):
    seen, unseen = patches
    errors = {}
    for number in (1, 3):
        quantizer = build("anchors", dim=DIM, num_codebooks=number, codebook_size=256)
        quantizer.fit(seen)
        errors[number] = error(quantizer, unseen)
    effect("ids of 3 nearest anchors", "squared error of patches, and of the nearest anchor alone", with_=errors[3], without=errors[1])
    assert errors[3] < 0.9 * errors[1]


def test_untrained_projections_tell_what_the_patch_is(patches):
    """BEST-RQ's codes are drawn, never trained; a code still says which patches are alike."""
    _, unseen = patches
    quantizer = build("random_projection", dim=DIM, codebook_size=64)
    ids = quantizer.encode(unseen.T[None])[0, 0]
    mixed = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))]
    told, chance = (_within(unseen, x) for x in (ids, mixed))
    figure = "variance of patches with the same id, and of as many at random"
    effect("random projection (BEST-RQ)", figure, with_=told, without=chance)
    assert told < 0.7 * chance


def _within(rows: Tensor, ids: Tensor) -> float:
    """Squared distance from the mean of the rows with the same id, as a share of the variance."""
    sums = torch.zeros(int(ids.max()) + 1, rows.shape[1]).index_add(0, ids, rows)
    means = sums / ids.bincount().clamp(min=1)[:, None]
    return float((rows - means[ids]).square().sum() / (rows - rows.mean(0)).square().sum())
