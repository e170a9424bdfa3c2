"""A decoder that reads ids from elsewhere: what reaches it, what moves, and which runs are refused.

    pytest tests/train/test_reading.py                    # the effect: pytest -m effect -s tests/train/test_reading.py
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from effects import effect
from PIL import Image
from small_runs import held_out, trained, write_photo
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.train.data.config import DataConfig
from tokenzoo.train.data.loader import Batch, Clips, collate
from tokenzoo.train.dry_run import dry_run
from tokenzoo.train.evaluate import fixed_crops
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import Trainer, train
from tokenzoo.train.state import TrainState
from tokenzoo.train.step import train_step
from tokenzoo.zoo.corpus import tokenize
from tokenzoo.zoo.corpus.generated import GeneratedConfig, generate
from tokenzoo.zoo.corpus.lm import main as language_model
from train_media import RVQ, assert_equal, image_run, write_pictures

WHOLE: dict[str, Any] = {"crop": 32, "cover": [1.0, 1.0], "place": "center", "flip": False}


@pytest.fixture
def folder(tmp_path):
    """Six pictures, with random ids of a tokenizer of 2 x 4 x 4 ids below 16 in another folder."""
    write_pictures(tmp_path / "photos")
    (tmp_path / "ids").mkdir()
    for i in range(6):
        np.save(tmp_path / f"ids/{i:03d}.npy", np.random.default_rng(i).integers(0, 16, (2, 16)))
    return tmp_path


def run(folder: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """A run whose decoder reads the ids of the other folder, against a discriminator."""
    model = {
        "family": "convnet",
        "config": {
            "patch_size": 4,
            "widths": [12, 16],
            "encoder_blocks": [1, 1],
            "decoder_blocks": [1, 1],
            "latent_dim": 8,
            "quantizer": RVQ | {"dropout": 0.0, "kmeans_init": False},
        },
        "frozen": ["encoder", "quantizer"],
        "ids": "generated",
    }
    partners = {"generated": {"kind": "ids", "folder": str(folder / "ids")}}
    own = {
        "model": model,
        "data": {"kind": "images", "train": str(folder / "photos"), "valid": str(folder / "photos"), "partners": partners, **WHOLE},
        "losses": {"pixel": {"distance": "l2"}, "adversarial": {"weight": 0.1}},
        "discriminators": {"patch": {"kind": "patchgan", "channels": 4, "layers": 1}},
        "discriminator_optimizer": {"schedule": {"kind": "constant"}},
    }
    return image_run(folder / "photos", output, **(own | changes))


def changed(run: dict[str, Any], section: str, **options: Any) -> dict[str, Any]:
    return run | {section: run[section] | options}


def test_the_decoder_reads_the_partners_ids(folder):
    state = TrainState(parse_run(run(folder, folder / "out")))
    tokenizer = state.tokenizer
    x, ids = torch.rand(4, 3, 32, 32), torch.randint(16, (4, 2, 16))
    with state.reading(tokenizer, {"generated": ids}):
        out = tokenizer(x)
    assert torch.equal(out.quantized.ids, ids) and float(out.quantized.loss) == 0
    with torch.no_grad():
        want = tokenizer.decode_latents(tokenizer.quantizer.decode(ids), (4, 4))
        plain = tokenizer(x)
    assert torch.allclose(out.x_hat, want, atol=1e-6) and not torch.equal(plain.quantized.ids, ids)
    before = {name: p.detach().clone() for name, p in tokenizer.named_parameters()}
    for turn in ([Batch(x, partners={"generated": ids})], [Batch(x[:2], partners={"generated": ids[:2]})] * 2):
        train_step(state, turn)
    moved = {name for name, p in tokenizer.named_parameters() if not torch.equal(p, before[name])}
    assert moved and all(name.startswith("decoder") for name in moved), moved


def test_a_run_that_is_resumed_equals_one_that_was_not(folder):
    train(parse_run(run(folder, folder / "whole")))
    train(parse_run(run(folder, folder / "parts", steps=2)))
    train(parse_run(run(folder, folder / "parts")))
    one, two = (torch.load(folder / name / "checkpoint-00000006/state.pt", weights_only=True) for name in ("whole", "parts"))
    assert_equal(one, two)


def test_validation_previews_and_the_dry_run_read_them_too(folder):
    every = {"log": 1, "checkpoint": 1, "preview": 1, "validate": 1}
    config = parse_run(run(folder, folder / "out", steps=1, every=every))
    trainer = Trainer(config)
    trainer.run()
    rows = [json.loads(line) for line in (folder / "out/metrics.jsonl").read_text().splitlines()]
    [found] = [row["valid/pixel"] for row in rows if "valid/pixel" in row]
    model = trainer.state.best().eval()
    _, crops = fixed_crops(trainer.state, config.data.media(model.spec), 6)
    batch = collate(crops)
    with torch.no_grad():
        x_hat = model.decode_latents(model.quantizer.decode(batch.partners["generated"]), (4, 4))
    assert found == pytest.approx(float((x_hat - batch.x).square().mean()), rel=1e-4)
    assert "pixel" in dry_run(config)["losses"]


def test_runs_that_cannot_are_refused(folder):
    whole, out = run(folder, folder / "out"), folder / "out"
    for wrong, words in (
        (changed(whole, "model", frozen=["encoder"]), "Add quantizer to model.frozen"),
        (changed(whole, "model", ids="other"), r"model\.ids is 'other'"),
        (changed(whole, "data", flip=True), "Different here: flip"),
        (changed(whole, "data", cover=[0.8, 1.0], place="anywhere"), "Different here: place, cover"),
    ):
        with pytest.raises(ConfigError, match=words):
            train(parse_run(wrong))
    np.save(folder / "ids/003.npy", np.full((2, 16), 16))
    with pytest.raises(ConfigError, match="outside its vocabulary"):
        train(parse_run(run(folder, out)))
    for i in range(6):
        np.save(folder / f"ids/{i:03d}.npy", np.zeros((2, 15), np.int64))
    with pytest.raises(ConfigError, match=r"\[4, 2, 15\], the encoder gives \[4, 2, 16\]"):
        train(parse_run(run(folder, out)))


def corrected(share: float) -> dict[str, Any]:
    """A model with DetailFlow's self-correction, of 2 x 8 ids that the other folder may hold."""
    small = {"width": 16, "layers": 1, "heads": 2, "hidden": 24, "table": 4}
    quantizer = {"kind": "vq", "codebook_size": 16, "kmeans_init": False, "replace_below": 0.0}
    config = {"image_size": 32, "patch_size": 8, "encoder": small, "decoder": small, "num_tokens": 8, "group_size": 2}
    config |= {"first_tokens": 2, "latent_dim": 4, "quantizer": quantizer, "cut_probability": 0.0}
    config["correction"] = {"share": share, "neighbours": 4}
    return {"family": "detailflow", "config": config, "frozen": ["encoder", "quantizer"], "ids": "generated"}


