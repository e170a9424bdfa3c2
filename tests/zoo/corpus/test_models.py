"""The kinds of language models: what they cost in bits on made-up tokens whose entropy is known, and what they draw.

    pytest tests/zoo/corpus/test_models.py
"""

import itertools
import math

import numpy as np
import pytest
import torch
from effects import effect
from made_tokens import Made, dependent
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.codecs.weights import CheckpointError
from tokenzoo.zoo.corpus.models.base import GeneratorConfig, load_generator
from tokenzoo.zoo.corpus.models.fit import fit
from tokenzoo.zoo.corpus.models.heads import PartsHead
from tokenzoo.zoo.corpus.models.measure import measure
from tokenzoo.zoo.corpus.models.order import frequency_order
from tokenzoo.zoo.corpus.sampling import SamplerConfig

pytest.importorskip("transformers")
SIZES = (4, 4, 2)
EXACT = SamplerConfig(temperature=1.0)
TINY = {"width": 16, "layers": 1, "heads": 2}
KINDS = {
    "llama": {"kind": "llama"},
    "per_dimension": {"kind": "per_dimension", "order": [2, 0, 1], "head_layers": 1, "head_width": 8, "head_heads": 2},
    "bits": {"kind": "bits", "group_bits": 1},
    "bits-grouped": {"kind": "bits", "inputs": "tiled", "head_layers": 1, "head_width": 8, "head_heads": 2},
    "masked": {"kind": "masked"},
}


def config_of(values, **more):
    return from_mapping(GeneratorConfig, TINY | values | more)


def sharp(values, data, seed=0, factor=25.0):
    """An untrained model whose distributions are far from even."""
    config = config_of(values)
    torch.manual_seed(seed)
    model = config.build(data.packing).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in ("head.out", "ending.weight"):
                weight.mul_(factor if name == "head.out" else 4)
    return model


def batch_of(data, rows):
    return data.collate([data[i] for i in rows])


def trained(values, train, *, steps, lr=1e-2, seed=0):
    return fit(train, config_of(values), steps=steps, batch_size=32, lr=lr, seed=seed)[0]


def bits_of(model, train, valid, samples=64):
    return measure(model, train, valid, samples=samples, batch_size=32)["bits"]


def made(values, positions=16, count=512, seed=0):
    ids, truth = dependent(count, positions, seed)
    return Made(ids, SIZES, config_of(values).choice()), truth


def surprise(found, expected):
    """Chi-square over its degrees of freedom of counts and their expectations; rare outcomes together."""
    common = expected >= 5
    pairs = [*zip(found[common], expected[common], strict=True)]
    if float(expected[~common].sum()) > 1e-6:
        pairs.append((found[~common].sum(), expected[~common].sum()))
    return float(sum((n - m) ** 2 / m for n, m in pairs) / (len(pairs) - 1))


# --- each kind ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_saved_model_is_the_same(name, tmp_path):
    data, _ = made(KINDS[name], positions=5, count=4)
    model, batch = sharp(KINDS[name], data), batch_of(data, range(4))
    model.save(tmp_path / "model")
    again = load_generator(tmp_path / "model")
    one, two = (m.losses(batch, torch.Generator().manual_seed(0))[0] for m in (model, again))
    assert torch.equal(one, two) and again.config == model.config
    drawn = [m.sample(4, data.tokens(0).first(positions=2), config=EXACT, seed=1).tokens for m in (model, again)]
    assert drawn[0] == drawn[1] and torch.equal(drawn[0].ids[..., :2], data.tokens(0).ids[..., :2])
    if name == "masked":
        settings = tmp_path / "model/generator.json"
        settings.write_text(settings.read_text().replace('"layers": 1', '"layers": 2'))
        with pytest.raises(CheckpointError, match="missing"):
            load_generator(tmp_path / "model")
    with pytest.raises(ConfigError, match="no generator.json"):
        load_generator(tmp_path)


