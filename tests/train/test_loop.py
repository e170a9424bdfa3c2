"""The training loop: it learns, its turns do not mix, its state is whole.

    pytest tests/train/test_loop.py
"""

import dataclasses
import json
import math
import os
import signal

import pytest
import torch
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.serialize import CheckpointError, load_folder
from tokenzoo.train import checkpoint
from tokenzoo.train.config import EmaConfig, OptimizerConfig, ScheduleConfig
from tokenzoo.train.data.loader import Batch
from tokenzoo.train.ema import Ema
from tokenzoo.train.files import parse_run
from tokenzoo.train.finite import NonFiniteLoss
from tokenzoo.train.loop import Trainer, train
from tokenzoo.train.optim import build_optimizer, rate
from train_media import FSQ, RVQ, as_format_1, assert_equal, audio_run, image_run, write_pictures, write_sounds

GAME = {
    "losses": {"pixel": {}, "quantizer": {}, "adversarial": {"weight": 0.1}, "feature_matching": {}},
    "discriminators": {"patchgan": {"channels": 4, "layers": 1, "norm": "none"}},
    "discriminator_optimizer": {"lr": 1e-3, "schedule": {"kind": "constant"}},
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), 6)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_sounds(tmp_path_factory.mktemp("sounds"), 6)


def trainer(run, x=None):
    """A trainer and an endless feed of one batch."""
    made = Trainer(parse_run(run))
    x = torch.rand(4, 3, 32, 32) * 2 - 1 if x is None else x

    def feed():
        while True:
            yield Batch(x, {})

    return made, feed()


def with_quantizer(run, quantizer):
    config = run["model"]["config"] | {"quantizer": quantizer}
    return run | {"model": run["model"] | {"config": config}}


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def logged(out, key):
    return [line[key] for line in lines(out) if key in line]


# --- whole runs ------------------------------------------------------------------------------------------------------


def test_picture_run_from_start_to_loadable_folder(pictures, tmp_path):
    every = {"log": 1, "checkpoint": 10, "preview": 20, "preview_items": 2, "validate": 10, "validate_items": 4}
    data = {"kind": "images", "train": str(pictures), "valid": str(pictures), "crop": 32, "cache": "memory"}
    run = image_run(pictures, tmp_path, steps=20, every=every, data=data, tensorboard=True)
    result = train(parse_run(run))
    loss = logged(tmp_path, "loss/pixel")
    assert len(loss) == 20
    assert sum(loss[-3:]) < 0.7 * sum(loss[:3])
    assert logged(tmp_path, "valid/pixel")[1] < logged(tmp_path, "valid/pixel")[0]
    assert 0 < logged(tmp_path, "codebook/usage_0")[-1] <= 1
    assert logged(tmp_path, "codebook/perplexity_0")[-1] > 1
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["checkpoint-00000010", "checkpoint-00000020"]
    assert (tmp_path / "previews" / "00000020" / "grid.png").is_file()
    assert list((tmp_path / "tensorboard").iterdir())
    tokenizer = load_folder(result.model)
    x = torch.rand(1, 3, 32, 32)
    saved = torch.load(tmp_path / "checkpoint-00000020" / "state.pt", weights_only=True)
    assert not tokenizer.training
    assert all(torch.equal(v, saved["ema"][k]) for k, v in tokenizer.state_dict().items())
    assert tokenizer(x).x_hat.shape == x.shape


def test_sound_run_with_the_same_loop(sounds, tmp_path):
    every = {"log": 1, "checkpoint": 0, "preview": 6, "preview_items": 2, "validate": 0}
    run = audio_run(sounds, tmp_path, steps=12, every=every, teachers={"envelope": {"step": 80}})
    run["losses"] |= {"distillation": {"teacher": "envelope", "project": 1, "along": "mse"}}
    train(parse_run(run))
    loss = logged(tmp_path, "loss/mel")
    assert sum(loss[-3:]) < 0.9 * sum(loss[:3])
    names = {p.name for p in (tmp_path / "previews" / "00000006").iterdir()}
    assert {"00-original.wav", "00-reconstruction.wav", "spectrograms.png"} < names


