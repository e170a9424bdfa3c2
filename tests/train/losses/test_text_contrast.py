"""The contrastive loss between media and texts: against NumPy, over processes, and what it teaches.

    pytest tests/train/losses/test_text_contrast.py
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import teacher_models
import torch
import transformers
import yaml
from effects import effect
from loss_cases import IMAGE, inputs, loss, nll
from tokenzoo.codecs.config import ConfigError
from tokenzoo.train.data.loader import Batch
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import train
from tokenzoo.train.state import TrainState
from tokenzoo.train.step import train_step
from torch.nn import functional as F
from train_media import assert_equal, image_run, write_pictures
from two_processes import run_two

TEXTS = ["a b c", "d", "e f"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(teacher_models.clip_text(tmp_path_factory.mktemp("clip") / "clip"))


def given(vectors, texts=TEXTS):
    out = SimpleNamespace(z=vectors, quantized=SimpleNamespace(z_q=vectors), features={"embedding": vectors})
    return inputs([0], [0], out=out, partners={"caption": texts})


def test_the_loss_is_clips(model):
    """Text by text without padding."""
    ours = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    tower, tokens = transformers.CLIPTextModelWithProjection.from_pretrained(model), transformers.CLIPTokenizer.from_pretrained(model)
    with torch.no_grad():
        b = torch.cat([tower(torch.tensor([tokens(t)["input_ids"]])).text_embeds for t in TEXTS]).numpy()
    a = ours.mean(2).numpy()
    a, b = a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)
    alike, own = 5 * a @ b.T, np.arange(3)[:, None]
    expected = (nll(alike[..., None], own) + nll(alike.T[..., None], own)) / 2
    module = loss("text_contrast", IMAGE, model=model, scale=5.0)
    assert float(module(given(ours)).detach()) == pytest.approx(expected, rel=1e-4)
    grown = loss("text_contrast", IMAGE, model=model, scale=5.0, largest_scale=5.0)
    torch.nn.init.constant_(grown.log_scale, 9.0)
    assert float(grown(given(ours)).detach()) == pytest.approx(expected, rel=1e-4)


def test_an_encoder_of_texts_in_place_of_clip(tmp_path):
    """SEED's: the last position against a linear layer of BERT's first state, with a smoothed target."""
    folder = str(teacher_models.text_model(tmp_path / "bert"))
    module = loss("text_contrast", IMAGE, model=folder, width=4, pool="last", scale=5.0, smoothing=0.1, max_text_tokens=3)
    ours = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    bert, tokens = transformers.AutoModel.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        rows = [tokens(t, truncation=True, max_length=3)["input_ids"] for t in TEXTS]
        b = module.text_projection(torch.cat([bert(torch.tensor([row])).last_hidden_state[:, 0] for row in rows])).numpy()
    a = ours[:, :, -1].numpy()
    a, b = a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)
    logs = [x - np.log(np.exp(x).sum(1, keepdims=True)) for x in (5 * a @ b.T, 5 * b @ a.T)]
    expected = np.mean([-(0.9 * np.diag(x) + 0.1 * x.mean(1)).mean() for x in logs])
    assert float(module(given(ours)).detach()) == pytest.approx(float(expected), rel=1e-4)
    module(given(ours.requires_grad_())).backward()
    assert all(p.grad is not None for n, p in module.named_parameters()) and "pooler" not in "".join(module.state_dict())
    assert set(loss("text_contrast", IMAGE, model=folder, width=4, frozen=True).state_dict()) == {
        "log_scale", "text_projection.weight", "text_projection.bias",
    }  # fmt: skip
    for options, words in (({"width": 0}, "another encoder needs one"), ({"smoothing": 1.0}, "need 0 <= smoothing < 1")):
        with pytest.raises(ConfigError, match=words):
            loss("text_contrast", IMAGE, model=folder, **({"width": 4} | options))


def test_what_is_frozen_and_what_fits(model):
    free, frozen = (loss("text_contrast", IMAGE, model=model, frozen=f, project=True) for f in (False, True))
    for module in (free, frozen):
        module.prepare({"embedding": 5})
        vectors = torch.randn(3, 5, 2, requires_grad=True)
        module(given(vectors)).backward()
        assert vectors.grad is not None and vectors.grad.abs().sum() > 0
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in module.named_parameters() if "position" not in n)
    assert set(frozen.state_dict()) == {"log_scale", "projection.weight", "projection.bias"} < set(free.state_dict())
    one, other = (loss("text_contrast", IMAGE, model=model, pretrained=False) for _ in range(2))
    assert_equal(one.state_dict(), other.state_dict())
    assert not torch.equal(one.trained.text_projection.weight, free.trained.text_projection.weight)
    with pytest.raises(ConfigError, match="has 5 channels, the texts of .* 6; set project to true"):
        one(given(torch.randn(3, 5, 2)))
    with pytest.raises(ConfigError, match="a CLIP model has a width of its own"):
        loss("text_contrast", IMAGE, model=model, width=6)
    with pytest.raises(ConfigError, match="need 0 < scale <= largest_scale"):
        loss("text_contrast", IMAGE, model=model, scale=0.0)


# --- training ---------------------------------------------------------------------------------------------------------


def run(model: str, folder: Path | str, output: Path, **changes: Any) -> dict[str, Any]:
    contrast = {"kind": "text_contrast", "model": model, "feature": "z_q", "project": True}
    own = {
        "data": {"kind": "images", "train": str(folder), "crop": 32, "partners": {"caption": {"kind": "text"}}},
        "losses": {"pixel": {"distance": "l2"}, "quantizer": {}, "contrast": contrast},
        "ema": {"decay": 0.0},
    }
    return image_run(folder, output, **(own | changes))


WORKER = """
import sys, torch.distributed as dist
from tokenzoo.train.files import load_run
from tokenzoo.train.loop import Trainer