@pytest.mark.parametrize("name", [n for n in KINDS if n != "llama"])
def test_no_position_sees_another_document_or_itself(name):
    """Ids of another document in the block change no loss; nor, in a causal model, ids that come later."""
    data, _ = made(KINDS[name], positions=5, count=4)
    model, batch = sharp(KINDS[name], data), batch_of(data, [0])
    steps = batch["input_ids"].shape[-1]
    pair = {k: torch.cat([batch[k], batch_of(data, [1])[k]], dim=-1) for k in batch}
    pair["document_ids"] = torch.arange(2).repeat_interleave(steps)[None]
    other = {k: v.clone() for k, v in pair.items()}
    other["input_ids"][..., :steps] = batch_of(data, [2])["input_ids"]
    one, two = (model.losses(b, torch.Generator().manual_seed(0))[0] for b in (pair, other))
    media = 15  # ids of a document
    kept = slice(media, None) if name == "masked" else slice(media, 2 * media)
    assert torch.allclose(one[kept], two[kept], atol=1e-5)
    if name != "masked":
        late = {k: v.clone() for k, v in batch.items()}
        late["input_ids"][..., 4:6] = batch_of(data, [3])["input_ids"][..., 4:6]
        one, two = (model.losses(b, torch.Generator())[0] for b in (batch, late))
        assert torch.allclose(one[:12], two[:12], atol=1e-5), "the first four positions"


@pytest.mark.parametrize("name", ["per_dimension", "bits", "bits-grouped"])
def test_the_distribution_sums_to_one(name):
    """Over all media of one and of two positions, the longer ones without their end."""
    data = Made(torch.zeros(1, 2, 1, dtype=torch.int64), (2, 4), "parallel")
    model, total = sharp({**KINDS[name], **({"order": [1, 0]} if name == "per_dimension" else {})}, data), 0.0
    pairs = list(itertools.product(range(2), range(4)))
    for length in (1, 2):
        ids = torch.tensor(list(itertools.product(pairs, repeat=length))).mT  # [N, 2, length]
        every = Made(ids, (2, 4), "parallel")
        nats = model.losses(batch_of(every, range(len(ids))), torch.Generator())[0].detach()
        each = nats[: ids.numel()].view(len(ids), -1).sum(1).double() + (nats[ids.numel() :] if length == 1 else 0)
        total += float((-each).exp().sum())
    assert total == pytest.approx(1, abs=1e-5)


# --- per_dimension ------------------------------------------------------------------------------------------------------


def test_the_head_draws_from_its_distribution():
    torch.manual_seed(0)
    head = PartsHead((3, 2, 3), 8, layers=1, inner=8, heads=2)
    with torch.no_grad():
        head.out.mul_(30)
        state, count = torch.randn(8).expand(3000, 8), 3000
        found = head.draw(state, EXACT, torch.Generator().manual_seed(0))
        every = torch.tensor(list(itertools.product(range(3), range(2), range(3))))
        p = (-head.nats(state[: len(every)], every).sum(1)).exp().numpy()
    assert p.sum() == pytest.approx(1, abs=1e-5)
    counts = np.bincount((found @ torch.tensor([6, 3, 1])).numpy(), minlength=18)
    assert surprise(counts, count * p) < 2 < surprise(counts, count * p**0.7 / (p**0.7).sum())


def test_a_head_over_dimensions_beats_independent_ones():
    train, truth = made(KINDS["per_dimension"], positions=4, count=1024)
    valid, _ = made(KINDS["per_dimension"], positions=4, count=64, seed=1)
    settings = {"kind": "per_dimension", "head_width": 16, "head_heads": 2}
    one, none = (bits_of(trained(settings | {"head_layers": n}, train, steps=40, lr=2e-2), train, valid) for n in (1, 0))
    print(f"bits an id: {one:.3f}, independent {none:.3f}; entropy {truth:.3f}")
    assert one < none - 0.15


@pytest.mark.slow
@pytest.mark.effect
def test_per_dimension_reaches_the_entropy_in_a_third_of_the_steps():
    settings = KINDS["per_dimension"] | {"width": 32, "head_width": 32, "order": "given"}
    train, truth = made(settings, count=4096)
    valid, _ = made(settings, count=256, seed=1)
    models = [trained(settings | {"head_layers": n}, train, steps=600) for n in (1, 0)]
    bits = [bits_of(model, train, valid, 256) for model in models]
    effect("dimensions one after another (TokenBridge)", "bits an id, held out", with_=bits[0], without=bits[1])
    flat = {"kind": "llama", "packing": {"kind": "per_dimension"}, "width": 32}
    flat_train, flat_valid = made(flat, count=4096)[0], made(flat, count=256, seed=1)[0]
    model = trained(flat, flat_train, steps=600)
    whole = bits_of(model, flat_train, flat_valid, 256)
    one, several = (m.sample(16, config=EXACT, seed=0) for m in (models[0], model))
    print(f"flat {whole:.3f} bits an id; entropy {truth:.3f}; passes for {one.steps} ids: {one.passes}, flat {several.passes}")
    assert truth - 0.02 < bits[0] < truth + 0.08 and abs(whole - bits[0]) < 0.06 and bits[1] > truth + 0.25
    assert (one.steps, one.passes, several.steps, several.passes) == (48, 16, 48, 48)


