"""Every training mechanism on every family that claims it: 20 steps from a run file, resumed once, and in two processes.

    pytest tests/train/test_mechanism_matrix.py              # a sample
    pytest -m slow tests/train/test_mechanism_matrix.py      # all pairs (`-k NAME` of a debug run)

A run is finite at every step and reports every loss that it has. Resumed from the middle, it ends with the same bits. In two processes
a run that draws no random numbers of its own ends with the same weights up to rounding.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mechanisms import MECHANISMS, facts_of, merged
from PIL import Image
from safetensors.torch import save_file
from small_runs import PHOTO, write_photo, write_speech
from tokenzoo.train.files import bundled_names, parse_run, read_mapping
from tokenzoo.train.loop import train
from tokenzoo.train.losses.perceptual import VggDistance
from train_media import assert_equal, write_features, write_maps
from two_processes import TRAIN, run_two

STEPS, FEW = 20, 6  # FEW: of the sample
DEBUG = [name for name in bundled_names() if name.endswith("-debug")]
#: Pairs that always run: families, modalities and mechanisms in turn.
SAMPLE = [
    ("image/vqgan-debug", "aspects"),
    ("image/titok-debug", "recompute"),
    ("image/robustok-debug", "moving_settings"),
    ("audio/encodec-debug", "balance_gradients"),
    ("audio/spectral-debug", "sizes"),
    ("image/convnet-debug", "turns"),
]
#: Pairs that draw no random numbers: these equal one process when two share the batch.
SHARED = [
    ("image/convnet-debug", "sizes"),
    ("audio/spectral-debug", "discriminators"),
    ("image/titok-debug", "recompute"),
    ("image/vqgan-debug", "discriminators"),
    ("image/var-debug", "running_mean"),
    ("audio/hificodec-debug", "moving_weight"),
    ("audio/spectral-debug", "moving_weight"),
    ("image/kl_tokens-debug", "accumulation"),
]


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Folders of training data by the kind of data, and a file of random VGG weights."""
    folder = tmp_path_factory.mktemp("media")
    torch.manual_seed(0)
    vgg = VggDistance().state_dict()
    save_file({k: v.abs() * 0.05 if k.startswith("heads") else v for k, v in vgg.items()}, folder / "vgg.safetensors")
    return {
        "images": write_photo(folder / "image"),
        "audio": write_speech(folder / "audio"),
        "features": write_features(folder / "features", 8, channels=8),
        "classes": write_maps(folder / "classes", classes=5),
        "depth": write_maps(folder / "depth"),
        "feature_maps": write_maps(folder / "feature_maps", channels=8, size=(9, 12)),
        "vgg": folder / "vgg.safetensors",
    }


