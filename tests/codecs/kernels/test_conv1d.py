"""Every way of convolving without gradients against PyTorch's, over odd shapes.

pytest tests/codecs/kernels/test_conv1d.py
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from tokenzoo.codecs.kernels import conv1d
from tokenzoo.codecs.kernels.conv1d import Conv1d, ConvTranspose1d, convolve, convolve_transposed, extend, join, time_major

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}

#: Channels in and out, kernel, stride, dilation, groups.
CASES = [
    (6, 9, 1, 1, 1, 1),
    (8, 8, 1, 2, 1, 1),
    (1, 9, 7, 1, 1, 1),
    (1, 9, 5, 2, 1, 1),
    (1, 1, 3, 1, 3, 1),
    (6, 1, 7, 1, 1, 1),
    (6, 2, 5, 1, 2, 1),
    (6, 4, 7, 1, 1, 2),
    (6, 9, 3, 1, 2, 1),
    (6, 9, 8, 4, 1, 1),
    (6, 9, 10, 5, 1, 1),
    (6, 6, 7, 1, 1, 6),
    (6, 6, 7, 1, 3, 6),
    (6, 12, 5, 3, 2, 3),
]


@pytest.mark.parametrize("wide", [False, True], ids=["", "wide"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c)))
def test_convolution_equals_pytorchs(case, dtype, wide, monkeypatch):
    if wide:  # as if no number of weights were small
        monkeypatch.setattr(conv1d, "_WIDE", 1)
    channels, outputs, kernel, stride, dilation, groups = case
    weight = torch.randn(outputs, channels // groups, kernel, dtype=dtype)
    reach = (kernel - 1) * dilation + 1
    for bias in (None, torch.randn(outputs, dtype=dtype)):
        for batch in (1, 2, 3):
            for steps in (reach, reach + 1, reach + stride, 37, 64):
                x = torch.randn(batch, channels, steps, dtype=dtype)
                want = F.conv1d(x, weight, bias, stride, 0, dilation, groups)
                part = torch.zeros(batch, channels, steps + 5, dtype=dtype)[..., 2:-3].copy_(x)  # of a longer signal
                for laid in (x, part, time_major(x)):
                    for w in (weight, time_major(weight)):
                        before = laid.clone()
                        with torch.no_grad():
                            got = convolve(laid, w, bias, stride=stride, dilation=dilation, groups=groups)
                        torch.testing.assert_close(got, want, atol=TOLERANCE[dtype], rtol=1e-5)
                        assert torch.equal(laid, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "kernel,stride,groups",
    [(4, 2, 1), (16, 8, 1), (10, 5, 1), (3, 3, 1), (9, 3, 1), (1, 1, 1), (7, 3, 1), (4, 2, 2), (4, 2, 4)],
)
def test_transposed_convolution_equals_pytorchs(kernel, stride, groups, dtype):
    weight = torch.randn(4, 8 // groups, kernel, dtype=dtype)
    for bias in (None, torch.randn(8, dtype=dtype)):
        for batch in (1, 2, 3):
            for steps in (1, 2, 3, 17):
                x = torch.randn(batch, 4, steps, dtype=dtype)
                want = F.conv_transpose1d(x, weight, bias, stride, groups=groups)
                for laid in (time_major(x), x):
                    for w in (weight, time_major(weight)):
                        with torch.no_grad():
                            got = convolve_transposed(laid, w, bias, stride=stride, groups=groups)
                        torch.testing.assert_close(got, want, atol=TOLERANCE[dtype], rtol=1e-5)


def test_with_gradients_it_is_pytorchs_own():
    x, weight = torch.randn(2, 6, 20, requires_grad=True), torch.randn(1, 6, 7, requires_grad=True)
    assert torch.equal(convolve(x, weight, None), F.conv1d(x, weight))
    convolve(x, weight, None).square().sum().backward()
    assert x.grad is not None and weight.grad is not None


def test_fewer_steps_than_the_kernel_are_refused():
    """As by PyTorch; never silently nothing."""
    for channels, outputs, kernel, stride, groups in ((6, 1, 7, 1, 1), (1, 8, 7, 1, 1), (6, 9, 8, 4, 1)):
        with torch.no_grad(), pytest.raises(ValueError, match="fewer than a kernel"):
            convolve(torch.randn(1, channels, kernel - 1), torch.randn(outputs, channels // groups, kernel), None, stride=stride)


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c)))
def test_autocast_casts_as_in_pytorch(case):
    channels, outputs, kernel, stride, dilation, groups = case
    x, weight, bias = torch.randn(2, channels, 40), torch.randn(outputs, channels // groups, kernel), torch.randn(outputs)
    up = torch.randn(channels, outputs, 2 * stride)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        got = convolve(x, weight, bias, stride=stride, dilation=dilation, groups=groups)
        assert torch.equal(got, F.conv1d(x, weight, bias, stride, 0, dilation, groups))
        assert got.dtype == torch.bfloat16
        assert torch.equal(convolve_transposed(x, up, bias, stride=stride), F.conv_transpose1d(x, up, bias, stride))


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c)))
def test_bfloat16(case):
    channels, outputs, kernel, stride, dilation, groups = case
    x, weight, bias = torch.randn(2, channels, 40), torch.randn(outputs, channels // groups, kernel), torch.randn(outputs)
    x, weight, bias = x.bfloat16(), weight.bfloat16(), bias.bfloat16()
    with torch.no_grad():
        got = convolve(x, weight, bias, stride=stride, dilation=dilation, groups=groups)
        want = F.conv1d(x.float(), weight.float(), bias.float(), stride, 0, dilation, groups)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), want, atol=0.15, rtol=0.03)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("edge,mode", [("zeros", "constant"), ("replicate", "replicate"), ("reflect", "reflect")])
def test_extending_equals_padding(edge, mode, grad):
    x = torch.randn(2, 3, 9)
    with torch.set_grad_enabled(grad):
        for left, right in ((0, 0), (3, 0), (0, 4), (8, 8), (2, 5)):
            for laid in (x, time_major(x)):
                assert torch.equal(extend(laid, left, right, edge), F.pad(x, (left, right), mode=mode))


def test_too_short_to_be_mirrored():
    """Zeros first, on the right; then mirrored."""
    x = torch.tensor([[[1.0, 2.0]]])
    assert extend(x, 3, 0, "reflect").tolist() == [[[0.0, 0.0, 2.0, 1.0, 2.0]]]


def test_joining_keeps_the_layout():
    parts = [time_major(torch.randn(2, 3, n)) for n in (4, 0, 5)]
    with torch.no_grad():
        y = join(parts)
    assert torch.equal(y, torch.cat(parts, dim=-1))
    assert y.transpose(1, 2).is_contiguous()


def test_weights_lie_time_major_in_eval_mode_alone(tmp_path):
    """Values, copies, files and gradients do not see it, and training finds them as ever."""
    plain = torch.nn.Sequential(Conv1d(3, 4, 5), ConvTranspose1d(4, 3, 4, stride=2))
    laid = copy.deepcopy(plain).eval()
    assert not laid[0].weight.is_contiguous() and not laid[1].weight.is_contiguous()  # else this test sees nothing
    assert plain[0].weight.is_contiguous()
    for k, v in laid.state_dict().items():
        assert torch.equal(v, plain.state_dict()[k]), k
    again = copy.deepcopy(laid)
    torch.save(laid, tmp_path / "module")
    stored = torch.load(tmp_path / "module", weights_only=False)
    x, results = torch.randn(2, 3, 11), []
    for module in (plain, laid, again, stored):
        y = module(x)
        y.square().sum().backward()
        results.append((y, module[0].weight.grad, module[1].weight.grad))
        with torch.no_grad():
            torch.testing.assert_close(module(x), y)
    for other in results[1:]:
        for got, want in zip(other, results[0], strict=True):
            torch.testing.assert_close(got, want)
    with torch.no_grad():  # rounding does not depend on how the weights lie either: a saved copy gives the same ids
        assert torch.equal(plain(x), laid(x))
    laid.train()
    assert laid[0].weight.is_contiguous() and laid[1].weight.is_contiguous()


@pytest.mark.parametrize("grad", [True, False])
def test_a_transposed_convolution_goes_on_from_a_tail(grad):
    layer = ConvTranspose1d(2, 3, 6, stride=2)
    x = torch.randn(2, 2, 7)
    with torch.set_grad_enabled(grad):
        first, want = layer(x[..., :4]), layer(x)
        tail = first[..., 8:] - layer.bias[:, None]
        torch.testing.assert_close(layer(x[..., 4:], tail), want[..., 8:])
        torch.testing.assert_close(layer(x[..., :0], tail), first[..., 8:])
