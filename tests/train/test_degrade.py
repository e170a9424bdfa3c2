"""Degraded pictures: each step by its effect on pixels, all of them a function of seed and position, and the clean crop beside them.

    pytest tests/train/test_degrade.py
"""

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.codecs.spec import ImageSpec
from tokenzoo.train.data import open_batches, open_clips
from tokenzoo.train.data.config import DataConfig
from tokenzoo.train.data.degrade import DegradeConfig, degraded, gaussian_kernel
from tokenzoo.train.data.images import ImageDataConfig
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import train
from train_media import assert_equal, image_run, write_pictures

SPEC = ImageSpec(vocab_sizes=(16,), stride=4)
NOTHING = {"blur": 0.0, "down": (1,), "noise": 0.0, "jpeg": 0.0}
CLEAN = {"partners": {"clean": {"kind": "image", "original": True}}}


def only(**settings: Any) -> DegradeConfig:
    """One step alone."""
    return DegradeConfig(**(NOTHING | settings))


def shot(config: DegradeConfig, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return degraded(x, config, np.random.default_rng(seed), (-1.0, 1.0))


def grey(value: float, side: int = 96) -> torch.Tensor:
    return torch.full((3, side, side), value)


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    """Fine stripes and smooth waves `[3, 48, 40]` in -1..1."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(40.0), indexing="ij")
    return torch.stack([(x * (0.2 + 0.9 * c) + y * 0.3).sin() * 0.8 for c in range(3)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("photos"))


def data(**options: Any) -> ImageDataConfig:
    found = from_mapping(DataConfig, {"kind": "images", "crop": 24, "scales": [1.0, 0.7], **options})
    assert isinstance(found, ImageDataConfig)
    return found


def clips(folder: Any, config: ImageDataConfig, **options: Any) -> Any:
    return open_clips(str(folder), config.media(SPEC), config, **({"seed": 3} | options))


# --- steps ------------------------------------------------------------------------------------------------------------


def test_a_kernel_has_the_deviations_that_it_was_asked_for():
    place = np.arange(41) - 20
    x, y = np.meshgrid(place, place)
    for angle, (along, across) in ((0.0, (3.0, 1.0)), (np.pi / 2, (1.0, 3.0)), (0.7, (2.0, 2.0))):
        kernel = gaussian_kernel(41, 3.0 if angle != 0.7 else 2.0, 1.0 if angle != 0.7 else 2.0, angle)
        assert kernel.sum() == pytest.approx(1)
        assert (kernel * x**2).sum() == pytest.approx(along**2, rel=1e-3)
        assert (kernel * y**2).sum() == pytest.approx(across**2, rel=1e-3)


def test_blur_spreads_a_point_as_its_kernel_says():
    point = grey(-1.0, 49)
    point[:, 24, 24] = 1.0
    round_one = shot(only(blur=1.0, isotropic=1.0, sigma=(2.0, 2.0), kernel=(21, 21)), point)
    assert torch.allclose(round_one[0], torch.from_numpy(np.pad(gaussian_kernel(21, 2.0, 2.0, 0.0), 14)).float() * 2 - 1, atol=1e-5)
    flat = [shot(only(blur=1.0, isotropic=0.0, sigma=(0.5, 3.0), kernel=(21, 21)), point, seed) for seed in range(8)]
    assert sum(not torch.allclose(y, y.transpose(1, 2), atol=0.01) for y in flat) > 4  # two deviations may be alike by chance
    assert shot(only(blur=1.0), point[:, 20:24, 20:25]).shape == (3, 4, 5)  # smaller than every kernel


def test_a_smaller_copy_loses_what_is_fine_and_keeps_what_is_not():
    """Stripes of two pixels are gone; waves of 24 stay."""
    columns = torch.arange(48.0)
    fine, coarse = ((columns % 2 * 2 - 1) * 0.5).expand(3, 48, -1), (columns * 2 * torch.pi / 24).sin().expand(3, 48, -1) * 0.5
    for seed in range(6):  # each of the three filters
        config = only(down=(4,))
        assert shot(config, fine, seed).abs().max() < 0.05
        assert (shot(config, coarse, seed) - coarse).abs().mean() < 0.06
    assert torch.allclose(shot(only(), coarse), coarse, atol=1e-6)


def test_gaussian_noise_has_its_deviation_and_may_be_the_same_in_all_channels():
    x = grey(0.0, 200)
    y = shot(only(noise=1.0, gaussian=1.0, deviation=(20.0, 20.0), grey=0.0), x)
    assert float((y - x).std() * 127.5) == pytest.approx(20, rel=0.03) and not torch.equal(y[0], y[1])
    y = shot(only(noise=1.0, gaussian=1.0, deviation=(20.0, 20.0), grey=1.0), x)
    assert torch.equal(y[0], y[1]) and float((y - x).std() * 127.5) == pytest.approx(20, rel=0.03)


def test_poisson_noise_grows_with_the_brightness():
    """At factor f a pixel of value v, in 0..255, has the variance f^2 v."""
    for level in (40.0, 160.0):
        x = grey(level / 127.5 - 1, 200)
        y = shot(only(noise=1.0, gaussian=0.0, poisson=(0.5, 0.5), grey=0.0), x)
        assert float((y - x).var() * 127.5**2) == pytest.approx(0.25 * level, rel=0.05)


def test_jpeg_of_lower_quality_is_further_away(photo):
    fine, coarse = (shot(only(jpeg=1.0, quality=(q, q)), photo) for q in (95, 20))
    assert 0 < (fine - photo).abs().mean() < (coarse - photo).abs().mean()


def test_shares_are_those_of_the_settings(photo):
    config = DegradeConfig(**(NOTHING | {"share": 0.3, "blur": 1.0}))
    same = sum(torch.equal(shot(config, photo, seed), photo) for seed in range(200))
    assert 120 <= same <= 160  # 140, deviation 6.5
    assert torch.equal(shot(only(share=0.0, blur=1.0), photo), photo)


def test_one_step_does_not_change_what_another_draws(photo):
    """The same noise on a picture, whether it is compressed afterwards or not."""
    noisy = only(noise=1.0, grey=0.0)
    noise = shot(noisy, grey(0.0)) - grey(0.0)
    blurred_first = shot(only(noise=1.0, grey=0.0, blur=1.0), grey(0.0)) - grey(0.0)  # an even grey stays one
    assert torch.allclose(noise, blurred_first, atol=1e-5)


def test_values_stay_in_their_range_in_one_channel_too(photo):
    for seed in range(5):
        y = degraded((photo[:1] + 1) / 2, DegradeConfig(), np.random.default_rng(seed), (0.0, 1.0))
        assert y.shape == (1, 48, 40) and y.dtype == torch.float32 and y.min() >= 0 and y.max() <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blur": 1.5}, "blur is 1.5"),
        ({"sigma": (3.0, 1.0)}, "sigma is"),
        ({"kernel": (6, 8)}, "odd"),
        ({"down": ()}, "down is"),
        ({"quality": (50, 101)}, "quality is"),
    ],
)
def test_senseless_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DegradeConfig(**settings)


# --- in a run ---------------------------------------------------------------------------------------------------------


def test_the_clean_crop_stays_beside_the_degraded_one(folder):
    """The clean one is the crop of the same run without degradations, at the same place; also of validation data."""
    config = data(degrade={}, **CLEAN)
    for train_too in (True, False):
        plain, found = clips(folder, data(), train=train_too), clips(folder, config, train=train_too)
        for i in range(8):
            x, _, beside = found[i]
            assert torch.equal(beside["clean"], plain[i].x) and not torch.equal(x, plain[i].x)


def test_degradations_follow_from_seed_and_position(folder):
    config = data(degrade={}, **CLEAN)
    once, again = clips(folder, config), clips(folder, config)
    later = [again[i].x for i in (7, 3, 9)]
    assert all(torch.equal(once[i].x, x) for i, x in zip((7, 3, 9), later, strict=True))
    assert not torch.equal(clips(folder, config, seed=4)[3].x, once[3].x)
    batch = next(open_batches(once, config, position=8, rows=0, size=4, rank=0, world=1))  # a resumed run begins anywhere
    assert torch.equal(batch.x, torch.stack([again[i].x for i in range(8, 12)]))
    assert_equal(batch.partners["clean"], torch.stack([again[i].partners["clean"] for i in range(8, 12)]))


@pytest.mark.slow
def test_a_resumed_run_degrades_as_one_that_never_stopped(folder, tmp_path):
    """Of a loss against the clean crop, bit for bit."""
    section = {"kind": "images", "train": str(folder), "crop": 32, "degrade": {}, **CLEAN}
    run = image_run(folder, tmp_path / "whole", data=section, losses={"pixel": {"against": "clean"}, "quantizer": {}}, steps=4)
    train(parse_run(run))
    for steps in (2, 4):
        train(parse_run(run | {"output": str(tmp_path / "parts"), "steps": steps}))
    whole, parts = (load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "parts"))
    assert_equal(whole, parts)


def test_an_original_needs_something_that_it_is_the_original_of(folder):
    with pytest.raises(ConfigError, match=r"before data\.degrade"):
        clips(folder, data(**CLEAN))
    with pytest.raises(ConfigError, match="without suffix"):
        data(partners={"clean": {"kind": "image", "original": True, "suffix": ".png"}})
    with pytest.raises(ConfigError, match="original"):
        data(partners={"clean": {"kind": "map", "original": True}})
