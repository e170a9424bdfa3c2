"""What image families offer to the losses that they are trained by.

    pytest tests/train/test_image_features.py
"""

import dataclasses
import json

import pytest
import torch
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.image.karl.model import ERRORS
from tokenzoo.train import TrainState
from tokenzoo.train.files import load_run, read_mapping
from tokenzoo.train.loop import train
from tokenzoo.train.losses.base import LossInputs
from tokenzoo.train.state import feature_widths
from torch.nn import functional as F
from train_media import write_pictures


def tiny(name, **changes):
    """The tokenizer of a debug run."""
    model = read_mapping(f"image/{name}-debug")["model"]
    return build_tokenizer(model["family"], model["config"] | changes)


def pictures(tokenizer, count=4):
    low, high = tokenizer.spec.value_range
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * (high - low) + low


def test_karls_second_pass_is_told_what_the_first_one_reached():
    tokenizer = tiny("karl", train_budgets=[8, 24]).train()
    x, told = pictures(tokenizer), []
    encode = tokenizer.encode_with_halting
    tokenizer.encode_with_halting = lambda x, *, token_budget, quality: (
        told.append((token_budget, quality)),
        encode(x, token_budget=token_budget, quality=quality),
    )[1]
    out = tokenizer(x)
    (budget, wanted), (whole, reached) = told
    assert budget in (8, 24) and whole == 32 and bool(torch.isin(wanted, torch.tensor(ERRORS[:5])).all())
    first = tokenizer.base.pixels(out.features["logits.0"].transpose(1, 2))
    torch.testing.assert_close(reached, (first - x).abs().mean((1, 2, 3)))
    assert not out.features["unneeded.0"].any() and out.features["unneeded.0"].shape == (4, budget)
    expected = (torch.arange(32) >= budget).float().expand(4, 32)
    assert torch.equal(out.features["unneeded.1"], expected) and out.features["halting.1"].shape == (4, 32)
    second = tokenizer.base.pixels(out.features["logits.1"].transpose(1, 2))
    torch.testing.assert_close(out.x_hat, torch.cat([first[:2], second[2:]]), atol=1e-5, rtol=1e-4)