def test_an_encoder_that_corrects_its_own_ids_is_refused(folder):
    """DetailFlow's self-correction quantizes latents that follow from the encoder's own ids, which the generator's replace."""
    for i in range(6):
        np.save(folder / f"ids/{i:03d}.npy", np.random.default_rng(i).integers(0, 16, (1, 8)))
    with pytest.raises(ConfigError, match=r"Set model\.config\.correction\.share to 0"):
        TrainState(parse_run(run(folder, folder / "out", model=corrected(0.5))))
    train(parse_run(run(folder, folder / "out", model=corrected(0.0))))
    moving = {"model.correction.share": {"first": 0.0, "last": 1.0, "end": 4}}
    with pytest.raises(ConfigError, match=r"Set model\.config\.correction\.share to 0"):
        train(parse_run(run(folder, folder / "moved", model=corrected(0.0), moving=moving)))


def test_a_family_that_quantizes_several_times_is_refused(folder):
    state = TrainState(parse_run(run(folder, folder / "out")))
    quantizer, ids = state.tokenizer.quantizer, torch.zeros(2, 2, 16).long()

    def again(x):
        return quantizer(state.tokenizer.encode_latents(x)), quantizer(torch.zeros(2, 8, 3))

    state.tokenizer.forward = again
    with pytest.raises(ConfigError, match="calls its quantizer 2 times"), state.reading(state.tokenizer, {"generated": ids}):
        state.tokenizer(torch.rand(2, 3, 32, 32))


def test_floats_and_negative_numbers_are_no_ids(folder):
    settings = {"kind": "images", "train": str(folder / "photos"), "partners": {"i": {"kind": "ids", "folder": str(folder / "ids")}}}
    config = from_mapping(DataConfig, settings | WHOLE)
    spec = TrainState(parse_run(run(folder, folder / "out"))).tokenizer.spec
    for bad in (np.zeros((2, 16)), np.full((2, 16), -1), np.zeros((2, 2, 2), np.int64)):
        np.save(folder / "ids/000.npy", bad)
        clips = Clips(str(folder / "photos"), config.media(spec), config, seed=0, train=False)
        assert "ids are whole numbers" in "".join(clips[0].broken.values())


