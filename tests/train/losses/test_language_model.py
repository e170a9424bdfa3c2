"""The language model that reads the codes: its loss by hand, its gradient, what it teaches, and resuming.

    pytest tests/train/losses/test_language_model.py
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import teacher_models
import torch
import transformers
from effects import effect
from faint_scenes import probed, scenes
from loss_cases import IMAGE, inputs, loss
from tokenzoo.codecs.config import ConfigError
from tokenzoo.train.data.loader import Batch
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import train
from tokenzoo.train.state import TrainState
from tokenzoo.train.step import train_step
from train_media import assert_equal, image_run, write_pictures

TEXTS = ["a b c d", "e", "f g a"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(teacher_models.language_model(tmp_path_factory.mktemp("lm") / "llama"))


def built(model, **options):
    torch.manual_seed(0)
    module = loss("language_model", IMAGE, model=model, **options)
    module.prepare({"z_q": 5, "wide": 7})
    return module


def given(latents, texts=TEXTS, **more):
    out = SimpleNamespace(z=latents, quantized=SimpleNamespace(z_q=latents), features={"wide": torch.ones(3, 7, 2)})
    return inputs([0], [0], out=out, partners={"caption": texts} | more)


@pytest.mark.parametrize("prompt", ["", "this shows", "this {latents} shows a"])
def test_the_loss_is_the_language_models_own(model, prompt):
    """Item by item without padding, with transformers' own labels: only the text and its end count."""
    module, latents = built(model, prompt=prompt), torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(1))
    llama = transformers.AutoModelForCausalLM.from_pretrained(model)
    tokens = transformers.AutoTokenizer.from_pretrained(model)
    each = []
    with torch.no_grad():
        read = module.projection(latents.transpose(1, 2))
        first, last = {"": ([3], []), "this shows": ([3], [12, 13]), "this {latents} shows a": ([3, 12], [13, 4])}[prompt]
        embed = llama.get_input_embeddings()
        for i, text in enumerate(TEXTS):
            ids = [*tokens(text)["input_ids"], 2]
            whole = torch.cat([embed(torch.tensor([first])), read[i : i + 1], embed(torch.tensor([last + ids]))], 1)
            labels = torch.tensor([[-100] * (6 + len(first + last)) + ids])
            each.append(llama(inputs_embeds=whole, labels=labels).loss)
        assert float(module(given(latents))) == pytest.approx(float(torch.stack(each).mean()), rel=1e-5)
        short = built(model, prompt=prompt, max_text_tokens=1)
        assert float(short(given(latents))) == pytest.approx(float(short(given(latents, ["a", "e", "f"]))), rel=1e-5)
    assert tokens(TEXTS[0])["input_ids"] != tokens(TEXTS[2])["input_ids"]


def test_what_is_frozen_what_is_saved(model):
    frozen, free = built(model, prompt="this"), built(model, frozen=False)
    assert {k.partition(".")[0] for k in frozen.state_dict()} == {"projection"}
    assert {k.partition(".")[0] for k in free.state_dict()} == {"projection", "trained"}
    for module in (frozen, free):
        latents = torch.randn(3, 5, 6, requires_grad=True)
        module(given(latents)).backward()
        assert latents.grad is not None
        assert latents.grad.abs().amin(dim=(1,)).min() > 0, "every position of every item is read"
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in module.named_parameters() if "lm_head" not in n)
    assert not any(p.requires_grad for p in frozen._frozen[0].parameters())
    one, other = (built(model, pretrained=False) for _ in range(2))
    assert_equal(one._frozen[0].state_dict(), other._frozen[0].state_dict())
    weights = transformers.AutoModelForCausalLM.from_pretrained(model).state_dict()
    assert_equal(frozen._frozen[0].state_dict(), weights)
    assert not torch.equal(one._frozen[0].lm_head.weight, weights["lm_head.weight"])
    half, latents = built(model, dtype="bfloat16"), torch.randn(3, 5, 6)
    with torch.no_grad():
        assert float(half(given(latents))) == pytest.approx(float(built(model)(given(latents))), rel=0.05)


def test_errors_say_what_to_do(model):
    latents = torch.randn(3, 5, 6)
    for options, case, words in (
        ({"feature": "wid"}, None, "no feature 'wid'; it has wide, z_q"),
        ({"max_text_tokens": 0}, None, "must be at least 1"),
        ({"frozen": False, "dtype": "bfloat16"}, None, "is trained is float32"),
        ({}, given(torch.randn(3, 5, 62)), "62 positions, 1 tokens of the prompt and 5 of the text are more than the 64"),
        ({}, given(latents, TEXTS, other=TEXTS), "have 2 partners: caption, other; this needs one"),
        ({"partner": "text"}, given(latents), "no partner 'text'; data.partners names caption"),
        ({"partner": "n"}, given(latents, n=torch.ones(3, 2)), "the partner 'n' is no text"),
    ):
        with pytest.raises(ConfigError, match=words):
            built(model, **options)(case)
    assert float(built(model, feature="wide")(given(latents)).detach()) > 0


