"""Training data: order, resuming in the middle of an epoch, sources, crops, broken files.

    pytest tests/train/test_data.py
"""

import dataclasses
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.latent import LatentSpec
from tokenzoo.codecs.spec import AudioSpec, ImageSpec
from tokenzoo.train.data import open_batches, open_clips
from tokenzoo.train.data.audio import AudioDataConfig
from tokenzoo.train.data.config import HubDataset
from tokenzoo.train.data.features import FeatureDataConfig
from tokenzoo.train.data.images import ImageDataConfig
from tokenzoo.train.data.loader import Clips, batches
from tokenzoo.train.data.order import BatchPositions, VisitOrder
from tokenzoo.train.data.sources import collect, expand_braces
from train_media import AUDIO, sounds, write_features, write_pictures, write_sounds

IMAGE = ImageSpec(vocab_sizes=(16,), stride=4)


def pictures(folder, train=True, seed=0, **options):
    config = ImageDataConfig(**({"crop": 16} | options))
    return Clips(str(folder), config.media(IMAGE), config, seed=seed, train=train), config


def take(feed, count):
    return [next(feed).x for _ in range(count)]


# --- order -----------------------------------------------------------------------------------------------------------


def test_every_epoch_is_another_permutation_of_all_visits():
    order = VisitOrder([1, 3, 0, 2], seed=5)
    epochs = [[order.item(e * 6 + i) for i in range(6)] for e in range(20)]
    assert all(sorted(epoch) == [0, 1, 1, 1, 3, 3] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 10
    assert order.item(7) == epochs[1][1]  # looking back is allowed
    assert VisitOrder([1, 3, 0, 2], seed=5).item(100) == order.item(100)
    assert [VisitOrder([1] * 50, seed=1).item(i) for i in range(50)] != [VisitOrder([1] * 50, seed=2).item(i) for i in range(50)]


def test_parts_of_processes_make_up_the_batch_of_one():
    whole = iter(BatchPositions(24, 8))
    parts = [iter(BatchPositions(24, 8, rank=r, world=4)) for r in range(4)]
    for _ in range(3):
        assert next(whole) == [p for part in parts for p in next(part)]
    with pytest.raises(ValueError, match="8 cannot be divided among 3"):
        BatchPositions(0, 8, world=3)


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_in_the_middle_of_an_epoch(tmp_path, workers):
    write_pictures(tmp_path, 5)
    clips, config = pictures(tmp_path, num_workers=workers)
    whole = take(batches(clips, config, 0, 3), 6)  # 18 crops of epochs of 5
    torch.manual_seed(123)  # global random numbers play no part
    np.random.seed(4)
    clips, config = pictures(tmp_path)
    later = take(batches(clips, config, 9, 3), 3)
    assert all(torch.equal(a, b) for a, b in zip(whole[3:], later))
    assert not torch.equal(whole[0], take(batches(pictures(tmp_path, seed=1)[0], config, 0, 3), 1)[0])


def test_building_the_loader_leaves_global_random_numbers_alone(tmp_path):
    clips, config = pictures(write_pictures(tmp_path))
    before = torch.get_rng_state()
    take(batches(clips, config, 0, 2), 2)
    assert torch.equal(before, torch.get_rng_state())


# --- broken files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_broken_files_are_skipped_and_listed(tmp_path, cache):
    write_pictures(tmp_path, 4)
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "000.png").read_bytes()[:200])
    clips, config = pictures(tmp_path, cache=cache)
    feed, found = batches(clips, config, 0, 4), {}
    for _ in range(5):
        batch = next(feed)
        assert batch.x.shape == (4, 3, 16, 16)
        found |= batch.broken
    found |= clips.broken
    assert {name.rpartition("/")[2] for name in found} == {"broken.png", "cut.png"}
    assert all("cannot read" in reason for reason in found.values())


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_names_that_are_no_unicode_are_read_and_can_be_printed(tmp_path, cache):
    write_pictures(tmp_path, 3)
    try:
        os.rename(os.fsencode(tmp_path / sorted(os.listdir(tmp_path))[0]), os.fsencode(tmp_path) + b"/\xff.png")
        (tmp_path / "\udcfe.png").write_bytes(b"no picture")
    except OSError:
        pytest.skip("this file system holds Unicode names only")
    clips, _ = pictures(tmp_path, cache=cache)
    for position in range(20):
        clips[position]
    assert len(clips.fingerprint) == 16 and set(clips.broken) == {f"{tmp_path}/\\udcfe.png"}
    assert f"{tmp_path}/\\udcff.png" in clips.names and "".join([*clips.names, *clips.broken.values()]).encode()


