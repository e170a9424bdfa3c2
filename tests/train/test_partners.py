"""What lies beside the media: texts, pictures, features and maps follow order and crops, in folders, tars and hub data sets.

    pytest tests/train/test_partners.py
"""

import dataclasses
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.numpy import save_file
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.codecs.spec import AudioSpec, ImageSpec
from tokenzoo.train.data import open_batches, open_clips
from tokenzoo.train.data.audio import AudioDataConfig
from tokenzoo.train.data.config import DataConfig, HubDataset
from tokenzoo.train.data.images import ImageDataConfig
from tokenzoo.train.data.loader import Batch, Clips
from tokenzoo.train.dry_run import dry_run
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import Trainer, train
from tokenzoo.train.losses.base import LossInputs
from tokenzoo.train.state import TrainState
from tokenzoo.train.step import train_step
from train_media import RATE, assert_equal, image_run, write_pictures, write_sounds
from two_processes import run_two

IMAGE = ImageSpec(vocab_sizes=(16,), stride=4)
SOUND = AudioSpec(vocab_sizes=(16,), sample_rate_hz=RATE, hop_samples=80)
PARTNERS: dict[str, Any] = {
    "caption": {"kind": "text"},
    "negative": {"kind": "image", "suffix": ".negative.png"},
    "red": {"kind": "map", "suffix": ".red.png"},
    "number": {"kind": "features"},
}
COLUMNS: dict[str, Any] = {name: {"kind": p["kind"], "column": name} for name, p in PARTNERS.items()}


