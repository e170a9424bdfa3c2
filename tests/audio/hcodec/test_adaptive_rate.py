"""What H-Codec's adaptive rate is worth: fewer groups of frames a second at the same error of what a group's frames share.

    pytest -m effect -s tests/audio/hcodec/test_adaptive_rate.py

Measured on the grouping itself, over mel bands of real speech, with means as the vectors of groups: the debug run's codec is so small
that speech decoded from 17 groups a second is as good as from 50.
"""

import itertools
from pathlib import Path

import pytest
import soundfile
import tokenzoo
import torch
import torchaudio
from effects import effect
from tokenzoo.codecs.layers.frame_groups import expand_groups, group_frames

SPEECH = Path(tokenzoo.__file__).parent / "zoo/demo/media/speech.flac"
FRAMES_A_SECOND = 50


@pytest.fixture(scope="module")
def frames():
    """Logarithms of 40 mel bands of speech, each of mean 0 and deviation 1, `[1, 40, N]`, a frame every 20 ms."""
    waveform, rate = soundfile.read(SPEECH, dtype="float32")
    mel = torchaudio.transforms.MelSpectrogram(rate, n_fft=1024, hop_length=rate // FRAMES_A_SECOND, n_mels=40)
    x = (mel(torch.from_numpy(waveform)[None]) + 1e-5).log()
    return (x - x.mean(2, keepdim=True)) / x.std(2, keepdim=True)


def measured(x, groups):
    """Groups a second, and mean square distance of frames `[1, D, L]` from the means of their groups `[1, L]`."""
    count = int(groups.max()) + 1
    sums = torch.zeros(1, x.shape[1], count).scatter_add(2, groups[:, None].expand(-1, x.shape[1], -1), x)
    means = sums / torch.zeros(1, count).scatter_add(1, groups, torch.ones(groups.shape))[:, None]
    return count * FRAMES_A_SECOND / x.shape[2], float((expand_groups(means, groups) - x).square().mean())


def rate_at(curve, error):
    """Rate at which a curve of (rate, error), from high rates to low, has this error; linear between its points."""
    for (high, low_error), (low, high_error) in itertools.pairwise(curve):
        if low_error <= error <= high_error:
            return low + (high - low) * (high_error - error) / (high_error - low_error)
    raise AssertionError(f"no point of {curve} has the error {error}")


@pytest.mark.effect
def test_fewer_groups_at_the_same_error(frames):
    at = torch.arange(frames.shape[2])[None]
    fixed = [measured(frames, at // size) for size in (1, 2, 3, 4, 5, 6, 8)]
    for longest in (4, 8):
        own, error = measured(frames, group_frames(frames, threshold=0.6, longest=longest))
        same = rate_at(fixed, error)
        figure = f"groups a second of at most {longest} frames, and of equally many frames, at a square error of {error:.3f}"
        effect("adaptive rate (H-Codec 1.5)", figure, with_=own, without=same)
        assert own < 0.85 * same, (own, error, fixed)
