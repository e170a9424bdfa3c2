"""Every figure of `tokenzoo eval` against its formula in plain NumPy or SciPy, term by term. Run: pytest tests/zoo/test_figures.py

PESQ has no short reference: what is tested of it is that the package gets the right signals.
"""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import tokenzoo
import torch
from families import TINY
from tokenzoo.codecs.media import Waveform
from tokenzoo.zoo.evaluate import images
from tokenzoo.zoo.evaluate.audio import AudioMetrics
from tokenzoo.zoo.evaluate.images import ImageMetrics
from tokenzoo.zoo.evaluate.run import TokenCounts

RATE = 16000  # of the tiny codec


def tiny(label: str) -> tokenzoo.Tokenizer:
    return tokenzoo.build_tokenizer(*TINY[label]).eval()


# --- sound ------------------------------------------------------------------------------------------------------------


def voice(seconds: float = 1.5) -> np.ndarray:
    """A gliding tone with overtones, louder and softer by turns, `[T]`."""
    t = np.arange(int(RATE * seconds)) / RATE
    phase = 2 * np.pi * (120 * t + 40 * t**2)
    return sum(np.sin(k * phase) / k for k in range(1, 12)) * (1 + np.sin(2 * np.pi * 3 * t)) * 0.1


def pair() -> tuple[np.ndarray, np.ndarray]:
    """A clip `[1, T]` and a worse one, of another loudness and with noise."""
    x, rng = voice(), np.random.default_rng(0)
    x = x + 1e-3 * rng.standard_normal(len(x))  # no band is so quiet that rounding shows in its logarithm
    return x[None].astype(np.float32), (0.8 * x + 0.02 * rng.standard_normal(len(x)))[None].astype(np.float32)