# --- training ---------------------------------------------------------------------------------------------------------


def run(model, folder: Path | str, output: Path, **changes: Any) -> dict[str, Any]:
    own = {
        "data": {"kind": "images", "train": str(folder), "crop": 32, "partners": {"caption": {"kind": "text"}}},
        "losses": {"pixel": {"distance": "l2"}, "quantizer": {}, "text": {"kind": "language_model", "model": model, "frozen": False}},
    }
    return image_run(folder, output, **(own | changes))


def test_its_gradient_reaches_the_encoder(model, tmp_path):
    """Through a quantizer: with no other loss, each weight of the encoder moves, and none of the decoder."""
    losses = {"text": {"kind": "language_model", "model": model}}
    run_ = run(model, "", tmp_path, losses=losses, ema={"decay": 0.0})
    run_["model"]["config"] |= {"quantizer": {"kind": "vq", "codebook_size": 16, "commitment_weight": 0.0}}
    state = TrainState(parse_run(run_))
    before = {k: v.clone() for k, v in state.tokenizer.named_parameters()}
    for _ in range(2):  # the first step may start the table
        train_step(state, Batch(torch.rand(4, 3, 32, 32), partners={"caption": ["a", "b", "a", "b"]}))
    moved = {k for k, v in state.tokenizer.named_parameters() if not torch.equal(v, before[k])}
    encoder = {k for k in before if k.startswith("encoder")}
    assert encoder <= moved and not any(k.startswith("decoder") for k in moved), encoder - moved


@pytest.mark.effect
def test_codes_learn_what_the_text_says(model, tmp_path):
    """Codes too few for the faint pattern show it only where a language model, frozen or trained along, has to name it."""
    found = {}
    for weight, frozen in ((0.0, True), (1.0, True), (1.0, False)):
        text = {"kind": "language_model", "model": model, "prompt": "this shows", "frozen": frozen, "weight": weight}
        run_ = run(model, "", tmp_path, losses={"pixel": {"distance": "l2"}, "text": text}, ema={"decay": 0.0})
        run_["data"]["crop"] = 16
        run_["model"]["config"] |= {"quantizer": {"kind": "fsq", "levels": [3, 3]}}
        state = TrainState(parse_run(run_))
        for step in range(120):
            x, texts = scenes(16, step)
            train_step(state, Batch(x, partners={"caption": texts}))
        found[weight, frozen] = probed(state.tokenizer, scenes(400, 100), scenes(400, 101))
    for frozen in (True, False):
        name = f"language model, {'frozen' if frozen else 'trained along'} (ETT, USTokenizer)"
        effect(name, "share of pictures whose faint pattern the codes show", with_=found[1.0, frozen], without=found[0.0, True])
    assert found[0.0, True] < 0.65 and found[1.0, True] > 0.85 and found[1.0, False] > 0.85, found


@pytest.mark.parametrize("frozen", [True, False])
def test_resumed_with_its_parameters(model, tmp_path, frozen):
    folder = write_pictures(tmp_path / "pictures")
    for i, path in enumerate(sorted(folder.glob("*.png"))):
        path.with_suffix(".txt").write_text("abcdefgh"[i])
    losses = {"pixel": {}, "text": {"kind": "language_model", "model": model, "frozen": frozen, "weight": 0.1}}
    valid = {"kind": "images", "train": str(folder), "valid": str(folder), "crop": 32, "partners": {"caption": {"kind": "text"}}}
    options = {"losses": losses, "data": valid, "every": {"log": 1, "checkpoint": 2, "preview": 0, "validate": 2}}
    train(parse_run(run(model, folder, tmp_path / "whole", **options, steps=4)))
    for steps in (2, 4):
        train(parse_run(run(model, folder, tmp_path / "parts", **options, steps=steps)))
    a, b = (torch.load(tmp_path / n / "checkpoint-00000004" / "state.pt", weights_only=True) for n in ("whole", "parts"))
    assert_equal(a, b)
    assert "valid/text" in (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert ("text.trained.lm_head.weight" in a["losses"]) == (not frozen) and "text.projection.0.weight" in a["losses"]
