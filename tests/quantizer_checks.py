"""What every quantizer must hold, whatever its kind; the test files of `codecs/quantizers` call it with their cases."""

import copy

import torch
from tokenzoo.codecs.config import from_mapping, to_mapping
from tokenzoo.codecs.quantizers import QUANTIZERS, Quantizer, build
from torch import Tensor

#: Small settings of each kind for latents of width 8; `external` wraps a class of vector-quantize-pytorch.
SETTINGS: dict[str, dict] = {
    "vq": {"codebook_size": 16},
    "simvq": {"codebook_size": 16},
    "optvq": {"codebook_size": 16},
    "ibq": {"codebook_size": 16},
    "residual_vq": {"num_codebooks": 2, "codebook_size": 16},
    "grouped_vq": {},
    "product_vq": {},
    "multiscale_vq": {},
    "multiscale_bsq": {},
    "paired_vq": {"codebook_size": 16, "semantic_dim": 4},
    "dual": {},
    "lfq": {},
    "bsq": {},
    "sign": {},
    "bernoulli": {},
    "memcodes": {"codebooks": 2, "codebook_size": 16},
    "fsq": {"levels": [5, 4, 3]},
    "residual_fsq": {},
    "grouped_fsq": {},
    "dimension_wise": {},
    "scalar": {},
    "additive_vq": {"num_codebooks": 2, "codebook_size": 16, "beam": 4},
    "anchors": {"num_codebooks": 3, "codebook_size": 16},
    "random_projection": {"num_codebooks": 2, "codebook_size": 16, "codebook_dim": 4},
    "kmeans": {"codebook_size": 16},
    "sparsemax": {},
    "external": {"name": "VectorQuantize", "options": {"codebook_size": 16}},
}

#: Kinds whose tables are fitted to features by `fit`, not trained.
FITTED = {"kmeans", "anchors"}


def latents(batch: int, dim: int, length: int, *, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Seeded normal latents `[B, D, L]`."""
    return scale * torch.randn(batch, dim, length, generator=torch.Generator().manual_seed(seed))


def check_contract(q: Quantizer, z: Tensor, *, grid: tuple[int, ...] | None = None, compiled: bool = True) -> None:
    """Values, ids, state, precision and (slow) compilation of a quantizer on latents `[B >= 2, D, L]`, in eval mode."""
    q.eval()
    out = q(z, grid=grid)
    _check_results(q, z, out.z_q, out.ids, grid)
    _check_same_ids(q, z, out.ids, grid)
    _check_state(q, out.ids, grid)
    if compiled:
        _check_compile(q, z, out.ids, grid)


def _check_results(q: Quantizer, z: Tensor, z_q: Tensor, ids: Tensor, grid: tuple[int, ...] | None) -> None:
    assert z_q.shape == z.shape
    assert z_q.dtype == z.dtype
    assert ids.dtype == torch.int64
    assert ids.shape[:2] == (z.shape[0], q.num_codebooks)
    for k, size in enumerate(q.codebook_sizes):
        assert 0 <= int(ids[:, k].min()) <= int(ids[:, k].max()) < size <= 2**18
    assert torch.equal(z_q, q.decode(ids, grid=grid)), "the value of forward is not decode(ids)"
    assert torch.equal(ids, q.encode(z, grid=grid)), "forward and encode disagree"


def _check_same_ids(q: Quantizer, z: Tensor, ids: Tensor, grid: tuple[int, ...] | None) -> None:
    alone = torch.cat([q.encode(item.unsqueeze(0), grid=grid) for item in z])
    assert torch.equal(ids, alone), "ids depend on the batch"
    spread = torch.stack([z, z], dim=-1).flatten(2)[..., ::2]  # the same numbers, not contiguous
    assert not spread.is_contiguous()
    assert torch.equal(ids, q.encode(spread, grid=grid)), "ids depend on the memory layout"
    strided = ids.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(q.decode(ids, grid=grid), q.decode(strided, grid=grid))
    if not q.needs_grid:
        half = z.shape[2] // 2
        parts = torch.cat([q.encode(z[..., :half]), q.encode(z[..., half:])], dim=2)
        assert torch.equal(ids, parts), "ids depend on the chunk"
    q.train()
    assert torch.equal(ids, q.encode(z, grid=grid)), "ids depend on the mode"
    q.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ids, q.encode(z, grid=grid)), "ids depend on autocast"
        assert q.decode(ids, grid=grid).dtype == torch.float32
    low = z.bfloat16()
    out = q(low, grid=grid)
    assert out.z_q.dtype == torch.bfloat16
    assert torch.equal(out.ids, q.encode(low.float(), grid=grid)), "bfloat16 latents are not taken to float32"
    cast = torch.nn.Sequential(copy.deepcopy(q)).to(torch.bfloat16)[0]
    assert torch.equal(ids, cast.encode(z, grid=grid)), "casting the model casts the quantizer's numbers"


def _check_state(q: Quantizer, ids: Tensor, grid: tuple[int, ...] | None) -> None:
    config = q.config
    again = from_mapping(QUANTIZERS.resolve(config.kind), to_mapping(config)).build()
    again.load_state_dict(q.state_dict(), strict=True)
    assert torch.equal(q.decode(ids, grid=grid), again.eval().decode(ids, grid=grid)), "state does not survive"


def _check_compile(q: Quantizer, z: Tensor, ids: Tensor, grid: tuple[int, ...] | None) -> None:
    torch._dynamo.reset()
    encode = torch.compile(lambda x: q.encode(x, grid=grid), fullgraph=True, backend="aot_eager")
    decode = torch.compile(lambda x: q.decode(x, grid=grid), fullgraph=True, backend="aot_eager")
    assert torch.equal(encode(z), ids)
    assert torch.allclose(decode(ids), q.decode(ids, grid=grid), atol=1e-6)


def check_gradient(q: Quantizer, z: Tensor, *, grid: tuple[int, ...] | None = None) -> Tensor:
    """Gradient of a random projection of `z_q` on `z`: finite, and not 0 in any channel. Returns it."""
    z = z.clone().requires_grad_()
    out = q(z, grid=grid)
    weight = latents(*out.z_q.shape, seed=7)
    (out.z_q * weight).sum().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert (z.grad.abs().amax(dim=(0, 2)) > 0).all(), "a channel has no gradient"
    return z.grad


def check_mask(q: Quantizer, z: Tensor) -> None:
    """Masked positions change neither the loss nor its gradient; all masked gives a loss of 0."""
    mask = torch.rand(z.shape[0], z.shape[2], generator=torch.Generator().manual_seed(3)) < 0.6
    noisy = torch.where(mask.unsqueeze(1), z, 50 * torch.ones_like(z))
    q.eval()
    clean = q(z, mask=mask).loss.detach()
    assert float(clean) != 0
    assert torch.equal(clean, q(noisy, mask=mask).loss), "masked positions take part in the loss"
    assert not torch.equal(clean, q(z).loss)
    assert q(z, mask=torch.zeros_like(mask)).loss.item() == 0


def check_small(kind: str, **config: object) -> Quantizer:
    """The quantizer is built at once and holds under 1 MB, whatever its vocabulary."""
    q = build(kind, **config)
    held = sum(t.numel() * t.element_size() for t in [*q.parameters(), *q.buffers()])
    assert held < 2**20, f"{kind} holds {held} bytes"
    return q
