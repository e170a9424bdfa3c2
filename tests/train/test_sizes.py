"""Sizes and aspects of crops that change from batch to batch.

    pytest tests/train/test_sizes.py
"""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.codecs.media import HubDataset
from tokenzoo.codecs.spec import AudioSpec, ImageSpec
from tokenzoo.train.data import open_batches, open_clips
from tokenzoo.train.data.audio import AudioDataConfig
from tokenzoo.train.data.config import DataConfig
from tokenzoo.train.data.images import ImageDataConfig
from tokenzoo.train.data.order import BucketOrder
from tokenzoo.train.data.sizes import BucketConfig
from tokenzoo.train.data.windows import ResizedCropConfig
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import Trainer, train
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.functional import resized_crop
from train_media import RATE, assert_equal, audio_run, image_run, write_pictures, write_sounds
from two_processes import TRAIN, run_two

IMAGE = ImageSpec(vocab_sizes=(16,), stride=4)
AUDIO = AudioSpec(vocab_sizes=(16,), sample_rate_hz=RATE, hop_samples=80)
SIZES = {"crop": [16, 24, 32]}
BUCKETS = {"crop": {"area": 600, "aspects": [0.5, 1.0, 2.0], "multiple": 4}, "cover": [1.0, 1.0]}


@pytest.fixture
def pictures(tmp_path):
    """Upright, square and broad ones, unequal in number."""
    for kind, size in enumerate([(60, 30), (40, 40), (30, 60), (30, 56)]):
        write_pictures(tmp_path / "pictures" / str(kind), 5 - kind, size)
    return tmp_path / "pictures"


def feed_of(folder, settings, *, position=0, batch=8, parts=1, rank=0, world=1, seed=0):
    """Batches of one process, and the clips that they are made of."""
    config = from_mapping(DataConfig, {"kind": "images"} | settings)
    clips = open_clips(str(folder), config.media(IMAGE), config, seed=seed, batch_size=batch)
    return open_batches(clips, config, position=position, rows=0, size=batch // parts, rank=rank, world=world), clips


def take(feed, count):
    return [next(feed).x for _ in range(count)]


# --- which size, which items -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [SIZES, BUCKETS], ids=["sizes", "buckets"])
def test_a_batch_has_one_size_in_all_its_parts_and_processes(pictures, settings):
    whole = take(feed_of(pictures, settings)[0], 30)
    assert len({x.shape for x in whole}) == 3
    parts = take(feed_of(pictures, settings, parts=2)[0], 60)
    assert_equal(whole, [torch.cat(pair) for pair in zip(parts[::2], parts[1::2], strict=True)])
    ranks = [take(feed_of(pictures, settings, rank=r, world=2)[0], 30) for r in range(2)]
    assert_equal(whole, [torch.cat(pair) for pair in zip(*ranks, strict=True)])


@pytest.mark.parametrize("settings", [SIZES, BUCKETS], ids=["sizes", "buckets"])
@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"cache": "memory"}, {"max_visits": 3}], ids=str)
def test_batches_follow_from_seed_and_position(pictures, settings, options):
    """From any batch on, with workers and cache too."""
    whole = take(feed_of(pictures, settings | {"max_visits": options.get("max_visits", 1)})[0], 12)
    assert_equal(whole[7:], take(feed_of(pictures, settings | options, position=7 * 8)[0], 5))
    other = take(feed_of(pictures, settings, seed=1)[0], 12)
    assert [x.shape for x in other] != [x.shape for x in whole]


def test_every_size_is_as_likely(pictures):
    order = feed_of(pictures, SIZES)[1].order
    counts = Counter(order.size(8 * batch) for batch in range(3000))
    assert sorted(counts) == [0, 1, 2] and min(counts.values()) > 900


def test_items_of_a_bucket_come_equally_often():
    visits, buckets, size = [1, 2, 1, 1, 0, 3, 1], [0, 1, 0, 2, 2, 1, 2], 4
    order = BucketOrder(visits, buckets, seed=3, batch_size=size)
    total = sum(visits)
    seen = [order.item(p) for p in range(3 * total * size)]  # three rounds
    for start in range(0, len(seen), total * size):
        counts = Counter(seen[start : start + total * size])
        assert [counts[i] for i in range(7)] == [v * size for v in visits]
    for batch in range(3 * total):
        assert {buckets[i] for i in seen[batch * size : (batch + 1) * size]} == {order.size(batch * size)}
    fresh = BucketOrder(visits, buckets, seed=3, batch_size=size)
    assert [fresh.item(p) for p in reversed(range(len(seen)))] == seen[::-1]


