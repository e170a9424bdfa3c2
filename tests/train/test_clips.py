"""Training on clips: windows of films and animations at a rate, losses that look at each frame.

pytest tests/train/test_clips.py
"""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import PHOTO
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.media.clip_windows import read_window
from tokenzoo.train.data.clips import ClipDataConfig
from tokenzoo.train.discriminators.base import Discriminator, DiscriminatorSet
from tokenzoo.train.files import load_run
from tokenzoo.train.loop import Trainer
from tokenzoo.train.losses.base import Judgement, LossInputs
from tokenzoo.train.losses.perceptual import Perceptual, PerceptualConfig, VggDistance


def animation(path, shades, milliseconds=100):
    """Frames of one shade each, 8 x 12 pixels."""
    frames = [Image.fromarray(np.full((8, 12, 3), shade, np.uint8)) for shade in shades]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    return path


def film(path, shades, rate=10):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        stream.gop_size = 4
        for shade in shades:
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.full((16, 16, 3), shade, np.uint8), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def shades(window):
    return [round(float(frame.mean()), -1) for frame in window]


@pytest.mark.parametrize("kind", ["animation", "film"])
def test_windows_lie_where_they_should_and_keep_their_rate(tmp_path, kind):
    levels = [10 * i for i in range(1, 21)]  # two seconds of ten frames each
    path = animation(tmp_path / "a.png", levels) if kind == "animation" else film(tmp_path / "a.mp4", levels)
    assert shades(read_window(path, frames=None)) == levels
    assert shades(read_window(path, frames=4)) == [10, 20, 30, 40]
    assert shades(read_window(path, frames=4, share=1.0)) == [170, 180, 190, 200]
    assert shades(read_window(path, frames=4, share=0.5)) == [90, 100, 110, 120]
    assert shades(read_window(path, frames=3, rate_hz=5.0)) == [10, 30, 50]
    assert shades(read_window(path, frames=3, rate_hz=5.0, share=1.0)) == [150, 170, 190]
    assert shades(read_window(path, frames=None, rate_hz=2.0)) == [10, 60, 110, 160]
    assert shades(read_window(path, frames=4, rate_hz=20.0)) == [10, 10, 20, 20]  # slower than the rate: shown again
    assert shades(read_window(path, frames=22)) == [*levels, 200, 200]


def test_a_picture_is_a_clip_that_stands_still(tmp_path):
    assert read_window(PHOTO, frames=3).shape == (3, 300, 451, 3)
    Image.fromarray(np.full((5, 6), 7, np.uint8)).save(tmp_path / "grey.png")
    assert read_window(tmp_path / "grey.png", frames=2).tolist() == np.full((2, 5, 6, 3), 7).tolist()


def spec():
    return build_tokenizer("vidtok", load_run("image/vidtok-debug", ["data.train=x", "data.valid=[]"]).model.config).spec


def test_crops_are_the_same_for_all_frames_and_cached_clips_give_the_same(tmp_path):
    column = np.arange(12, dtype=np.uint8)[None, :, None]
    frames = [Image.fromarray(np.broadcast_to(column * 10 + i, (8, 12, 3)).copy()) for i in range(10)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=100)
    media = ClipDataConfig(train=str(tmp_path), frames=4, crop=8, rate_hz=5.0).media(spec())
    assert media.shape == (4, 3, 8, 8) and media.shapes == ((4, 3, 8, 8),)
    from tokenzoo.codecs.media import FileBlob

    blob = FileBlob(str(tmp_path / "a.png"))
    seen = set()
    for seed in range(8):
        x = media.crop(lambda: blob, np.random.default_rng(seed), True)
        steps = (x.diff(dim=0) * 127.5).round()
        assert x.shape == (4, 3, 8, 8) and bool((steps == 2).all()), "frames differ by their time alone, two frames a step"
        seen.add((round(float(x[0, 0, 0, 0] * 127.5)), float(x[0, 0, 0, 1] - x[0, 0, 0, 0]) > 0))
        cached = media.crop(lambda: media.decode(blob), np.random.default_rng(seed), False)
        assert torch.equal(cached, media.crop(lambda: blob, np.random.default_rng(seed), False))
    assert len(seen) > 3, "places, times and mirrors differ"


