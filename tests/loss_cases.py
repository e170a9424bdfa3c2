"""What tests of single losses share: how one is built and fed, and plain NumPy spectra."""

from types import SimpleNamespace

import numpy as np
import scipy.signal
import torch
from tokenzoo.codecs.config import from_mapping
from tokenzoo.codecs.spec import AudioSpec, ImageSpec
from tokenzoo.train.losses.base import Judgement, LossConfig, LossInputs

AUDIO = AudioSpec(vocab_sizes=(16,), sample_rate_hz=16000, hop_samples=80)
IMAGE = ImageSpec(vocab_sizes=(16,), stride=4)


def loss(kind, spec=AUDIO, **options):
    return from_mapping(LossConfig, {"kind": kind, **options}).build(spec)


def inputs(x, x_hat, **more):
    return LossInputs(x=torch.as_tensor(x).float(), x_hat=torch.as_tensor(x_hat).float(), **({"out": None} | more))


def loss_of(ours, target, spec=AUDIO, **options):
    """Distillation of latents `[B, D, L]` from a teacher's `[B, D, N]`."""
    out = SimpleNamespace(z=ours, quantized=SimpleNamespace(z_q=ours), features={})
    config = {"kind": "distillation", "teacher": "t", "along": "channels", **options}
    empty = torch.zeros(1)
    return from_mapping(LossConfig, config).build(spec)(LossInputs(x=empty, x_hat=empty, out=out, targets={"t": target}))


def waves():
    """A clip and another, `[2, 1, 4000]` each."""
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.2, (2, 1, 4000)), rng.normal(0, 0.2, (2, 1, 4000))


def magnitudes(x, n, hop):
    """Centred, reflected, periodic Hann: `[B, F, N]`."""
    padded = np.pad(x[:, 0], ((0, 0), (n // 2, n // 2)), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n, axis=1)[:, ::hop]
    return np.abs(np.fft.rfft(frames * scipy.signal.get_window("hann", n), axis=-1)).transpose(0, 2, 1)


def judgements(rng, shapes=((2, 1, 5), (2, 1, 3, 4))):
    return [Judgement(torch.from_numpy(rng.normal(size=s)), (torch.from_numpy(rng.normal(size=s)),)) for s in shapes]


def nll(logits, ids):
    """Cross-entropy of `[B, V, L]` in NumPy."""
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -np.take_along_axis(log_p, ids[:, None], axis=1).mean()


def descend(module, x, y, steps=40):
    """First and last value of a loss of waveforms while Adam changes the reconstruction `y` of `x`."""
    y, values = torch.as_tensor(y).requires_grad_(), []
    optimizer = torch.optim.Adam([y], lr=1e-3)
    for _ in range(steps):
        values.append(module(inputs(x, y)))
        optimizer.zero_grad()
        values[-1].backward()
        optimizer.step()
    return values[0].item(), values[-1].item()


def silent_gradients(module, samples):
    """Gradients of the reconstruction `[1, 2, samples]` where it, the original or both are silent."""
    for x, y in ((torch.zeros, torch.zeros), (torch.zeros, torch.randn), (torch.randn, torch.zeros)):
        y = y(1, 2, samples).requires_grad_()
        module(inputs(x(1, 2, samples), y)).backward()
        yield y.grad