def test_an_epoch_has_every_item_once_but_for_about_a_batch_of_each_bucket():
    rng = np.random.default_rng(0)
    buckets = rng.choice(4, 4000, p=[0.1, 0.2, 0.3, 0.4]).tolist()
    order = BucketOrder([1] * 4000, buckets, seed=0, batch_size=10)
    for epoch in range(3):
        counts = Counter(order.item(p) for p in range(4000 * epoch, 4000 * (epoch + 1)))
        assert max(counts.values()) <= 2
        missing = Counter(buckets[i] for i in range(4000) if not counts[i])
        assert all(n <= 20 for n in missing.values()), missing
    turns = [order.size(10 * b) for b in range(400)]
    assert turns != sorted(turns) and len(set(turns[:20])) > 2, "the buckets do not take turns"


def test_a_broken_file_is_replaced_by_one_of_its_bucket(pictures):
    for name in ("0", "2"):
        (pictures / name / "cut.png").write_bytes((pictures / name / "000.png").read_bytes()[:80])  # the header alone
    feed, clips = feed_of(pictures, BUCKETS)
    batches = [next(feed) for _ in range(40)]
    found = {name for batch in batches for name in batch.broken} | set(clips.broken)
    assert {name.rpartition("/")[2] for name in found} == {"cut.png"} and len(found) == 2
    first = clips.order._members[clips.order.size(0)]
    assert {clips.order.another(0, np.random.default_rng(i)) for i in range(50)} == set(first)


def test_pictures_go_to_the_nearest_aspect_and_area():
    buckets = BucketConfig(area=(1024, 4096), aspects=(0.5, 1.0, 2.0), multiple=8)
    assert buckets.sizes == ((48, 24), (32, 32), (24, 48), (88, 48), (64, 64), (48, 88))
    for size, expected in (((64, 64), 4), ((63, 64), 1), ((10, 12), 1), ((50, 100), 5), ((200, 100), 3), ((1000, 800), 4)):
        assert buckets.bucket(*size) == expected, size


def test_a_crop_of_a_bucket_is_the_whole_picture_without_distortion(pictures):
    media = from_mapping(DataConfig, {"kind": "images", "flip": False} | BUCKETS).media(IMAGE)
    ramp = np.broadcast_to(np.linspace(0, 255, 120), (60, 120)).astype(np.uint8)
    shape = media.shapes[media.bucket(ramp)]
    crop = media.crop(lambda: ramp, np.random.default_rng(0), True, shape=shape)
    assert crop.shape == shape == (3, 16, 36)
    assert float(crop[0, 0, -1] - crop[0, 0, 0]) == pytest.approx(2 * 36 / 36 * (60 * 36 / 16) / 120, rel=0.13)


def test_validation_has_one_size():
    media = {name: ImageDataConfig(**options).media(IMAGE) for name, options in {
        "largest": {"crop": (16, 32, 24)},
        "named": {"crop": (16, 32, 24), "valid_crop": 24},
        "square": {"crop": BucketConfig(area=(256, 1024), aspects=(0.5, 1.0, 2.0), multiple=8)},
    }.items()}  # fmt: skip
    assert {name: m.shape for name, m in media.items()} == {"largest": (3, 32, 32), "named": (3, 24, 24), "square": (3, 32, 32)}
    assert AudioDataConfig(crop_seconds=(0.1, 0.2)).media(AUDIO).shape == (1, 1600)
    assert AudioDataConfig(crop_seconds=(0.1, 0.2), valid_crop_seconds=0.1).media(AUDIO).shape == (1, 800)


def test_sound_has_one_length_a_batch(tmp_path):
    folder = write_sounds(tmp_path, 4)
    config = AudioDataConfig(crop_seconds=(0.1, 0.2, 0.4))
    clips = open_clips(str(folder), config.media(AUDIO), config, seed=0, batch_size=4)
    batches = [next(feed).x for feed in [open_batches(clips, config, position=0, rows=0, size=4, rank=0, world=1)] for _ in range(12)]
    assert {x.shape for x in batches} == {(4, 1, 800), (4, 1, 1600), (4, 1, 3200)}


