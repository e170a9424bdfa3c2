"""What every family promises of the way through `encode` and `decode`: prepared media, options, meaning, the device.

    pytest tests/test_contract_coding.py -k mimi
"""

import dataclasses

import pytest
import torch
from contract_cases import LABELS, batch, build, item, size_of, sizes
from tokenzoo.codecs.coding import NoMeaning
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.media import Prepared
from tokenzoo.codecs.options import describe_options, parse_options
from tokenzoo.codecs.tokenizer import Tokenizer

#: Text for options that text can stand for, by name; each is a value that the tiny forms take.
TEXTS = {
    "num_codebooks": "1", "resize": "squash", "positions": "3", "token_budget": "8", "quality": "0.3", "trim": "false", "seed": "3",
    "original": "false", "steps": "2", "guidance": "2.5", "normalized_guidance": "true", "num_tokens": "3", "scores": "true",
    "size": "32,48", "threshold": "0.3", "domain": "music", "temperature": "0.5", "enlarge": "false", "adaptive": "elbow",
    "frames": "1", "num_crops": "2", "pool": "1", "kept_seconds": "0.4", "window": "1",
}  # fmt: skip
#: The same from Python.
VALUES = {
    "num_codebooks": 1, "resize": "squash", "positions": 3, "token_budget": 8, "quality": 0.3, "trim": False, "seed": 3,
    "original": False, "steps": 2, "guidance": 2.5, "normalized_guidance": True, "num_tokens": 3, "scores": True, "size": (32, 48),
    "threshold": 0.3, "domain": "music", "temperature": 0.5, "enlarge": False, "adaptive": "elbow", "frames": 1, "num_crops": 2,
    "pool": 1, "kept_seconds": 0.4, "window": 1,
}  # fmt: skip
#: Options that hold arrays, or that a test of their own is about.
OTHERS = {"features", "noise", "uniform", "text", "value_range", "refine", "refiner", "image_guidance", "crops", "last_crop"}
#: Options of a diffusion refiner, which a tokenizer has only after it was loaded.
OF_A_REFINER = {"seed", "steps", "guidance"}


@pytest.fixture(scope="module", params=LABELS)
def tokenizer(request) -> Tokenizer:
    return build(request.param)


