"""Ids as a language model gives them, back to media, over all registered families in tiny form.

    pytest tests/codecs/test_ids_back.py -k dualvitok
"""

import dataclasses

import numpy as np
import pytest
import torch
from contract_cases import ONE_OF_EACH, batch, build, item
from tokenzoo import Tokens
from tokenzoo.codecs.token_fields import TokenError
from tokenzoo.codecs.tokenizer import NotDecodable, Tokenizer


@pytest.fixture(scope="module", params=ONE_OF_EACH)
def case(request) -> tuple[Tokenizer, Tokens]:
    tokenizer = build(request.param)
    tokens = tokenizer.encode(batch(tokenizer, 2))
    if len(set(tokens.lengths.tolist())) > 1:  # as many as a picture needs: ids alone do not say where items end
        tokens = Tokens.cat([tokens[int(tokens.lengths.argmax())]] * 2)
    return tokenizer, tokens


def needs_size(tokenizer: Tokenizer) -> bool:
    """Pictures of any size from a fixed number of tokens: neither ids nor a grid say how large they were."""
    return tokenizer.family == "instella"


def without_sizes(tokenizer: Tokenizer, tokens: Tokens) -> Tokens:
    """The same tokens, of which nobody knows how large or loud the originals were, or what vectors belong to them."""
    return dataclasses.replace(tokens, sizes=tokens.sizes if needs_size(tokenizer) else None, scale=None, side_vectors={})


def test_ids_decode_as_the_tokens_do(case):
    tokenizer, tokens = case
    sizes = tokens.sizes if needs_size(tokenizer) else None
    back = tokenizer.tokens(tokens.ids, grid=tokens.grid, sizes=sizes)
    bare = without_sizes(tokenizer, tokens)
    assert back == bare
    if not tokenizer.spec.decodes:
        with pytest.raises(NotDecodable):
            tokenizer.decode(tokens.ids)
        return
    if tokenizer.spec.side_vectors:
        with pytest.raises(TokenError, match="side vectors none"):
            tokenizer.decode(back)
        return
    wanted = tokenizer.decode(bare)
    assert torch.equal(tokenizer.decode(back), wanted)
    whole = tokenizer.decode(tokens)
    if tokens.scale is None and tokenizer.spec.modality == "audio":
        n = min(whole.shape[-1], wanted.shape[-1])
        assert torch.equal(whole[..., :n], wanted[..., :n])


def test_ids_alone_decode_or_say_what_is_missing(case):
    tokenizer, tokens = case
    if not tokenizer.spec.decodes:
        pytest.skip("it only encodes")
    if tokenizer.spec.side_vectors:
        pytest.skip("ids mean nothing without the vectors beside them")
    if needs_size(tokenizer):
        with pytest.raises(ValueError, match="size"):
            tokenizer.decode(tokens.ids)
        return
    wanted = tokenizer.decode(without_sizes(tokenizer, tokens))
    free = tokenizer.spec.modality == "image" and tokenizer.spec.image_size is None and len(tokens.grid) == 2
    if free or (tokenizer.spec.modality == "latent" and len(tokens.grid) == 2):
        with pytest.raises(ValueError, match=r"tokenizer\.tokens\(ids, grid=\(h, w\)\)"):
            tokenizer.decode(tokens.ids)
        return
    if tokenizer.spec.modality == "image" and tokenizer.spec.clips:
        with pytest.raises(ValueError, match=r"tokenizer\.tokens\(ids, grid=\(t, h, w\)\)"):
            tokenizer.decode(tokens.ids)
        return
    assert torch.equal(tokenizer.decode(tokens.ids), wanted)
    assert torch.equal(tokenizer.decode(tokens.ids.numpy()), wanted)
    assert torch.allclose(tokenizer.decode(tokens.ids[1]), wanted[1:], atol=1e-4)
    assert torch.allclose(tokenizer.decode(tokens.ids[0].tolist()), wanted[:1], atol=1e-4)


def test_fewer_codebooks_and_positions_where_the_spec_says_so(case):
    tokenizer, tokens = case
    spec, sizes = tokenizer.spec, tokens.sizes if needs_size(case[0]) else None
    if spec.num_codebooks > 1:
        ids = tokens.ids[:, : spec.num_codebooks - 1]
        if "codebooks" in spec.prefix:
            less = without_sizes(tokenizer, tokens.first(codebooks=spec.num_codebooks - 1))
            assert tokenizer.tokens(ids, grid=less.grid, sizes=sizes) == less
        else:
            with pytest.raises(TokenError, match=f"decodes {spec.num_codebooks}"):
                tokenizer.tokens(ids, grid=tokens.grid, sizes=sizes)
    if "positions" in spec.prefix and spec.modality == "image" and spec.decodes:
        less = without_sizes(tokenizer, tokens.first(positions=1))
        assert torch.equal(tokenizer.decode(tokens.ids[..., :1]), tokenizer.decode(less))
    with pytest.raises(TokenError, match="codebooks"):
        tokenizer.tokens(torch.zeros(1, spec.num_codebooks + 1, tokens.ids.shape[2], dtype=torch.int64), grid=tokens.grid)