# --- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crop", [[32, 64], {"area": 1024, "aspects": [1.0, 2.0]}, 64])
def test_families_of_one_size_refuse(crop):
    spec = ImageSpec(vocab_sizes=(16,), stride=4, image_size=(256, 256))
    config = from_mapping(DataConfig, {"kind": "images", "crop": crop})
    with pytest.raises(ConfigError, match=r"takes pictures of 256 x 256 alone. Set data.crop to 0"):
        config.media(spec)


@pytest.mark.parametrize(("settings", "message"), [
    ({"crop": []}, "data.crop is"),
    ({"crop": [32, 32]}, "several different ones"),
    ({"crop": [0, 32]}, "above 0"),
    ({"crop": {"area": 0}}, "must be above 0"),
    ({"crop": {"area": 256, "aspects": [1.0, 1.01]}}, "the same crop of 16 x 16"),
    ({"crop": {"area": 256, "aspect": [1.0]}}, "Did you mean 'aspects'"),
    ({"resized_crop": {"scale": [0.9, 0.8]}}, "need 0 < low <= high"),
    ({"resized_crop": {}, "cover": [0.8, 1.0]}, "Keep one"),
    ({"kind": "audio", "crop_seconds": [1.0, 0.0]}, "data.crop_seconds"),
])  # fmt: skip
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(DataConfig, {"kind": "images"} | settings)


def test_a_loss_is_checked_against_the_smallest_crop(tmp_path):
    run = audio_run(write_sounds(tmp_path / "in", 2), tmp_path / "out")
    run["data"]["crop_seconds"] = [0.02, 0.2]
    run["losses"]["mel"] |= {"windows": [512], "bands": [40]}
    with pytest.raises(ConfigError, match="losses.mel cannot judge media of 160 samples"):
        Trainer(parse_run(run))


# --- whole runs --------------------------------------------------------------------------------------------------------


def saved(output, step):
    return torch.load(output / f"checkpoint-{step:08d}" / "state.pt", weights_only=True)


@pytest.mark.parametrize("kind", ["sizes", "buckets", "sound"])
def test_a_resumed_run_equals_one_that_was_never_stopped(kind, pictures, tmp_path):
    if kind == "sound":
        run = audio_run(write_sounds(tmp_path / "sounds"), tmp_path / "a")
        run["data"]["crop_seconds"] = [0.1, 0.2, 0.3]
    else:
        run = image_run(pictures, tmp_path / "a", accumulation=2)
        run["data"] |= SIZES if kind == "sizes" else BUCKETS
    run["data"]["valid"] = run["data"]["train"]
    run["every"] |= {"validate": 3, "preview": 3, "validate_items": 4, "preview_items": 2}
    run["steps"] = 8
    train(parse_run(run))
    train(parse_run(run | {"output": str(tmp_path / "b"), "steps": 5}))
    train(parse_run(run | {"output": str(tmp_path / "b")}))
    for part in ("tokenizer", "optimizer", "ema"):
        assert_equal(saved(tmp_path / "a", 8)[part], saved(tmp_path / "b", 8)[part])
    lines = [json.loads(line) for line in (tmp_path / "a/metrics.jsonl").open()]
    assert any("valid/total" in line for line in lines)


@pytest.mark.slow
def test_two_processes_equal_one(pictures, tmp_path):
    runs = {}
    for name, settings in (("sizes", SIZES), ("buckets", BUCKETS)):
        optimizer = {"lr": 1e-2, "eps": 1e-2, "schedule": {"kind": "constant"}}  # a large eps: rounding must not become steps
        runs[name] = image_run(pictures, tmp_path / name / "two", accumulation=2, optimizer=optimizer)
        runs[name]["data"] |= settings
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(runs[name]))
    run_two(TRAIN, *(tmp_path / f"{name}.yaml" for name in runs))
    for name, run in runs.items():
        train(parse_run(run | {"output": str(tmp_path / name / "one")}))
        one, two = (saved(tmp_path / name / n, 6)["tokenizer"] for n in ("one", "two"))
        for key, value in one.items():
            assert torch.allclose(value, two[key], atol=2e-5), f"{name}: {key}"


