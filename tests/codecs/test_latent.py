"""Tokenizers over given latents: sequences, grids, ragged lists, several quantizers. Run: pytest tests/codecs/test_latent.py"""

import pytest
import tokenzoo
import torch
from families import TINY
from tokenzoo.codecs.latent import LatentSpec, LatentTokenizer
from tokenzoo.codecs.media import MediaError
from tokenzoo.codecs.quantizers import build
from torch import nn


def latents(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_ids_are_the_quantizers_own():
    tok = tokenzoo.build_tokenizer("latent", {"dim": 4, "quantizer": {"kind": "fsq"}})
    z = latents(2, 4, 9)
    tokens, q = tok.encode(z), build("fsq")
    assert torch.equal(tokens.ids, q.encode(z)) and len(tokens.ids.unique()) > 9
    assert torch.equal(tok.decode(tokens), q.decode(tokens.ids))
    assert torch.equal(tok.encode(z[0]).ids, tokens.ids[:1])
    assert tok.spec == LatentSpec(vocab_sizes=(1000,), channels=4).with_options(("num_codebooks",), ("original",))


def test_grids_and_ragged_lists():
    scales = {"kind": "multiscale_bsq", "bits": 4, "scales": [[1, 1], [2, 2], [3, 5]]}
    tok = tokenzoo.build_tokenizer("latent", {"dim": 4, "quantizer": scales}).eval()
    z = latents(2, 4, 3, 5)
    tokens = tok.encode(z)
    assert tokens.grid == (3, 5) and tok.decode(tokens).shape == z.shape
    assert torch.equal(tok(z).x_hat, tok.decode(tokens))

    tok = tokenzoo.build_tokenizer("latent", {"dim": 4, "quantizer": {"kind": "fsq"}})
    items = [z[0], z[1, :, :2]]
    tokens = tok.encode(items)
    back = tok.decode(tokens)
    assert tokens.grids.tolist() == [[3, 5], [2, 5]] and tokens.lengths.tolist() == [15, 10]
    for x, y in zip(items, back, strict=True):
        assert torch.equal(y, tok.decode(tok.encode(x[None]))[0]) and y.shape == x.shape


def test_alternatives_have_their_own_width():
    coarse = {"kind": "residual_fsq", "levels": [3, 3, 3], "num_codebooks": 2}
    tok = tokenzoo.build_tokenizer("latent", {"dim": 4, "quantizer": {"kind": "fsq"}, "alternatives": {"coarse": coarse | {"dim": 3}}})
    other = tok.alternatives["coarse"]
    assert other.spec.vocab_sizes == (27, 27) and other.spec.prefix == ("codebooks",) and other.spec.channels == 3
    z = latents(1, 3, 6)
    assert torch.equal(other.encode(z).ids, build("residual_fsq", levels=(3, 3, 3)).encode(z))


def test_a_family_with_maps_of_its_own():
    class Projected(LatentTokenizer):
        family = "projected"

        def __init__(self) -> None:
            super().__init__()
            self.down, self.up, self.quantizer = nn.Conv1d(8, 4, 1), nn.Conv1d(4, 8, 1), build("fsq")
            self.spec = LatentSpec(vocab_sizes=self.quantizer.codebook_sizes, channels=8)

        def encode_latents(self, x):
            return self.down(x.flatten(2))

        def decode_latents(self, z_q, grid=None):
            return super().decode_latents(self.up(z_q), grid)

    tok, x = Projected(), latents(2, 8, 2, 3)
    tokens = tok.encode(x)
    assert tok.decode(tokens).shape == x.shape
    assert torch.allclose(tok(x).x_hat, tok.decode(tokens), atol=1e-6)
    assert tok.bfloat16().dtype == torch.bfloat16 and tok.encode(x).ids.shape == tokens.ids.shape


def test_wrong_features_are_refused():
    tok = tokenzoo.build_tokenizer("latent", {"dim": 4, "quantizer": {"kind": "fsq"}})
    for bad in (latents(2, 9, 4), latents(9, 4), latents(4), torch.zeros(4, 3, dtype=torch.int64), latents(4, 0)):
        with pytest.raises(ValueError, match="takes float features"):
            tok.encode(bad)
    with pytest.raises(ValueError, match="NaN"):
        tok.encode(latents(4, 3) * float("nan"))
    with pytest.raises(ValueError, match="nothing"):
        tok.encode([])


@pytest.mark.parametrize("family", ["latent", "levo", "ustokenizer", "fdt"])
def test_media_in_place_of_features_are_refused(family, tmp_path):
    """What came, what is allowed, what to do: paths, pictures, waveforms with a rate, and whatever is no array."""
    image = pytest.importorskip("PIL.Image")
    tok = tokenzoo.build_tokenizer(*TINY[family]) if family in TINY else tokenzoo.build_tokenizer(family)
    wave, picture = latents(1, 800), image.new("RGB", (8, 6))
    own = {"levo": r"`extract_features\(\*tracks\)`", "ustokenizer": r"`extract_features\(clip\)`"}
    advice = own.get(family, "Run the network that computes the features")
    for media, came in (
        ("speech.wav", "the path 'speech.wav'"),
        (tmp_path / "a.png", "the path '.*a.png'"),
        (["a.wav", "b.wav"], "the path 'a.wav' as item 0"),
        (picture, "a picture of 8 x 6 pixels"),
        ([picture], "a picture of 8 x 6 pixels as item 0"),
        ((wave, 16000), r"a pair of torch.float32 \[1, 800\] and the number 16000, as of sound and its rate"),
        ((wave.numpy(), 16000), "a pair of float32"),
        ([latents(4, 3), {"x": 1}], "an object of type dict as item 1"),
        (None, "an object of type NoneType"),
        (iter([wave]), "an object of type list_iterator"),
    ):
        with pytest.raises(MediaError, match=rf"^{family} takes float features.*; got {came}.*{advice}"):
            tok.encode(media)


def test_arrays_and_lists_of_numbers_are_features():
    tok = tokenzoo.build_tokenizer("latent", {"dim": 4, "quantizer": {"kind": "fsq"}})
    z = latents(2, 4, 5)
    ids = tok.encode(z).ids
    assert torch.equal(tok.encode(z.numpy()).ids, ids) and torch.equal(tok.encode(z[0].numpy()).ids, ids[:1])
    assert torch.equal(tok.encode(tuple(z)).ids, ids) and torch.equal(tok.encode([x.tolist() for x in z]).ids, ids)
    assert torch.equal(tok.encode((z[0], z[1])).ids, ids)


def test_model_card_and_vocabulary_know_the_modality():
    from tokenzoo.zoo.corpus.vocabulary import Books
    from tokenzoo.zoo.model_card import card_text

    tok = tokenzoo.build_tokenizer("latent", {"dim": 4, "quantizer": {"kind": "fsq"}})
    assert "| input | latents of 4 channels |" in card_text(tok) and "tok.encode(z)" in card_text(tok)
    with pytest.raises(ValueError, match="modality"):
        Books.of("x", tok.spec)