def test_what_replaces_a_broken_file_does_not_depend_on_what_was_seen_before(tmp_path):
    write_sounds(tmp_path, 4)
    (tmp_path / "0a.wav").write_bytes(b"RIFF no")
    fresh, config = sounds(tmp_path, max_visits=1)
    seasoned, _ = sounds(tmp_path, max_visits=1)
    take(batches(seasoned, config, 0, 5), 2)
    assert seasoned.broken
    assert not fresh.broken
    for a, b in zip(take(batches(seasoned, config, 10, 5), 2), take(batches(fresh, config, 10, 5), 2)):
        assert torch.equal(a, b)


def test_a_folder_without_one_good_file_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(ConfigError, match=r"none of the 1 items.*cannot read"):
        pictures(tmp_path, cache="memory")
    with pytest.raises(RuntimeError, match="in a row could not be used"):
        pictures(tmp_path)[0][0]


# --- sources ---------------------------------------------------------------------------------------------------------


def make_tar(path, folder):
    with tarfile.open(path, "w") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, arcname=file.name)
            info = tarfile.TarInfo(file.with_suffix(".txt").name)
            info.size = 2
            tar.addfile(info, io.BytesIO(b"hi"))
    return path


def test_tars_give_the_same_crops_as_the_folder(tmp_path):
    folder = write_pictures(tmp_path / "photos", 4)
    tar = make_tar(tmp_path / "shard-000.tar", folder)
    a, config = pictures(folder)
    b = Clips(str(tar), config.media(IMAGE), config, seed=0)
    assert b.names[0].endswith("shard-000.tar/000.png")
    assert all(torch.equal(a[i][0], b[i][0]) for i in range(8))


def test_lists_braces_and_nested_folders(tmp_path):
    write_pictures(tmp_path / "x" / "deep", 2)
    write_pictures(tmp_path / "y", 3)
    (tmp_path / "x" / ".hidden.png").write_bytes(b"")
    make_tar(tmp_path / "s-00.tar", tmp_path / "y")
    make_tar(tmp_path / "s-01.tar", tmp_path / "y")
    assert expand_braces("s-{00..02}.tar") == ["s-00.tar", "s-01.tar", "s-02.tar"]
    assert expand_braces("{a,b}/{1..2}") == ["a/1", "a/2", "b/1", "b/2"]
    assert len(collect((str(tmp_path / "x"), str(tmp_path / "s-{00..01}.tar")), (".png",))) == 8
    for entry, words in (("nowhere", "neither a folder nor a file"), ("https://h/a.tar", "streaming: true")):
        with pytest.raises(ConfigError, match=words):
            collect(entry, (".png",))
    with pytest.raises(ConfigError, match="no file that ends in"):
        collect(str(tmp_path / "x"), (".wav",))


