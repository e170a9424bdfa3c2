"""Each loss against a plain NumPy or SciPy calculation.

    pytest tests/train/test_losses.py
"""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.signal
import torch
from safetensors.torch import save_file
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.codecs.spec import AudioSpec, ImageSpec
from tokenzoo.train.balance import BalanceConfig, Balancer
from tokenzoo.train.losses.base import Judgement, LossConfig, LossInputs
from tokenzoo.train.losses.perceptual import BLOCKS, PerceptualConfig, VggDistance

AUDIO = AudioSpec(vocab_sizes=(16,), sample_rate_hz=16000, hop_samples=80)
IMAGE = ImageSpec(vocab_sizes=(16,), stride=4)


def loss(kind, spec=AUDIO, **options):
    return from_mapping(LossConfig, {"kind": kind, **options}).build(spec)


def inputs(x, x_hat, **more):
    return LossInputs(x=torch.as_tensor(x).float(), x_hat=torch.as_tensor(x_hat).float(), **({"out": None} | more))


@pytest.fixture
def waves():
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.2, (2, 1, 4000)), rng.normal(0, 0.2, (2, 1, 4000))


def magnitudes(x, n, hop):
    """Centred, reflected, periodic Hann: `[B, F, N]`."""
    padded = np.pad(x[:, 0], ((0, 0), (n // 2, n // 2)), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n, axis=1)[:, ::hop]
    return np.abs(np.fft.rfft(frames * scipy.signal.get_window("hann", n), axis=-1)).transpose(0, 2, 1)


def slaney_filters(bins, bands, rate):
    """Slaney's mel scale: linear below 1 kHz, logarithmic above; triangles of equal area."""

    def to_mel(hz):
        return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1e-9) / 1000) / np.log(6.4))

    def to_hz(mel):
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mel - 15)))

    edges = to_hz(np.linspace(0, to_mel(np.array(rate / 2)), bands + 2))
    hz = np.linspace(0, rate / 2, bins)
    rise = (hz[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - hz[None]) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rise, fall)) * (2 / (edges[2:] - edges[:-2]))[:, None]


@pytest.mark.parametrize("kind", ["waveform", "pixel"])
def test_plain_distances(kind, waves):
    x, y = waves
    assert float(loss(kind)(inputs(x, y))) == pytest.approx(np.abs(x - y).mean(), rel=1e-5)
    assert float(loss(kind, distance="l2")(inputs(x, y))) == pytest.approx(((x - y) ** 2).mean(), rel=1e-5)