# --- the effect -----------------------------------------------------------------------------------------------------------


SIDE = 16  # of crops in pixels: small ones, of which 16 codes tell much


def cut(photos: Path, out: Path, count: int) -> Path:
    """Crops of all pictures in a folder, as files."""
    out.mkdir()
    rng, sources = np.random.default_rng(0), [Image.open(p) for p in sorted(photos.glob("*.png"))]
    for i in range(count):
        picture = sources[i % len(sources)]
        left, top = (int(rng.integers(side - SIDE + 1)) for side in picture.size)
        picture.crop((left, top, left + SIDE, top + SIDE)).save(out / f"{i:04d}.png")
    return out


def as_files(pictures: torch.Tensor, out: Path) -> Path:
    out.mkdir()
    for i, picture in enumerate((pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()):
        Image.fromarray(picture).save(out / f"{i:04d}.png")
    return out


def error_on(tokenizer: Any, pictures: Path, ids: Path | None) -> float:
    """Mean square distance in 0..1 of pictures from what their ids, true or from a folder, decode to."""
    names = sorted(pictures.glob("*.png"))
    tokens = tokenizer.encode([str(p) for p in names])
    if ids is not None:
        tokens = tokenizer.tokens(np.stack([np.load(ids / f"{p.stem}.npy") for p in names]), grid=tokens.grid)
    want = torch.stack([torch.from_numpy(np.asarray(Image.open(p).convert("RGB")).copy()).permute(2, 0, 1) / 255 for p in names])
    low, high = tokenizer.spec.value_range
    found = (torch.stack(list(tokenizer.decode(tokens))) - low) / (high - low)
    return float((found - want).square().mean())


@pytest.mark.slow
@pytest.mark.effect
def test_after_post_training_a_generators_ids_decode_better(tmp_path):
    """RobusTok from main training to post-training, with the commands that a user would give."""
    pytest.importorskip("transformers")
    photos, out = write_photo(tmp_path / "photos"), tmp_path / "main"
    plain = ["model.config.perturbation=null", f"model.config.image_size={SIDE}", f"data.crop={SIDE}", "steps=600"]
    before = trained("image/robustok-debug", photos, out, *plain)
    name = f"file:{out}"
    folders = {"train": cut(photos, tmp_path / "train", 1500), "test": as_files(held_out(200, SIDE), tmp_path / "test")}
    shape = ["model.width=64", "model.layers=2", "model.heads=2", "block=0", "window=[]", "steps=200", "samples=0", "valid=''"]
    where = [f"tokenizer={name}", f"train={folders['train']}", f"tokens={tmp_path / 'tokens'}", f"output={tmp_path / 'lm'}"]
    language_model("lm/photos", [*shape, *where, "codebooks=1"])
    tokenize(name, str(folders["test"]), tmp_path / "tokens/test")
    for part in folders:
        made = generate(tmp_path / "lm", tmp_path / "tokens" / part, tmp_path / "generated" / part, config=GeneratedConfig(keep=0.7))
        assert 0.1 < made.changed < 0.3
    partner = f"data.partners.generated={{kind: ids, folder: {tmp_path / 'generated/train'}}}"
    frozen = "model.frozen=[encoder, to_latent, quantizer]"
    crops = ["data.cover=[1.0, 1.0]", "data.place=center", "data.flip=false"]
    losses = ["losses.semantic=null", "teachers.vit=null", "optimizer.lr=1.0e-3", "steps=300"]
    changes = [f"init={name}", "model.ids=generated", partner, frozen, *crops, *plain[:-1], *losses]
    after = trained("image/robustok-debug", folders["train"], tmp_path / "post", *changes)
    wrong, right = (
        [error_on(model, folders["test"], ids) for model in (before, after)] for ids in (tmp_path / "generated/test", None)
    )
    figure = "held-out error of the decoder (1e-3), robustok-debug"
    effect("post-training on generated ids", f"{figure}, on a language model's ids", with_=1e3 * wrong[1], without=1e3 * wrong[0])
    effect("post-training on generated ids", f"{figure}, on true ids", with_=1e3 * right[1], without=1e3 * right[0])
    assert wrong[1] < 0.97 * wrong[0] and right[1] < 1.08 * right[0]
    assert wrong[1] - right[1] < 0.8 * (wrong[0] - right[0]), "what wrong ids cost falls"