def test_links_multiply_nothing_and_repeated_entries_count_twice(tmp_path):
    write_pictures(tmp_path / "x" / "deep", 2)
    (tmp_path / "x" / "self").symlink_to(".")
    (tmp_path / "x" / "deep" / "back").symlink_to(tmp_path / "x")
    (tmp_path / "x" / "more.png").symlink_to(tmp_path / "x" / "deep" / "000.png")
    folder = str(tmp_path / "x")
    assert [Path(b.name).name for b in collect(folder, (".png",))] == ["more.png", "001.png"]
    assert len(collect((folder, folder), (".png",))) == 4, "an entry that is repeated is wanted more often"


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_broken_tars_lose_what_is_broken_only(tmp_path, cache):
    folder = write_pictures(tmp_path / "photos", 4)
    whole = make_tar(folder / "a.tar", folder).read_bytes()
    with tarfile.open(folder / "a.tar") as tar:
        last = [m for m in tar.getmembers() if m.name.endswith(".png")][-1]
    (folder / "a.tar").write_bytes(whole[: last.offset_data + 30])
    (folder / "b.tar").write_bytes(b"no tar at all" * 100)
    os.mkfifo(folder / "c.tar")
    clips, config = pictures(folder, cache=cache)
    found = dict(clips.broken)
    for batch in (next(b) for b in [batches(clips, config, 0, 8)] for _ in range(6)):
        found |= batch.broken
    reasons = {Path(n).name: why for n, why in found.items()}
    assert "is a FIFO" in reasons["c.tar"] and "is no plain tar file, or broken" in reasons["b.tar"]
    assert len(clips.names) - len([n for n in clips.names if n in found]) == 7


def parquet(folder, count=5):
    datasets = pytest.importorskip("datasets")
    write_pictures(folder / "src", count)
    files = [str(p) for p in sorted((folder / "src").iterdir())]
    rows = datasets.Dataset.from_dict({"photo": files, "n": list(range(count))})
    rows.cast_column("photo", datasets.Image()).to_parquet(folder / "rows.parquet")
    return str(folder / "rows.parquet")


def test_hub_data_set_read_at_random(tmp_path, hub_cache):
    config = ImageDataConfig(crop=16)
    entry = HubDataset(hub="parquet", column="photo", data_files=(parquet(tmp_path),), allow_paths=True)
    clips = Clips(entry, config.media(IMAGE), config, seed=0)
    assert clips.names[0] == "parquet[0]"
    folder, _ = pictures(tmp_path / "src")
    assert all(torch.equal(clips[i][0], folder[i][0]) for i in range(7))
    with pytest.raises(ConfigError, match="no column 'foto'; it has photo, n"):
        Clips(HubDataset(hub="parquet", column="foto", data_files=entry.data_files), config.media(IMAGE), config, seed=0)


def test_hub_data_set_streamed_and_resumed(tmp_path, hub_cache):
    config = ImageDataConfig(crop=16)
    entry = HubDataset(
        hub="parquet", column="photo", data_files=(parquet(tmp_path),), streaming=True, shuffle_buffer=3, allow_paths=True
    )

    def feed(rows, rank=0, world=1):
        clips = open_clips(entry, config.media(IMAGE), config, seed=3)
        return open_batches(clips, config, position=0, rows=rows, size=2, rank=rank, world=world)

    whole = feed(0)
    seen = [next(whole) for _ in range(6)]  # 12 rows, epochs of 5
    later = feed(seen[2].rows)
    assert all(torch.equal(next(later).x, b.x) for b in seen[3:])
    parts = [next(feed(0, rank=r, world=2)).x for r in range(2)]
    assert not torch.equal(*parts)
    entry = dataclasses.replace(entry, allow_paths=False)
    with pytest.raises(RuntimeError, match="100 rows in a row .*name are read only on request") as error:
        next(feed(0))
    assert len(str(error.value)) < 1000, "one of them stands for all"
    with pytest.raises(ConfigError, match="cannot be mixed"):
        open_clips((entry, str(tmp_path)), config.media(IMAGE), config, seed=0)


# --- pictures --------------------------------------------------------------------------------------------------------


