"""Maps as training data: classes, depth, masks and features; and what tokenizers of maps learn from them.

    pytest tests/train/test_maps.py
"""

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.codecs.media.arrays import standardized
from tokenzoo.codecs.serialize import load_folder
from tokenzoo.codecs.spec import ImageSpec, LatentSpec, MapSpec
from tokenzoo.train.data import open_clips
from tokenzoo.train.data.config import DataConfig
from tokenzoo.train.dry_run import dry_run
from tokenzoo.train.files import load_run
from tokenzoo.train.loop import train
from tokenzoo.train.state import TrainState
from tokenzoo.train.step import train_step
from train_media import write_features, write_maps

CLASSES = MapSpec(vocab_sizes=(16,), channels=1, stride=4, classes=5)
DEPTH = MapSpec(vocab_sizes=(16,), channels=1, stride=4)
FEATURES = LatentSpec(vocab_sizes=(16,), channels=3)


def clips_of(folder, spec, *, train=True, seed=0, **settings):
    config = from_mapping(DataConfig, {"kind": "maps", **settings})
    return open_clips(str(folder), config.media(spec), config, seed=seed, train=train)


# --- crops --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [CLASSES, FEATURES], ids=["classes", "features"])
def test_a_crop_is_a_piece_of_the_map(tmp_path, spec):
    """Whole positions, at all places, mirrored half of the time; the same for the same seed."""
    wave = np.arange(3 * 12 * 15, dtype=np.float32).reshape(3, 12, 15)
    whole = np.random.default_rng(0).integers(5, size=(12, 15), dtype=np.int32) if spec is CLASSES else wave
    np.save(tmp_path / "a.npy", whole)
    clips = clips_of(tmp_path, spec, crop=8, flip=True, max_visits=100)
    dtype, pieces = (torch.int64 if spec is CLASSES else torch.float32), {}
    for y in range(5):
        for x in range(8):
            piece = whole[..., y : y + 8, x : x + 8]
            pieces |= {piece.tobytes(): (y, x, 0), np.ascontiguousarray(piece[..., ::-1]).tobytes(): (y, x, 1)}
    crops = [clips[i].x for i in range(200)]
    assert all(c.dtype == dtype and c.shape == whole.shape[:-2] + (8, 8) for c in crops)
    found = {pieces[c.numpy().astype(whole.dtype).tobytes()] for c in crops}  # a KeyError: no piece of the map
    assert len(found) > 50 and [{f[i] for f in found} for i in range(3)] == [set(range(5)), set(range(8)), {0, 1}]
    again = clips_of(tmp_path, spec, crop=8, flip=True, max_visits=100)
    assert all(torch.equal(crop, again[i].x) for i, crop in enumerate(crops))
    middle = clips_of(tmp_path, spec, crop=8, flip=True, train=False)[0].x.numpy()
    assert np.array_equal(middle, whole[..., 2:10, 3:11])


def test_resized_pieces_keep_classes_and_interpolate_floats(tmp_path):
    write_maps(tmp_path / "classes", 1, classes=5, size=(60, 40))
    write_maps(tmp_path / "depth", 1, size=(60, 40))
    pieces: dict[str, Any] = {"crop": 20, "resized_crop": {"scale": [0.2, 1.0]}}
    whole = np.asarray(Image.open(tmp_path / "classes/000.png"))
    clips = clips_of(tmp_path / "classes", CLASSES, crop=20, resized_crop={"scale": [0.01, 1.0]})
    numbers = {tuple(clips[i].x.unique().tolist()) for i in range(40)}
    assert set().union(*numbers) == set(range(5)) and len(numbers) > 1  # a small piece lacks some
    plain = clips_of(tmp_path / "classes", CLASSES, **pieces, train=False)[0].x
    assert torch.equal(plain, torch.tensor(whole[11:51:2, 1::2]).long())  # every second one of the middle, the nearest to its centre
    depth = clips_of(tmp_path / "depth", DEPTH, **pieces, train=False)[0].x
    original = torch.from_numpy(np.load(tmp_path / "depth/000.npy"))[:, 10:50]
    expected = torch.nn.functional.interpolate(original[None], (20, 20), mode="bilinear", antialias=True, align_corners=False)[0]
    torch.testing.assert_close(depth[:, 1:-1], expected[:, 1:-1], atol=1e-4, rtol=0)
    small = clips_of(tmp_path / "depth", DEPTH, crop=80, train=False)[0].x
    assert small.shape == (1, 80, 80) and small[0].std() > 0.1


