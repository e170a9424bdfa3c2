"""TokenFlow's random drop of a scale: the codes that remain make up for it.

    pytest -m effect -s tests/image/tokenflow/test_scale_drop.py
"""

import pytest
import torch
import torch.nn.functional as F
from effects import effect
from small_runs import error, held_out
from tokenzoo.codecs.quantizers import build

SCALES = [(1, 1), (2, 2), (4, 4), (8, 8)]


@pytest.mark.slow
@pytest.mark.effect
def test_a_picture_loses_less_without_a_scale():
    """The table learns pictures of 8 x 8 pixels at four scales; then one scale is missing."""
    pictures = F.interpolate(held_out(1200, 32), size=(8, 8), mode="area").flatten(2) * 2 - 1  # [N, 3, 64]
    seen, x = pictures[:1000], pictures[1000:]
    lost: dict[float, dict[int | None, float]] = {}
    for share in (0.0, 0.1):
        torch.manual_seed(0)
        own = {"update": "ema", "kmeans_init": True, "phi_ratio": 0.0, "replace_below": 0.05}
        q = build("multiscale_vq", dim=3, codebook_size=64, scales=SCALES, drop_scale=share, **own).train()
        for _ in range(600):
            q(seen[torch.randint(len(seen), (32,))])
        lost[share] = {}
        for absent in (None, 1, 2):
            q.eval()._absent = lambda absent=absent: absent
            lost[share][absent] = error(q(x).z_q, x)
    inner = {share: (errors[1] + errors[2]) / 2 for share, errors in lost.items()}
    name, figure = "random drop of a scale in a tenth of the steps (TokenFlow)", "error (1e-3) of pictures of 8 x 8 pixels"
    effect(name, f"{figure} with one of the two inner scales missing", with_=1e3 * inner[0.1], without=1e3 * inner[0.0])
    effect(name, f"{figure} with all four scales", with_=1e3 * lost[0.1][None], without=1e3 * lost[0.0][None])
    assert inner[0.1] < 0.98 * inner[0.0] and lost[0.1][None] < 1.05 * lost[0.0][None], lost
