"""How gradients of several losses are balanced. Run: pytest tests/train/test_balance.py"""

from types import SimpleNamespace

import pytest
import torch
from tokenzoo.codecs.config import ConfigError
from tokenzoo.train.balance import BalanceConfig, Balancer


def fixed(on_output=True, adversarial=False):
    return SimpleNamespace(on_output=on_output, adversarial=adversarial)


def test_balanced_gradients_have_the_norms_of_the_weights():
    names = {"a": fixed(), "b": fixed(), "latent": fixed(on_output=False)}
    weights = {"a": 3.0, "b": 1.0, "latent": 0.5}
    balancer = Balancer(BalanceConfig(kind="gradients", decay=0.9), names, weights)
    x_hat = torch.randn(2, 1, 6, requires_grad=True)
    z = torch.tensor(2.0, requires_grad=True)
    losses = {"a": 100 * x_hat[..., :3].sum(), "b": 0.01 * x_hat[..., 3:].sum(), "latent": z**2}
    total, _ = balancer(losses, x_hat)
    total.backward()
    per_item = x_hat.grad.flatten(1)
    assert per_item[:, :3].norm(dim=1).tolist() == pytest.approx([0.75, 0.75], rel=1e-4)
    assert per_item[:, 3:].norm(dim=1).tolist() == pytest.approx([0.25, 0.25], rel=1e-4)
    assert float(z.grad) == pytest.approx(0.5 * 4.0)


def adaptive(weight, adversary, **settings):
    """Gradients of an adversary of the given slope (and weight) beside a pixel loss of slope 1, and the factor."""
    names = {"pixel": fixed(), "adversarial": fixed(adversarial=True)}
    balancer = Balancer(BalanceConfig(kind="adaptive", **settings), names, {"pixel": 1.0, "adversarial": weight})
    x_hat = torch.randn(2, 4, requires_grad=True)
    total, metrics = balancer({"pixel": x_hat[:, :2].sum(), "adversarial": adversary * x_hat[:, 2:].sum()}, x_hat)
    total.backward()
    assert torch.equal(x_hat.grad[:, :2], torch.ones(2, 2))
    return x_hat.grad[:, 2:], float(metrics["balance/adversarial"])


@pytest.mark.parametrize("weight", [0.8, 0.5])
def test_adaptive_weight_makes_the_adversary_as_strong_as_the_rest_times_its_weight(weight):
    gradient, factor = adaptive(weight, 100.0)
    assert torch.allclose(gradient, torch.full((2, 2), weight), rtol=1e-4)
    assert factor == pytest.approx(weight / 100, rel=1e-4)


@pytest.mark.parametrize(("adversary", "ratio"), [(100.0, 0.3), (0.5, 2.0), (0.01, 10.0)])
def test_the_adaptive_ratio_stays_within_its_bounds(adversary, ratio):
    gradient, factor = adaptive(0.75, adversary, bounds=(0.3, 10.0))
    assert factor == pytest.approx(0.75 * ratio, rel=1e-4)
    assert torch.allclose(gradient, torch.full((2, 2), 0.75 * ratio * adversary), rtol=1e-4)


@pytest.mark.parametrize("kind", ["gradients", "adaptive"])
@pytest.mark.parametrize("weight", [0.0, None])
def test_a_step_before_any_loss_on_the_output_counts(kind, weight):
    """Its weight is 0, or it starts later: losses on latents train alone, and the running norms stay as they were."""
    names = {"pixel": fixed(), "latent": fixed(on_output=False)}
    balancer = Balancer(BalanceConfig(kind=kind), names, {"pixel": weight or 0.0, "latent": 0.5})
    x_hat, z = torch.randn(2, 4, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    losses = {"latent": z**2} if weight is None else {"pixel": x_hat.sum(), "latent": z**2}
    before = {name: value.clone() for name, value in balancer.state_dict().items()}
    total, metrics = balancer(losses, x_hat)
    total.backward()
    balancer.end_step()
    assert float(z.grad) == pytest.approx(0.5 * 4.0) and not x_hat.grad.any() and not metrics
    assert all(torch.equal(before[name], value) for name, value in balancer.state_dict().items())


@pytest.mark.parametrize("kind", ["gradients", "adaptive"])
def test_balance_without_a_loss_on_the_output_is_refused(kind):
    with pytest.raises(ConfigError, match=r"balance\.kind.*latent"):
        Balancer(BalanceConfig(kind=kind), {"latent": fixed(on_output=False)}, {"latent": 1.0})


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (2.0, 1.0), (0.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_impossible_bounds_are_refused(bounds):
    with pytest.raises(ConfigError, match="balance.bounds"):
        BalanceConfig(kind="adaptive", bounds=bounds)


def test_norms_move_once_a_step_by_all_its_parts():
    names = {"a": fixed(), "b": fixed()}
    whole, parts, given_up = (Balancer(BalanceConfig(kind="gradients", decay=0.9), names, {"a": 3.0, "b": 1.0}) for _ in range(3))
    x = torch.randn(8, 1, 6)

    def losses(x_hat):
        return {"a": x_hat.square().mean(), "b": x_hat.abs().sqrt().mean()}

    for step in range(3):
        x_hat = (x + step).requires_grad_()
        whole(losses(x_hat), x_hat)[0].backward()
        whole.end_step()
        gradients = []
        for part in (x + step).chunk(4):
            part = part.clone().requires_grad_()
            total, _ = parts(losses(part), part, 1 / 4)
            (total / 4).backward()
            gradients.append(part.grad)
        parts.end_step()
        given_up(losses(x_hat), x_hat)
        given_up.end_step(moved=False)
        assert torch.allclose(parts.norms, whole.norms, rtol=1e-5) and torch.allclose(parts.filled, whole.filled)
        # the last part has seen the whole step: its factors are those of the batch in one
        assert torch.allclose(gradients[-1], x_hat.grad[-2:], rtol=1e-4)
    assert not given_up.norms.any() and not given_up.filled.any()
