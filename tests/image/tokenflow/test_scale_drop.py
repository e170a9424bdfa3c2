"""TokenFlow's random drop of a scale: the codes that remain make up for it.

    pytest -m effect -s tests/image/tokenflow/test_scale_drop.py
"""

import pytest
import torch
import torch.nn.functional as F
from effects import effect
from small_runs import error, held_out, trained, write_photo
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


@pytest.mark.slow
@pytest.mark.effect
def test_a_trained_tokenizer_loses_less_without_a_scale(tmp_path):
    """The debug run, whole, with the drop and without: pictures decoded without one of the two inner scales."""
    photos, x = write_photo(tmp_path / "photo"), held_out(96, 32, (-1.0, 1.0))
    lost: dict[float, list[float]] = {}
    for share in (0.0, 0.2):
        quantizer = f"model.config.quantizer={{scales: [[1, 1], [2, 2], [3, 3], [4, 4]], drop_scale: {share}}}"
        tok = trained("image/tokenflow-debug", photos, tmp_path / str(share), quantizer, "steps=250")
        lost[share] = []
        for absent in (None, 1, 2):
            tok.quantizer._absent = lambda absent=absent: absent
            with torch.no_grad():
                lost[share].append(error(tok.decode_latents(tok.quantizer(tok.encode_latents(x)).z_q), x))
    more = {share: (errors[1] + errors[2]) / 2 - errors[0] for share, errors in lost.items()}
    name, figure = "random drop of a scale in a fifth of the steps (TokenFlow, trained)", "square error (1e-3) of pixels"
    effect(name, f"{figure} that a missing inner scale adds", with_=1e3 * more[0.2], without=1e3 * more[0.0])
    effect(name, f"{figure} with all four scales", with_=1e3 * lost[0.2][0], without=1e3 * lost[0.0][0])
    assert more[0.2] < 0.85 * more[0.0] and lost[0.2][0] < 1.15 * lost[0.0][0], lost