def test_crops_are_pieces_of_the_picture(tmp_path):
    y, x = np.mgrid[0:40, 0:48]
    Image.fromarray(np.stack([y, x, 0 * x], axis=-1).astype(np.uint8)).save(tmp_path / "a.png")
    clips, _ = pictures(tmp_path, crop=16)
    corners, mirrored = set(), 0
    for i in range(60):
        crop = ((clips[i][0] + 1) * 127.5).round()
        top, left = int(crop[0, 0, 0]), int(crop[1].min())
        mirrored += bool(crop[1, 0, 0] > crop[1, 0, -1])
        assert torch.equal(crop[0], torch.arange(top, top + 16.0)[:, None].expand(16, 16))
        assert torch.equal(crop[1].sort(dim=1).values, torch.arange(left, left + 16.0).expand(16, 16))
        corners.add((top, left))
    assert 10 < mirrored < 50
    assert len(corners) > 40
    assert clips[3][0].dtype == torch.float32


def test_scales_shrink_and_small_pictures_grow(tmp_path):
    write_pictures(tmp_path, 1, size=(64, 64))
    half, _ = pictures(tmp_path, crop=32, scales=(0.5,), flip=False)
    whole = Image.open(tmp_path / "000.png").resize((32, 32), Image.Resampling.LANCZOS)
    expected = torch.from_numpy(np.asarray(whole).astype(np.float32) / 127.5 - 1).permute(2, 0, 1)
    assert (half[0][0] - expected).abs().max() < 0.01
    grown, _ = pictures(tmp_path, crop=100)
    assert grown[0][0].shape == (3, 100, 100)


def test_a_crop_covers_a_share_of_the_shorter_side():
    """The values of a crop of a picture that rises evenly from left to right say how wide a piece it shows."""
    ramp = np.broadcast_to(np.linspace(0, 255, 80), (90, 80)).astype(np.uint8)

    def widths(train, cover):
        media = ImageDataConfig(crop=20, cover=cover, flip=False).media(IMAGE)
        rng = np.random.default_rng(0)
        crops = [media.crop(lambda: ramp, rng, train) for _ in range(40)]
        return [float((c[0, 0, -1] - c[0, 0, 0]) / 2) * 20 / 19 for c in crops]  # values are -1..1; between centres of edge pixels

    assert widths(True, (1.0, 1.0)) == pytest.approx([1.0] * 40, abs=0.05)
    drawn = widths(True, (0.5, 1.0))
    assert min(drawn) == pytest.approx(0.5, abs=0.05) and max(drawn) == pytest.approx(1.0, abs=0.08)
    assert 0.6 < float(np.median(drawn)) < 0.74  # 1 / share is drawn evenly: the median is 1 / 1.5
    assert widths(False, (0.5, 0.75)) == pytest.approx([0.75] * 40, abs=0.05)


@pytest.mark.parametrize(("cover", "scales"), [((0.0, 1.0), (1.0,)), ((0.9, 0.8), (1.0,)), ((0.5, 1.1), (1.0,)), ((0.5, 1.0), (0.5,))])
def test_impossible_shares_are_refused(cover, scales):
    with pytest.raises(ConfigError, match="data.cover"):
        ImageDataConfig(cover=cover, scales=scales)


def test_odd_picture_formats(tmp_path):
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "a.png")  # transparent: white
    Image.fromarray(np.full((20, 20), 257 * 100, np.uint16)).save(tmp_path / "b.png")  # 16 bits
    Image.new("1", (20, 20), 1).save(tmp_path / "c.png")
    turned = Image.new("RGB", (30, 20), "black")
    turned.paste("white", (0, 0, 30, 5))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned.save(tmp_path / "d.png", exif=exif)
    clips, _ = pictures(tmp_path, train=False, crop=20)
    pixels = [((clips[i][0] + 1) * 127.5).round() for i in range(4)]
    assert pixels[0].unique().tolist() == [255]
    assert pixels[1].unique().tolist() == [100]
    assert pixels[2].unique().tolist() == [255]
    assert pixels[3][0, :, -1].unique().tolist() == [255]
    assert pixels[3][0, :, 0].unique().tolist() == [0]


