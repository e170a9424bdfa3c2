"""FlowMo's post-training through its own sampling. Run: pytest -m effect -s tests/image/flowmo/test_flowmo_training.py"""

import pytest
from effects import effect
from small_runs import error, held_out, trained, write_photo

SMALL = ["data.crop=16", "batch_size=16", "model.config.image_size=16", "model.config.num_tokens=8"]


@pytest.mark.slow
@pytest.mark.effect
def test_post_training_brings_samples_nearer_to_the_picture(tmp_path):
    """arXiv 2503.11056, section 3.2: a distance of the end of a flow, in place of one step's estimate, improves samples."""
    photos, x, errors = write_photo(tmp_path / "photo"), held_out(48, 16, (-1.0, 1.0)), {}
    trained("image/flowmo-debug", photos, tmp_path / "first", *SMALL, "steps=300")
    for steps in (0, 4):
        more = [
            f"init={tmp_path / 'first'}",
            "model.frozen=[encoder]",
            "losses.pixel.weight=1.0",
            f"model.config.sampled_steps={steps}",
        ]
        tokenizer = trained("image/flowmo-debug", photos, tmp_path / str(steps), *SMALL, *more, "steps=120")
        errors[steps] = error(tokenizer.decode(tokenizer.encode(x), steps=8), x)
    effect("post-training (FlowMo)", "error of pixels of samples in 8 steps", with_=errors[4], without=errors[0])
    assert errors[4] < 0.8 * errors[0], errors
