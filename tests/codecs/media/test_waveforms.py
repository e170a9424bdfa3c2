"""Clips in every form that people have, and what is said of forms that are not taken.

    pytest tests/codecs/media/test_waveforms.py
"""

import io
import warnings

import media_cases
import numpy as np
import pytest
import soundfile
import torch
from tokenzoo.codecs.media import MediaError, Waveform, as_waveforms, to_channels

TONE = torch.sin(torch.arange(4000) * 0.05) * 0.5
STEREO = torch.stack([TONE, TONE.flip(0)])


def one(media, channels=1):
    (clip,) = as_waveforms(media, default_rate_hz=16000, channels=channels)
    return clip


class Decoded:
    """What torchcodec gives for a file."""

    def __init__(self, data: torch.Tensor, sample_rate: int) -> None:
        self.data, self.sample_rate = data, sample_rate


class Decoder:
    """torchcodec's decoder, as rows of newer `datasets` hold it."""

    def get_all_samples(self) -> Decoded:
        return Decoded(TONE[None], 8000)


class BrokenDecoder:
    def get_all_samples(self) -> Decoded:
        raise RuntimeError("could not push packet")


def test_every_form_of_one_clip(tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, TONE.numpy(), 8000, subtype="FLOAT")
    data = path.read_bytes()
    with path.open("rb") as opened, path.open("rb") as read_before:
        read_before.read(100)
        forms = [
            path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), opened, read_before,
            (TONE, 8000), (TONE[None], 8000), (TONE.numpy(), 8000), (TONE.double(), 8000), (TONE, np.int64(8000)),
            [TONE, 8000], [TONE.numpy(), np.int64(8000)], (TONE, torch.tensor(8000)), (TONE.clone().requires_grad_(), 8000),
            {"array": TONE.numpy(), "sampling_rate": 8000, "path": "gone.wav"}, {"array": TONE.tolist(), "sampling_rate": 8000},
            {"bytes": data, "path": "gone.wav"}, {"bytes": data}, {"bytes": None, "path": str(path)}, {"path": path},
            Decoder(), Decoded(TONE, 8000), Waveform(TONE[None], 8000),
        ]  # fmt: skip
        for form in forms:
            clip = one(form)
            assert clip.sample_rate_hz == 8000 and clip.samples.dtype == torch.float32, form
            assert torch.allclose(clip.samples, TONE[None]) and not clip.samples.requires_grad, form
        assert not opened.closed
        listed = as_waveforms([f for f in forms if f is not None], default_rate_hz=16000)
    assert len(listed) == len(forms) and all(torch.allclose(c.samples, TONE[None]) for c in listed)


def test_a_pipe_is_read_to_its_end():
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    data = media_cases.sound("flac", TONE.numpy()[:, None], 8000)
    assert torch.allclose(one(Pipe(data)).samples, TONE[None], atol=1e-4)


def test_each_clip_keeps_its_own_rate_and_length():
    clips = as_waveforms([(TONE, 8000), TONE[:10], (TONE[:99], 44100)], default_rate_hz=16000)
    assert [(c.sample_rate_hz, c.samples.shape[1]) for c in clips] == [(8000, 4000), (16000, 10), (44100, 99)]


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8"])
def test_pcm_integers_are_scaled(dtype):
    scale = {"int16": 32767, "int32": 2**31 - 1, "uint8": 127}[dtype]
    pcm = (TONE.double() * scale).round().numpy() + (128 if dtype == "uint8" else 0)
    clip = one((pcm.astype(dtype), 8000))
    assert torch.allclose(clip.samples[0], TONE, atol=0.02 if dtype == "uint8" else 1e-3)


@pytest.mark.parametrize("form", ["frozen", "backwards", "big-endian", "half", "long double"])
def test_arrays_as_they_lie_in_memory_give_no_warning(form):
    x = TONE.numpy()
    x = {
        "frozen": lambda: np.frombuffer(x.tobytes(), np.float32), "backwards": lambda: x[::-1].copy()[::-1],
        "big-endian": lambda: x.astype(">f4"), "half": lambda: x.astype(np.float16), "long double": lambda: x.astype(np.longdouble),
    }[form]()  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip = one((x, 8000))
    assert torch.allclose(clip.samples[0], TONE, atol=1e-3)


# --- two axes: channels, or a batch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
def test_a_bare_array_with_the_channels_of_the_codec_or_one_is_a_clip(channels):
    for x in (TONE, TONE[None], STEREO[:channels]):
        assert torch.equal(one(x, channels).samples, x if x.ndim == 2 else x[None])
        assert torch.equal(one(x.numpy(), channels).samples, x if x.ndim == 2 else x[None])


@pytest.mark.parametrize(("shape", "channels"), [((2, 100), 1), ((5, 100), 1), ((3, 100), 2), ((32, 100), 1), ((4, 2, 100), 1)])
def test_a_bare_array_that_may_be_a_batch_is_never_mixed(shape, channels):
    x = torch.rand(shape) * 0.1
    for form in (x, x.numpy(), [x[0], x] if x.ndim == 2 else x):
        with pytest.raises(MediaError, match=r"clips or one clip of .* channels.*pass list\(x\).*\(x, sample_rate\)"):
            as_waveforms(form, default_rate_hz=16000, channels=channels)