def test_a_stream_has_one_size_a_batch_too(pictures, tmp_path, hub_cache):
    from datasets import Dataset

    files = sorted(pictures.rglob("*.png"))
    rows = {"image": [{"bytes": f.read_bytes(), "path": None} for f in files]}
    (tmp_path / "set").mkdir()
    Dataset.from_dict(rows).to_parquet(tmp_path / "set/train.parquet")
    entry = HubDataset(hub="parquet", column="image", data_files=(str(tmp_path / "set/train.parquet"),), streaming=True)

    def batches(settings, **place):
        config = from_mapping(DataConfig, {"kind": "images"} | settings)
        clips = open_clips(entry, config.media(IMAGE), config, seed=0, batch_size=8)
        return open_batches(clips, config, size=4, rank=0, world=1, **place)

    whole = list(itertools.islice(batches(SIZES, position=0, rows=0), 16))
    shapes = [batch.x.shape for batch in whole]
    assert len(set(shapes)) > 1 and shapes[::2] == shapes[1::2], "two parts of a batch differ in size"
    later = list(itertools.islice(batches(SIZES, position=24, rows=whole[5].rows), 4))
    assert_equal([b.x for b in whole[6:10]], [b.x for b in later])
    with pytest.raises(ConfigError, match="is streamed, in an order of its own"):
        batches(BUCKETS, position=0, rows=0)


# --- torchvision's crop ------------------------------------------------------------------------------------------------


def test_a_resized_crop_is_torchvisions(tmp_path):
    """Of the same piece: the same pixels, with each filter."""
    picture = np.asarray(Image.open(write_pictures(tmp_path, 1, (47, 61)) / "000.png"))
    for name in ("bilinear", "bicubic", "lanczos"):
        settings = ResizedCropConfig(scale=(0.3, 1.0))
        media = ImageDataConfig(crop=24, resized_crop=settings, filter=name, flip=False).media(IMAGE)
        found = media.crop(lambda: picture, np.random.default_rng(5), True)
        y, x, h, w = settings.window(47, 61, (24, 24), np.random.default_rng(5))
        theirs = resized_crop(Image.fromarray(picture), y, x, h, w, [24, 24], InterpolationMode(name))
        assert torch.equal(((found + 1) * 127.5).round().permute(1, 2, 0).byte(), torch.from_numpy(np.asarray(theirs).copy()))


@pytest.mark.parametrize(("size", "scale", "ratio"), [((100, 80), (0.5, 1.0), (0.75, 4 / 3)), ((30, 200), (0.8, 1.0), (0.75, 4 / 3))])
def test_pieces_are_drawn_as_torchvisions_are(size, scale, ratio):
    """Mean and deviation of place and size, also where hardly a draw fits."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    settings = ResizedCropConfig(scale=scale, ratio=ratio)
    ours = np.array([settings.window(*size, (32, 32), rng) for _ in range(4000)])
    blank = torch.empty(1, *size)
    theirs = np.array([RandomResizedCrop.get_params(blank, list(scale), list(ratio)) for _ in range(4000)])
    noise = theirs.std(0) / 4000**0.5
    assert (np.abs(ours.mean(0) - theirs.mean(0)) <= 5 * noise + 1e-9).all()
    assert np.allclose(ours.std(0), theirs.std(0), rtol=0.08)


def test_a_resized_crop_keeps_the_aspect_of_its_batch():
    settings = ResizedCropConfig(scale=(0.3, 0.5), ratio=(1.0, 1.0))
    for seed in range(20):
        _, _, h, w = settings.window(300, 300, (16, 32), np.random.default_rng(seed))
        assert w / h == pytest.approx(2, rel=0.02)


def test_crops_of_validation_data_cover_the_shorter_side(pictures):
    picture = np.broadcast_to(np.linspace(0, 255, 80), (60, 80)).astype(np.uint8)
    media = ImageDataConfig(crop=20, resized_crop=ResizedCropConfig()).media(IMAGE)
    crop = media.crop(lambda: picture, np.random.default_rng(0), False)
    assert float(crop[0, 0, -1] - crop[0, 0, 0]) == pytest.approx(2 * 60 / 80 * 19 / 20, abs=0.04)


def test_crops_may_lie_in_the_center():
    picture = np.broadcast_to(np.linspace(0, 255, 80), (40, 80)).astype(np.uint8)
    means = {}
    for place in ("center", "anywhere"):
        media = ImageDataConfig(crop=20, cover=(1.0, 1.0), place=place, flip=False).media(IMAGE)
        means[place] = [float(media.crop(lambda: picture, np.random.default_rng(i), True).mean()) for i in range(8)]
    assert np.ptp(means["center"]) == 0 and abs(means["center"][0]) < 0.02
    assert np.ptp(means["anywhere"]) > 0.3