def measured(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    return AudioMetrics(tiny("spectral")).add(Waveform(torch.from_numpy(x), RATE), torch.from_numpy(y))


def magnitudes(x: np.ndarray, size: int, hop: int) -> np.ndarray:
    """Of windows centred on multiples of `hop`, the ends mirrored; `[M, F]`."""
    x = np.pad(x.astype(np.float64), size // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    frames = [x[at : at + size] * window for at in range(0, len(x) - size + 1, hop)]
    return np.abs(np.fft.rfft(frames))


def stft_terms(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The linear and the logarithmic part of the STFT distance, each summed over windows."""
    linear = logarithmic = 0.0
    for size in (2048, 512):
        a, b = (np.maximum(magnitudes(v, size, size // 4), 1e-5) for v in (x[0], y[0]))
        linear += np.abs(a - b).mean()
        logarithmic += np.abs(np.log10(a) - np.log10(b)).mean()
    return linear, logarithmic


def test_stft_distance_has_a_linear_and_a_logarithmic_part():
    x, y = pair()
    linear, logarithmic = stft_terms(x, y)
    assert min(linear, logarithmic) > 0.1, "both parts must matter, or the test says nothing of one"
    assert measured(x, y)["STFT distance"] == pytest.approx(linear + logarithmic, rel=1e-4)


def mel_filters(size: int, bands: int) -> np.ndarray:
    """Triangles that are evenly spaced on the mel scale of O'Shaughnessy, 0 to half the rate; `[F, bands]`."""
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), bands + 2) / 2595) - 1)
    frequencies = np.linspace(0, RATE / 2, size // 2 + 1)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return np.clip(np.minimum(rising, falling), 0, None)


def test_mel_distance():
    x, y = pair()
    filters = mel_filters(1024, 80)
    a, b = (np.log(np.maximum(magnitudes(v[0], 1024, 256) @ filters, 1e-5)) for v in (x, y))
    assert measured(x, y)["mel distance"] == pytest.approx(np.abs(a - b).mean(), rel=2e-5)


def test_si_sdr_does_not_count_loudness():
    x, y = pair()
    target = (y @ x.T / (x @ x.T)).astype(np.float64) * x  # the part of y along x
    expected = 10 * np.log10((target**2).sum() / ((y - target) ** 2).sum())
    assert measured(x, y)["SI-SDR dB"] == pytest.approx(expected, abs=1e-2)
    assert measured(x, 0.5 * y)["SI-SDR dB"] == pytest.approx(expected, abs=1e-2)


def test_si_sdr_is_the_mean_over_channels():
    x, y = pair()
    stereo = measured(np.concatenate([x, x]), np.concatenate([y, 0.5 * x + y]))["SI-SDR dB"]
    assert stereo == pytest.approx((measured(x, y)["SI-SDR dB"] + measured(x, 0.5 * x + y)["SI-SDR dB"]) / 2, abs=1e-3)


def third_octaves(x: np.ndarray) -> np.ndarray:
    """Levels of 15 third-octave bands from 150 Hz in frames of 256 samples at 10 kHz, `[15, M]` (STOI, section II)."""
    window = np.hanning(258)[1:-1]
    frames = np.array([x[at : at + 256] * window for at in range(0, len(x) - 256, 128)])
    power = np.abs(np.fft.rfft(frames, 512)) ** 2  # [M, 257]
    frequencies, centres = np.arange(257) * 10000 / 512, 150 * 2 ** (np.arange(15) / 3)
    bins = [[np.argmin((frequencies - c * 2**s) ** 2) for s in (-1 / 6, 1 / 6)] for c in centres]
    return np.array([np.sqrt(power[:, low:high].sum(1)) for low, high in bins])


def stoi(x: np.ndarray, y: np.ndarray) -> float:
    """Short-time objective intelligibility (Taal et al. 2011) of clips without silence, `[T]` at 10 kHz."""
    a, b = third_octaves(x), third_octaves(y)
    scores = []
    for stop in range(30, a.shape[1] + 1):
        u, v = a[:, stop - 30 : stop], b[:, stop - 30 : stop]
        v = v * np.linalg.norm(u, axis=1, keepdims=True) / np.linalg.norm(v, axis=1, keepdims=True)
        v = np.minimum(v, u * (1 + 10 ** (15 / 20)))  # at most 15 dB of distortion count
        u, v = (w - w.mean(1, keepdims=True) for w in (u, v))
        scores.append(((u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)).mean())
    return float(np.mean(scores))


def test_stoi():
    pytest.importorskip("pystoi")
    rng = np.random.default_rng(1)
    steady = np.cumsum(rng.standard_normal(2 * RATE)) * 0.002 + rng.standard_normal(2 * RATE) * 0.1  # no frame is silent
    steady = steady.astype(np.float32)[None]
    bursts = np.repeat(rng.standard_normal(40) ** 2, steady.shape[1] // 40) * 0.3
    worse = (steady + bursts * rng.standard_normal(steady.shape)).astype(np.float32)
    a, b = (scipy.signal.resample_poly(v[0].astype(np.float64), 5, 8) for v in (steady, worse))
    expected = stoi(a, b)
    assert abs(expected - stoi(b, a)) > 0.02, "the order must matter, or the test says nothing of it"
    assert measured(steady, worse)["STOI"] == pytest.approx(expected, abs=2e-3)


def test_pesq_gets_both_clips_in_order_as_mono():
    pesq = pytest.importorskip("pesq")
    x, y = pair()
    clean, worse = np.concatenate([x, 0.5 * x]), np.concatenate([y, x])
    expected, swapped = (pesq.pesq(RATE, a.mean(0), b.mean(0), "wb") for a, b in ((clean, worse), (worse, clean)))
    assert abs(expected - swapped) > 0.05, "the order must matter, or the test says nothing of it"
    assert measured(clean, worse)["PESQ-WB"] == pytest.approx(expected, abs=1e-3)


# --- pictures ---------------------------------------------------------------------------------------------------------


def pictures(seed: int = 0, size: tuple[int, int] = (48, 64)) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth picture, uint8 `[3, H, W]`, and a worse one in -1..1 that leaves the range at places."""
    rng = np.random.default_rng(seed)
    smooth = scipy.signal.fftconvolve(rng.standard_normal((3, *size)), np.ones((1, 7, 7)) / 20, mode="same")
    x = np.clip((smooth * 0.3 + 0.5) * 255, 0, 255).round().astype(np.uint8)
    y = (x / 255 * 2 - 1) * 0.9 + rng.standard_normal(x.shape) * 0.1 + 0.15
    return torch.from_numpy(x), torch.from_numpy(y).float()


def as_in_a_file(y: torch.Tensor) -> np.ndarray:
    """-1..1 as bytes, again in 0..1."""
    return np.clip(np.round((y.numpy().astype(np.float64) + 1) / 2 * 255), 0, 255) / 255


def test_psnr():
    x, y = pictures()
    error = np.mean((x.numpy() / 255 - as_in_a_file(y)) ** 2)
    assert ImageMetrics(tiny("convnet")).add(x, y)["PSNR dB"] == pytest.approx(10 * math.log10(1 / error), abs=1e-3)


def test_ssim_under_a_gaussian_window_with_mirrored_edges():
    x, y = pictures()
    at = np.arange(11) - 5
    line = np.exp(-(at**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    scores = []
    for a, b in zip(x.numpy() / 255, as_in_a_file(y), strict=True):
        a, b = (np.pad(v, 5, mode="reflect") for v in (a, b))
        blur = [scipy.signal.convolve2d(v, window, mode="valid") for v in (a, b, a * a, b * b, a * b)]
        ma, mb, aa, bb, ab = blur
        ssim = (2 * ma * mb + 0.01**2) * (2 * (ab - ma * mb) + 0.03**2)
        scores.append(ssim / (ma**2 + mb**2 + 0.01**2) / (aa - ma**2 + bb - mb**2 + 0.03**2))
    assert 0.2 < np.mean(scores) < 0.98
    assert ImageMetrics(tiny("convnet")).add(x, y)["SSIM"] == pytest.approx(np.mean(scores), abs=1e-4)


class MeanColours(torch.nn.Module):
    """A stand-in for the Inception network: mean and deviation of each colour, `[B, 6]`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.double().flatten(2) / 255
        return torch.cat([x.mean(2), x.std(2)], dim=1)


def test_rfid_is_the_frechet_distance_between_originals_and_reconstructions(monkeypatch):
    fid = pytest.importorskip("torchmetrics.image.fid")
    monkeypatch.setattr(images, "MIN_FID_ITEMS", 40)
    metrics = ImageMetrics(tiny("convnet"))
    network = MeanColours()
    network.num_features = 6
    metrics.fid = fid.FrechetInceptionDistance(feature=network)
    originals, decoded = [], []
    for seed in range(40):
        x, y = pictures(seed, (24, 24))
        metrics.add(x, y)
        originals.append(network(x[None])[0].numpy())
        decoded.append(network(torch.from_numpy(as_in_a_file(y) * 255)[None])[0].numpy())
    a, b = np.array(originals), np.array(decoded)
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert metrics.totals()["rFID"] == pytest.approx(expected, rel=1e-3)


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_usage_perplexity_entropy_and_bits():
    """Over items of several codebooks and lengths, each codebook by itself; ids that never came count as unused."""
    rng = np.random.default_rng(2)
    sizes, chances = (8, 32), (np.r_[0.5, np.full(4, 0.125), np.zeros(3)], np.r_[np.full(16, 1 / 16), np.zeros(16)])
    counts, seen = TokenCounts(sizes), []
    for length in (200, 37, 91):
        ids = np.stack([rng.choice(v, length, p=p) for v, p in zip(sizes, chances, strict=True)])
        counts.add(tokenzoo.Tokens(ids=torch.from_numpy(ids)[None], vocab_sizes=sizes))
        seen.append(ids)
    found, whole = counts.summary(), np.concatenate(seen, axis=1)
    for k, v in enumerate(sizes):
        p = np.bincount(whole[k], minlength=v) / whole.shape[1]
        entropy = -sum(q * math.log2(q) for q in p if q)
        assert found["usage"][k] == pytest.approx(np.count_nonzero(p) / v)
        assert found["entropy bits"][k] == pytest.approx(entropy, rel=1e-5)
        assert found["perplexity"][k] == pytest.approx(2**entropy, rel=1e-5)
    assert counts.bits == whole.shape[1] * (3 + 5)