def test_what_says_that_it_has_channels_is_mixed_or_repeated_later():
    assert one((STEREO, 16000)).samples.shape == (2, 4000)
    assert one(media_cases.sound("wav", STEREO.T.numpy())).samples.shape == (2, 4000)
    assert one({"array": STEREO.numpy(), "sampling_rate": 8000}).samples.shape == (2, 4000)
    with pytest.raises(MediaError, match="audio: 3 channels cannot become 2"):
        one((torch.zeros(3, 10), 8000), channels=2)


def test_plain_numbers_as_json_has_them():
    x, y = [0.5, 0, -0.25], [0.125, 0.5]
    (clip,) = as_waveforms(x, default_rate_hz=8000, channels=1)
    assert torch.equal(clip.samples, torch.tensor([x])) and clip.sample_rate_hz == 8000
    for form in ((x, 16000), [x, 16000], {"array": x, "sampling_rate": 16000}):
        (clip,) = as_waveforms(form, default_rate_hz=8000, channels=1)
        assert torch.equal(clip.samples, torch.tensor([x])) and clip.sample_rate_hz == 16000
    several = as_waveforms([x, y, (y, 16000)], default_rate_hz=8000, channels=1)
    assert [c.samples[0].tolist() for c in several] == [x, y, y] and [c.sample_rate_hz for c in several] == [8000, 8000, 16000]
    assert len(as_waveforms([y, y], default_rate_hz=8000, channels=2)) == 2, "lists of one length are clips too, never channels"
    (stereo,) = as_waveforms(([y, y], 8000), default_rate_hz=8000, channels=2)
    assert stereo.samples.tolist() == [y, y]


def test_batches_and_lists_of_bare_clips():
    batch = torch.rand(3, 2, 50) * 0.1
    assert [torch.equal(c.samples, x) for c, x in zip(as_waveforms(batch, default_rate_hz=8000, channels=2), batch)] == [True] * 3
    assert len(as_waveforms(list(batch[:, 0]), default_rate_hz=8000, channels=1)) == 3
    assert len(as_waveforms((TONE, TONE[:7]), default_rate_hz=8000, channels=1)) == 2, "a tuple of two clips is no pair"
    assert len(as_waveforms(batch.numpy(), default_rate_hz=8000, channels=2)) == 3


def test_channels():
    assert torch.equal(to_channels(torch.stack([TONE, -TONE]), 1), torch.zeros(1, 4000))
    assert torch.equal(to_channels(TONE[None], 2), torch.stack([TONE, TONE]))
    with pytest.raises(MediaError, match="cannot become"):
        to_channels(STEREO, 3)


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ((TONE * 30000, 8000), "Divide by the full scale"),
        ((TONE[:0], 8000), "empty"),
        (TONE[:0], "empty"),
        ((torch.full((9,), float("nan")), 8000), "NaN"),
        ((torch.full((9,), float("inf")), 8000), "infinite samples: 9 of 9"),
        ((TONE, 8000.0), "whole number of Hz"),
        ((TONE, "8000"), "whole number of Hz"),
        ((TONE, None), "whole number of Hz"),
        ((TONE, 0), "whole number of Hz"),
        ((TONE, True), "whole number of Hz"),
        ((TONE, 3), "a sample rate of 3 Hz"),
        ((TONE.view(2, 2, 1000), 8000), "list"),
        (torch.zeros(1, 1, 1, 9), "list"),
        ((TONE.view(-1, 2), 8000), "Transpose"),
        ((TONE > 0, 8000), "bool is not media"),
        ((TONE.to(torch.int64), 8000), "ambiguous"),
        (torch.complex(TONE, TONE), "complex64 is not media"),
        (np.array(["a"]), "not media"),
        ((8000, TONE.numpy()), r"got \(sample_rate, waveform\).*pass \(waveform, sample_rate\)"),
        (("x.wav", 8000), "got the path 'x.wav' with a sample rate"),
        ({"array": [0.0]}, "without \"sampling_rate\""),
        ({"audio": {"path": "x"}, "text": "a"}, r'dictionary with \'audio\', \'text\'.*row\["audio"\]'),
        ({}, "dictionary with nothing"),
        ([], "empty list"),
        ([0.1, None], "other things than numbers"),
        ([0.1, [0.2]], "waveform"),
        (([[0.1], [0.2, 0.3]], 8000), "channels of one length"),
        ([1, 2, 3], "ambiguous"),
        ([[0.1, 0.2], [0.1, "a"]], "clip 1: a list that holds other things"),
        ((8000, [0.1, 0.2]), r"got \(sample_rate, waveform\)"),
        ([TONE, None], "clip 1: got NoneType"),
        ([[TONE, TONE], TONE], "clip 0: got list"),
        (3, "got int"),
        (None, "got NoneType"),
        (b"", "the bytes|audio is an empty file"),
        (io.StringIO("RIFF"), "mode 'rb'"),
        (BrokenDecoder(), "could not push packet"),
    ],
)  # fmt: skip
def test_wrong_audio_says_what_to_do(bad, says):
    with pytest.raises(MediaError, match=says):
        as_waveforms(bad, default_rate_hz=8000, channels=1)