def test_stft_terms(waves):
    x, y = waves
    expected = 0.0
    for n in (512, 128):
        a, b = magnitudes(x, n, n // 4), magnitudes(y, n, n // 4)
        logs = np.abs(np.log(np.maximum(a, 1e-4)) - np.log(np.maximum(b, 1e-4))).mean()
        gap = np.sqrt(((a - b) ** 2).sum((1, 2)) / (a**2).sum((1, 2))).mean()
        expected += 2 * np.abs(a - b).mean() + 3 * logs + 4 * gap
    options = {"magnitude_weight": 2, "log_weight": 3, "convergence_weight": 4, "log_base": "e", "floor": 1e-4}
    assert float(loss("stft", windows=(512, 128), **options)(inputs(x, y))) == pytest.approx(expected, rel=1e-4)


def test_mel_with_dacs_settings(waves):
    x, y = waves
    expected = 0.0
    for n, bands in zip((32, 64, 128, 256, 512, 1024, 2048), (5, 10, 20, 40, 80, 160, 320)):
        filters = slaney_filters(n // 2 + 1, bands, 16000)
        a, b = (np.log10(np.maximum(filters @ magnitudes(v, n, n // 4), 1e-5)) for v in (x, y))
        expected += np.abs(a - b).mean()
    assert float(loss("mel")(inputs(x, y))) == pytest.approx(expected, rel=1e-3)


def test_mel_power_and_plain_term(waves):
    x, y = waves
    filters = slaney_filters(257, 40, 16000)
    a, b = (filters @ magnitudes(v, 512, 256) ** 2 for v in (x, y))
    options = {"hop_ratio": 0.5, "power": 2, "log_weight": 0, "magnitude_weight": 1, "distance": "l2"}
    value = loss("mel", windows=(512,), bands=(40,), **options)(inputs(x, y))
    assert float(value) == pytest.approx(((a - b) ** 2).mean(), rel=1e-3)


@pytest.mark.parametrize("kind", ["stft", "mel", "compressed_stft"])
def test_spectral_losses_have_finite_gradients_in_silence(kind):
    x_hat = torch.zeros(1, 1, 4000, requires_grad=True)
    loss(kind)(LossInputs(x=torch.zeros(1, 1, 4000), x_hat=x_hat, out=None)).backward()
    assert torch.isfinite(x_hat.grad).all()


def judgements(rng, shapes=((2, 1, 5), (2, 1, 3, 4))):
    return [Judgement(torch.from_numpy(rng.normal(size=s)), (torch.from_numpy(rng.normal(size=s)),)) for s in shapes]


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


def test_lecam_pulls_towards_the_other_sides_mean():
    rng = np.random.default_rng(2)
    real, fake = judgements(rng, ((2, 1, 9),)), judgements(rng, ((2, 1, 9),))
    r, f = real[0].logits.numpy(), fake[0].logits.numpy()
    plain = float(loss("adversarial").judge_loss(real, fake))
    module = loss("adversarial", lecam_weight=0.5, lecam_decay=0.9)
    mean_r, mean_f = 0.1 * r.mean(), 0.1 * f.mean()
    term = (np.maximum(0, r - mean_f) ** 2).mean() + (np.maximum(0, mean_r - f) ** 2).mean()
    assert float(module.judge_loss(real, fake)) == pytest.approx(plain + 0.5 * term, rel=1e-5)
    assert float(module.mean_real) == pytest.approx(mean_r, rel=1e-5)


@pytest.mark.parametrize("relative", [False, True])
def test_feature_matching(relative):
    rng = np.random.default_rng(3)
    real, fake = judgements(rng), judgements(rng)
    gaps = []
    for a, b in zip(real, fake):
        a, b = a.features[0].numpy(), b.features[0].numpy()
        gaps.append(np.abs(a - b).mean() / (np.abs(a).mean() if relative else 1))
    value = loss("feature_matching", relative=relative)(inputs([0], [0], real=real, fake=fake))
    assert float(value) == pytest.approx(np.mean(gaps), rel=1e-5)
    total = loss("feature_matching", relative=relative, layers="sum")(inputs([0], [0], real=real, fake=fake))
    assert float(total) == pytest.approx(np.sum(gaps), rel=1e-5)


@pytest.mark.parametrize("along", ["frames", "channels", "mse"])
def test_distillation(along):
    rng = np.random.default_rng(4)
    ours, target = rng.normal(size=(2, 3, 8)), rng.normal(size=(2, 3, 8))
    out = SimpleNamespace(z=None, quantized=SimpleNamespace(z_q=None), features={"semantic": torch.from_numpy(ours)})
    axis = 1 if along == "frames" else 2
    norm = np.linalg.norm(ours, axis=axis) * np.linalg.norm(target, axis=axis)
    cosine = (ours * target).sum(axis) / norm
    expected = {
        "frames": (1 - cosine).mean(),
        "channels": np.log1p(np.exp(-cosine)).mean(),
        "mse": ((ours - target) ** 2).mean(),
    }[along]
    module = loss("distillation", teacher="t", feature="semantic", along=along)
    targets = {"t": torch.from_numpy(target)}
    assert float(module(inputs([0], [0], out=out, targets=targets))) == pytest.approx(expected, rel=1e-5)


def test_distillation_projects_and_explains_widths():
    out = SimpleNamespace(z=torch.rand(1, 4, 6), quantized=SimpleNamespace(z_q=torch.rand(1, 4, 6)), features={})
    targets = {"t": torch.rand(1, 7, 12)}
    with pytest.raises(ConfigError, match="project to 7"):
        loss("distillation", teacher="t")(inputs([0], [0], out=out, targets=targets))
    module = loss("distillation", teacher="t", project=7)
    module.prepare({"z": 4, "z_q": 4})
    module(inputs([0], [0], out=out, targets=targets)).backward()
    assert sum(p.numel() for p in module.parameters()) == 4 * 7 + 7
    with pytest.raises(ConfigError, match="no feature 'hubert'; it has z, z_q"):
        loss("distillation", teacher="t", feature="hubert")(inputs([0], [0], out=out, targets=targets))


def test_own_feature():
    rng = np.random.default_rng(5)
    ours, target = rng.normal(size=(2, 3, 8)), rng.normal(size=(2, 3, 8))
    features = {"semantic": torch.tensor(ours, requires_grad=True), "tower": torch.tensor(target, requires_grad=True)}
    cosine = (ours * target).sum(1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(target, axis=1))
    value = loss("own_feature", IMAGE, target="tower")(inputs([0], [0], out=SimpleNamespace(features=features)))
    assert float(value.detach()) == pytest.approx((1 - cosine).mean(), rel=1e-5)
    value.backward()
    assert features["semantic"].grad.abs().sum() > 0 and features["tower"].grad is None
    with pytest.raises(ConfigError, match="no feature 'semantic_target'; it has semantic, tower"):
        loss("own_feature", IMAGE)(inputs([0], [0], out=SimpleNamespace(features=features)))


def test_own_features_of_several_steps_are_summed():
    rng = np.random.default_rng(6)
    steps, target = rng.normal(size=(3, 2, 4, 5)), rng.normal(size=(2, 4, 5))
    gaps = [((s - target) ** 2).mean() for s in steps]
    # the order is that of the numbers, not of the letters
    features = {"code.10": torch.tensor(steps[2]), "code.9": torch.tensor(steps[1]), "code.0": torch.tensor(steps[0])}
    out = SimpleNamespace(features=features | {"code_target": torch.tensor(target)})
    options = {"feature": "code.*", "target": "code_target", "along": "mse"}
    assert float(loss("own_feature", IMAGE, **options)(inputs([0], [0], out=out))) == pytest.approx(sum(gaps), rel=1e-5)
    for weights, whole in (([3.0, 0.5], (3, 0.5, 0.5)), ([3.0, 0.5, 2.0], (3, 0.5, 2))):
        weighted = loss("own_feature", IMAGE, **options, weights=weights)(inputs([0], [0], out=out))
        assert float(weighted) == pytest.approx(np.dot(whole, gaps), rel=1e-5)
    assert not loss("own_feature", IMAGE, feature="codes.*", target="code_target").can_score(inputs([0], [0], out=out))


def test_vision_distance():
    torch.manual_seed(0)
    module = loss("vision_distance", IMAGE, model="test_vit", image_size=0, pretrained=False)
    x, x_hat = torch.rand(2, 3, 160, 160), torch.rand(2, 3, 160, 160, requires_grad=True)
    network, (low, high) = module._network[0], IMAGE.value_range
    with torch.no_grad():
        a, b = (network(((v - low) / (high - low) - module.mean) / module.deviation).numpy() for v in (x, x_hat))
    value = module(LossInputs(x=x, x_hat=x_hat, out=None))
    assert float(value.detach()) == pytest.approx(((a - b) ** 2).mean(), rel=1e-4) and float(value.detach()) > 0
    value.backward()
    assert x_hat.grad.abs().sum() > 0 and not [*module.parameters()]


def nll(logits, ids):
    """Cross-entropy of `[B, V, L]` in NumPy."""
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -np.take_along_axis(log_p, ids[:, None], axis=1).mean()


def test_codes():
    rng = np.random.default_rng(7)
    logits, ids = rng.normal(size=(2, 2, 7, 6)), rng.integers(0, 7, size=(2, 6))
    features = {"logits.0": torch.tensor(logits[0]), "logits.1": torch.tensor(logits[1]), "ids": torch.tensor(ids)}
    module = loss("codes", IMAGE, feature="logits.*", weights=[2.0, 0.5])
    expected = 2 * nll(logits[0], ids) + 0.5 * nll(logits[1], ids)
    assert float(module(inputs([0], [0], out=SimpleNamespace(features=features)))) == pytest.approx(expected, rel=1e-5)
    # a teacher's ids, and logits on a grid
    grid = SimpleNamespace(features={"logits": torch.tensor(logits[0]).unflatten(2, (2, 3))})
    module = loss("codes", IMAGE, teacher="t")
    value = module(inputs([0], [0], out=grid, targets={"t": torch.tensor(ids)}))
    assert float(value) == pytest.approx(nll(logits[0], ids), rel=1e-5)
    for wrong in (torch.tensor(ids)[:, :5], torch.tensor(ids) + 3, torch.tensor(ids).double()):
        with pytest.raises(ConfigError, match="Grids and vocabularies must agree"):
            module(inputs([0], [0], out=grid, targets={"t": wrong}))


def test_halting_weighs_both_sides_alike():
    rng = np.random.default_rng(8)
    logits, target = rng.normal(size=(2, 9)), np.zeros((2, 9))
    target[:, 7:] = 1
    features = {"halting.0": logits, "halting.1": logits, "unneeded.0": np.zeros((2, 9)), "unneeded.1": target}
    out = SimpleNamespace(features={k: torch.tensor(v) for k, v in features.items()})
    needed, not_needed = np.log1p(np.exp(logits)), np.log1p(np.exp(-logits))  # -log of the probability to be kept, to halt
    expected = needed.mean() + needed[:, :7].mean() + not_needed[:, 7:].mean()
    assert float(loss("halting", IMAGE)(inputs([0], [0], out=out))) == pytest.approx(expected, rel=1e-5)


def test_contrast():
    rng = np.random.default_rng(9)
    ours, theirs = rng.normal(size=(4, 3, 5)), rng.normal(size=(4, 3, 9))
    a, b = ours.mean(2), theirs.mean(2)
    a, b = a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)
    alike, own = 10 * a @ b.T, np.arange(4)
    expected = (nll(alike[..., None], own[:, None]) + nll(alike.T[..., None], own[:, None])) / 2
    out = SimpleNamespace(features={"branch.1": torch.tensor(ours)})
    module = loss("contrast", IMAGE, teacher="t", feature="branch.1", scale=10.0)
    assert float(module(inputs([0], [0], out=out, targets={"t": torch.tensor(theirs)}))) == pytest.approx(expected, rel=1e-5)


def test_quantizer_loss_is_passed_on():
    out = SimpleNamespace(quantized=SimpleNamespace(loss=torch.tensor(0.25)))
    assert float(loss("quantizer")(inputs([0], [0], out=out))) == 0.25


def vgg_file(folder):
    network = VggDistance()
    generator = torch.Generator().manual_seed(0)
    state = {k: torch.randn(v.shape, generator=generator) * 0.05 for k, v in network.state_dict().items()}
    state |= {k: v.abs() for k, v in state.items() if k.startswith("heads")}
    save_file(state, folder / "vgg.safetensors")
    return folder / "vgg.safetensors", {k: v.numpy().astype(np.float64) for k, v in state.items()}


def numpy_features(x, state, blocks):
    """VGG16 activations of `[3, H, W]` in 0..1, scaled to length one over channels."""
    mean = np.array((122.67892, 116.66877, 104.00699))
    x, out = x * 255 - mean[:, None, None], []
    for b in range(blocks):
        if b:
            c, h, w = x.shape
            x = x.reshape(c, h // 2, 2, w // 2, 2).max(axis=(2, 4))
        for layer in range(len(BLOCKS[b])):
            kernel, bias = state[f"blocks.{b}.{layer}.weight"], state[f"blocks.{b}.{layer}.bias"]
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))  # [C, H, W, 3, 3]
            x = np.maximum(0, np.einsum("chwij,ocij->ohw", windows, kernel, optimize=True) + bias[:, None, None])
        out.append(x / np.sqrt((x**2).sum(0) + 1e-10))
    return out


def test_perceptual_distance(tmp_path):
    path, state = vgg_file(tmp_path)
    rng = np.random.default_rng(5)
    x, y = rng.uniform(-1, 1, (2, 3, 16, 16)), rng.uniform(-1, 1, (2, 3, 16, 16))
    expected = []
    for a, b in zip((x + 1) / 2, (y + 1) / 2):
        pairs = zip(numpy_features(a, state, 2), numpy_features(b, state, 2))
        gaps = [np.einsum("chw,c->hw", (p - q) ** 2, state[f"heads.{i}"]).mean() for i, (p, q) in enumerate(pairs)]
        expected.append(sum(gaps))
    module = loss("perceptual", IMAGE, weights=str(path), blocks=2)
    assert float(module(inputs(x, y))) == pytest.approx(np.mean(expected), rel=1e-4)
    first = loss("perceptual", IMAGE, weights=str(path), blocks=2, max_items=1)
    assert float(first(inputs(x, y))) == pytest.approx(expected[0], rel=1e-4)
    assert not list(module.parameters())
    assert not module.state_dict()


def test_perceptual_weights_that_do_not_fit(tmp_path):
    with pytest.raises(ConfigError, match="no file"):
        PerceptualConfig(weights=str(tmp_path / "none.safetensors")).build(IMAGE)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match="holds no VGG16"):
        PerceptualConfig(weights=str(tmp_path / "other.safetensors")).build(IMAGE)


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


def test_adaptive_weight_makes_the_adversary_as_strong_as_the_rest():
    names = {"pixel": fixed(), "adversarial": fixed(adversarial=True)}
    balancer = Balancer(BalanceConfig(kind="adaptive"), names, {"pixel": 1.0, "adversarial": 0.5})
    x_hat = torch.randn(2, 4, requires_grad=True)
    total, metrics = balancer({"pixel": x_hat[:, :2].sum(), "adversarial": 100 * x_hat[:, 2:].sum()}, x_hat)
    total.backward()
    # Weighted adversarial gradient 50 a value against 1: the factor brings it to 1.
    assert torch.allclose(x_hat.grad, torch.ones(2, 4), rtol=1e-4)
    assert float(metrics["balance/adversarial"]) == pytest.approx(0.5 / 50, rel=1e-4)