def test_crops_of_several_sizes(tmp_path):
    write_maps(tmp_path, 4, classes=5)
    clips = clips_of(tmp_path, CLASSES, crop=[16, 24], valid_crop=20)
    assert {tuple(clips[i].x.shape) for i in range(20)} == {(16, 16), (24, 24)}
    assert clips_of(tmp_path, CLASSES, crop=[16, 24], valid_crop=20, train=False)[0].x.shape == (20, 20)


def test_standardised_depth():
    """Against NumPy; a few far values change nothing but themselves."""
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, size=(1, 10, 10)).astype(np.float32)
    middle = np.sort(x.ravel())[10:90]
    expected = (x - middle.mean()) / np.sqrt(middle.var(ddof=1) + 1e-6)
    torch.testing.assert_close(standardized(torch.from_numpy(x)), torch.from_numpy(expected), atol=1e-5, rtol=1e-5)
    x.ravel()[x.argmax()] = 1e6
    assert np.abs(standardized(torch.from_numpy(x)).numpy() - expected)[x < 1e6].max() < 1e-5


def test_files_of_all_kinds(tmp_path):
    """Pictures, `.npy` and `.safetensors` give the same crops."""
    grey = (np.arange(64).reshape(8, 8) * 4 % 5).astype(np.uint8)
    for kind, write in {
        "png": lambda path: Image.fromarray(grey).save(path),
        "npy": lambda path: np.save(path, grey.astype(np.int64)),
        "safetensors": lambda path: save_file({"any": grey.astype(np.int64)}, path),
    }.items():
        (tmp_path / kind).mkdir()
        write(tmp_path / kind / f"a.{kind}")
        if kind != "safetensors":
            assert torch.equal(clips_of(tmp_path / kind, CLASSES, crop=8)[0].x, torch.tensor(grey).long())
    mask = grey.astype(np.float32) / 255
    np.save(tmp_path / "npy/a.npy", mask)
    save_file({"any": mask}, tmp_path / "safetensors/a.safetensors")
    for kind in ("png", "npy", "safetensors"):
        torch.testing.assert_close(clips_of(tmp_path / kind, DEPTH, crop=8)[0].x, torch.tensor(mask)[None])
    colours = MapSpec(vocab_sizes=(16,), channels=3, stride=4)
    assert torch.equal(clips_of(tmp_path / "png", colours, crop=8)[0].x, torch.tensor(mask).expand(3, 8, 8))


@pytest.mark.parametrize(
    ("array", "spec", "said"),
    [
        (np.full((8, 8), 5), CLASSES, r"classes 5\.\.5; the tokenizer takes 0\.\.4"),
        (np.full((8, 8), -1), CLASSES, r"takes 0\.\.4"),
        (np.zeros((8, 8), dtype=np.float32), CLASSES, "a map is whole numbers"),
        (np.zeros((8, 8), dtype=np.int64), DEPTH, r"expected floats \[C=1, H, W\]"),
        (np.zeros((2, 8, 8), dtype=np.float32), DEPTH, r"holds float32 \[2, 8, 8\]"),
        (np.full((1, 8, 8), np.nan, dtype=np.float32), DEPTH, "not finite"),
        (np.zeros((8, 8), dtype=np.float32), FEATURES, r"C=3"),
    ],
)
def test_a_wrong_map_is_a_broken_item(tmp_path, array, spec, said):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises((ConfigError, RuntimeError), match=said):
        clips_of(tmp_path, spec, crop=8)[0]


@pytest.mark.parametrize(
    ("settings", "spec", "said"),
    [
        ({"kind": "maps"}, ImageSpec(vocab_sizes=(16,), stride=4), "modality is 'image'"),
        ({"kind": "features"}, CLASSES, "data.kind to 'maps'"),
        ({"kind": "maps", "standardize": True}, CLASSES, "maps of floats"),
    ],
)
def test_a_kind_that_does_not_fit_is_refused(settings, spec, said):
    with pytest.raises(ConfigError, match=said):
        from_mapping(DataConfig, settings).media(spec)


@pytest.mark.parametrize("settings", [{"crop": 0}, {"crop": [8, 8]}, {"crop": 1, "standardize": True}])
def test_senseless_crops_are_refused(settings):
    with pytest.raises(ConfigError, match="crop"):
        from_mapping(DataConfig, {"kind": "maps", **settings})


# --- training -----------------------------------------------------------------------------------------------------------