def base_run(name: str, media: dict[str, Path], output: Path, steps: int = STEPS) -> dict[str, Any]:
    """A debug run of so many steps with four items each, and a checkpoint in the middle, on a CPU."""
    run = read_mapping(name)
    kind = run["data"]["kind"]
    folder = media[Path(run["data"]["train"]).parent.name if kind == "maps" else kind]
    return merged(run, {
        "data": {"train": str(folder), "valid": [], "num_workers": 0},
        "steps": steps,
        "batch_size": 4,
        "every": {"log": 1, "checkpoint": steps // 2, "keep": 2, "preview": 0, "validate": 0},
        "threads": 1,
        "device": "cpu",
        "tensorboard": False,
        "output": str(output),
    })  # fmt: skip


def saved(output: Path, steps: int) -> dict[str, Any]:
    state = torch.load(output / f"checkpoint-{steps:08d}" / "state.pt", weights_only=True)
    return {part: value for part, value in state.items() if part != "broken"}


def check(run: dict[str, Any], work: Path) -> None:
    """Train, and resume in another folder from the middle; see the head of this file."""
    first, second = work / "whole", work / "resumed"
    train(parse_run(run | {"output": str(first)}))
    lines = [json.loads(line) for line in (first / "metrics.jsonl").open()]
    values = [(key, value) for line in lines for key, value in line.items() if isinstance(value, float)]
    assert not [v for v in values if not math.isfinite(v[1])], "not finite"
    seen = {key.removeprefix("loss/") for line in lines for key in line if key.startswith("loss/")}
    assert seen >= {name for name, loss in run["losses"].items() if loss is not None}, "a loss was never computed"
    shutil.copytree(first, second, ignore=shutil.ignore_patterns(f"checkpoint-{run['steps']:08d}", "best"))
    train(parse_run(run | {"output": str(second)}))
    assert_equal(saved(first, run["steps"]), saved(second, run["steps"]))


@pytest.mark.parametrize(("name", "mechanism"), SAMPLE)
@pytest.mark.filterwarnings("ignore")
def test_a_mechanism_on_a_family(name, mechanism, media, tmp_path):
    run = base_run(name, media, tmp_path, FEW)
    change = MECHANISMS[mechanism](facts_of(run, media["vgg"], tmp_path))
    assert change is not None, f"{name} does not claim {mechanism}"
    check(merged(run, change), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEBUG)
@pytest.mark.filterwarnings("ignore")
def test_every_mechanism_on_every_family(name, media, tmp_path):
    all_mechanisms(name, base_run(name, media, tmp_path / "start"), media, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_mechanism_on_clips(media, tmp_path):
    name, photo = "image/cosmos_dv-debug", Image.open(PHOTO).convert("RGB")
    (tmp_path / "clips").mkdir()
    for i in range(3):
        frames = [photo.crop((10 * i + 2 * t, 20, 10 * i + 2 * t + 60, 70)) for t in range(9)]
        frames[0].save(tmp_path / f"clips/{i}.png", save_all=True, append_images=frames[1:])
    run = base_run(name, media, tmp_path / "start", FEW)
    clips = {"kind": "clips", "frames": 5, "train": str(tmp_path / "clips")}
    all_mechanisms(f"{name} on clips", run | {"data": run["data"] | clips}, media, tmp_path)


def all_mechanisms(name: str, run: dict[str, Any], media: dict[str, Path], tmp_path: Path) -> None:
    """A plain run, and one with each mechanism that its family claims; all that fail are reported together."""
    train(parse_run(run))
    facts = facts_of(run, media["vgg"], tmp_path / "start")
    problems, claimed = {}, []
    for mechanism, make in MECHANISMS.items():
        change = make(facts)
        if change is None:
            continue
        claimed.append(mechanism)
        try:
            check(merged(run, change), tmp_path / mechanism)
        except Exception as error:
            problems[mechanism] = f"{type(error).__name__}: {error}"[:400]
        shutil.rmtree(tmp_path / mechanism, ignore_errors=True)
    print(f"{name}: {len(claimed)} mechanisms: {', '.join(claimed)}")
    assert not problems, "\n".join(f"{name}, {mechanism}: {text}" for mechanism, text in problems.items())


@pytest.mark.parametrize("pairs", [SHARED[:2], pytest.param(SHARED[2:], marks=pytest.mark.slow)], ids=["some", "others"])
@pytest.mark.filterwarnings("ignore")
def test_two_processes_equal_one(pairs, media, tmp_path):
    # A large eps: where a gradient is nearly 0, Adam would blow rounding errors up to whole steps.
    smooth = {"lr": 1e-3, "eps": 1e-2, "schedule": {"kind": "constant"}}
    runs = {}
    for name, mechanism in pairs:
        run = base_run(name, media, tmp_path, FEW)
        change = MECHANISMS[mechanism](facts_of(run, media["vgg"], tmp_path))
        assert change is not None, f"{name} does not claim {mechanism}"
        run = merged(merged(run, change), {"optimizer": smooth, "discriminator_optimizer": smooth})
        pair = f"{name.replace('/', '-')}-{mechanism}"
        runs[pair] = run
        (tmp_path / f"{pair}.yaml").write_text(yaml.safe_dump(run | {"output": str(tmp_path / pair / "two")}))
    run_two(TRAIN, *(tmp_path / f"{pair}.yaml" for pair in runs))
    for pair, run in runs.items():
        train(parse_run(run | {"output": str(tmp_path / pair / "one")}))
        one, two = saved(tmp_path / pair / "one", FEW), saved(tmp_path / pair / "two", FEW)
        for key, value in one["tokenizer"].items():
            assert torch.allclose(value.float(), two["tokenizer"][key].float(), atol=1e-4), f"{pair}: {key}"