def test_the_order_by_frequency():
    """A dimension that is smooth over the grid comes before noise, and a constant one last."""
    g = torch.Generator().manual_seed(0)
    ramp = torch.arange(8).repeat(8, 1)  # [8, 8]
    ids = torch.stack([torch.randint(8, (8, 8), generator=g), torch.full((8, 8), 3), ramp, 3 * (ramp % 2) + ramp // 4])
    data = Made(ids.flatten(1)[None], (8, 8, 8, 8), "parallel", grid=(8, 8))
    assert frequency_order(data) == (2, 3, 0, 1)
    config = config_of({"kind": "per_dimension", "order": "frequency"}).fitted(data)
    assert config.order == (2, 3, 0, 1)


# --- bits ---------------------------------------------------------------------------------------------------------------


def binary(count, positions, chance, seed):
    """Ids of four codebooks of 2^16, all 64 bits of a position 1 with this chance."""
    bits = torch.rand(count, 4, positions, 16, generator=torch.Generator().manual_seed(seed)) < chance
    return (bits.long() << torch.arange(16)).sum(-1)


@pytest.mark.parametrize("inputs", ["linear", pytest.param("tiled", marks=pytest.mark.slow)])
def test_2_to_the_64_ids_cost_the_entropy_of_their_bits(inputs):
    sizes, chance = (2**16,) * 4, 0.2
    entropy = -(chance * math.log2(chance) + (1 - chance) * math.log2(1 - chance))
    settings = {"kind": "bits", "group_bits": 1, "inputs": inputs, "width": 64}
    train, valid = (Made(binary(count, 4, chance, count), sizes, "parallel") for count in (1024, 64))
    even = config_of(settings).build(train.packing)
    assert sum(p.numel() for p in even.parameters()) < 70_000
    with torch.no_grad():
        even.head.out.zero_()
        even.ending.weight.zero_()
        even.ending.bias.fill_(-30)
    assert bits_of(even, train, valid) == pytest.approx(16, abs=1e-4)
    figures = measure(trained(settings, train, steps=40, lr=2e-2), train, valid, samples=64, batch_size=32)
    print(f"{figures['bits']:.3f} bits an id, in closed form {16 * entropy:.3f}; bit by bit {figures['bitwise_bits']:.3f}")
    assert figures["bitwise_bits"] == pytest.approx(16 * entropy, rel=0.01)
    assert figures["bits"] == pytest.approx(16 * entropy, rel=0.06)
    assert figures["unigram_bits"] < figures["bits"], "no more than the logarithm of the ids measured"


def test_bits_are_those_of_the_ids():
    data = Made(torch.tensor([[[5, 130], [1, 3]]]), (256, 4), "parallel")
    model = config_of({"kind": "bits", "group_bits": 4, "inputs": "tiled"}).build(data.packing)
    own = torch.tensor([[5, 1], [130, 3]])
    assert model.bits(own).tolist() == [[0, 0, 0, 0, 0, 1, 0, 1, 0, 1], [1, 0, 0, 0, 0, 0, 1, 0, 1, 1]]
    assert model.embed(own)[0, :13].tolist() == [-1, -1, -1, -1, -1, 1, -1, 1, -1, 1, -1, -1, -1]
    assert model.head.sizes == (16, 16, 4)
    for value in range(16):  # a head that is sure of one value of each group
        with torch.no_grad():
            model.head.out.zero_()
            model.head.out[0, :, value], model.head.out[1, :, 2], model.head.out[2, :, 1] = 1e3, 1e3, 1e3
        assert model.draw(torch.ones(1, 16), SamplerConfig(temperature=0), torch.Generator()).tolist() == [[16 * value + 2, 1]]


@pytest.mark.slow
@pytest.mark.effect
def test_two_heads_of_half_the_bits_see_dependence_that_single_bits_do_not():
    """ELM: bits of one half depend on each other; a softmax over the half holds that, one for each bit does not."""
    g = torch.Generator().manual_seed(0)
    low, high = torch.randint(16, (2, 2048, 12), generator=g)
    high = torch.where(high.bitwise_and(1) == (high >> 1) & 1, high, high ^ 1)  # two equal bits
    low = torch.where(low.bitwise_and(1) == (low >> 3) & 1, low, low ^ 1)
    data = [Made((16 * high + low)[part, None], (256,), "parallel") for part in (slice(0, 1792), slice(1792, None))]
    halves, single = (
        bits_of(trained({"kind": "bits", "group_bits": n, "width": 32}, data[0], steps=300), *data, samples=256) for n in (4, 1)
    )
    effect("two heads of 4 bits (ELM)", "bits an id of 8 bits of which 6 are free", with_=halves, without=single)
    assert halves == pytest.approx(6, abs=0.1) and single == pytest.approx(8, abs=0.1)


# --- masked -------------------------------------------------------------------------------------------------------------


def conditionals(model, own):
    """-log p of each of 4 cells of `own` `[N, 2, 2]` (positions, dimensions) given the cells outside of each mask: {mask: [N, 4]}."""
    rows, found = len(own), {}
    wide = torch.zeros(rows, 4, 2, dtype=torch.int64)
    wide[:, 1:3] = own
    held = torch.tensor([False, True, True, False]).expand(rows, 4)
    for mask in itertools.product([False, True], repeat=4):
        hidden = torch.zeros(rows, 4, 2, dtype=torch.bool)
        hidden[:, 1:3] = torch.tensor(mask).view(2, 2)
        state = model.states(wide, hidden, held, torch.zeros(rows, 4).long(), torch.arange(4).expand(rows, 4))
        found[mask] = model.head.nats(state[held], wide[held]).view(rows, 4)
    return found


def in_order(nats, order):
    """-log p `[N]` of drawing the cells in this order."""
    total, hidden = 0, [True] * 4
    for cell in order:
        total = total + nats[tuple(hidden)][:, cell]
        hidden[cell] = False
    return total


@pytest.fixture(scope="module")
def square():
    """A model of 2 positions of 2 binary dimensions, all 16 tokens `[16, 2, 2]` (dimensions, positions), and -log p of each order."""
    every = torch.tensor(list(itertools.product(range(2), repeat=4))).view(16, 2, 2)
    data = Made(every, (2, 2), "parallel")
    model = sharp(KINDS["masked"], data, factor=12)
    with torch.no_grad():
        nats = conditionals(model, every.mT)
        orders = torch.stack([in_order(nats, order) for order in itertools.permutations(range(4))])  # [24, 16]
    return model, data, orders


def test_the_bound_is_the_mean_over_random_orders(square):
    model, data, orders = square
    assert torch.allclose((-orders.double()).exp().sum(1), torch.ones(24, dtype=torch.float64), atol=1e-5)
    row, rows = 6, 4000
    batch = {k: v.expand(rows, *v.shape[1:]) for k, v in batch_of(data, [row]).items()}
    with torch.no_grad():
        nats, ids = model.losses(batch, torch.Generator().manual_seed(0))
    assert len(ids) == rows * 4 and int(ids.min()) >= data.packing.vocabulary.offsets("made")[0]
    estimate, exact = float(nats.sum()) / rows, float(orders[:, row].mean())
    assert estimate == pytest.approx(exact, rel=0.03)
    assert exact >= float(-torch.logsumexp(-orders[:, row], 0) + math.log(24)), "a bound on -log p of drawing in a random order"


def test_as_many_passes_as_ids_are_one_id_a_pass(square):
    model, data, _ = square
    for passes, want in ((0, 4), (4, 4), (9, 4), (2, 2), (1, 1)):
        drawn = model.sample(2, config=SamplerConfig(temperature=1.0, passes=passes), seed=0)
        assert (drawn.passes, drawn.steps) == (want, 4) and drawn.tokens.ids.shape == (1, 2, 2)
    data, _ = made(KINDS["masked"], positions=20, count=1)
    left, model = [], sharp(KINDS["masked"], data)
    inner = model.states
    model.states = lambda own, masked, *rest: (left.append(int(masked.sum())), inner(own, masked, *rest))[1]
    model.sample(20, config=SamplerConfig(passes=6, reveal="confidence"), seed=0)
    assert left == [60, *(math.floor(60 * math.cos(math.pi / 2 * t / 6)) for t in range(1, 6))], "the cosine of CubiD"


@pytest.mark.slow
@pytest.mark.parametrize("reveal", ["random", "confidence"])
def test_one_id_a_pass_draws_from_the_mean_over_orders(square, reveal):
    """At random; by confidence the order depends on what is drawn, so the distribution is another one."""
    model, _, orders = square
    count, found = 1500, np.zeros(16)
    for seed in range(count):
        ids = model.sample(2, config=SamplerConfig(temperature=1.0, reveal=reveal), seed=seed).tokens.ids[0]
        found[int(ids.flatten() @ torch.tensor([8, 4, 2, 1]))] += 1
    value = surprise(found, count * (-orders.double()).exp().mean(0).numpy())
    print(f"{reveal}: chi-square {value:.2f} a degree of freedom")
    assert value < 2 if reveal == "random" else value > 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["per_dimension", "bits", "bits-grouped"])
def test_draws_have_the_model_s_distribution(name):
    """Media of one position, which ended, and of two, over all ids."""
    blank = Made(torch.zeros(1, 2, 1, dtype=torch.int64), (2, 4), "parallel")
    model = sharp({**KINDS[name], **({"order": [1, 0]} if name == "per_dimension" else {})}, blank)
    chances = {}
    for length in (1, 2):
        ids = torch.tensor(list(itertools.product(itertools.product(range(2), range(4)), repeat=length))).mT
        nats = model.losses(batch_of(Made(ids, (2, 4), "parallel"), range(len(ids))), torch.Generator())[0].detach()
        each = nats[: ids.numel()].view(len(ids), -1).sum(1) + (nats[ids.numel() :] if length == 1 else 0)
        chances |= {str(i.tolist()): math.exp(-n) for i, n in zip(ids, each.tolist(), strict=True)}
    count, found = 1500, dict.fromkeys(chances, 0)
    for seed in range(count):
        found[str(model.sample(2, config=EXACT, seed=seed).tokens.ids[0].tolist())] += 1
    value = surprise(np.array([*found.values()]), count * np.array([*chances.values()]))
    print(f"chi-square {value:.2f} a degree of freedom over {len(chances)} media")
    assert value < 2


@pytest.mark.slow
@pytest.mark.effect
def test_a_masked_model_recovers_dependence():
    """Its bound comes near the entropy, and what it draws in few passes has the dependence that one pass cannot have."""
    settings = KINDS["masked"] | {"width": 32, "layers": 2, "share": "uniform"}
    train, truth = made(settings, positions=8, count=4096)
    valid, _ = made(settings, positions=8, count=256, seed=1)
    model = trained(settings, train, steps=600, lr=1e-2)
    figures = measure(model, train, valid, samples=256, batch_size=32)
    print(f"bound {figures['bits']:.3f} bits an id, entropy {truth:.3f}, without context {figures['unigram_bits']:.3f}")
    assert "upper bound" in figures["bits_mean"] and figures["bits"] < figures["unigram_bits"] - 0.25

    def agreement(passes):
        ids = torch.cat([model.sample(8, config=SamplerConfig(temperature=1.0, passes=passes), seed=s).tokens.ids for s in range(40)])
        return float((ids[:, 0] == ids[:, 1]).double().mean())

    several, one = agreement(8), agreement(1)
    effect("masked ids in 8 passes (CubiD)", "share of equal first and second dimensions, 0.85 in the data", with_=several, without=one)
    assert several > 0.7 and one < 0.4


# --- refusals -----------------------------------------------------------------------------------------------------------


def test_refused():
    data, _ = made(KINDS["masked"], count=1)
    with pytest.raises(ConfigError, match="multiple of twice the heads"):
        config_of({"kind": "llama"}, width=18)
    with pytest.raises(ConfigError, match="pack as 'parallel', not 'delay'"):
        config_of({"kind": "masked"}).build(Made(data.ids, SIZES, "delay").packing)
    with pytest.raises(ConfigError, match="one id a step; 'parallel'"):
        config_of({"kind": "llama"}).build(data.packing)
    with pytest.raises(ConfigError, match="each of 0..2 once"):
        config_of({"kind": "per_dimension", "order": [0, 0, 1]}).build(data.packing)
    with pytest.raises(ConfigError, match="call fitted"):
        config_of({"kind": "per_dimension", "order": "frequency"}).build(data.packing)
    with pytest.raises(ConfigError, match="not binary"):
        config_of({"kind": "bits"}).build(Made(data.ids, (4, 4, 3), "parallel").packing)
    with pytest.raises(ConfigError, match="repeats 5 bits up to the width, which is 4"):
        config_of({"kind": "bits", "inputs": "tiled"}, width=4).build(data.packing)
    with pytest.raises(ConfigError, match="valid_masks from 1"):
        config_of({"kind": "masked", "valid_masks": 0})
    with pytest.raises(ConfigError, match="kind bits follows only temperature, top_k"):
        config_of({"kind": "bits"}).check(SamplerConfig(draft=2))
    config_of({"kind": "masked"}).check(SamplerConfig(passes=3, reveal="confidence"))