def write_partners(folder: Path, picture: Path) -> None:
    """Its name as text, its negative, a map of its red values, and its number, each of which says which crop of which picture it is."""
    pixels = np.asarray(Image.open(picture))
    (folder / f"{picture.stem}.txt").write_text(f" picture {picture.stem}\n")
    Image.fromarray(255 - pixels).save(folder / f"{picture.stem}.negative.png")
    Image.fromarray(pixels[..., 0]).save(folder / f"{picture.stem}.red.png")
    np.save(folder / f"{picture.stem}.npy", np.array([int(picture.stem), 0.5], dtype=np.float32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six pictures with all their partners beside them."""
    folder = write_pictures(tmp_path_factory.mktemp("pairs"))
    for picture in sorted(folder.glob("*.png")):
        write_partners(folder, picture)
    return folder


def data(**options: Any) -> ImageDataConfig:
    found = from_mapping(DataConfig, {"kind": "images", "crop": 16, "partners": PARTNERS, **options})
    assert isinstance(found, ImageDataConfig)
    return found


def clips(folder: Any, config: ImageDataConfig | None = None, **options: Any) -> Clips:
    used = config or data()
    return Clips(folder if isinstance(folder, HubDataset) else str(folder), used.media(IMAGE), used, seed=0, **options)


def assert_follow(found: Clips, count: int = 24, *, whole_pixels: bool = True) -> None:
    """Each crop's partners are those of its own picture, at its own place."""
    numbers = {int(Path(name).stem): name for name in found.names}
    for i in range(count):
        x, _, beside = found[i]
        number = int(beside["number"][0])
        assert numbers[number] == found.names[found.order.item(i)] and beside["caption"] == f"picture {number:03d}"
        assert torch.allclose(beside["negative"], -x, atol=0.01)  # resampled values are rounded
        if whole_pixels:
            assert torch.equal(beside["red"], ((x[0] + 1) * 127.5).round().long())


# --- crops ------------------------------------------------------------------------------------------------------------


RESAMPLED: list[dict[str, Any]] = [{"scales": [1.0, 0.5]}, {"cover": [0.5, 1.0]}, {"resized_crop": {"scale": [0.3, 1.0]}}]


@pytest.mark.parametrize("options", [{}, {"cache": "memory"}, {"min_std": 40.0}, {"crop": [16, 24]}, *RESAMPLED])
def test_partners_follow_the_crop_and_the_flip(folder, options):
    found = clips(folder, data(**options))
    assert len(found.names) == 6, "partners are no items"
    assert_follow(found, whole_pixels=options not in RESAMPLED)
    assert_follow(clips(folder, data(**options), train=False), 6, whole_pixels=options not in RESAMPLED)


def test_a_partner_of_another_size_shows_the_same_piece(tmp_path):
    """Twice and half as large, of smooth pictures: the crop of the partner is nearer to the crop than to its neighbours."""
    write_pictures(tmp_path / "small", 3, size=(40, 48))
    for factor, name in ((2, "double"), (0.5, "half")):
        (tmp_path / name).mkdir()
        for path in (tmp_path / "small").iterdir():
            picture = Image.open(path)
            size = (round(picture.width * factor), round(picture.height * factor))
            picture.resize(size, Image.Resampling.LANCZOS).save(tmp_path / name / path.with_suffix(".jpeg").name, quality=98)
    partners = {name: {"kind": "image", "folder": str(tmp_path / name)} for name in ("double", "half")}
    found = clips(tmp_path / "small", data(partners=partners, crop=12))
    for i in range(20):
        x, _, beside = found[i]
        for name in partners:
            far = (beside[name] - x).abs().mean()
            moved = min((beside[name] - x.roll(s, d)).abs().mean() for s in (1, -1) for d in (1, 2))
            assert far < 0.06 and far < 0.7 * moved, (name, float(far), float(moved))
    labels = np.arange(20 * 24, dtype=np.int32).reshape(20, 24)  # a map of half the size: each number names its place
    for path in (tmp_path / "small").iterdir():
        np.save(tmp_path / "small" / f"{path.stem}.npy", labels)
    found = clips(tmp_path / "small", data(partners={"place": {"kind": "map", "suffix": ".npy"}}, crop=12, flip=False))
    rows = found[1].partners["place"]
    assert rows.dtype == torch.int64 and rows.shape == (12, 12)
    assert len(rows.unique()) in (36, 42, 49) and int(rows[-1, 0] - rows[0, 0]) // 24 in (5, 6)


def test_a_twin_folder_may_have_other_endings_and_lie_inside(folder, tmp_path):
    for part in ("a", "b/c"):
        write_pictures(tmp_path / "all" / part, 2)
        twin = tmp_path / "all" / "clean" / part
        twin.mkdir(parents=True)
        for i in range(2):
            Image.open(tmp_path / "all" / part / f"{i:03d}.png").save(twin / f"{i:03d}.bmp")
    found = clips(tmp_path / "all", data(partners={"clean": {"kind": "image", "folder": str(tmp_path / "all" / "clean")}}))
    assert len(found.names) == 4 and not any("clean" in name for name in found.names)
    assert all(torch.equal(found[i].x, found[i].partners["clean"]) for i in range(12))


# --- sources ----------------------------------------------------------------------------------------------------------


def test_members_of_a_tar_are_those_of_the_folder(folder, tmp_path):
    path = tmp_path / "shard-000.tar"
    with tarfile.open(path, "w") as tar:
        for file in sorted(folder.iterdir(), key=lambda f: (f.name.partition(".")[0], f.suffix)):
            tar.add(file, arcname=f"deep/{file.name}")
    a, b = clips(folder), clips(path)
    assert b.names[0].endswith("shard-000.tar/deep/000.png")
    for i in range(12):
        assert torch.equal(a[i].x, b[i].x)
        assert_equal(a[i].partners, b[i].partners)
    with pytest.raises(ConfigError, match="partners are members of the same key"):
        clips(path, data(partners={"clean": {"kind": "image", "folder": str(folder)}}))


def parquet(folder: Path, out: Path) -> str:
    datasets = pytest.importorskip("datasets")
    files = [p for p in sorted(folder.glob("*.png")) if "." not in p.stem]
    rows = datasets.Dataset.from_dict({
        "photo": [str(p) for p in files],
        "caption": [p.with_suffix(".txt").read_text() for p in files],
        "negative": [str(p.with_suffix(".negative.png")) for p in files],
        "red": [str(p.with_suffix(".red.png")) for p in files],
        "number": [np.load(p.with_suffix(".npy")).tolist() for p in files],
    })
    for column in ("photo", "negative", "red"):
        rows = rows.cast_column(column, datasets.Image())
    rows.to_parquet(out / "rows.parquet")
    return str(out / "rows.parquet")


def test_columns_of_a_hub_data_set_are_those_of_the_folder(folder, tmp_path, hub_cache):
    entry = HubDataset(hub="parquet", column="photo", data_files=(parquet(folder, tmp_path),), allow_paths=True)
    a, b = clips(folder), clips(entry, data(partners=COLUMNS))
    for i in range(12):
        assert torch.equal(a[i].x, b[i].x)
        assert_equal(a[i].partners, b[i].partners)
    with pytest.raises(ConfigError, match="no column 'title'; it has photo, caption"):
        clips(entry, data(partners={"caption": {"kind": "text", "column": "title"}}))
    with pytest.raises(ConfigError, match="data.partners.caption names no column"):
        clips(entry)

    streamed, config = dataclasses.replace(entry, streaming=True, shuffle_buffer=3), data(partners=COLUMNS)

    def feed(rows):
        found = open_clips(streamed, config.media(IMAGE), config, seed=3)
        return open_batches(found, config, position=0, rows=rows, size=2, rank=0, world=1)

    whole = feed(0)
    seen = [next(whole) for _ in range(6)]
    later = feed(seen[2].rows)
    for batch in seen[3:]:
        assert_equal(dict(next(later).partners), dict(batch.partners))
    for batch in seen:
        assert torch.allclose(batch.partners["negative"], -batch.x, atol=1e-5)
        assert batch.partners["caption"] == [f"picture {int(n):03d}" for n in batch.partners["number"][:, 0]]


# --- what is missing or broken ------------------------------------------------------------------------------------------


def test_a_missing_partner_is_an_error_that_names_its_item(folder, tmp_path):
    write_pictures(tmp_path, 3)
    (tmp_path / "001.txt").write_text("one")
    caption = {"caption": {"kind": "text"}}
    with pytest.raises(ConfigError, match=r"2 of 3 items have no partner 'caption', the first is .*000\.png: there is no .*000\.txt"):
        clips(tmp_path, data(partners=caption))
    with pytest.raises(ConfigError, match=r"the first is .*000\.png: there is no nowhere/000\.txt\."):
        clips(tmp_path, data(partners={"caption": {"kind": "text", "folder": "nowhere"}}))
    with pytest.raises(ConfigError, match=r"may end in .*\.png.* as the items do. Give its suffix"):
        clips(tmp_path, data(partners={"clean": {"kind": "image"}}))
    Image.open(tmp_path / "000.png").save(tmp_path / "a.webp")
    (tmp_path / "twin").mkdir()
    for name in ("000.png", "000.bmp"):
        Image.open(tmp_path / "000.png").save(tmp_path / "twin" / name)
    with pytest.raises(ConfigError, match=r"000\.png and .*000\.bmp may both be the partner 'clean' of .*000\.png"):
        clips(tmp_path / "000.png", data(partners={"clean": {"kind": "image", "folder": str(tmp_path / "twin")}}))


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_items_whose_partner_cannot_be_read_are_reported(folder, tmp_path, cache):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "000.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "001.negative.png").write_bytes(b"no picture")
    np.save(tmp_path / "002.npy", np.zeros(3, np.float32))
    Image.new("L", (48, 50)).save(tmp_path / "003.red.png")
    Image.open(folder / "004.png").save(tmp_path / "004.red.png")
    found = clips(tmp_path, data(cache=cache))
    reasons = dict(found.broken)
    for i in range(30):
        reasons |= found[i].broken
        assert found[i].partners["caption"] == "picture 005"
    expected = {
        "000.png": r"the partner 'caption' cannot be used: .*000\.txt: UnicodeDecodeError",
        "001.png": r"the partner 'negative' cannot be used: .*001\.negative\.png",
        "002.png": r"'number'.*002\.npy has the shape \[3\]; the first item's is \[2\]",
        "003.png": r"the partner 'red': it has 50 x 48 pixels, its item 40 x 48: they differ in aspect",
        "004.png": r"'red'.*004\.red\.png has pixels of mode RGB",
    }
    assert {Path(name).name for name in reasons} == expected.keys()
    for name, reason in reasons.items():
        assert re.search(expected[Path(name).name], reason), reason


def test_features_from_safetensors_and_labels_from_palettes(tmp_path):
    write_pictures(tmp_path, 2)
    for i in range(2):
        save_file({"pooled": np.full((2, 3), i, np.float16), "other": np.zeros(1)}, tmp_path / f"00{i}.safetensors")
        grey = Image.fromarray(np.full((40, 48), i + 7, np.uint8))
        grey.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / f"00{i}.map.png")
    found = clips(tmp_path, data(partners={"pooled": {"kind": "features"}, "m": {"kind": "map", "suffix": ".map.png"}}), train=False)
    for i in range(2):
        pooled = found[i].partners["pooled"]
        assert pooled.dtype == torch.float32 and torch.equal(pooled, torch.full((2, 3), float(i)))
        assert torch.equal(found[i].partners["m"], torch.zeros(16, 16, dtype=torch.int64))  # the only colour
    with pytest.raises(ConfigError, match="this data is no pictures"):
        settings = from_mapping(DataConfig, {"kind": "audio", "partners": {"cover": {"kind": "image", "suffix": ".png"}}})
        Clips(str(write_sounds(tmp_path / "s", 1)), settings.media(SOUND), settings, seed=0)


def test_sounds_bring_their_texts(tmp_path):
    """A crop of several short sounds has the texts of all; features belong to one sound alone."""
    write_sounds(tmp_path, 3, seconds=0.3)
    for i in range(3):
        (tmp_path / f"{i:03d}.txt").write_text(f"word{i}")
        np.save(tmp_path / f"{i:03d}.npy", np.full(2, i, np.float32))

    def sounds(seconds, kind, short="concat"):
        config = AudioDataConfig(crop_seconds=seconds, short=short, partners=from_mapping(DataConfig, {
            "kind": "audio", "partners": {"p": {"kind": kind}}
        }).partners)  # fmt: skip
        return Clips(str(tmp_path), config.media(SOUND), config, seed=0)

    short, long = sounds(0.2, "text"), sounds(0.5, "text")
    for i in range(9):
        assert short[i].partners["p"] == f"word{short.order.item(i)}"
        words = long[i].partners["p"].split()
        assert len(words) == 2 and words[0] == f"word{long.order.item(i)}"
    assert float(sounds(0.5, "features", "pad")[0].partners["p"][0]) in (0, 1, 2)
    with pytest.raises(RuntimeError, match="holds 2 items, but the partner 'p' belongs to one"):
        sounds(0.5, "features")[0]


# --- runs ---------------------------------------------------------------------------------------------------------------


def run(folder: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """A run whose loss depends on pictures and features beside the media, with losses that own parameters."""
    own = {
        "data": {"kind": "images", "train": str(folder), "crop": 32, "partners": PARTNERS},
        "losses": {
            "pixel": {"distance": "l2", "against": "negative"},
            "quantizer": {},
            "numbers": {"kind": "distillation", "teacher": "stored", "project": 2, "along": "mse", "weight": 0.1},
        },
        "teachers": {"stored": {"partner": "number"}},
        "optimizer": {"lr": 3e-3, "eps": 1e-2, "schedule": {"kind": "constant"}},
    }
    return image_run(folder, output, **(own | changes))


def weights(output: Path, step: int) -> dict[str, Any]:
    return torch.load(output / f"checkpoint-{step:08d}" / "state.pt", weights_only=True)


def test_losses_and_teachers_use_what_lies_beside(folder, tmp_path):
    """Trained against the negatives, reconstructions become negatives; without `against`, they do not."""
    options = {"steps": 150, "every": {"log": 0, "checkpoint": 0, "preview": 0, "validate": 0}, "ema": {"decay": 0.0}}
    far = {}
    for name, against in (("negative", "negative"), ("itself", "")):
        losses = {"pixel": {"distance": "l2", "against": against}, "quantizer": {}}
        trainer = Trainer(parse_run(run(folder, tmp_path / name, losses=losses, optimizer={"lr": 3e-3}, **options)))
        trainer.run()
        x = torch.stack([trainer.clips[i].x for i in range(8)])
        with torch.no_grad():
            x_hat = trainer.state.tokenizer.eval()(x).x_hat
        far[name] = float((x_hat + x).square().mean()), float((x_hat - x).square().mean())
    assert far["negative"][0] < 0.5 * far["negative"][1] and far["itself"][1] < 0.5 * far["itself"][0], far


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"cache": "memory"}])
def test_a_run_that_is_resumed_equals_one_that_was_not(folder, tmp_path, options):
    settings = {"kind": "images", "train": str(folder), "crop": 32, "partners": PARTNERS} | options
    train(parse_run(run(folder, tmp_path / "whole", data=settings)))
    train(parse_run(run(folder, tmp_path / "parts", data=settings, steps=2)))
    train(parse_run(run(folder, tmp_path / "parts", data=settings)))
    assert_equal(weights(tmp_path / "whole", 6), weights(tmp_path / "parts", 6))
    with pytest.raises(ConfigError, match=r"data\.partners\.caption"):
        train(parse_run(run(folder, tmp_path / "parts", data=settings | {"partners": PARTNERS | {"caption": COLUMNS["caption"]}})))


