"""The adversarial losses against plain NumPy. Run: pytest tests/train/losses/test_adversarial.py"""

import numpy as np
import pytest
from loss_cases import inputs, judgements, loss


@pytest.mark.parametrize("heads", ["sum", "mean"])
@pytest.mark.parametrize("game", ["hinge", "least_squares"])
def test_adversarial_games(game, heads):
    rng = np.random.default_rng(1)
    real, fake = judgements(rng), judgements(rng)
    r, f = [j.logits.numpy() for j in real], [j.logits.numpy() for j in fake]
    if game == "hinge":
        judge = [np.maximum(0, 1 - a).mean() + np.maximum(0, 1 + b).mean() for a, b in zip(r, f)]
        generator = [-b.mean() for b in f]
    else:
        judge = [((1 - a) ** 2).mean() + (b**2).mean() for a, b in zip(r, f)]
        generator = [((1 - b) ** 2).mean() for b in f]
    over = np.sum if heads == "sum" else np.mean
    module = loss("adversarial", game=game, heads=heads)
    assert float(module.judge_loss(real, fake)) == pytest.approx(over(judge), rel=1e-5)
    assert float(module(inputs([0], [0], fake=fake))) == pytest.approx(over(generator), rel=1e-5)


def test_softplus_of_the_mean_logit_of_each_item():
    rng = np.random.default_rng(3)
    real, fake = judgements(rng), judgements(rng)
    means = [j.logits.numpy().reshape(len(j.logits), -1).mean(1) for j in fake]
    module = loss("adversarial", softplus=True)
    assert float(module(inputs([0], [0], fake=fake))) == pytest.approx(np.mean([np.log1p(np.exp(-m)).mean() for m in means]), rel=1e-5)
    assert float(module.judge_loss(real, fake)) == float(loss("adversarial").judge_loss(real, fake))


def test_lecam_pulls_towards_the_other_sides_mean():
    rng = np.random.default_rng(2)
    real, fake = judgements(rng, ((2, 1, 9),)), judgements(rng, ((2, 1, 9),))
    r, f = real[0].logits.numpy(), fake[0].logits.numpy()
    plain = float(loss("adversarial").judge_loss(real, fake))
    module = loss("adversarial", lecam_weight=0.5, lecam_decay=0.9)

    def term(mean_r, mean_f):
        return (np.maximum(0, r - mean_f) ** 2).mean() + (np.maximum(0, mean_r - f) ** 2).mean()

    for _ in range(2):  # two parts of a step: the means stay as they were before it
        assert float(module.judge_loss(real, fake)) == pytest.approx(plain + 0.5 * term(0, 0), rel=1e-5)
    module.end_step()
    mean_r, mean_f = 0.1 * r.mean(), 0.1 * f.mean()
    assert [float(module.mean_real), float(module.mean_fake)] == pytest.approx([mean_r, mean_f], rel=1e-5)
    assert float(module.judge_loss(real, fake)) == pytest.approx(plain + 0.5 * term(mean_r, mean_f), rel=1e-5)
    module.end_step(moved=False)
    assert float(module.mean_real) == pytest.approx(mean_r, rel=1e-5)
