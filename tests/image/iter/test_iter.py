"""ITER: keys of the authors' class, the schedule of the refinement, its draws, and what its training gives to losses.

    pytest tests/image/iter/test_iter.py
"""

import math

import pytest
import tokenzoo
import torch
from contract_cases import build
from families import TINY
from image.iter.options import SWEEPS
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.image.iter.model import ITERConfig, RefineOptions
from tokenzoo.codecs.image.iter.refinement import Refiner, _drawn, _keep, kept_share
from tokenzoo.codecs.image.vqgan.model import VQGANConfig
from tokenzoo.train.files import load_run
from tokenzoo.zoo.convert import converter
from tokenzoo.zoo.registry import card
from torch import Tensor, nn

# --- the authors' checkpoint ------------------------------------------------------------------------------------------


def swin(prefix: str, channels: int, stacks: int, depth: int = 6, heads: int = 8, window: int = 8) -> dict[str, list[int]]:
    """Keys and shapes of the authors' `SwinLayers`, whose own width is that of its input."""
    c, hidden = channels, 4 * channels
    out = {f"{prefix}{name}.weight": [c, c, 3, 3] for name in ("conv_in", "conv_out")}
    out |= {f"{prefix}{name}.bias": [c] for name in ("conv_in", "conv_out")}
    for s in range(stacks):
        stack = f"{prefix}swin_blks.{s}."
        out |= {stack + "conv.weight": [c, c, 3, 3], stack + "conv.bias": [c]}
        for i in range(depth):
            block = f"{stack}residual_group.blocks.{i}."
            out |= {f"{block}{norm}.{end}": [c] for norm in ("norm1", "norm2") for end in ("weight", "bias")}
            out[block + "attn.relative_position_bias_table"] = [(2 * window - 1) ** 2, heads]
            out[block + "attn.relative_position_index"] = [window**2, window**2]
            if i % 2:
                out[block + "attn_mask"] = [16, window**2, window**2]
            linear = {"attn.qkv": (3 * c, c), "attn.proj": (c, c), "mlp.fc1": (hidden, c), "mlp.fc2": (c, hidden)}
            linear |= {"mlp.attn.0": (hidden // 16, hidden), "mlp.attn.2": (hidden, hidden // 16)}
            for name, (o, n) in linear.items():
                out |= {f"{block}{name}.weight": [o, n], f"{block}{name}.bias": [o]}
    return out


def authors_shapes(scale: int, codes: int, width: int, net_width: int, stacks: int, depth: int) -> dict[str, list[int]]:
    """Keys and shapes of ITER_x2.pth and ITER_x4.pth but for the VQGAN's, as chaofengc/ITER's classes make them."""
    halvings = {2: 2, 4: 1}[scale]
    conv = {"0": [64, 3, 3, 3]}
    norms = []
    for i in range(1, halvings + 1):
        c = 64 * 2**i
        conv[f"{i}.0"] = [c, c // 2, 3, 3]
        conv |= {f"{i}.{block}.conv.{place}": [c, c, 3, 3] for block in (1, 2) for place in (2, 5)}
        norms += [(f"{i}.{block}.conv.{place}.norm", c) for block in (1, 2) for place in (0, 3)]
    conv[f"{halvings + 1}"] = [width, 64 * 2**halvings, 1, 1]
    conv[f"{halvings + 3}"] = [codes, width, 1, 1]
    out = {f"lq_encoder.model.{name}.weight": shape for name, shape in conv.items()}
    out |= {f"lq_encoder.model.{name}.bias": shape[:1] for name, shape in conv.items()}
    out |= {f"lq_encoder.model.{name}.{end}": [c] for name, c in norms for end in ("weight", "bias")}
    out |= swin(f"lq_encoder.model.{halvings + 2}.", width, 2)
    for name, inputs, outputs in (("token_crit_net", codes, 2), ("token_refine_net", codes + 1, codes)):
        net, n = f"token_refine_net.{name}.", net_width
        out |= {net + "code_emb.weight": [n, inputs, 1, 1], net + "combine.weight": [n, 2 * n, 1, 1]}
        out |= {net + "conv_out.0.weight": [n], net + "conv_out.0.bias": [n]}
        out |= {net + "conv_out.2.weight": [outputs, n, 1, 1], net + "conv_out.2.bias": [outputs]}
        out |= swin(net + "swin_layers.", n, stacks, depth)
    return out


@pytest.mark.parametrize("name", ["small", *(pytest.param(f"iter-x{n}", marks=pytest.mark.slow) for n in (2, 4))])
def test_every_weight_of_the_authors_class_has_its_place(name):
    theirs = SWEEPS["iter-restoration"].tiny if name == "small" else card(name).config_overrides
    sizes = (24, 16, 16, 1, 2) if name == "small" else (512, 128, 256, 4, 6)
    layout = converter("iter-restoration")
    own = layout.own_config(theirs)
    with torch.device("cpu" if name == "small" else "meta"):
        state = build_tokenizer("iter", own).state_dict()
        file = {key: torch.empty(shape) for key, shape in authors_shapes(own.encoder.scale, *sizes).items()}
    vqgan = {k: v for k, v in layout.write(state, own).items() if k.startswith("vqgan.")}
    read = layout.read(file | vqgan, own)
    statistics = {k for k in state if k.startswith("base.quantizer.") and not k.endswith("embed")}
    assert {k: v.shape for k, v in read.items()} == {k: v.shape for k, v in state.items() if k not in statistics}
    assert len(read) == len(vqgan) + sum("relative_position_index" not in k and "attn_mask" not in k for k in file)


def test_the_recipes_network_is_the_published_one():
    published = converter("iter-restoration").own_config(card("iter-x4").config_overrides)
    recipe = from_mapping(ITERConfig, load_run("image/iter-x4-stage3").model.config)
    assert from_mapping(VQGANConfig, recipe.base) == from_mapping(VQGANConfig, published.base)
    assert (recipe.encoder, recipe.refinement.swin) == (published.encoder, published.refinement.swin)


# --- refinement -------------------------------------------------------------------------------------------------------


class Judge(nn.Module):
    """In place of an evaluation network: ids below `limit` are right."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def embedded(self, ids: Tensor) -> Tensor:
        return ids[:, None].float()

    def forward(self, ids: Tensor, first: Tensor) -> Tensor:
        sure = torch.where(ids < self.limit, 5.0, -5.0)
        return torch.cat([-sure, sure], dim=1)


class Lower(nn.Module):
    """In place of a refinement network: every kept id stays, every masked one becomes the id 0; it records how many were kept."""

    mask = torch.full((1, 1, 1, 1), -1.0)

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[list[int]] = []

    def embedded(self, ids: Tensor) -> Tensor:
        return ids[:, None].float()

    def forward(self, condition: Tensor, ids: Tensor) -> Tensor:
        self.kept.append((ids >= 0).flatten(1).sum(1).tolist())
        return 20.0 * nn.functional.one_hot(ids[:, 0].clamp(min=0).long(), 10).permute(0, 3, 1, 2).float()


def pictures(*wrong: int) -> Tensor:
    """Grids of 10 x 10 ids; of each so many are 7, the others 0..4."""
    flat = torch.arange(100) % 5
    rows = [torch.where(torch.arange(100) < n, 7, flat) for n in wrong]
    return torch.stack(rows).view(-1, 10, 10)


def test_the_first_evaluation_decides_how_many_steps_are_taken():
    """Steps that would keep fewer positions than are right already are left out: with T = 8, 8 for none and 0 from 81 of 100 on."""
    counts = [int((1 - math.cos(math.pi / 2 * i / 8)) * 100) for i in range(8)]
    wrong = (100, 99, 70, 40, 20, 19, 0)
    net = Lower()
    found = Refiner(Judge(5), net)(pictures(*wrong), steps=8)
    assert found.steps.tolist() == [sum(c >= 100 - n for c in counts) for n in wrong] == [8, 7, 3, 2, 1, 0, 0]
    assert torch.equal(found.right.flatten(1).sum(1), torch.tensor([100 - n for n in wrong]))
    taken = (found.ids != pictures(*wrong)).flatten(1).any(1)
    assert taken.tolist() == [True] * 5 + [False] * 2 and int(found.ids[:5].max()) < 7
    assert found.history.shape == (9, 7, 10, 10) and torch.equal(found.history[-1], found.ids)
    assert torch.equal(found.history[0], pictures(*wrong))


def test_each_step_keeps_as_many_positions_as_the_schedule_says():
    for schedule in ("cosine", "linear"):
        net = Lower()
        Refiner(Judge(9), net)(pictures(100), steps=8, threshold=1.5, schedule=schedule)  # above 1: nothing is kept at first
        counts = [int(kept_share(i / 8, schedule) * 100) for i in range(8)]
        assert [kept[0] for kept in net.kept] == counts
    net = Lower()
    Refiner(Judge(5), net)(pictures(70), steps=8)  # 30 are right: from the first step that would keep so many on
    assert [kept[0] for kept in net.kept] == [30, *(c for c in counts_after(30, 8))]


def counts_after(enough: int, steps: int) -> list[int]:
    counts = [int(kept_share(i / steps, "cosine") * 100) for i in range(steps)]
    return [c for c in counts if c >= enough][1:]


def test_all_right_none_right_and_no_steps():
    refiner, ids = Refiner(Judge(5), Lower()), pictures(60)
    assert refiner(ids, threshold=0.0).steps.tolist() == [0] and torch.equal(refiner(ids, threshold=0.0).ids, ids)
    assert refiner(ids, threshold=1.5).steps.tolist() == [8]
    assert refiner(ids, steps=0).steps.tolist() == [0] and torch.equal(refiner(ids, steps=0).ids, ids)


def test_ids_are_drawn_by_their_probability():
    logits = torch.tensor([0.0, 1.0, 2.0])[None, :, None, None].expand(1, 3, 100, 100)
    draws = torch.rand(100, 100, generator=torch.Generator().manual_seed(0))
    for temperature in (1.0, 0.5):
        share = torch.bincount(_drawn(logits, temperature, draws).flatten(), minlength=3) / 1e4
        assert torch.allclose(share, (torch.tensor([0.0, 1.0, 2.0]) / temperature).softmax(0), atol=0.015)
    assert (_drawn(logits, 0.0, draws) == 2).all()
    assert (_drawn(logits, 1.0, torch.ones(100, 100)) == 2).all()  # the last one, not one behind it


def test_positions_are_kept_by_their_probability():
    """One more of three positions, many times; those kept before stay, and at least one more is taken."""
    verdict = torch.tensor([0.1, 0.3, 0.6, 0.9]).log().view(1, 1, 4)
    before = torch.tensor([False, False, False, True]).view(1, 1, 4)
    g, found = torch.Generator().manual_seed(1), torch.zeros(4)
    for _ in range(1000):
        kept = _keep(verdict, before, 2, torch.rand(1, 4, generator=g))
        assert int(kept.sum()) == 2 and bool(kept[0, 0, 3])
        found += kept[0, 0]
    assert torch.allclose(found[:3] / 1000, torch.tensor([0.1, 0.3, 0.6]), atol=0.05)
    assert int(_keep(verdict, before, 1, torch.rand(1, 4, generator=g)).sum()) == 2
    assert int(_keep(verdict, before | True, 4, torch.rand(1, 4, generator=g)).sum()) == 4


# --- the tokenizer ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tok():
    return build("iter")


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.rand(3, 3, 24, 32, generator=torch.Generator().manual_seed(5))


def test_options_change_the_ids(tok, x):
    alone = tok.encode(x, steps=0).ids
    logits = tok.encode_latents(x)
    assert torch.equal(alone[:, 0], logits.argmax(1))
    whole = tok.encode(x, threshold=2.0).ids
    assert not torch.equal(whole, alone) and torch.equal(tok.encode(x, threshold=0.0).ids, alone)
    assert not torch.equal(tok.encode(x, threshold=2.0, seed=1).ids, whole)
    assert not torch.equal(tok.encode(x, threshold=2.0, temperature=0.0).ids, whole)
    for name, value in (("steps", -1), ("threshold", -0.1), ("temperature", math.nan), ("seed", -1)):
        with pytest.raises(ConfigError, match=name):
            tok.encode(x, **{name: value})


@torch.no_grad()
def test_pictures_that_take_unequal_steps_share_a_batch(tok, x):
    """A threshold at which one picture begins later than another; ids are those of each alone."""
    mixed = torch.cat([x, x.mean((2, 3), keepdim=True).expand_as(x)])  # the last ones are even
    ids = tok.encode(mixed, steps=0).ids[:, 0].unflatten(1, (6, 8))
    threshold = float(tok.refiner.evaluate(ids, ids).softmax(1)[:, 1].quantile(0.7))
    options = RefineOptions(threshold=threshold, steps=24)
    found = tok.refined(tok.encode_latents(mixed), (6, 8), options)
    assert len(found.steps.unique()) > 2, "the test needs pictures that differ"
    together = tok.encode(mixed, options).ids
    for i in range(6):
        assert torch.equal(tok.encode(mixed[i], options).ids[0], together[i])


def test_small_pictures_come_back_larger(tok):
    small = torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(0))
    tokens = tok.encode(small, enlarge=True)
    assert tok.decode(tokens).shape == (1, 3, 18, 14)
    assert torch.equal(tokens.ids, tok.encode(small.repeat_interleave(2, 1).repeat_interleave(2, 2)).ids)


def test_the_tokenizer_underneath_reads_the_tokens_and_is_never_trained(tok, x):
    tokens = tok.encode(x)
    assert torch.equal(tok.base.decode(tok.base.tokens(tokens.ids, grid=tokens.grid)), tok.decode(tokens))
    tok.train()
    try:
        assert not any(m.training for m in tok.base.modules()) and tok.encoder.training
        assert not any(p.requires_grad for p in tok.base.parameters())
    finally:
        tok.eval()


def test_what_training_gives_to_losses(tok, x):
    clean = x.flip(-1)
    tok.train()
    try:
        torch.manual_seed(0)
        f = tok(x, clean).features
    finally:
        tok.eval()
    ids = tok.base.encode(clean).ids[:, 0]
    assert torch.equal(f["ids"], ids) and torch.equal(tok(x).features["ids"], tok.base.encode(x).ids[:, 0])
    assert torch.equal(f["right.0"], (f["logits"].argmax(1) == ids).long())
    assert torch.equal(f["right.1"], (f["refined"].argmax(1) == ids).long())
    assert f["masked"].shape == (3, 1) and (f["masked"] > 0).all() and (f["masked"] <= 1).all() and len(f["masked"].unique()) == 3
    assert f["evaluation.0"].shape == f["evaluation.1"].shape == (3, 2, 48) and f["refined"].shape == (3, 16, 48)
    assert set(tok(x, clean).features) == {"logits", "ids"}  # in eval mode


def test_the_refinement_sees_no_masked_id(tok):
    """Ids below a mask change nothing; kept ones do."""
    g = torch.Generator().manual_seed(2)
    first, ids = (torch.randint(16, (1, 6, 8), generator=g) for _ in range(2))
    kept, right = torch.rand(1, 6, 8, generator=g) < 0.5, torch.rand(1, 6, 8, generator=g) < 0.5
    other = torch.where(kept, ids, (ids + 3) % 16)
    with torch.no_grad():
        base = tok.refiner.refine(first, right, ids, kept)
        assert torch.equal(tok.refiner.refine(first, right, other, kept), base)
        assert not torch.allclose(tok.refiner.refine(first, right, torch.where(kept, (ids + 3) % 16, ids), kept), base)
        assert not torch.allclose(tok.refiner.refine(first, ~right, ids, kept), base)


def test_the_encoder_alone_has_no_options_of_steps(x):
    config = TINY["iter"][1] | {"refinement": None}
    tok = tokenzoo.build_tokenizer("iter", config).eval()
    assert tok.spec.encode_options[-1] == "enlarge" and torch.equal(tok.encode(x).ids[:, 0], tok.encode_latents(x).argmax(1))
    with pytest.raises(ConfigError, match="steps"):
        tok.encode(x, steps=3)


def test_any_tokenizer_with_one_grid_of_ids_can_be_underneath(x):
    base = {"patch_size": 4, "widths": [8, 8], "encoder_blocks": [1, 1], "decoder_blocks": [1, 1], "latent_dim": 4}
    base |= {"quantizer": {"kind": "fsq", "levels": [3, 3]}}
    config = TINY["iter"][1] | {"base_family": "convnet", "base": base}
    tok = tokenzoo.build_tokenizer("iter", config | {"encoder": config["encoder"] | {"scale": 1}}).eval()
    low, high = tok.spec.value_range
    tokens = tok.encode(x * (high - low) + low)
    assert tok.decode(tokens).shape == x.shape and tokens.vocab_sizes == (9,)
    for family in ("titok", "dualvitok", "karl"):
        with pytest.raises(ConfigError, match="one id at each position"):
            tokenzoo.build_tokenizer("iter", {"base_family": family, "base": TINY[family][1]})
    with pytest.raises(ConfigError, match=r"ratio must be 1, 2, 4"):
        tokenzoo.build_tokenizer("iter", TINY["iter"][1] | {"encoder": {"scale": 8}})
    with pytest.raises(ConfigError, match=r"allowed: 1, 2, 4"):
        tokenzoo.build_tokenizer("iter", TINY["iter"][1] | {"encoder": {"scale": 3}})
