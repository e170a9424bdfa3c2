"""Few tokens for a clip: a map and a codebook of its own, fixed or adaptive. Run: pytest tests/image/vqtoken/test_vqtoken.py"""

import dataclasses

import pytest
import tokenzoo
import torch
from cli_runs import run, saved
from effects import effect
from families import TINY
from PIL import Image
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.image.vqtoken.clusters import clusters_of
from tokenzoo.codecs.image.vqtoken.tower import FrameTower
from tokenzoo.codecs.token_fields import TokenError
from tokenzoo.codecs.tokenizer import NotDecodable
from tokenzoo.zoo.corpus.dataset import TokenDataset
from tokenzoo.zoo.corpus.plain import packing_of
from tokenzoo.zoo.corpus.records import Layout
from tokenzoo.zoo.evaluate import tok_dense


def build(**changes):
    torch.manual_seed(0)
    return tokenzoo.build_tokenizer("vqtoken", TINY["vqtoken"][1] | {"num_tokens": 24} | changes).eval()


def clip_of(colours: torch.Tensor) -> torch.Tensor:
    """A clip `[T, 3, 12, 12]` of patches of flat colours `[T, 9, 3]`, with a little grain."""
    patches = colours.view(-1, 3, 3, 3).permute(0, 3, 1, 2)
    grain = torch.rand(len(colours), 3, 12, 12, generator=torch.Generator().manual_seed(1))
    return patches.repeat_interleave(4, 2).repeat_interleave(4, 3) * 0.98 + 0.02 * grain


PALETTE = torch.tensor([[r, g, b] for r in (0.05, 0.5, 0.95) for g in (0.05, 0.95) for b in (0.05, 0.95)])  # [12, 3]
#: A picture of two colours that stands still for four frames, and a clip whose colours change with each frame.
STILL = clip_of(PALETTE[[0, 11, 0, 11, 0, 11, 0, 0, 11]].expand(4, -1, -1))
MOVING = clip_of(PALETTE[(torch.arange(4)[:, None] * 3 + torch.arange(9) % 3) % 12])


def test_map_and_table_give_the_features_back_within_the_error_of_k_means():
    tok = build()
    z = tok.encode_latents(MOVING[None])
    errors = []
    for codes in (1, 4, 12, 24):
        tokens = tok.encode(MOVING, num_tokens=codes)
        table = tokens.side_vectors["table"][0]
        assert tokens.grid == (4, 3, 3) and tokens.sizes.tolist() == [[4, 12, 12]] and table.shape == (codes, 8)
        back = tok.semantic(tokens)
        assert torch.equal(back, table[tokens.ids[0, 0]].t()[None])
        for code, row in enumerate(table):  # each code is the mean of its rows
            assert torch.allclose(row, z[0, :, tokens.ids[0, 0] == code].mean(1), atol=1e-6)
        errors.append(float((back - z).square().mean()))
    effect("vqtoken", "squared error of features, 24 codes and 1", with_=errors[-1], without=errors[0])
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.1 * errors[0]


@pytest.mark.parametrize("rule", ["elbow", "silhouette"])
def test_the_number_of_codes_follows_the_clip(rule):
    tok = build()
    still, moving = (tok.encode(clip, adaptive=rule) for clip in (STILL, MOVING))
    few, many = (len(t.side_vectors["table"][0]) for t in (still, moving))
    effect("vqtoken", f"codes of a moving clip ({rule}) and of a still", with_=many, without=few)
    assert 2 <= few < many <= 24
    assert len(tok.encode(MOVING, adaptive=rule, num_tokens=3).side_vectors["table"][0]) <= 3
    assert tok_dense(60, still) == 60 / few and tok_dense(60, [still, moving]) == 60 / ((few + many) / 2)


@pytest.mark.parametrize(("groups", "rule"), [(2, "elbow"), (5, "elbow"), (9, "elbow"), (2, "silhouette"), (16, "silhouette")])
def test_groups_that_lie_apart_are_counted(groups, rule):
    generator = torch.Generator().manual_seed(groups)
    centres = torch.nn.functional.normalize(torch.randn(groups, 24, generator=generator), dim=1)
    rows = centres.repeat(12, 1) + 0.01 * torch.randn(groups * 12, 24, generator=generator)
    rows = torch.nn.functional.normalize(rows, dim=1)
    found = clusters_of(rows, 20, least=1, adaptive=rule, cosine=True, iterations=50)
    assert len(found.table) == groups
    assert torch.equal(found.ids.view(12, groups), found.ids[:groups].expand(12, -1)) and len(found.ids.unique()) == groups