def test_bf16_and_accumulation_and_all_sound_discriminators(sounds, tmp_path):
    run = audio_run(
        sounds,
        tmp_path,
        steps=2,
        precision="bf16",
        accumulation=2,
        discriminators={
            "multi_period": {"periods": [2], "channels": [4]},
            "multi_resolution_stft": {"windows": [512], "channels": 4},
        },
        balance={"kind": "gradients"},
    )
    run["losses"] |= {"adversarial": {"game": "least_squares", "lecam_weight": 0.01}, "feature_matching": {}}
    train(parse_run(run))
    assert math.isfinite(logged(tmp_path, "discriminator/adversarial")[-1])
    assert load_folder(tmp_path / "model").dtype == torch.float32


# --- one step --------------------------------------------------------------------------------------------------------


def gradients(module):
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_turns_do_not_pollute_each_others_gradients(pictures, tmp_path):
    made, feed = trainer(image_run(pictures, tmp_path, **GAME))
    judges, x = made.state.adversary.module, next(feed).x
    x_hat = made.state.tokenizer(x).x_hat

    fake = made.state.adversary.backward(x, x_hat, 1.0, 0)[-1]
    assert not gradients(made.state.tokenizer)
    own = gradients(judges)
    assert len(own) == len(list(judges.parameters()))

    fake[0].logits.mean().backward(inputs=made.state.trained)  # the tokenizer's turn
    assert gradients(made.state.tokenizer)
    assert all(torch.equal(g, own[name]) for name, g in gradients(judges).items())


def test_step_uses_exactly_the_two_gradients(pictures, tmp_path):
    """The gradients of a whole step equal those calculated by hand, for both sides."""
    made, feed = trainer(image_run(pictures, tmp_path, grad_clip=0.0, **GAME))
    x = next(feed).x
    other, _ = trainer(image_run(pictures, tmp_path, grad_clip=0.0, **GAME))
    other.state.tokenizer.load_state_dict(made.state.tokenizer.state_dict())
    other.state.adversary.module.load_state_dict(made.state.adversary.module.state_dict())
    made.train_step(feed)

    def judge(media):
        return other.state.adversary.module.members["patchgan"](media)[0]

    x_hat = other.state.tokenizer(x).x_hat
    real, fake = judge(x), judge(x_hat)
    matching = torch.stack([(a.detach() - b).abs().mean() for a, b in zip(real.features, fake.features)]).mean()
    total = (x_hat - x).abs().mean() - 0.1 * fake.logits.mean() + matching
    expected = torch.autograd.grad(total, list(other.state.tokenizer.parameters()), allow_unused=True)
    for (name, p), grad in zip(made.state.tokenizer.named_parameters(), expected):
        assert torch.allclose(p.grad, torch.zeros_like(p) if grad is None else grad, atol=1e-6), name
    real, fake = judge(x).logits, judge(x_hat.detach()).logits
    hinge = (1 - real).relu().mean() + (1 + fake).relu().mean()
    expected = torch.autograd.grad(hinge, list(other.state.adversary.module.parameters()))
    for (name, p), grad in zip(made.state.adversary.module.named_parameters(), expected):
        assert torch.allclose(p.grad, grad, atol=1e-6), name


def test_discriminators_wait_for_their_start(pictures, tmp_path):
    made, feed = trainer(image_run(pictures, tmp_path, adversarial_start=2, **GAME))
    before = {k: v.clone() for k, v in made.state.adversary.module.state_dict().items()}
    assert "loss/adversarial" not in made.train_step(feed)
    assert "loss/feature_matching" not in made.train_step(feed)
    assert all(torch.equal(v, before[k]) for k, v in made.state.adversary.module.state_dict().items())
    assert "discriminator/adversarial" in made.train_step(feed)
    assert any(not torch.equal(v, before[k]) for k, v in made.state.adversary.module.state_dict().items())


