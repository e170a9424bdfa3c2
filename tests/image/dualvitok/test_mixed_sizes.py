"""Crops of several sizes in training (ILLUME+'s DualViTok, arXiv 2504.01934): sizes that no run saw come back better.

pytest -m effect -s tests/image/dualvitok/test_mixed_sizes.py
"""

import pytest
from effects import effect
from small_runs import error, held_out, trained, write_photo


@pytest.mark.slow
@pytest.mark.effect
def test_sizes_that_no_run_saw_come_back_better(tmp_path):
    """Crops of 16 pixels, or of 16 and 32 from batch to batch, for as many steps; then those of 24 and 40 pixels."""
    photos, errors = write_photo(tmp_path / "photo"), {}
    for crop in ("16", "[16,32]"):
        tok = trained("image/dualvitok-debug", photos, tmp_path / str(len(crop)), f"data.crop={crop}", "steps=150")
        unseen = {side: held_out(48, side, tok.spec.value_range) for side in (24, 40)}
        errors[crop] = {side: error(tok.decode(tok.encode(x)), x) for side, x in unseen.items()}
    for side in (24, 40):
        figure = f"square error (1e-3) of crops of {side} pixels, after crops of 16 and 32 and after those of 16 alone"
        effect("mixed sizes (DualViTok)", figure, with_=1e3 * errors["[16,32]"][side], without=1e3 * errors["16"][side])
    assert errors["[16,32]"][40] < 0.9 * errors["16"][40] and errors["[16,32]"][24] < errors["16"][24], errors