def test_karl_cuts_unneeded_tokens_out_of_the_second_pass_only():
    tokenizer = tiny("karl", train_budgets=[8]).train()
    x = pictures(tokenizer)
    torch.nn.init.constant_(tokenizer.halting[2].bias, 9.0)  # nothing is needed
    torch.nn.init.zeros_(tokenizer.halting[2].weight)
    logits = []
    for scale in (0.0, 3.0):
        torch.manual_seed(3)
        torch.nn.init.normal_(tokenizer.from_latent.bias, std=scale)  # what tokens say
        out = tokenizer(x)
        logits.append((out.features["logits.0"], out.features["logits.1"]))
    assert not torch.allclose(logits[0][0], logits[1][0], atol=1e-5)
    torch.testing.assert_close(logits[0][1], logits[1][1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("random_length", [True, False])
def test_retoks_redundant_tokens_learn_pixels_where_training_reads_them(random_length):
    tokenizer = tiny("retok", random_length=random_length).train()
    x = pictures(tokenizer)
    for seed in range(3):  # some of three numbers of tokens lie beyond the main ones
        torch.manual_seed(seed)
        (tokenizer(x).x_hat - x).square().mean().backward()
    read = tokenizer.unsampler.redundant_positions.grad
    made = tokenizer.sampler.redundant_positions.grad
    assert bool(read is not None and read.any()) == random_length
    assert made is not None and float(made.abs().sum()) > 0  # attention among tokens reaches them in any case


def test_code_targets_are_the_codes_of_the_vqgan_underneath():
    for name in ("karl", "alit"):
        tokenizer = tiny(name).train()
        x = pictures(tokenizer)
        features = tokenizer(x).features
        vqgan = tokenizer.base.vqgan.eval()
        tokens = vqgan.encode(x)
        assert torch.equal(features["ids"], tokens.ids[:, 0])
        torch.testing.assert_close(features["code_target"], vqgan.quantizer.decode(tokens.ids))
        sure = 1e4 * F.one_hot(features["ids"], 64).float()
        torch.testing.assert_close(tokenizer.base.mean_code(sure), features["code_target"])
        assert not any(p.requires_grad for p in tokenizer.base.parameters())
        assert any(p.requires_grad for p in tiny(name, train_base=True).base.parameters())


def test_alit_adds_the_losses_of_all_roll_outs_and_shows_any_of_them():
    tokenizer = tiny("alit", random_rollout=True).train()
    x, seen = pictures(tokenizer), []
    for seed in range(8):
        torch.manual_seed(seed)
        out = tokenizer(x)
        shown = [tokenizer.base.pixels(out.features[f"logits.{i}"].transpose(1, 2)) for i in range(2)]
        gaps = [float((out.x_hat - y).abs().max()) for y in shown]
        seen.append(gaps.index(min(gaps)))
    assert set(seen) == {0, 1}
    tokenizer.eval()
    runs = tokenizer.roll(x)
    torch.testing.assert_close(tokenizer(x).quantized.loss, runs[0].quantized.loss + runs[1].quantized.loss)


@pytest.mark.parametrize(("name", "ours", "target", "noise_in_target"), [
    ("flextok", "velocity", "velocity_target", True),
    ("fourm_divae", "prediction", "prediction_target", False),  # it predicts the picture
    ("seed2", "prediction", "prediction_target", True),
])  # fmt: skip
def test_validation_sees_the_same_noise_every_time(name, ours, target, noise_in_target):
    tokenizer = tiny(name).eval()
    x = pictures(tokenizer)
    with torch.no_grad():
        for p in tokenizer.parameters():  # heads that begin at 0 would predict the same whatever they see
            p.add_(0.02 * torch.randn_like(p))
        torch.manual_seed(5)
        one = tokenizer(x).features
        after = torch.rand(1)
        other = tokenizer(x).features
        torch.manual_seed(5)
        assert torch.equal(after, torch.rand(1)), "evaluation moved the random numbers of training"
        assert torch.equal(one[ours], other[ours]) and torch.equal(one[target], other[target])
        tokenizer.train()
        one, other = tokenizer(x).features, tokenizer(x).features
        assert not torch.equal(one[ours], other[ours])
        assert torch.equal(one[target], other[target]) != noise_in_target


def test_a_flow_need_not_decode_pixels_in_training():
    tokenizer = tiny("flextok").train()
    x = pictures(tokenizer)
    assert tokenizer(x).x_hat.shape == (4, *tokenizer.latent_shape)
    assert tiny("flextok", train_pixels=True).train()(x).x_hat.shape == x.shape
    assert tokenizer.eval()(x).x_hat.shape == x.shape


def test_seed_trains_without_a_diffusion_decoder(tmp_path):
    """As the authors do: no pixels, only the Q-Former's states and an image embedding; validation scores both."""
    folder = write_pictures(tmp_path / "pictures")
    changes = [f"data.train={folder}", f"data.valid={folder}", f"output={tmp_path / 'out'}", "steps=2", "every.log=1"]
    changes += ["every.validate=2", "every.preview=0", "tensorboard=false", "device=cpu", "model.config.decoder=null"]
    train(load_run("image/seed2-debug", [*changes, "losses.diffusion=null"]))
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").open()]
    assert {"loss/queries", "loss/embedding", "loss/quantizer"} <= rows[0].keys()
    assert {"valid/queries", "valid/embedding"} <= rows[-1].keys()


def test_validation_leaves_out_what_is_there_in_training_only(tmp_path):
    folder = write_pictures(tmp_path / "pictures")
    changes = [f"data.train={folder}", f"data.valid={folder}", f"output={tmp_path / 'out'}", "steps=1", "every.log=1"]
    train(load_run("image/karl-debug", [*changes, "every.validate=1", "every.preview=0", "tensorboard=false", "device=cpu"]))
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").open()]
    assert "loss/halting" in rows[0] and "valid/codes" in rows[-1] and "valid/halting" not in rows[-1]


def test_retok_draws_every_number_of_tokens_and_says_what_share_was_left_out():
    tokenizer = tiny("retok", num_tokens=4, first=2).train()
    x, total, lengths = pictures(tokenizer)[:1], tokenizer.config.all_tokens, []
    tokenizer.unsampler.register_forward_pre_hook(lambda module, inputs: lengths.append(inputs[0].shape[1]))
    with torch.no_grad():
        for _ in range(12 * total):
            left_out = tokenizer(x).features["left_out"]
            torch.testing.assert_close(left_out, torch.tensor([1 - lengths[-1] / total]))
        assert set(lengths) == set(range(1, total + 1))
        tokenizer.eval()(x)
        assert lengths[-1] == tokenizer.config.num_tokens
        always = tiny("retok", num_tokens=4, first=2, least_length=4).train()
        always.unsampler.register_forward_pre_hook(lambda module, inputs: lengths.append(inputs[0].shape[1]))
        lengths.clear()
        for _ in range(12):
            always(x)
        assert min(lengths) >= tokenizer.config.num_tokens


def test_a_loss_is_scaled_by_a_feature_of_the_tokenizer(tmp_path):
    run = load_run("image/retok-debug", ["data.train=nowhere", "data.valid=[]", f"output={tmp_path}", "threads=1", "device=cpu"])
    state = TrainState(run)
    x = pictures(state.tokenizer)
    named = feature_widths(state.tokenizer, x.shape[1:])
    assert named.keys() == {"z", "z_q", "grid", "grid_hat", "predicted"}, "left_out, a number, has no channels"
    out, targets = state.tokenizer(x), state.objective.targets(x, {})
    inputs = LossInputs(x=x, x_hat=out.x_hat, out=out, targets=targets)
    scaled = state.objective.compute(inputs, adversarial=False)
    whole = state.objective.by_name["features"](inputs)
    torch.testing.assert_close(scaled["features"], whole * out.features["left_out"].mean())
    torch.testing.assert_close(scaled["pixel"], state.objective.by_name["pixel"](inputs))
    other = dataclasses.replace(run, losses={"pixel": dataclasses.replace(run.losses["pixel"], scaled_by="length")})
    with pytest.raises(ConfigError, match="no feature 'length'"):
        TrainState(other).objective.compute(inputs, adversarial=False)
