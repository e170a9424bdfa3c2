"""Random numbers that do not depend on what ran before. Run: pytest tests/codecs/layers/test_draws.py"""

import torch
from tokenzoo.codecs.layers.draws import same_draws


def test_inside_always_the_same_and_outside_undisturbed():
    torch.manual_seed(7)
    expected = torch.rand(2)
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with same_draws(torch.device("cpu")):
            drawn.append(torch.randn(3))
    assert torch.equal(*drawn)
    torch.manual_seed(7)
    with same_draws(torch.device("cpu")):
        torch.rand(5)
    assert torch.equal(torch.rand(2), expected)


def test_switched_off_it_draws_as_ever():
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    with same_draws(torch.device("cpu"), active=False):
        assert torch.equal(torch.rand(2), expected)