def test_a_curve_without_an_elbow_takes_all_codes():
    """Rows at right angles: each code more takes away the same part of the error."""
    rows = torch.eye(10)
    assert len(clusters_of(rows, 10, least=1, adaptive="elbow", cosine=True, iterations=50).table) == 10
    assert len(clusters_of(rows, 7, least=1, adaptive="elbow", cosine=True, iterations=50).table) == 7


@pytest.mark.parametrize("cosine", [True, False])
def test_euclidean_or_cosine(cosine):
    """Two directions, each short and long: cosine sees the directions, Euclidean distance the two long ones apart from the rest."""
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 0.0], [0.0, 9.0]])
    rows = torch.nn.functional.normalize(rows, dim=1) if cosine else rows
    ids = clusters_of(rows, 3, least=1, adaptive=None, cosine=cosine, iterations=50).ids
    assert bool(ids[0] == ids[2]) is cosine and bool(ids[0] == ids[1]) is not cosine


def test_order_and_company_change_nothing():
    tok = build()
    clips = [MOVING, STILL, MOVING[:1], MOVING.flip(0)]
    together, turned = tok.encode(clips, adaptive="elbow"), tok.encode(clips[::-1], adaptive="elbow")
    for i, clip in enumerate(clips):
        alone = tok.encode(clip, adaptive="elbow")
        assert together[i] == alone and turned[3 - i] == alone
    assert together.grids.tolist() == [[4, 3, 3], [4, 3, 3], [1, 3, 3], [4, 3, 3]]
    assert [tuple(y.shape) for y in tok.semantic(together)] == [(8, 36), (8, 36), (8, 9), (8, 36)]
    assert tok.encode(clips, adaptive="elbow") == together


def test_fewer_different_features_than_codes():
    tok = build()
    still = STILL[:1].expand(5, -1, -1, -1)
    tokens = tok.encode(still)
    assert len(tokens.side_vectors["table"][0]) == 9, "five equal frames have the features of one"
    assert torch.equal(tokens.ids.view(5, 9), tokens.ids.view(5, 9)[:1].expand(5, -1))
    rows = torch.eye(3).repeat(6, 1) + 1e-6 * torch.rand(18, 3, generator=torch.Generator().manual_seed(0))
    found = clusters_of(rows, 8, least=1, adaptive=None, cosine=False, iterations=50)
    assert len(found.table) == 3, "rounding of the image model is no difference"


def test_tokens_keep_their_table(tmp_path):
    tok = build()
    tokens = tok.encode([MOVING, STILL[:2]], adaptive="elbow")
    tokens.save(tmp_path / "a.tok")
    again = tokenzoo.Tokens.load(tmp_path / "a.tok")
    assert again == tokens and all(torch.equal(a, b) for a, b in zip(tok.semantic(again), tok.semantic(tokens), strict=True))
    with pytest.raises(NotDecodable, match="only encodes"):
        tok.decode(tokens)
    with pytest.raises(TokenError, match=r"side vectors none, those of vqtoken \['table'\]"):
        tok.semantic(tok.tokens(tokens.ids[:1], grid=(4, 3, 3)))
    with pytest.raises(TokenError, match=r"needs the grid \(t, h, w\) that the 36 positions"):
        tok.semantic(tokens.ids[:1])
    packing = packing_of("prefix", Layout.of(tokens, "image"), "clips").build()
    assert packing.unpack(packing.pack(tokens)).tokens == tokens
    cut = {"table": tuple(t[:1] for t in tokens.side_vectors["table"])}
    with pytest.raises(TokenError, match="a row of 8 numbers for each id"):
        tok.semantic(dataclasses.replace(tokens, side_vectors=cut))
    picture = tokenzoo.build_tokenizer(*TINY["convnet"]).eval()
    own = picture.encode(torch.zeros(3, 16, 16) - 0.5)
    with pytest.raises(TokenError, match=r"side vectors \['voice'\], those of convnet none. Leave them out"):
        picture.decode(dataclasses.replace(own, side_vectors={"voice": (torch.zeros(1, 2),)}))


