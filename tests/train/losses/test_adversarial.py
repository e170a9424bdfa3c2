"""The adversarial losses against plain NumPy. Run: pytest tests/train/losses/test_adversarial.py"""

import numpy as np
import pytest
import torch
from loss_cases import inputs, judgements, loss
from tokenzoo.train.losses.base import Judgement


@pytest.mark.parametrize("heads", ["sum", "mean"])
@pytest.mark.parametrize("game", ["hinge", "least_squares", "softplus"])
def test_adversarial_games(game, heads):
    rng = np.random.default_rng(1)
    real, fake = judgements(rng), judgements(rng)
    r, f = [j.logits.numpy() for j in real], [j.logits.numpy() for j in fake]
    if game == "hinge":
        judge = [np.maximum(0, 1 - a).mean() + np.maximum(0, 1 + b).mean() for a, b in zip(r, f)]
        generator = [-b.mean() for b in f]
    elif game == "softplus":
        judge = [np.log1p(np.exp(-a)).mean() + np.log1p(np.exp(b)).mean() for a, b in zip(r, f)]
        generator = [np.log1p(np.exp(-b)).mean() for b in f]
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
    module = loss("adversarial", tokenizer="softplus_of_mean")
    assert float(module(inputs([0], [0], fake=fake))) == pytest.approx(np.mean([np.log1p(np.exp(-m)).mean() for m in means]), rel=1e-5)
    assert float(module.judge_loss(real, fake)) == float(loss("adversarial").judge_loss(real, fake))
    of_each = loss("adversarial", tokenizer="softplus")
    expected = np.mean([np.log1p(np.exp(-j.logits.numpy())).mean() for j in fake])
    assert float(of_each(inputs([0], [0], fake=fake))) == pytest.approx(expected, rel=1e-5)
    assert float(of_each.judge_loss(real, fake)) == float(loss("adversarial").judge_loss(real, fake))


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


def test_lecam_of_the_mean_logit():
    rng = np.random.default_rng(2)
    real, fake = judgements(rng), judgements(rng)
    mean_r, mean_f = (np.mean([j.logits.mean() for j in side]) for side in (real, fake))
    module = loss("adversarial", lecam_weight=0.5, lecam_of="mean")
    plain = float(loss("adversarial").judge_loss(real, fake))
    expected = plain + 0.5 * (max(0, mean_r) ** 2 + max(0, -mean_f) ** 2)
    assert float(module.judge_loss(real, fake)) == pytest.approx(expected, rel=1e-5)


def test_clipped_and_leaky_hinges():
    rng = np.random.default_rng(5)
    real, fake = judgements(rng), judgements(rng)
    r, f = [j.logits.numpy() for j in real], [j.logits.numpy() for j in fake]
    clipped = loss("adversarial", tokenizer="clipped")
    assert float(clipped(inputs([0], [0], fake=fake))) == pytest.approx(np.mean([np.maximum(0, 1 - b).mean() for b in f]), rel=1e-5)
    leaky = loss("adversarial", slope=0.1)
    gaps = [[1 - a, 1 + b] for a, b in zip(r, f)]
    expected = np.mean([sum(np.where(g > 0, g, 0.1 * g).mean() for g in pair) for pair in gaps])
    assert float(leaky.judge_loss(real, fake)) == pytest.approx(expected, rel=1e-5)


def test_only_the_named_discriminators_count():
    real, fake = [Judgement(torch.tensor([[0.5]]), source="a")], [Judgement(torch.tensor([[-0.5]]), source="a")]
    other = Judgement(torch.tensor([[9.0]]), source="b")
    real, fake = [*real, other], [*fake, other]
    module = loss("adversarial", discriminators=["a"])
    assert float(module.judge_loss(real, fake)) == pytest.approx(1.0)
    assert float(module(inputs([0], [0], fake=fake))) == pytest.approx(0.5)


def test_r1_is_the_squared_gradient_at_real_media_at_some_updates():
    """For logits `sum(w * x^2)` the gradient at x is `2 w x`; 3 updates' worth counts at every third."""
    w, x = torch.tensor([1.0, -2.0], requires_grad=True), torch.tensor([[1.0, 2.0], [3.0, 0.5]])

    def judge(media):
        return [Judgement((w * media.square()).sum(1, keepdim=True))]

    module, sides = loss("adversarial", r1_weight=0.5, r1_every=3), ([], [])
    found = [module.judge_penalty(judge, x, x, *sides, update) for update in range(6)]
    assert [v is None for v in found] == [True, True, False] * 2
    gradient = 2 * w.detach().numpy() * x.numpy()
    assert float(found[2].detach()) == pytest.approx(0.25 * 3 * (gradient**2).sum(1).mean())
    found[2].backward()
    assert w.grad[0] > 0 > w.grad[1], "smaller weights have smaller gradients"


def test_consistency_compares_with_a_second_judgement():
    rng = np.random.default_rng(6)
    real, fake, again = judgements(rng), judgements(rng), judgements(rng)
    module = loss("adversarial", consistency_weight=4.0)
    x = torch.zeros(2, 1, 4)
    value = module.judge_penalty(lambda media: again, x, x, real, fake, 0)
    gaps = [np.mean([((a.logits - b.logits).numpy() ** 2).mean() for a, b in zip(again, side)]) for side in (real, fake)]
    assert float(value) == pytest.approx(4 * sum(gaps), rel=1e-5)
    assert loss("adversarial").judge_penalty(lambda media: again, x, x, real, fake, 0) is None