def test_each_item_may_have_a_length_of_its_own(case):
    tokenizer, tokens = case
    if tokenizer.spec.modality != "audio":
        pytest.skip("only sound has lengths")
    step = tokenizer.position_multiple
    short = tokens.ids.shape[2] // 2 // step * step or step
    try:
        alone = tokenizer.decode(tokens.ids[:1, :, :short])
    except ValueError:  # its segments need whole numbers of frames
        return
    junk = tokens.ids.clone()
    junk[0, :, short:] = -100  # what fills a batch up does not count
    both = tokenizer.decode(tokenizer.tokens(junk, lengths=[short, tokens.ids.shape[2]]))
    assert torch.allclose(both[0], alone[0], atol=1e-4)
    assert torch.allclose(both[1], tokenizer.decode(tokens.ids[1:])[0], atol=1e-4)


# --- single cases -----------------------------------------------------------------------------------------------------


def test_pictures_of_several_grids():
    tokenizer = build("convnet")
    one, two = (tokenizer.encode(item(tokenizer, (8 * a, 4 * a))) for a in (1, 2))
    longest = two.ids.shape[2]
    ids = torch.zeros(2, one.num_codebooks, longest, dtype=torch.int64)
    ids[0, :, : one.ids.shape[2]], ids[1] = one.ids[0], two.ids[0]
    tokens = tokenizer.tokens(ids, grid=[one.grid, two.grid], sizes=[(8, 4), (16, 8)])
    assert tokens == Tokens.cat([one, two])
    assert tokenizer.tokens(one.ids, grid=one.grid, sizes=(8, 4)) == one


def test_sound_comes_back_at_the_rate_and_length_asked_for():
    tokenizer = build("spectral")
    rate, hop = tokenizer.spec.sample_rate_hz, tokenizer.spec.hop_samples
    ids = torch.zeros(2, tokenizer.spec.num_codebooks, 6, dtype=torch.int64)
    assert tokenizer.decode(ids).shape == (2, 1, 6 * hop)
    assert tokenizer.decode(tokenizer.tokens(ids, sample_rate_hz=rate // 2)).shape == (2, 1, 3 * hop)
    assert tokenizer.decode(tokenizer.tokens(ids, sizes=17)).shape == (2, 1, 17)
    each = tokenizer.decode(tokenizer.tokens(ids, sizes=[17, 34], sample_rate_hz=[rate, 2 * rate]))
    assert [x.shape[-1] for x in each] == [17, 34]
    assert tokenizer.tokens(ids).tokenizer == tokenizer.identity


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("speech.tok", "Tokens.load"),
        (np.zeros((1, 3, 4)), "float64"),
        (torch.zeros(1, 3, 4), "float32"),
        (torch.zeros(1, 3, 4, dtype=torch.bool), "bool"),
        ([[1, 2], [3]], "whole numbers"),
        ([], "allowed"),
        (None, "allowed"),
        (torch.zeros(4, dtype=torch.int64), r"\[K, L\] of one item"),
        (torch.zeros(1, 3, 0, dtype=torch.int64), "none of them 0"),
        (torch.zeros(1, 4, 3, dtype=torch.int64), r"transpose\(-1, -2\)"),
        (torch.full((3, 4), 99), "outside its vocabulary 0..15"),
    ],
)
def test_what_are_no_ids(ids, message):
    tokenizer = build("spectral")
    with pytest.raises(TokenError, match=message):
        tokenizer.decode(ids)


def test_what_a_tokenizer_cannot_have():
    sound, picture, fixed = build("spectral"), build("convnet"), build("bsq_vit")
    ids = torch.zeros(1, 3, 6, dtype=torch.int64)
    for refused, message in (
        ({"grid": (2, 3)}, "plain sequence"),
        ({"sample_rate_hz": 0}, "allowed: 1 to"),
        ({"sizes": (3, 4)}, r"sizes must be \[B, n\]"),
        ({"sizes": [[3, 4]]}, "sizes have 2 numbers an item; sound here have 1"),
        ({"sizes": 0}, "allowed: 1 to"),
        ({"lengths": [7]}, "allowed: 1 to 6"),
    ):
        with pytest.raises(TokenError, match=message):
            sound.decode(sound.tokens(ids, **refused))
    with pytest.raises(TokenError, match="the two must be equal"):
        picture.tokens(ids, grid=(2, 4))
    with pytest.raises(TokenError, match="no sample rate"):
        picture.tokens(ids, grid=(2, 3), sample_rate_hz=16000)
    with pytest.raises(TokenError, match="more than the"):
        picture.tokens(ids, grid=(2, 3), sizes=(1000, 1000))
    with pytest.raises(TokenError, match="decodes 24"):
        fixed.decode(torch.zeros(1, 2, 6, dtype=torch.int64))


def test_calling_a_tokenizer_with_media_says_what_to_call():
    tokenizer = build("spectral")
    with pytest.raises(ValueError, match=r"tokenizer\.encode\(media\)"):
        tokenizer("speech.wav")
    with pytest.raises(ValueError, match=r"tokenizer\.decode\(tokens\)"):
        tokenizer(tokenizer.tokens(torch.zeros(3, 4, dtype=torch.int64)))
    with pytest.raises(ValueError, match="encode"):
        tokenizer()
    assert tokenizer(batch(tokenizer, 1)).x_hat.shape[0] == 1
