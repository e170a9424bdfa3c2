"""Batches of no items or no positions keep their shape in every quantizer, and their losses are finite.

    pytest tests/codecs/quantizers/test_empty_batches.py
"""

import pytest
import torch
from quantizer_checks import FITTED, SETTINGS
from tokenzoo.codecs.quantizers import QUANTIZERS, build

ALL = SETTINGS | {"gumbel": {"codebook_size": 16}}
#: Scales of a picture always have positions.
CASES = [(k, b, n) for k in sorted(ALL) for b, n in ((0, 16), (2, 0), (0, 0)) if n or not k.startswith("multiscale")]


def quantizer(kind):
    torch.manual_seed(0)
    made = build(kind, dim=8, **ALL[kind])
    if kind in FITTED:
        made.fit(torch.randn(4, 8, 16))
    made.train()(torch.randn(2, 8, 16), grid=(4, 4) if kind.startswith("multiscale") else None)  # tables have started
    return made


def test_every_kind_is_here():
    assert set(ALL) == set(QUANTIZERS.names())


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(("kind", "items", "length"), CASES)
def test_shapes_and_losses(kind, items, length, training):
    if kind == "external" and training:
        pytest.skip("the training loss is that of the wrapped class, NaN where there is nothing")
    made = quantizer(kind).train(training)
    books = made.num_codebooks
    grid = (4, 4) if kind.startswith("multiscale") else None
    z = torch.zeros(items, 8, length, requires_grad=True)
    before = {k: v.clone() for k, v in made.state_dict().items()}
    out = made(z, grid=grid)
    longer = out.ids.shape[-1]  # multi-scale kinds have positions of all scales
    assert grid or longer == length
    assert out.z_q.shape == z.shape
    assert out.ids.shape == (items, books, longer) and out.ids.dtype == torch.int64
    assert torch.isfinite(out.loss) and all(torch.isfinite(v).all() for v in out.metrics.values())
    if out.loss.requires_grad:
        (out.loss + out.z_q.sum()).backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in made.parameters())
    for name, value in made.state_dict().items():
        assert torch.isfinite(value.float()).all(), name
        if name.endswith("embed"):
            assert torch.equal(value, before[name]), f"{name} moved"
    made.eval()
    ids = made.encode(z.detach(), grid=grid)
    assert ids.shape == out.ids.shape
    assert made.decode(ids, grid=grid).shape == z.shape


def test_an_empty_batch_does_not_start_a_table():
    q = build("vq", dim=4, codebook_size=8).train()
    q(torch.zeros(0, 4, 5))
    assert not q.codebook.is_ready()
    q(torch.randn(4, 4, 20, generator=torch.Generator().manual_seed(0)))
    assert q.codebook.is_ready() and bool(q.codebook.embed.any())