Trainer(load_run(sys.argv[1])).run()
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_contrast_all_their_items(model, tmp_path):
    """As one process with the whole batch; validation, which the first process does alone, waits for nobody."""
    folder = write_pictures(tmp_path / "pictures", 8)
    for i in range(8):
        (folder / f"{i:03d}.txt").write_text("abcdefgh"[i])
    data = {"kind": "images", "train": str(folder), "valid": str(folder), "crop": 32, "partners": {"caption": {"kind": "text"}}}
    options = {
        "data": data,
        "batch_size": 8,
        "steps": 4,
        "every": {"log": 1, "checkpoint": 4, "preview": 0, "validate": 2},
        "optimizer": {"lr": 1e-2, "eps": 1e-2, "schedule": {"kind": "constant"}},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run(model, folder, tmp_path / "two", **options)))
    run_two(WORKER, tmp_path / "run.yaml")
    train(parse_run(run(model, folder, tmp_path / "one", **options)))
    one, two = (torch.load(tmp_path / n / "checkpoint-00000004" / "state.pt", weights_only=True) for n in ("one", "two"))
    for part in ("tokenizer", "losses"):
        for key, value in one[part].items():
            assert torch.allclose(value.float(), two[part][key].float(), atol=5e-5), f"{part}/{key}"


def scenes(count: int, seed: int) -> tuple[torch.Tensor, list[str]]:
    """Pictures `[count, 3, 16, 16]` of eight colours in noise, and the letter of each colour."""
    g = torch.Generator().manual_seed(seed)
    kinds = torch.randint(8, (count,), generator=g)
    colours = torch.stack([kinds % 2, kinds // 2 % 2, kinds // 4], 1).float()[..., None, None] - 0.5
    noise = F.interpolate(torch.rand(count, 3, 2, 2, generator=g) - 0.5, size=(16, 16), mode="bilinear")
    return colours + noise, ["abcdefgh"[k] for k in kinds.tolist()]


@pytest.mark.effect
def test_pictures_find_their_texts(model, tmp_path):
    """Of eight texts, that of an unseen picture is the nearest to its codes far more often than by chance."""
    found = {}
    for weight in (0.0, 1.0):
        run_ = run(model, "", tmp_path)
        run_["losses"]["contrast"]["weight"] = weight
        run_["data"]["crop"] = 16
        state = TrainState(parse_run(run_))
        for step in range(100):
            x, texts = scenes(16, step)
            train_step(state, Batch(x, partners={"caption": texts}))
        x, texts = scenes(200, 1000)
        module: Any = state.losses["contrast"]
        with torch.no_grad():
            ours = module.projection(state.tokenizer.eval()(x).quantized.z_q.mean(2))
            alike = F.normalize(ours, dim=1) @ F.normalize(module.embed(list("abcdefgh"), x.device), dim=1).t()
        found[weight] = float(np.mean(["abcdefgh"[i] == t for i, t in zip(alike.argmax(1).tolist(), texts, strict=True)]))
    effect("contrast with texts (UniTok)", "share of pictures nearest to their own text of eight", with_=found[1.0], without=found[0.0])
    assert found[1.0] > 0.6 and found[0.0] < 0.3, found