def foreign(tokenizer: Tokenizer) -> list[object]:
    """Media that do not fit: of other sizes, and of sound at another rate."""
    spec = tokenizer.spec
    if spec.modality == "audio":
        pool = sizes(tokenizer)[-3:]
        return [(item(tokenizer, n, seed=i), spec.sample_rate_hz * (2 + i) // 2) for i, n in enumerate(pool)]
    if getattr(spec, "image_size", None):
        height, width = spec.image_size
        return [item(tokenizer, size, seed=i) for i, size in enumerate(((height, width + 9), (2 * height, width), (height, width)))]
    return [item(tokenizer, size, seed=i) for i, size in enumerate(sizes(tokenizer)[-3:])]


def test_prepared_media_give_the_same_tokens(tokenizer):
    """Ids, sizes, rates, loudness and all else, also after resampling and resizing; prepared ones stay as they are."""
    xs = foreign(tokenizer)
    direct, items = tokenizer.encode(xs), tokenizer.prepare(xs)
    assert all(isinstance(p, Prepared) for p in items)
    assert tokenizer.encode_prepared(items).equal(direct)
    assert tokenizer.encode(items).equal(direct) and tokenizer.encode([items[0], *xs[1:]]).equal(direct)
    assert [p.x is q.x for p, q in zip(tokenizer.prepare(items), items, strict=True)] == [True] * len(items)
    one = [tokenizer.prepare(x)[0] for x in xs]  # one by one, as threads do
    assert tokenizer.encode_prepared(one).equal(direct)
    if direct.sizes is not None and tokenizer.spec.modality == "audio":
        assert direct.sizes[:, 0].tolist() == [x[0].shape[-1] for x in xs]
        assert direct.sample_rate_hz.tolist() == [rate for _, rate in xs]


def test_options_of_the_spec_have_a_help_line(tokenizer):
    for direction, names in (("encode", tokenizer.spec.encode_options), ("decode", tokenizer.spec.decode_options)):
        described = describe_options(tokenizer, direction)
        assert tuple(o.name for o in described) == names
        assert all(o.type and o.default and len(o.help) > 10 for o in described)
    assert set(tokenizer.spec.encode_options) | set(tokenizer.spec.decode_options) <= set(TEXTS) | OTHERS, "add the new option here"


def test_encode_options_from_text_equal_keywords(tokenizer):
    x = batch(tokenizer, 2)
    names = [n for n in tokenizer.spec.encode_options if n in TEXTS]
    if "codebooks" not in tokenizer.spec.prefix and tokenizer.spec.num_codebooks > 1:
        names.remove("num_codebooks")
    for name in names:
        options = parse_options(tokenizer, "encode", {name: TEXTS[name]})
        tokens = tokenizer.encode(x, options)
        assert tokens.equal(tokenizer.encode(x, **{name: VALUES[name]})), name
        assert tokenizer.encode_prepared(tokenizer.prepare(x, options), options).equal(tokens), name
    assert tokenizer.encode(x, parse_options(tokenizer, "encode", {})).equal(tokenizer.encode(x))


def test_decode_options_from_text_equal_keywords(tokenizer):
    if not tokenizer.spec.decodes:
        pytest.skip("it only encodes")
    absent = OF_A_REFINER if getattr(tokenizer, "refiner", True) is None else set()
    for name in [n for n in tokenizer.spec.decode_options if n in TEXTS and n not in absent]:
        same = {name: VALUES[name]} if name == "window" and tokenizer.spec.clips else {}  # such ids decode with their own window alone
        tokens = tokenizer.encode(batch(tokenizer, 2), **same)
        by_text = tokenizer.decode(tokens, parse_options(tokenizer, "decode", {name: TEXTS[name]}))
        assert torch.equal(by_text, tokenizer.decode(tokens, **{name: VALUES[name]})), name


def test_unknown_options_are_refused(tokenizer):
    x = batch(tokenizer, 1)
    with pytest.raises(ConfigError, match="num_codebook'.*Did you mean 'num_codebooks'"):
        tokenizer.encode(x, num_codebook=1)
    with pytest.raises(ConfigError, match="original"):
        parse_options(tokenizer, "decode", {"orignal": "true"})
    with pytest.raises(ConfigError, match="num_codebooks is 'two'"):
        parse_options(tokenizer, "encode", {"num_codebooks": "two"})
    with pytest.raises(ValueError, match="num_codebooks is"):
        tokenizer.encode(x, num_codebooks=tokenizer.spec.num_codebooks + 1)
    with pytest.raises(ConfigError, match="num_codebooks"):
        tokenizer.encode(x, num_codebooks=0)


def test_options_of_another_kind_are_refused(tokenizer):
    with pytest.raises(ConfigError, match="takes"):
        tokenizer.encode(batch(tokenizer, 1), parse_options(tokenizer, "decode", {}))


def test_pictures_of_a_stated_range(tokenizer):
    """Floats in 0..255 by their range are the same pictures."""
    if tokenizer.spec.modality != "image":
        pytest.skip("no pictures")
    low, high = tokenizer.spec.value_range
    x = item(tokenizer, size_of(tokenizer))
    given = ((x - low) / (high - low) * 255).clamp(0, 255)
    got = tokenizer.prepare(given, value_range=(0.0, 255.0))[0]
    assert torch.allclose(got.x, tokenizer.prepare(x)[0].x, atol=1e-4 * (high - low))


def test_copies_to_the_cpu_do_not_grow_with_the_batch(tokenizer, monkeypatch):
    """Each would wait for the device; ids stay there until they are asked for."""
    one, many = (tokenizer.prepare(list(batch(tokenizer, n))) for n in (1, 5))
    tokenizer.encode_prepared(one)  # whatever is made once
    calls, cpu = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self, *args, **kwargs: (calls.append(1), cpu(self, *args, **kwargs))[1])
    tokenizer.encode_prepared(one)
    once, before = len(calls), len(calls)
    tokens = tokenizer.encode_prepared(many)
    assert len(calls) - before == once and tokens.ids.device == tokenizer.device


def test_meaning_has_the_width_of_the_spec(tokenizer):
    x = batch(tokenizer, 2)
    tokens = tokenizer.encode(x)
    if not tokenizer.spec.semantic_dim:
        with pytest.raises(NoMeaning, match="no semantic features"):
            tokenizer.semantic(tokens)
        return
    y = tokenizer.semantic(tokens)
    assert y.ndim == 3 and y.shape[:2] == (2, tokenizer.spec.semantic_dim) and torch.isfinite(y).all()
    assert torch.allclose(tokenizer.semantic(tokens[1])[0], y[1], atol=1e-4)
    vocab = torch.tensor(tokens.vocab_sizes)[None, :, None]
    changed = dataclasses.replace(tokens, ids=(tokens.ids + 1) % vocab)[1]  # one item, for durations may be among the ids
    assert not torch.equal(tokenizer.semantic(changed)[0], y[1]), "ids play no part"