def test_flat_crops_are_drawn_again(tmp_path):
    picture = np.zeros((16, 200, 3), np.uint8)
    picture[:, 100:] = np.random.default_rng(0).integers(0, 255, (16, 100, 3))
    Image.fromarray(picture).save(tmp_path / "a.png")
    flat = [float(pictures(tmp_path, min_std=s)[0][i][0].std()) < 0.01 for s in (0.0, 20.0) for i in range(40)]
    assert sum(flat[:40]) > 5
    assert sum(flat[40:]) == 0


def test_visits_follow_the_size(tmp_path):
    write_pictures(tmp_path / "a", 1, size=(64, 64))
    write_pictures(tmp_path / "b", 1, size=(16, 16))
    both = (str(tmp_path / "a"), str(tmp_path / "b"))
    for most, expected in ((1, [0, 1]), (4, [0] * 4 + [1]), (100, [0] * 16 + [1])):
        config = ImageDataConfig(crop=16, max_visits=most)
        assert Clips(both, config.media(IMAGE), config, seed=0).order.items.tolist() == expected


def test_cache_gives_the_same_crops(tmp_path):
    write_pictures(tmp_path / "p", 3)
    a, b = pictures(tmp_path / "p")[0], pictures(tmp_path / "p", cache="memory")[0]
    assert all(torch.equal(a[i][0], b[i][0]) for i in range(6))
    small = pictures(tmp_path / "p", cache="memory", max_side=24)[0]
    assert small.items[0].shape == (20, 24, 3)
    write_sounds(tmp_path / "s", 3)
    a, b = sounds(tmp_path / "s", cache="none")[0], sounds(tmp_path / "s", cache="memory")[0]
    assert all((a[i][0] - b[i][0]).abs().max() < 1e-4 for i in range(6))  # int16 in the cache


def test_evaluation_crops_have_no_augmentation(tmp_path):
    write_pictures(tmp_path / "p", 2)
    a, b = pictures(tmp_path / "p", train=False, seed=1)[0], pictures(tmp_path / "p", train=False, seed=2)[0]
    assert [a.order.item(i) for i in range(2)] == [0, 1]
    assert all(torch.equal(a[i][0], b[i][0]) for i in range(2))


def test_data_of_the_other_modality_are_refused():
    with pytest.raises(ConfigError, match="'images', but the tokenizer's modality is 'audio'"):
        ImageDataConfig().media(AUDIO)
    with pytest.raises(ConfigError, match="'audio', but the tokenizer's modality is 'image'"):
        AudioDataConfig().media(IMAGE)


def test_features_are_cropped_checked_and_continued(tmp_path):
    folder = write_features(tmp_path / "features", 3, channels=4, length=9)
    np.save(folder / "wide.npy", np.zeros((5, 9), np.float32))
    np.save(folder / "nan.npy", np.full((4, 9), np.nan, np.float32))
    np.save(folder / "ids.npy", np.zeros((4, 9), np.int64))
    config = FeatureDataConfig(train=str(folder), crop=20, cache="memory")
    spec = LatentSpec(vocab_sizes=(16,), channels=4)
    clips = Clips(config.train, config.media(spec), config, seed=0)
    assert sorted(Path(n).name for n in clips.broken) == ["ids.npy", "nan.npy", "wide.npy"]
    x = clips[0].x
    assert x.shape == (4, 20) and x.dtype == torch.float32
    short = FeatureDataConfig(train=str(folder / "000.npy"), crop=5)
    places = {float(Clips(short.train, short.media(spec), short, seed=s)[0][0][0, 0]) for s in range(20)}
    whole = np.load(folder / "000.npy")
    assert 3 < len(places) <= 5 and places <= {float(v) for v in whole[0, :5]}
    np.save(folder / "000.npy", whole.T[None])
    turned = FeatureDataConfig(train=str(folder / "000.npy"), crop=9, time_first=True)
    assert np.array_equal(Clips(turned.train, turned.media(spec), turned, seed=0)[0][0].numpy(), whole)
    with pytest.raises(ConfigError, match="modality is 'audio'"):
        config.media(AudioSpec(vocab_sizes=(16,), sample_rate_hz=8000, hop_samples=80))