def test_what_a_language_model_reads():
    plain, tok = build(attention_heads=0), build()
    tokens = tok.encode([MOVING, STILL], num_tokens=5).made_by(None)
    assert torch.equal(plain.clip_vectors(tokens), torch.stack(tokens.side_vectors["table"]))
    blended = tok.clip_vectors(tokens)
    assert blended.shape == (2, 5, 8) and torch.allclose(tok.clip_vectors(tokens[1])[0], blended[1], atol=1e-6)
    turned = dataclasses.replace(tokens, ids=tokens.ids.flip(-1))
    assert not torch.allclose(tok.clip_vectors(turned), blended, atol=1e-3), "the map plays no part"
    long = tok.encode(torch.cat([MOVING, MOVING, STILL]), num_tokens=5)
    assert tok.clip_vectors(long).shape == (1, 5, 8)


def test_the_tower_is_that_of_timm():
    import timm

    tok = build(published=False)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **TINY["vqtoken"][1]["model_options"]).eval()
    model.load_state_dict(tok.tower.model.state_dict())
    with torch.no_grad():
        theirs = model.forward_features((MOVING - 0.5) / 0.5)[:, 1:]  # [T, N, C], without the class token
    theirs = torch.nn.functional.normalize(theirs, dim=-1)
    assert torch.allclose(tok.encode_latents(MOVING[None])[0].t(), theirs.flatten(0, 1), atol=1e-5)


def test_published_weights_stay_out_of_the_state():
    tok = build(published=True, attention_heads=0)
    assert not tok.state_dict() and tok.spec.semantic_dim == 8
    tok._published._tower = FrameTower(tok.config.model, tok.config.model_options, -1)  # as if they had been loaded
    assert tok.encode(MOVING).ids.shape == (1, 1, 36) and not tok.state_dict()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"least_tokens": 25}, "least_tokens is 25"),
        ({"iterations": 0}, "iterations is 0"),
        ({"model": "vit_huge_nonsense"}, "timm cannot build it"),
        ({"layer": 7}, "layer 7"),
        ({"attention_heads": 3}, "divide the width"),
    ],
)
def test_settings_that_fit_nothing(changes, said):
    with pytest.raises(ConfigError, match=said):
        build(**changes)


def test_too_many_codes():
    with pytest.raises(ValueError, match="num_tokens is 25; this tokenizer allows 1 to 24"):
        build().encode(MOVING, num_tokens=25)


def test_training_batches_are_clips():
    with pytest.raises(ValueError, match=r"\[B, T, 3, H, W\]"):
        build()(MOVING)


def test_command_line(tmp_path):
    model = saved("vqtoken", tmp_path / "model")
    pictures = [Image.fromarray((frame * 255).byte().permute(1, 2, 0).numpy()).resize((20, 14)) for frame in MOVING]
    (tmp_path / "clips").mkdir()
    pictures[0].save(tmp_path / "clips/a.gif", save_all=True, append_images=pictures[1:])
    pictures[0].save(tmp_path / "clips/b.png")
    ran = run("encode", model, tmp_path / "clips", "-o", tmp_path / "tokens", "-O", "adaptive=elbow")
    assert ran.code == 0 and "table" in ran.out
    tokens = tokenzoo.Tokens.load(tmp_path / "tokens/a.gif.tok")
    assert tokens.grid == (4, 3, 3) and tokens.sizes.tolist() == [[4, 14, 20]]
    assert tokenzoo.Tokens.load(tmp_path / "tokens/b.png.tok").grid == (1, 3, 3)
    ran = run("decode", model, tmp_path / "tokens", "-o", tmp_path / "back")
    assert ran.code == 1 and "only encodes" in ran.err
    ran = run("tokenize", model, tmp_path / "clips", "-o", tmp_path / "corpus", "-O", "adaptive=elbow")
    assert ran.code == 0 and run("corpus", "stats", tmp_path / "corpus").code == 0
    assert TokenDataset(tmp_path / "corpus", seed=None).tokens(0).side_vectors["table"][0].equal(tokens.side_vectors["table"][0])