WORKER = """
import sys, torch.distributed as dist
from tokenzoo.train.files import load_run
from tokenzoo.train.loop import Trainer

trainer = Trainer(load_run(sys.argv[1]))
assert trainer.state.world == 2
trainer.run()
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_have_the_partners_of_their_rows(folder, tmp_path):
    options = {"batch_size": 8, "accumulation": 2, "every": {"log": 1, "checkpoint": 3, "preview": 0, "validate": 0}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run(folder, tmp_path / "two", **options)))
    run_two(WORKER, tmp_path / "run.yaml")
    train(parse_run(run(folder, tmp_path / "one", **options)))
    one, two = weights(tmp_path / "one", 6), weights(tmp_path / "two", 6)
    for part in ("tokenizer", "losses"):
        for key, value in one[part].items():
            assert torch.allclose(value.float(), two[part][key].float(), atol=2e-5), f"{part}/{key}"


def test_validation_and_previews_have_partners(folder, tmp_path):
    for file in folder.iterdir():
        name = file.name.replace(".txt", ".title.txt")
        out = tmp_path / ("valid-texts" if name.endswith(".txt") else "valid") / name
        out.parent.mkdir(exist_ok=True)
        out.write_bytes(file.read_bytes())
    partners = PARTNERS | {"caption": {"kind": "text", "folder": str(folder), "valid_folder": str(tmp_path / "valid-texts")}}
    settings = {"kind": "images", "train": str(folder), "valid": str(tmp_path / "valid"), "crop": 32, "partners": partners}
    changes = {"data": settings, "steps": 1, "every": {"log": 1, "checkpoint": 1, "preview": 1, "validate": 1, "preview_items": 3}}
    with pytest.raises(ConfigError, match=r"there is no .*valid-texts.*000\.txt"):
        train(parse_run(run(folder, tmp_path / "other", **changes)))
    for file in (tmp_path / "valid-texts").iterdir():
        file.rename(file.with_name(file.name.replace(".title", "")))
    train(parse_run(run(folder, tmp_path / "out", **changes)))
    shown = tmp_path / "out" / "previews" / "00000001"
    lines = (shown / "items.txt").read_text().splitlines()
    assert len(lines) == 3 and lines[0].split("\t")[2] == "picture 000"
    assert (shown / "negative" / "grid.png").is_file()
    assert "valid/numbers" in (tmp_path / "out" / "metrics.jsonl").read_text()
    facts = dry_run(parse_run(run(folder, tmp_path / "dry")))
    assert "pixel" in facts["losses"] and not (tmp_path / "dry").exists()


def test_a_batch_of_your_own_has_partners(folder, tmp_path):
    state = TrainState(parse_run(run(folder, tmp_path)))
    x = torch.rand(4, 3, 32, 32)
    batch = Batch(x, partners={"negative": -x, "number": torch.rand(4, 2), "caption": ["a"] * 4})
    first = float(train_step(state, batch)["loss/pixel"])
    assert float(train_step(state, [batch, batch])["loss/pixel"]) != first
    with pytest.raises(ConfigError, match="no partner 'number'; data.partners names none"):
        train_step(state, x)


def test_a_loss_reads_its_partner():
    x = torch.zeros(1)
    one, two = (LossInputs(x=x, x_hat=x, out=None, partners=p) for p in ({"a": ["t"]}, {"a": ["t"], "b": x}))
    assert one.partner == ["t"] and two.partners["b"] is x
    none = LossInputs(x=x, x_hat=x, out=None)
    for inputs, words in ((two, "have 2 partners: a, b; this needs one"), (none, "have no partners; this")):
        with pytest.raises(ConfigError, match=words):
            _ = inputs.partner


def test_names_of_partners_are_checked(folder, tmp_path):
    for section, part, words in (
        ("losses", {"pixel": {"against": "negativ"}}, r"losses\.pixel\.against is 'negativ'\. Did you mean 'negative'"),
        ("losses", {"pixel": {"against": "caption"}}, r"losses\.pixel\.against is 'caption', of kind 'text'; allowed: image"),
        ("teachers", {"stored": {"partner": "caption"}}, "of kind 'text'; allowed: features"),
        ("teachers", {"stored": {}}, "has no partner; name the features"),
    ):
        with pytest.raises(ConfigError, match=words):
            parse_run(run(folder, tmp_path, **{section: part}))
    without = parse_run(run(folder, tmp_path, data={"kind": "images", "train": str(folder), "partners": PARTNERS | {"caption": None}}))
    assert sorted(without.data.partners) == ["negative", "number", "red"], "null removes a partner of the parent file"
    with pytest.raises(ConfigError, match="data.partners describes none"):
        parse_run(run(folder, tmp_path, data={"kind": "images", "train": str(folder)}))