def write_blocks(folder, count, *, classes, seed):
    """Maps of 44 x 44 pixels, whose regions of 11 x 11 pixels are not made of whole patches."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        Image.fromarray(rng.integers(classes, size=(4, 4)).astype(np.uint8).repeat(11, 0).repeat(11, 1)).save(folder / f"{i}.png")
    return folder


QUIET = ["every.log=100", "every.preview=0", "every.checkpoint=1000", "tensorboard=false", "device=cpu", "threads=1"]


def test_classes_come_back_after_training(tmp_path):
    """More than 90 % of the pixels of maps that the run did not see; validation counts the same."""
    folders = [write_blocks(tmp_path / part, n, classes=4, seed=n) for part, n in (("train", 12), ("valid", 5))]
    data = [f"data.train={folders[0]}", f"data.valid={folders[1]}", f"output={tmp_path / 'out'}", "data.crop=32"]
    own = ["model.config.classes=4", "model.config.quantizer.codebook_size=256", "optimizer.lr=3e-3", "steps=160", "every.validate=80"]
    run = load_run("image/fourm_maps-classes-debug", [*data, *own, *QUIET, "every.validate_items=5", "best.figure=accuracy"])
    train(run)
    tok = load_folder(tmp_path / "out/best")  # the highest accuracy
    maps = [torch.tensor(np.asarray(Image.open(path)))[6:38, 6:38].long() for path in sorted(folders[1].glob("*.png"))]
    tokens = tok.encode(maps)
    back = tok.decode(tokens)
    right = float(torch.stack([(a == b).float().mean() for a, b in zip(maps, back, strict=True)]).mean())
    assert right > 0.9 and tokens.ids.unique().numel() > 4
    values = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").open()]
    found = [v["valid/accuracy"] for v in values if "valid/accuracy" in v]
    assert len(found) == 2 and found[1] > found[0] and found[1] == pytest.approx(right, abs=1e-6)


def test_masks_train_with_cross_entropy(tmp_path):
    folder = write_blocks(tmp_path / "train", 8, classes=2, seed=0)
    for path in folder.glob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)) * 255).save(path)
    own = ["model.config.classes=0", "model.config.channels=1", "optimizer.lr=3e-3", "steps=80"]
    changes = [f"data.train={folder}", "data.valid=[]", f"output={tmp_path / 'out'}", *own, *QUIET]
    tok = load_folder(train(load_run("image/fourm_maps-classes-debug", changes)).model)
    mask = torch.tensor(np.asarray(Image.open(folder / "0.png")))[None] / 255
    logits = tok.decode(tok.encode(mask))[0]
    assert float(((logits > 0) == (mask > 0.5)).float().mean()) > 0.9


def test_previews_and_a_dry_run_show_classes(tmp_path):
    folder = write_maps(tmp_path / "train", classes=5)
    changes = [f"data.train={folder}", "data.valid=[]", f"output={tmp_path / 'out'}", "steps=1", *QUIET, "every.preview=1"]
    run = load_run("image/fourm_maps-classes-debug", changes)
    assert dry_run(run)["latents and ids"] == "[8, 64] and [1, 64] of a crop"
    train(run)
    shown = np.load(tmp_path / "out/previews/00000001/maps.npz")
    assert shown["x"].shape == shown["x_hat"].shape == (2, 32, 32) and shown["x_hat"].max() < 5
    assert Image.open(tmp_path / "out/previews/00000001/grid.png").size > (100, 100)


def test_losses_on_pixels_refuse_scores(tmp_path):
    """A distance of numbers of classes means nothing."""
    folder = write_maps(tmp_path / "train", classes=5)
    changes = [f"data.train={folder}", "data.valid=[]", f"output={tmp_path / 'out'}", *QUIET, "losses.features={distance: l1}"]
    with pytest.raises(ConfigError, match="features can only compare"):
        train(load_run("image/fourm_maps-classes-debug", changes))


def test_a_batch_of_another_kind_is_refused():
    state = TrainState(load_run("image/fourm_maps-classes-debug", ["data.train=x", "data.valid=[]", *QUIET]))
    for wrong in (torch.rand(2, 32, 32), torch.zeros(2, 1, 32, 32, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"int64 \[B, H, W\]"):
            train_step(state, wrong)
    assert float(train_step(state, torch.zeros(2, 32, 32, dtype=torch.int64))["loss/classes"]) > 0


def test_vectors_train_without_maps(tmp_path):
    """Towers take `[C, N]`, each vector by itself; transformers take maps alone."""
    folder = write_features(tmp_path / "train", channels=8)
    changes = [f"data.train={folder}", f"output={tmp_path / 'out'}", "steps=40", *QUIET]
    tok = load_folder(train(load_run("image/fourm_maps-vectors-debug", changes)).model)
    x = torch.from_numpy(np.load(folder / "000.npy"))
    tokens = tok.encode(x)
    assert tokens.ids.shape == (1, 4, 60)
    assert float(torch.cosine_similarity(tok.decode(tokens)[0], x, dim=0).mean()) > 0.8
