"""Ids drawn from a language model: speculative drafts leave the distribution as it is. Run: pytest tests/zoo/corpus/test_sampling.py"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from effects import effect
from tokenzoo.codecs.config import ConfigError
from tokenzoo.zoo.corpus.packing import InterleavedConfig
from tokenzoo.zoo.corpus.sampling import SamplerConfig, sample
from tokenzoo.zoo.corpus.vocabulary import Books, Vocabulary

DRAWS = 700


def packing(sizes):
    media = (Books(name="x", modality="audio", vocab_sizes=sizes),)
    return InterleavedConfig(tokenizer="x", vocabulary=Vocabulary(text_size=0, media=media)).build()


class Cache:
    def __init__(self):
        self.ids = []

    def get_seq_length(self):
        return len(self.ids)

    def crop(self, less):
        del self.ids[less:]


class Chain:
    """A model whose logits follow from the last two ids, with a key-value cache like that of transformers."""

    def __init__(self, size, sharpness=1.0, seed=0):
        self.table = sharpness * torch.randn(size, size, size, generator=torch.Generator().manual_seed(seed))
        self.passes = 0

    def __call__(self, input_ids, past_key_values, use_cache):
        cache = past_key_values or Cache()
        rows = []
        for i in input_ids[0].tolist():
            cache.ids.append(i)
            rows.append(self.table[cache.ids[-2] if len(cache.ids) > 1 else 0, i])
        self.passes += 1
        return SimpleNamespace(logits=torch.stack(rows)[None], past_key_values=cache)


def drawn(pack, model, config, *, positions, count=DRAWS, codes=()):
    """How often each sequence was drawn, and the mean number of passes."""
    found, passes = {}, 0
    for seed in range(count):
        out = sample(model, pack, positions, config=config, seed=seed, codes=codes)
        key = tuple(out.tokens.ids[0].t().flatten().tolist())
        found[key], passes = found.get(key, 0) + 1, passes + out.passes
    return found, passes / count


def expected(pack, model, positions, top_k=50, temperature=1.0):
    """The probability of each sequence, from the model's table alone."""
    books, out = pack.vocab_sizes, {}
    starts = np.cumsum([pack.vocabulary.offsets("x")[0], *books])

    def go(ids, own, chance):
        step = len(own)
        if step == positions * len(books) or ids[-1] == pack.end_id:
            out[tuple(own)] = out.get(tuple(own), 0) + chance
            return
        k = step % len(books)
        row = model.table[ids[-2] if len(ids) > 1 else 0, ids[-1]].double().numpy() / temperature
        allowed = [*range(starts[k], starts[k] + books[k]), *([pack.end_id] if k == 0 and step else [])]
        allowed = sorted(allowed, key=lambda i: -row[i])[:top_k]
        weights = np.exp(row[allowed])
        for i, weight in zip(allowed, weights / weights.sum(), strict=True):
            if i == pack.end_id:
                out[tuple(own)] = out.get(tuple(own), 0) + chance * weight
            else:
                go([*ids, i], [*own, i - starts[k]], chance * weight)

    go([pack.begin_id], [], 1.0)
    return out


def surprise(found, chances):
    """Chi-square over its degrees of freedom, about 1 where the draws have these chances; rare sequences together."""
    count = sum(found.values())
    keys = [k for k, v in chances.items() if count * v >= 5]
    pairs = [(found.get(k, 0), count * chances[k]) for k in keys]
    rest = count - sum(n for n, _ in pairs), count - sum(m for _, m in pairs)
    pairs += [rest] if rest[1] > 1e-6 else []
    return sum((n - m) ** 2 / m for n, m in pairs) / (len(pairs) - 1)


@pytest.mark.parametrize(("sizes", "positions", "top_k"), [((3,), 3, 50), ((2, 3), 2, 50), ((3,), 3, 2)])
@pytest.mark.parametrize("draft", [0, 1, 5])
def test_drafts_leave_the_distribution_as_it_is(sizes, positions, top_k, draft):
    pack = packing(sizes)
    model = Chain(pack.vocabulary.size)
    found, passes = drawn(pack, model, SamplerConfig(temperature=1.0, top_k=top_k, draft=draft), positions=positions)
    near, far = (surprise(found, expected(pack, model, positions, top_k, t)) for t in (1.0, 0.6))
    print(f"draft {draft}: chi-square {near:.2f} a degree of freedom (of another temperature {far:.2f}), {passes:.2f} passes")
    assert near < 2 < far
    assert draft == 0 or passes < 0.95 * sum(n * min(len(k) + 1, positions * len(sizes)) for k, n in found.items()) / DRAWS


def test_a_group_of_one_id_is_plain_sampling():
    pack = packing((3,))
    model, codes = Chain(pack.vocabulary.size), [torch.eye(3)]
    config = SamplerConfig(temperature=1.0, draft=3, group_ranks=0, group_distance=9.0)
    assert surprise(drawn(pack, model, config, positions=3, codes=codes)[0], expected(pack, model, 3)) < 2


@pytest.mark.effect
def test_groups_keep_more_guesses():
    pack = packing((12,))
    model = Chain(pack.vocabulary.size)
    model.table[..., pack.end_id] = -100
    codes = [torch.stack([torch.arange(12.0) // 4, torch.ones(12)], dim=1)]  # three groups of four equal codes
    settings = {"temperature": 1.0, "draft": 6}
    _, passes = drawn(pack, model, SamplerConfig(**settings), positions=12, count=60)
    _, grouped = drawn(pack, model, SamplerConfig(**settings, group_distance=0.1), positions=12, count=60, codes=codes)
    effect("groups of like codes (GSD)", "passes of the model for 12 ids, drafts of 6", with_=grouped, without=passes)
    assert grouped < 0.95 * passes


@pytest.mark.effect
def test_greedy_drafts_are_the_greedy_ids_in_fewer_passes():
    pack = packing((6, 4))
    model = Chain(pack.vocabulary.size, sharpness=4.0)
    model.table[..., pack.end_id] = -100
    one = sample(model, pack, 20, config=SamplerConfig(temperature=0), seed=0)
    several = sample(model, pack, 20, config=SamplerConfig(temperature=0, draft=8), seed=0)
    assert torch.equal(one.tokens.ids, several.tokens.ids) and one.tokens.ids.shape == (1, 2, 20)
    effect("drafts (Jacobi)", "passes of the model for the same 40 greedy ids", with_=several.passes, without=one.passes)
    assert one.passes == one.steps == 40 and several.steps == 40 and several.passes < 40
    start = sample(model, pack, 20, one.tokens.first(positions=5), config=SamplerConfig(temperature=0, draft=8), seed=0)
    assert torch.equal(start.tokens.ids, one.tokens.ids) and start.steps == 30


def test_a_llama_with_a_real_cache():
    transformers = pytest.importorskip("transformers")
    pack = packing((6, 4))
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=pack.vocabulary.size, **shape)).eval()
    ids = [sample(model, pack, 12, config=SamplerConfig(temperature=0, draft=d), seed=0).tokens.ids for d in (0, 1, 7)]
    assert torch.equal(ids[0], ids[1]) and torch.equal(ids[0], ids[2])


def test_refused():
    with pytest.raises(ConfigError, match="set draft"):
        SamplerConfig(group_distance=0.5)
    pack = packing((3,))
    with pytest.raises(ValueError, match="needs the code vectors"):
        sample(Chain(pack.vocabulary.size), pack, 4, config=SamplerConfig(draft=2, group_distance=0.5), seed=0)
