"""Clips of pictures in every form that is taken: arrays, lists, animations, films. Run: pytest tests/codecs/media/test_clips.py"""

import io

import numpy as np
import pytest
import torch
from clip_cases import film
from PIL import Image
from tokenzoo.codecs.media import MediaError, as_clips
from tokenzoo.codecs.media.clips import spaced

#: Three frames of flat colours, uint8 `[T, H, W, 3]`.
FRAMES = np.stack([np.full((16, 24, 3), level, np.uint8) for level in (0, 128, 255)])
#: Means of the frames in 0..1.
LEVELS = [0.0, 128 / 255, 1.0]


def levels(clip: torch.Tensor) -> list[float]:
    assert clip.shape[1:] == (3, 16, 24) and clip.dtype == torch.float32
    return [float(frame.mean()) for frame in clip]


def animation(format: str) -> bytes:
    pictures, file = [Image.fromarray(frame) for frame in FRAMES], io.BytesIO()
    pictures[0].save(file, format, save_all=True, append_images=pictures[1:])
    return file.getvalue()


@pytest.mark.parametrize(
    "media",
    [
        FRAMES,
        torch.from_numpy(FRAMES).permute(0, 3, 1, 2),
        torch.from_numpy(FRAMES).permute(0, 3, 1, 2) / 255,
        list(FRAMES),
        [Image.fromarray(frame) for frame in FRAMES],
        FRAMES[None],
        [FRAMES],
        [[Image.fromarray(frame) for frame in FRAMES]],
        {"bytes": animation("PNG"), "path": None},
        Image.open(io.BytesIO(animation("GIF"))),
    ],
    ids=["bytes", "tensor", "floats", "list", "pictures", "batch of one", "list of one", "pictures in a list", "cell", "animation"],
)
def test_one_clip(media):
    (clip,) = as_clips(media, (0.0, 1.0))
    assert levels(clip) == pytest.approx(LEVELS, abs=0.01)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_animations(format):
    (clip,) = as_clips(animation(format), (-1.0, 1.0))
    assert levels(clip) == pytest.approx([2 * v - 1 for v in LEVELS], abs=0.02)


def test_films(tmp_path):
    (tmp_path / "a.mp4").write_bytes(film(FRAMES))
    (clip,) = as_clips(tmp_path / "a.mp4", (0.0, 1.0))
    assert levels(clip) == pytest.approx(LEVELS, abs=0.03)
    (clip,) = as_clips(str(tmp_path / "a.mp4"), (0.0, 1.0), frames=2)
    assert levels(clip) == pytest.approx([LEVELS[0], LEVELS[2]], abs=0.03)
    with pytest.raises(MediaError, match="a.mp4"):
        (tmp_path / "a.mp4").write_bytes(film(FRAMES)[:200])
        as_clips(tmp_path / "a.mp4", (0.0, 1.0))


def test_pages_are_no_frames():
    (clip,) = as_clips(animation("TIFF"), (0.0, 1.0))
    assert levels(clip) == [0.0]


@pytest.mark.parametrize("still", [FRAMES[1], Image.fromarray(FRAMES[1]), [FRAMES[1]]], ids=type)
def test_a_picture_is_a_clip_of_one_frame(still):
    (clip,) = as_clips(still, (0.0, 1.0))
    assert levels(clip) == pytest.approx(LEVELS[1:2])


def test_several_clips(tmp_path):
    (tmp_path / "a.gif").write_bytes(animation("GIF"))
    assert [len(c) for c in as_clips([FRAMES, FRAMES[:1], tmp_path / "a.gif", [FRAMES[0]] * 5], (0.0, 1.0))] == [3, 1, 3, 5]
    batch = as_clips(np.stack([FRAMES, FRAMES[::-1]]), (0.0, 1.0), frames=2)
    assert [levels(c) for c in batch] == [[0.0, 1.0], [1.0, 0.0]]


def test_frames_are_evenly_spaced():
    assert spaced(9, 3) == [0, 4, 8] and spaced(9, 1) == [0] and spaced(3, 9) == [0, 1, 2] and spaced(3, None) == [0, 1, 2]
    assert levels(as_clips(list(FRAMES), (0.0, 1.0), frames=2)[0]) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("media", "said"),
    [
        ([], "empty list"),
        ([[]], "empty list"),
        (np.zeros((0, 2, 16, 24, 3), np.uint8), "empty batch"),
        (FRAMES[:0], "empty batch"),
        ([FRAMES[0], FRAMES], "frames, or clips of one frame"),
        ([FRAMES[0], FRAMES[0, :9]], "24 x 16, 24 x 9"),
        ([FRAMES[None]], "a batch"),
        (b"no film", "no picture"),
        (5, "got int"),
    ],
)
def test_what_is_refused(media, said):
    with pytest.raises(MediaError, match=said):
        as_clips(media, (0.0, 1.0))


def test_too_many_pixels_together(monkeypatch):
    monkeypatch.setenv("TOKENZOO_MAX_PIXELS", str(2 * 16 * 24))
    with pytest.raises(MediaError, match="3 frames of 24 x 16"):
        as_clips(animation("GIF"), (0.0, 1.0))
    with pytest.raises(MediaError, match="3 frames of 24 x 16"):
        as_clips(film(FRAMES), (0.0, 1.0))
    assert len(as_clips(animation("GIF"), (0.0, 1.0), frames=2)[0]) == 2