def test_accumulated_parts_equal_the_whole_batch(pictures, tmp_path):
    grads = []
    for parts in (1, 4):
        made, _ = trainer(image_run(pictures, tmp_path, batch_size=8, accumulation=parts, grad_clip=0.0, **GAME))
        x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
        made.train_step(iter([Batch(part, {}) for part in x.split(8 // parts)]))
        grads.append(gradients(made.state.tokenizer) | gradients(made.state.adversary.module))
    assert all(torch.allclose(g, grads[1][name], atol=1e-6) for name, g in grads[0].items())


def test_weight_zero_is_computed_but_has_no_effect(pictures, tmp_path):
    run = image_run(pictures, tmp_path, losses={"pixel": {}, "quantizer": {"weight": 0}})
    made, feed = trainer(with_quantizer(run, RVQ))
    values = made.train_step(feed)
    assert float(values["loss/total"]) == pytest.approx(float(values["loss/pixel"]))
    assert float(values["loss/quantizer"]) > 0


def test_stops_at_a_loss_that_is_not_finite(pictures, tmp_path):
    made, feed = trainer(image_run(pictures, tmp_path))
    made.train_step(feed)
    before = {k: v.clone() for k, v in made.state.tokenizer.named_parameters()}
    bad = next(feed).x.clone()
    bad[1, 0, 3, 3] = float("nan")
    with pytest.raises(NonFiniteLoss, match=r"step 1: pixel is not finite"):
        made.train_step(iter([Batch(bad, {})]))
    assert all(torch.equal(v, before[k]) for k, v in made.state.tokenizer.named_parameters())


def test_stops_at_a_gradient_that_is_not_finite(pictures, tmp_path):
    made, feed = trainer(image_run(pictures, tmp_path))
    next(made.state.tokenizer.parameters()).register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(NonFiniteLoss, match="gradient of the tokenizer"):
        made.train_step(feed)


def test_gradient_norm_is_limited(pictures, tmp_path):
    made, feed = trainer(image_run(pictures, tmp_path, grad_clip=1e-3))
    assert float(made.train_step(feed)["grad_norm"]) > 1e-3
    norm = torch.stack([p.grad.norm() for p in made.state.tokenizer.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


# --- running mean, schedules, optimisers -----------------------------------------------------------------------------


def test_running_mean_of_weights():
    module = torch.nn.BatchNorm1d(2)
    module.weight.data.fill_(1.0)
    ema = Ema(EmaConfig(decay=0.9, warmup=False), module)
    for step, value in enumerate((2.0, 4.0)):
        module.weight.data.fill_(value)
        module.running_mean.fill_(value)
        ema.update(module, step)
    assert torch.allclose(ema.module.weight, torch.full((2,), 0.9 * (0.9 * 1 + 0.1 * 2) + 0.1 * 4))
    assert torch.equal(ema.module.running_mean, module.running_mean)  # buffers are copied
    assert not any(p.requires_grad for p in ema.module.parameters())
    warm = Ema(EmaConfig(decay=0.999), module)
    assert [warm.decay(s) for s in (0, 8, 10**6)] == [0.1, 0.5, 0.999]


def test_rates_are_functions_of_the_step():
    cosine = ScheduleConfig(kind="cosine", warmup_steps=10, final_ratio=0.1)
    assert [rate(cosine, 2.0, s, 110) for s in (0, 9, 10, 60, 110, 500)] == pytest.approx([0.2, 2, 2, 1.1, 0.2, 0.2])
    decay = ScheduleConfig(kind="exponential", gamma=0.5, final_ratio=0.2)
    assert [rate(decay, 1.0, s, 9) for s in range(4)] == pytest.approx([1, 0.5, 0.25, 0.2])
    assert rate(ScheduleConfig(kind="constant"), 3.0, 77, 9) == 3.0
    line = ScheduleConfig(kind="linear", warmup_steps=2, first_ratio=0.1, final_ratio=0.2, length=4)
    assert [rate(line, 1.0, s, 99) for s in (0, 1, 2, 4, 6, 50)] == pytest.approx([0.55, 1, 1, 0.6, 0.2, 0.2])
    assert [rate(ScheduleConfig(kind="linear"), 1.0, s, 8) for s in (0, 2, 8)] == pytest.approx([1, 0.75, 0])
    short = ScheduleConfig(kind="cosine", length=10)
    assert [rate(short, 1.0, s, 99) for s in (0, 5, 10, 50)] == pytest.approx([1, 0.5, 0, 0])
    roots = ScheduleConfig(kind="inverse_sqrt", warmup_steps=4, final_ratio=0.1)
    assert [rate(roots, 2.0, s, 99) for s in (0, 3, 4, 16, 64, 10**6)] == pytest.approx([0.5, 2, 2, 1, 0.5, 0.2])
    with pytest.raises(ConfigError, match="warmup_steps"):
        ScheduleConfig(kind="inverse_sqrt")
    drops = ScheduleConfig(kind="drops", gamma=0.1, at=(4, 6), warmup_steps=2)
    assert [rate(drops, 1.0, s, 9) for s in (0, 2, 3, 4, 5, 6, 8)] == pytest.approx([0.5, 1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("wrong", [{"kind": "drops"}, {"kind": "drops", "at": (6, 4)}, {"kind": "drops", "at": (0,)}, {"at": (4,)}])
def test_a_rate_that_drops_needs_increasing_steps_and_no_other_rate_has_them(wrong):
    with pytest.raises(ConfigError, match="schedule.at"):
        ScheduleConfig(**wrong)


def test_only_matrices_decay():
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3))
    groups = build_optimizer(OptimizerConfig(weight_decay=0.1), module.parameters()).param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(1, 0.1), (3, 0.0)]


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_same_command_goes_on_where_it_stopped(pictures, tmp_path):
    run = with_quantizer(image_run(pictures, tmp_path / "a", **GAME, adversarial_start=1), RVQ)
    whole = train(parse_run(run))
    for steps in (1, 4, 6):  # each ends with a checkpoint
        parts = train(parse_run(run | {"output": str(tmp_path / "b"), "steps": steps}))
    for file in ("state.pt", "rank-0.pt"):  # the second holds random states and usage windows
        a, b = (torch.load(r.model.parent / "checkpoint-00000006" / file, weights_only=True) for r in (whole, parts))
        assert_equal(a, b)
    assert [line["step"] for line in lines(tmp_path / "b")] == [1, 2, 3, 4, 5, 6]
    again = train(parse_run(run))  # nothing is left to do
    assert again.step == 6
    assert again.model.is_dir()


def test_metrics_of_steps_that_were_lost_are_taken_back(pictures, tmp_path):
    run = image_run(pictures, tmp_path, steps=4, every={"log": 1, "checkpoint": 2, "preview": 0, "validate": 0})
    train(parse_run(run))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "loss/pixel": 1}\n{"step": 6, "lo')
    train(parse_run(run | {"steps": 5}))
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5]


def test_refuses_to_go_on_as_another_run(pictures, tmp_path):
    out = tmp_path / "out"
    run = image_run(pictures, out, steps=1)
    train(parse_run(run))
    with pytest.raises(ConfigError, match=r"batch_size: 4 -> 2"):
        train(parse_run(run | {"batch_size": 2}))
    with pytest.raises(ConfigError, match=r"model\.config\.latent_dim: 8 -> 9"):
        train(parse_run(run | {"model": {"family": "convnet", "config": run["model"]["config"] | {"latent_dim": 9}}}))
    more = write_pictures(tmp_path / "more", 7)
    with pytest.raises(ConfigError, match=r"data\.train"):
        train(parse_run(image_run(more, out, steps=1)))
    (more / "006.png").unlink()
    train(parse_run(image_run(more, tmp_path / "other", steps=1)))
    write_pictures(more, 7)
    with pytest.raises(ConfigError, match="added, removed or renamed"):
        train(parse_run(image_run(more, tmp_path / "other", steps=2)))


def test_interrupted_write_leaves_the_old_checkpoint(pictures, tmp_path, monkeypatch):
    run = image_run(pictures, tmp_path, steps=4)

    real = torch.save

    def fail(value, file):
        if file.name.endswith("state.pt") and value["step"] == 4:
            raise OSError("disk full")
        real(value, file)

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        train(parse_run(run))
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["checkpoint-00000002"]
    load_folder(tmp_path / "model")
    monkeypatch.undo()
    assert train(parse_run(run)).step == 4
    assert not list(tmp_path.glob(".*"))


def test_a_checkpoint_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    partial, final = tmp_path / ".new.partial", tmp_path / "new"
    partial.mkdir()
    for name in ("a", "b"):
        (partial / name).write_text(name)
    seen = []
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda old, new: (seen.append((final.exists(), old, new)), rename(old, new)))
    checkpoint.publish(partial, final)
    assert seen == [(False, partial, final)]
    assert sorted(p.name for p in final.iterdir()) == ["a", "b"]


def test_only_the_newest_checkpoints_stay(pictures, tmp_path):
    every = {"log": 0, "checkpoint": 1, "keep": 2, "preview": 0, "validate": 0}
    train(parse_run(image_run(pictures, tmp_path, steps=4, every=every)))
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["checkpoint-00000003", "checkpoint-00000004"]


def test_older_checkpoints_without_newer_keys_are_resumed(pictures, tmp_path):
    run = image_run(pictures, tmp_path, steps=2)
    train(parse_run(run))
    meta = as_format_1(tmp_path / "checkpoint-00000002")
    for key in ("balance", "teachers", "deterministic"):
        del meta["config"][key]
    del meta["seconds"]
    (tmp_path / "checkpoint-00000002" / "meta.json").write_text(json.dumps(meta))
    with pytest.warns(UserWarning, match="checkpoint-00000002 has no checksums"):
        assert train(parse_run(run | {"steps": 3})).step == 3


def test_fine_tuning_from_every_kind_of_folder(pictures, tmp_path):
    run = image_run(pictures, tmp_path / "a", steps=2, **GAME)
    train(parse_run(run))
    weights = load_folder(tmp_path / "a" / "model").state_dict()
    for place in ("a", "a/model", "a/checkpoint-00000002"):
        made = Trainer(parse_run(run | {"init": str(tmp_path / place), "output": str(tmp_path / "b")}))
        assert all(torch.equal(v, weights[k]) for k, v in made.state.tokenizer.state_dict().items())
    saved = torch.load(tmp_path / "a" / "checkpoint-00000002" / "state.pt", weights_only=True)["discriminators"]
    assert all(torch.equal(v, saved[k]) for k, v in made.state.adversary.module.state_dict().items())
    with pytest.raises(ConfigError, match="neither a tokenizer that can be loaded"):
        Trainer(parse_run(run | {"init": str(tmp_path)}))
    other = with_quantizer(run, FSQ | {"levels": [8, 8]})
    with pytest.raises(CheckpointError, match="does not fit"):
        Trainer(parse_run(other | {"init": str(tmp_path / "a")}))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_writes_a_checkpoint_first(pictures, tmp_path, number):
    run = image_run(pictures, tmp_path, every={"log": 1, "checkpoint": 0, "preview": 0, "validate": 0})
    made = Trainer(parse_run(run))
    step = made.train_step

    def interrupted(feed):
        values = step(feed)
        if made.state.step == 3:
            os.kill(os.getpid(), number)
        return values

    made.train_step = interrupted
    before = signal.getsignal(number)
    assert made.run().step == 3
    assert signal.getsignal(number) is before
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["checkpoint-00000003"]
    assert train(parse_run(run)).step == 6


def test_media_that_come_back_in_another_shape_are_explained(pictures, tmp_path):
    made, feed = trainer(image_run(pictures, tmp_path))
    forward = made.state.generator.forward
    made.state.generator.forward = lambda x: dataclasses.replace(out := forward(x), x_hat=out.x_hat[..., 1:])
    with pytest.raises(ConfigError, match=r"\[4, 3, 32, 32\] as \[4, 3, 32, 31\]"):
        made.train_step(feed)


def test_broken_files_are_listed_at_the_end(tmp_path, capsys):
    folder = write_pictures(tmp_path / "p", 3)
    (folder / "bad.png").write_bytes(b"no")
    result = train(parse_run(image_run(folder, tmp_path / "out", steps=2)))
    assert [name.rpartition("/")[2] for name in result.broken] == ["bad.png"]
    assert "1 files could not be used" in capsys.readouterr().err


def test_batch_must_divide_among_the_parts(pictures, tmp_path):
    config = parse_run(image_run(pictures, tmp_path))
    with pytest.raises(ConfigError, match="equal parts"):
        dataclasses.replace(config, accumulation=3)
