"""Decoders in half precision beside float32 encoders. Run: pytest tests/codecs/test_decoder_dtype.py -k mimi"""

import copy

import pytest
import tokenzoo
import torch
from contract_cases import LABELS, batch, build
from families import TINY
from tokenzoo.codecs.decoder_dtype import cast_decoder


def check(tokenizer: tokenzoo.Tokenizer, dtype: torch.dtype) -> None:
    x = batch(tokenizer, 2)
    tokens, mixed = tokenizer.encode(x), cast_decoder(copy.deepcopy(tokenizer), dtype)
    assert torch.equal(mixed.encode(x).ids, tokens.ids)
    assert mixed.identity == tokenizer.identity and mixed.dtype == torch.float32
    if tokenizer.spec.decodes:
        for y, want in zip(mixed.decode(tokens), tokenizer.decode(tokens), strict=True):
            assert y.dtype == want.dtype and y.shape == want.shape and torch.isfinite(y).all()
    assert all(b.dtype == p.dtype for p, b in zip(tokenizer.quantizer.parameters(), mixed.quantizer.parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("label", LABELS)
def test_every_family(label, dtype):
    check(build(label), dtype)


def test_loaded(tmp_path):
    """What `load` gives: ids of float32, a decoder of half the size, also as a copy, as a half, and in a stream."""
    torch.manual_seed(0)
    tokenizer = tokenzoo.build_tokenizer(*TINY["mimi"]).eval()
    tokenzoo.save_pretrained(tokenizer, tmp_path)
    mixed = tokenzoo.load(tmp_path, dtype="bfloat16", encoder_dtype="float32")
    x = batch(tokenizer, 2)
    tokens, own = tokenizer.encode(x), tokenizer.decode(tokenizer.encode(x))
    assert {p.dtype for p in mixed.decoder.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in (*mixed.encoder.parameters(), *mixed.quantizer.parameters())} == {torch.float32}
    decoder = tokenzoo.load(tmp_path, part="decoder", dtype="bfloat16", encoder_dtype="float32")
    for some in (mixed, copy.deepcopy(mixed), decoder):
        y = some.decode(tokens)
        assert y.dtype == torch.float32
        assert 0 < (y - own).abs().max() < 0.05 * own.abs().max().clamp(min=0.1), "rounded, and no more"
    assert torch.equal(mixed.encode(x).ids, tokens.ids)
    narrow = tokenzoo.load(tmp_path, dtype="bfloat16")
    assert {p.dtype for p in narrow.encoder.parameters()} == {torch.bfloat16}
    first = mixed.stream().decode(tokens)
    torch.testing.assert_close(first[..., : x.shape[-1]], mixed.decode(tokens), atol=1e-2, rtol=1e-2)
    with pytest.raises(ValueError, match="dtype is 'int8'"):
        tokenzoo.load(tmp_path, encoder_dtype="int8")