def test_settings_that_do_not_fit_clips_are_explained():
    for wrong, message in ({"frames": 0}, "frames is 0"), ({"max_side": 5}, "max_side"), ({"degrade": {}}, "degrade"):
        with pytest.raises(ConfigError, match=message):
            load_run("image/vidtok-debug", ["data.train=x", "data.kind=clips", *(f"data.{k}={v}" for k, v in wrong.items())])
    teacher = "teachers={vit: {kind: vision_model, model: test_vit, pretrained: false}}"
    for change, message in (
        ("data.crop={area: 1024, aspects: [0.5, 1.0, 2.0]}", "clips are square"),
        (teacher, "teachers.vit is of kind 'vision_model', which looks at single pictures"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_run("image/vidtok-debug", ["data.train=x", "data.valid=[]", "data.kind=clips", change])
        load_run("image/vidtok-debug", ["data.train=x", "data.valid=[]", change])
    pictures = build_tokenizer("convnet").spec
    with pytest.raises(ConfigError, match="single pictures"):
        ClipDataConfig(train="x").media(pictures)


class Mean(Discriminator):
    def forward(self, x):
        return [Judgement(x.flatten(1).mean(1))]


def test_networks_for_pictures_look_at_each_frame():
    x, x_hat = torch.rand(2, 3, 3, 32, 32), torch.rand(2, 3, 3, 32, 32)
    real, fake = DiscriminatorSet({"mean": Mean()})(x, x_hat)
    assert torch.allclose(real[0].logits, x.flatten(2).mean(2).flatten()) and fake[0].logits.shape == (6,)
    module = Perceptual.__new__(Perceptual)
    torch.nn.Module.__init__(module)
    torch.manual_seed(0)
    network = VggDistance(blocks=1).eval()
    for head in network.heads:
        torch.nn.init.uniform_(head)
    module.config, module.value_range, module._network = PerceptualConfig(weights=""), (0.0, 1.0), [network]
    nothing = SimpleNamespace(features={})
    whole = module(LossInputs(x, x_hat, nothing))
    frames = [float(module(LossInputs(x[:, t], x_hat[:, t], nothing)).detach()) for t in range(3)]
    assert float(whole.detach()) == pytest.approx(np.mean(frames), rel=1e-5) and len(set(frames)) == 3


@pytest.mark.filterwarnings("ignore")
def test_a_tokenizer_of_clips_trains_on_clips(tmp_path):
    """With an adversary that looks at frames; its ids tell clips apart, and sheets show frames side by side."""
    photo = np.asarray(Image.open(PHOTO).convert("RGB").resize((90, 60)))
    (tmp_path / "clips").mkdir()
    for number in range(2):
        frames = [Image.fromarray(photo[:, 4 * i + 20 * number : 4 * i + 20 * number + 40]) for i in range(6)]
        frames[0].save(tmp_path / "clips" / f"{number}.gif", save_all=True, append_images=frames[1:], duration=100)
    adversary = ["discriminators={patch: {kind: patchgan, channels: 4, layers: 1}}", "losses.adversarial={game: hinge, weight: 0.01}"]
    data = [f"data.train={tmp_path / 'clips'}", "data.valid=[]", "data.kind=clips", "data.frames=5", "data.crop=16"]
    small = ["steps=12", "batch_size=4", "every.log=1", "every.preview=12", "every.validate=6", "every.validate_items=4", "device=cpu"]
    run = load_run("image/vidtok-debug", [*data, *adversary, *small, f"output={tmp_path / 'run'}", "tensorboard=false", "threads=1"])
    trainer = Trainer(run)
    trainer.run()
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    losses = [row["loss/total"] for row in rows if "loss/total" in row]
    assert len(losses) == 12 and all(map(math.isfinite, losses)) and sum(losses[-3:]) < sum(losses[:3])
    assert list((tmp_path / "run").rglob("grid.png"))
    model = trainer.state.best().eval()
    clip = torch.stack([trainer.clips[i].x for i in range(4)])
    assert clip.shape == (4, 5, 3, 16, 16)
    ids = model.encode(clip).ids
    assert ids.shape == (4, 1, 3 * 4 * 4) and len(ids.unique(dim=0)) == 4
