"""Multi-scale VQ against NumPy. Run: pytest tests/codecs/quantizers/test_multiscale_vq.py"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from quantizer_checks import check_contract, check_gradient, latents
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build
from tokenzoo.codecs.quantizers.parts.rows import steady_conv2d

SCALES = [(1, 1), (2, 3), (4, 6)]


def plain_resize(n_in: int, n_out: int, mode: str) -> np.ndarray:
    """Matrix `[n_out, n_in]` of one axis: mean of the area covered, or linear between pixel centres."""
    m = np.zeros((n_out, n_in))
    for i in range(n_out):
        if mode == "area":
            a, b = i * n_in // n_out, -(-(i + 1) * n_in // n_out)
            m[i, a:b] = 1 / (b - a)
        else:
            x = max((i + 0.5) * n_in / n_out - 0.5, 0.0)
            low = min(int(x), n_in - 1)
            m[i, low] += 1 - (x - low)
            m[i, min(low + 1, n_in - 1)] += x - low
    return m


def _q(**more):
    torch.manual_seed(0)
    q = build("multiscale_vq", dim=5, codebook_size=30, scales=SCALES, **more)
    if q.config.update == "gradient":
        torch.nn.init.normal_(q.codebook.embed)
    return q


def test_equals_plain_reference():
    q, z = _q(phi_ratio=0.0, upsample="bilinear"), latents(2, 5, 24)
    out = q(z)
    table = q.codebook.embed.detach().double().numpy()
    residual, total, at, loss = z.double().numpy().reshape(2, 5, 4, 6), 0, 0, 0
    x = residual
    for h, w in SCALES:
        small = np.einsum("ij,bcjk,lk->bcil", plain_resize(4, h, "area"), residual, plain_resize(6, w, "area"))
        rows = small.transpose(0, 2, 3, 1).reshape(2, -1, 5)
        ids = ((rows[:, :, None] - table) ** 2).sum(-1).argmin(-1)
        assert np.array_equal(out.ids[:, 0, at : at + h * w].numpy(), ids)
        code = table[ids].transpose(0, 2, 1).reshape(2, 5, h, w)
        up = np.einsum("ij,bcjk,lk->bcil", plain_resize(h, 4, "linear"), code, plain_resize(w, 6, "linear"))
        residual, total, at = residual - up, total + up, at + h * w
        loss += 1.25 * ((total - x) ** 2).mean() / 3
    assert np.allclose(out.z_q.detach().numpy(), total.reshape(2, 5, 24), atol=1e-5)
    assert np.isclose(out.loss.item(), loss, atol=1e-5)


@pytest.mark.parametrize(
    "more", [{}, {"phi_count": 0, "normalize": True}, {"phi_ratio": 0.0, "update": "ema", "upsample": "nearest"},
    {"semantic_dim": 2, "normalize": True, "returns": "normalized"}]
)
def test_contract(more):
    q, z = _q(**more), latents(3, 5, 24)
    check_contract(q, z, compiled=not more)
    check_gradient(q, z)


def test_prefixes_and_other_grids():
    q, z = _q(), latents(1, 5, 24)
    ids = q.encode(z)
    assert q.decode(ids[..., :7]).shape == z.shape
    with pytest.raises(ValueError, match="positions"):
        q.decode(ids[..., :6])
    assert q.encode(latents(1, 5, 96), grid=(8, 12)).shape[2] == 4 + 24 + 96
    with pytest.raises(ConfigError, match="codebook_dim"):
        _q(codebook_dim=2)


def test_the_table_learns():
    """Thirty codes over three scales leave less than half of the variance of noise, and most codes are used."""
    q = _q(update="ema", kmeans_init=True, replace_below=0.1, phi_ratio=0.0).train()
    z = latents(16, 5, 24)
    for _ in range(60):
        out = q(z)
    assert (out.z_q - z).square().mean() < 0.5 * z.square().mean() and q.usage().item() > 0.5
    table = q.codebook.embed.clone()
    q(latents(16, 5, 24, seed=1))
    assert not torch.equal(table, q.codebook.embed)
    table = q.codebook.embed.clone()
    q.freeze()(z)
    assert torch.equal(table, q.codebook.embed)


def test_phi_learns_and_its_gradient_is_that_of_a_convolution():
    q, z = _q(), latents(2, 5, 24)
    q(z).loss.backward()
    for i in set(q.phis.of_scale):
        assert q.phis[i].weight.grad.abs().sum() > 0
    x, conv = torch.randn(2, 5, 4, 6, requires_grad=True), torch.nn.Conv2d(5, 5, 3, padding=1)
    weight = torch.randn(2, 5, 4, 6)
    inputs = (x, conv.weight, conv.bias)
    mine = torch.autograd.grad((steady_conv2d(x, conv) * weight).sum(), inputs)
    for a, b in zip(mine, torch.autograd.grad((conv(x) * weight).sum(), inputs), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(steady_conv2d(x, conv), conv(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_the_exported_convolution_has_no_operator_for_it(bias):
    """ONNX Runtime has no convolution in float64; products, one for each tap, give the same bits after rounding."""
    torch.manual_seed(0)
    conv, x = torch.nn.Conv2d(4, 6, 3, padding=1, bias=bias), torch.randn(2, 4, 5, 7)

    class Phi(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv

        def forward(self, x):
            return steady_conv2d(x, self.conv)

    program = torch.export.export(Phi(), (x,))
    assert not [n for n in program.graph.nodes if n.op == "call_function" and "conv" in str(n.target)]
    torch.testing.assert_close(program.module()(x), steady_conv2d(x, conv), atol=1e-7, rtol=1e-6)


def test_authors_tokenflow():
    """Paired tables inside the scales."""
    folder = reference_folder("image", "tokenflow")
    weights, io = load_file(folder / "weights.safetensors"), load_io(folder)
    embed = torch.cat([weights["quantize.embedding_vqkd.weight"], weights["quantize.embedding_vqgan.weight"]], dim=1)
    q = build(
        "multiscale_vq",
        dim=20,
        codebook_size=160,
        semantic_dim=12,
        scales=[(s, s) for s in (1, 2, 3, 5, 7)],
        phi_ratio=0.0,
        normalize=True,
        returns="normalized",
    )
    q.load_state_dict({"codebook.embed": embed}, strict=True)
    ids = q.encode(io["latent"].flatten(2))
    assert torch.equal(ids[:, 0], io["ids"])
    torch.testing.assert_close(q.decode(ids), io["quantized"].flatten(2), atol=1e-5, rtol=1e-4)


def test_dropout_gives_some_items_back_from_their_first_scales():
    config = {"codebook_size": 32, "scales": [[1, 1], [2, 2], [4, 4]]}
    z = torch.randn(64, 6, 16, generator=torch.Generator().manual_seed(0))
    results = {}
    for dropout in (0.0, 0.5):
        torch.manual_seed(0)
        quantizer = build("multiscale_vq", dim=6, **config, dropout=dropout, dropout_from=2).train()
        torch.nn.init.normal_(quantizer.codebook.embed)
        results[dropout] = quantizer, quantizer(z)
    (_, whole), (quantizer, out) = results.values()
    assert torch.equal(out.ids, whole.ids) and torch.equal(out.loss, whole.loss)
    two = quantizer.decode(out.ids[:, :, :5], grid=(4, 4))
    shown = out.z_q.detach()
    cut = torch.isclose(shown, two, atol=1e-5).flatten(1).all(1)
    full = torch.isclose(shown, quantizer.decode(out.ids, grid=(4, 4)), atol=1e-5).flatten(1).all(1)
    assert bool((cut ^ full).all()) and 6 <= int(cut.sum()) <= 26  # a quarter: half of them, of which half keep two of three
    assert torch.isclose(quantizer.eval()(z).z_q, quantizer.decode(out.ids, grid=(4, 4)), atol=1e-5).all()
    with pytest.raises(ConfigError, match="dropout_from 4"):
        build("multiscale_vq", dim=6, **config, dropout_from=4)


def without(q, z, absent):
    """z_q and the mean error of a schedule that lacks one scale, as TokenFlow's training code computes them."""
    residual, total, losses = z.detach().unflatten(2, SCALES[-1]), 0, []
    for scale in [s for i, s in enumerate(SCALES) if i != absent]:
        small = F.interpolate(residual, size=scale, mode="area")
        rows = small.flatten(2).transpose(1, 2)
        code = q.codebook.embed[torch.cdist(rows, q.codebook.embed[None]).argmin(-1)].transpose(1, 2).unflatten(2, scale)
        up = F.interpolate(code, size=SCALES[-1], mode="bicubic")
        total, residual = total + up, residual - up
        losses.append((total - z.unflatten(2, SCALES[-1])).square().mean())
    return total.flatten(2), torch.stack(losses).mean()


def test_a_batch_may_do_without_one_scale():
    """Any but the first, in a share of the training batches; what remains is as if the schedule had never had it."""
    q, z = _q(phi_ratio=0.0, drop_scale=0.5), latents(2, 5, 24)
    wanted = {absent: without(q, z, absent) for absent in (None, 1, 2)}
    counts = dict.fromkeys(wanted, 0)
    for _ in range(200):
        out = q.train()(z)
        [found] = [a for a, (z_q, _) in wanted.items() if torch.allclose(out.z_q, z_q, atol=1e-5)]
        assert out.ids.shape == (2, 1, 31) and torch.isclose(out.loss, 1.25 * wanted[found][1], atol=1e-5)
        counts[found] += 1
    assert 75 < counts[None] < 125 and 30 < counts[1] < 70, counts
    assert torch.allclose(q.eval()(z).z_q, wanted[None][0], atol=1e-5) and torch.equal(q(z).ids, q.encode(z))
    with pytest.raises(ConfigError, match="with 1 scales"):
        build("multiscale_vq", dim=5, scales=[(4, 6)], drop_scale=0.1)
