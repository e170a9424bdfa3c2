"""Every family in float16 and bfloat16, under autocast, and under another default. Run: pytest tests/test_half_precision.py -k mimi

Of each family one form; with `-m "slow or not slow"` all forms.
Ids may differ from those of float32; their shape and range do not, and what is decoded is finite and float32.
"""

import copy

import pytest
import tokenzoo
import torch
from contract_cases import ONE_OF_EACH, batch, build, media
from families import TINY
from tokenzoo.codecs.quantizers.base import Quantizer
from tokenzoo.codecs.serialize import load_folder, save_folder
from tokenzoo.codecs.tokenizer import Tokenizer

NARROW = [torch.float16, torch.bfloat16]


@pytest.fixture(scope="module", params=ONE_OF_EACH)
def tokenizer(request) -> Tokenizer:
    return build(request.param)


def check_ids(tokens: tokenzoo.Tokens, tokenizer: Tokenizer, like: tokenzoo.Tokens) -> None:
    assert tokens.ids.dtype == torch.int64
    assert tokens.ids.shape == like.ids.shape
    for k, v in enumerate(tokenizer.spec.vocab_sizes):
        assert 0 <= int(tokens.ids[:, k].min()) <= int(tokens.ids[:, k].max()) < v


def check_media(decoded: torch.Tensor | list[torch.Tensor]) -> None:
    for y in decoded:
        assert y.dtype == torch.float32 or not y.is_floating_point(), f"decoded as {y.dtype}"
        assert torch.isfinite(y).all()


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_encode_and_decode(tokenizer, dtype):
    x, narrow = batch(tokenizer, 2), copy.deepcopy(tokenizer).to(dtype)
    tokens = tokenizer.encode(x)
    check_ids(narrow.encode(x), narrow, tokens)
    if tokenizer.spec.decodes:
        check_media(narrow.decode(tokens))


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_silence_and_black_stay_finite(tokenizer, dtype):
    """Where a mean square, a norm or a magnitude is 0, float16 has no 1e-8 that keeps a quotient finite."""
    spec = tokenizer.spec
    if spec.modality not in ("audio", "image"):
        pytest.skip("features have no silence")
    narrow = copy.deepcopy(tokenizer).to(dtype)
    x = torch.full_like(batch(tokenizer, 1)[0], 0.0 if spec.modality == "audio" else spec.value_range[0])
    encode = narrow.quantizer.encode

    def encode_finite(z: torch.Tensor, **options) -> torch.Tensor:
        assert torch.isfinite(z).all(), "NaN has ids too"
        return encode(z, **options)

    narrow.quantizer.encode = encode_finite
    tokens = narrow.encode(media(x, tokenizer))
    check_ids(tokens, narrow, tokenizer.encode(media(x, tokenizer)))
    if spec.decodes:
        check_media(narrow.decode(tokens))


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_halves(tokenizer, dtype, tmp_path):
    """What `load(part=..., dtype=...)` gives: a half knows the type that it computes in."""
    tokens = tokenizer.encode(batch(tokenizer, 2))
    save_folder(tokenizer, tmp_path)
    encoder, decoder = (load_folder(tmp_path, part=part) for part in ("encoder", "decoder"))
    of_maps = [p for n, p in tokenizer.named_parameters() if "quantizer" not in n and "alternatives" not in n]
    for half in (encoder.to(dtype), decoder.to(dtype)):
        assert half.dtype == (dtype if of_maps else torch.float32)
    check_ids(encoder.encode(batch(tokenizer, 2)), encoder, tokens)
    if tokenizer.spec.decodes:
        check_media(decoder.decode(tokens))


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_streams(tokenizer, dtype):
    if tokenizer.spec.modality != "audio" or not tokenizer.spec.streamable:
        pytest.skip("it does not stream")
    stream = copy.deepcopy(tokenizer).to(dtype).stream()
    parts = [stream.push(piece) for piece in batch(tokenizer, 1).split(13, dim=-1)] + [stream.flush()]
    decoded = [stream.decode(p) for p in parts if p is not None]
    assert sum(y.shape[-1] for y in decoded)
    check_media(decoded)


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_training_steps(tokenizer, dtype):
    narrow, x = copy.deepcopy(tokenizer).to(dtype).train(), batch(tokenizer, 2)
    out = narrow(x.to(dtype) if x.is_floating_point() else x)
    loss = out.x_hat.float().square().mean() + out.quantized.loss + sum(f.float().square().mean() for f in out.features.values())
    if any(p.requires_grad for p in narrow.parameters()):  # else it is fitted, not trained
        loss.backward()
    grads = {n: p.grad for n, p in narrow.named_parameters() if p.grad is not None}
    assert torch.isfinite(loss)
    assert not [n for n, g in grads.items() if not torch.isfinite(g).all()]


def test_quantizers_are_never_cast(tokenizer):
    narrow = copy.deepcopy(tokenizer).to(torch.bfloat16)
    before, after = tokenizer.state_dict(), narrow.state_dict()
    paths = [n for n, m in tokenizer.named_modules() if isinstance(m, Quantizer)]
    held = [k for k in before if any(k.startswith(f"{p}.") for p in paths)]
    assert paths
    assert not [k for k in held if not torch.equal(before[k], after[k])]


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_autocast(tokenizer, dtype):
    x, tokens = batch(tokenizer, 2), tokenizer.encode(batch(tokenizer, 2))
    with torch.autocast("cpu", dtype):
        check_ids(tokenizer.encode(x), tokenizer, tokens)
        if tokenizer.spec.decodes:
            check_media(tokenizer.decode(tokens))


@pytest.fixture
def narrow_default():
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("label", ONE_OF_EACH)
def test_the_default_type_plays_no_part(label, narrow_default, tmp_path):
    """Weights are float32 after `build` and `load`, constants as exact as ever, and ids and media the same."""
    torch.set_default_dtype(torch.float32)
    tokenizer = build(label)
    x = batch(tokenizer, 2)
    tokens = tokenizer.encode(x)
    decoded = tokenizer.decode(tokens) if tokenizer.spec.decodes else None
    save_folder(tokenizer, tmp_path)
    torch.set_default_dtype(torch.bfloat16)
    again = load_folder(tmp_path)
    fresh = tokenzoo.build_tokenizer(*TINY[label])
    for model in (again, fresh):
        assert {v.dtype for v in (*model.parameters(), *model.buffers()) if v.is_floating_point()} <= {torch.float32, torch.float64}
    assert torch.equal(again.encode(x).ids, tokens.ids)
    if decoded is not None:
        assert torch.equal(again.decode(tokens), decoded)
    assert torch.get_default_dtype() == torch.bfloat16, "the user's default has changed"
