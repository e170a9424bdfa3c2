"""Blocks computed again in the backward pass: the same weights after a step, bit for bit, in less memory.

    pytest -s tests/train/test_recompute.py           # prints the memory of each family's debug run
    pytest -s -m slow tests/train/test_recompute.py   # the other families
"""

import pytest
import torch
from tokenzoo.codecs.config import ConfigError
from tokenzoo.train import TrainState, parse_run, train_step
from tokenzoo.train.data.loader import Batch
from tokenzoo.train.dry_run import dry_run
from tokenzoo.train.files import bundled_names, load_run
from tokenzoo.train.recompute import recomputable_blocks, recomputed
from torch import nn
from torch.profiler import ProfilerActivity, profile
from train_media import assert_equal, image_run, write_pictures

#: Of these there is nothing to compute again: quantizers of stored features, without a network or with a few layers around them.
WITHOUT = tuple(
    f"{n}-debug"
    for n in ("image/latent", "image/fdt", "image/unitok_codes", "image/longcat_next_codes", "audio/levo", "audio/ustokenizer")
)
#: Debug runs that always run, with settings that bring random numbers into their blocks.
QUICK = {
    "image/titok-debug": [],
    "image/fourm_divae-debug": [],
    "image/vqgan-debug": ["model.config.encoder.dropout=0.3", "model.config.decoder.dropout=0.3"],
    "audio/hcodec-debug": ["model.config.dropout=0.3"],
    "audio/qwen3_tts-debug": [],
}
OTHERS = [n for n in bundled_names() if n.endswith("-debug") and n not in QUICK and n not in WITHOUT]


def state_of(name, tmp_path, *changes):
    fixed = [f"data.train={tmp_path}", "data.valid=[]", f"output={tmp_path}", "device=cpu", "threads=1", "adversarial_start=0"]
    return TrainState(load_run(name, [*fixed, *changes]))


def trained(state, steps=2):
    """Weights and optimiser after some steps on noise, and the peak of memory within the last one, in bytes."""
    shape = state.config.data.media(state.tokenizer.spec).shape
    g = torch.Generator().manual_seed(0)
    partners = {name: ["a cat"] * 4 for name, p in state.config.data.partners.items() if p.kind == "text"}
    batches = [Batch(torch.rand(4, *shape, generator=g) * 0.5, partners=partners) for _ in range(steps)]
    for x in batches[:-1]:
        train_step(state, x)
    peak = peak_of(lambda: train_step(state, batches[-1]))
    saved = state.state_dict()
    return {part: saved[part] for part in ("tokenizer", "losses", "random")}, peak


def peak_of(run):
    """Most bytes that tensors on the CPU held at once, over what they held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)])
@pytest.mark.filterwarnings("ignore")
def test_the_same_step(name, tmp_path):
    changes = QUICK.get(name, [])
    plain, much = trained(state_of(name, tmp_path, *changes))
    state = state_of(name, tmp_path, *changes, "recompute_blocks=true")
    again, little = trained(state)
    assert state.recomputed and not any("forward" in vars(block) for block in state.recomputed)
    assert_equal(plain, again)
    print(f"{name}: {len(state.recomputed)} blocks, a step takes {little / much:.0%} of {much / 2**20:.1f} MiB")


def test_memory_of_a_transformer(tmp_path):
    """Of deep encoder and decoder most is saved; on other parts (losses, gradients, optimiser) there is nothing to save."""
    deep = [f"model.config.{part}.layers=12" for part in ("encoder", "decoder")]
    _, much = trained(state_of("image/titok-debug", tmp_path, *deep, "ema.decay=0.0"))
    _, little = trained(state_of("image/titok-debug", tmp_path, *deep, "ema.decay=0.0", "recompute_blocks=true"))
    print(f"titok, 24 blocks: {much / 2**20:.1f} MiB, recomputed {little / 2**20:.1f} MiB")
    assert little < 0.5 * much


def test_a_block_is_computed_twice_with_the_same_random_numbers(tmp_path):
    calls = []
    state = state_of("image/titok-debug", tmp_path, "recompute_blocks=true")
    first = state.recomputed[0].mlp
    first.insert(0, nn.Dropout(0.5))
    first[0].register_forward_hook(lambda module, x, y: calls.append(y.detach().clone()))
    x = torch.rand(2, 3, 32, 32)
    with recomputed(state.recomputed):
        out = state.tokenizer(x)
    assert len(calls) == 1
    out.z.square().mean().backward()
    assert len(calls) == 2 and torch.equal(*calls)


@pytest.mark.parametrize("name", WITHOUT)
def test_a_tokenizer_without_blocks_refuses(name, tmp_path):
    with pytest.raises(ConfigError, match="recompute_blocks is true, but .* has no blocks"):
        state_of(name, tmp_path, "recompute_blocks=true")


def test_no_block_lies_in_another(tmp_path):
    state = state_of("image/vqgan-debug", tmp_path)
    blocks = recomputable_blocks(state.tokenizer)
    assert not any(inner in list(outer.modules())[1:] for outer in blocks for inner in blocks)


def test_dry_run_says_so(tmp_path):
    run = image_run(write_pictures(tmp_path / "in"), tmp_path / "out", recompute_blocks=True)
    assert "blocks, to save memory" in dry_run(parse_run(run))["computed twice"]
