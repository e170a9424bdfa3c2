"""VidTok against the authors' outputs: clips, single pictures, pieces, three kinds. Run: pytest tests/image/vidtok/test_vidtok.py"""

import math

import pytest
import tokenzoo
import torch
from image_cases import enliven
from published_sizes import written_shapes
from reference import load_io, reference_folder
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.image.vidtok.blocks import TimeUp, beside
from tokenzoo.codecs.token_fields import TokenError
from tokenzoo.zoo.convert import load_reference
from tokenzoo.zoo.registry import card
from torch.testing import assert_close

CLOSE = {"atol": 2e-5, "rtol": 1e-4}
KINDS = {
    "causal": {"kind": "causal"},
    "causal_v1_1": {"kind": "causal_v1_1", "interpolate": True},
    "noncausal": {"kind": "noncausal"},
}
_SMALL = {"widths": [4, 4, 4], "stem_width": 4, "blocks": 1, "latent_dim": 3, "time_down": [0, 1], "time_up": [1, 2]}


def _small(**change):
    torch.manual_seed(0)
    tok = tokenzoo.build_tokenizer("vidtok", {"networks": _SMALL | change, "quantizer": {"kind": "fsq", "levels": [8, 8, 8]}}).eval()
    enliven(tok)
    return tok


@pytest.fixture(scope="module")
def folder():
    return reference_folder("image", "vidtok")


@pytest.fixture(scope="module")
def tok(folder):
    return load_reference(folder)


@pytest.fixture(scope="module")
def io(folder):
    return load_io(folder)


@pytest.fixture(scope="module")
def clip():
    return torch.rand(13, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("case", ["v0.", "v1.", "image."])
def test_reference(tok, io, case):
    clip = io[case + "input"].transpose(1, 2)  # [B, T, 3, H, W]
    assert_close(tok.encode_latents(clip), io[case + "latent"].flatten(2), **CLOSE)
    tokens = tok.encode(clip)
    assert tokens.grid == tuple(io[case + "ids"].shape[1:])
    assert torch.equal(tokens.ids[:, 0], io[case + "ids"].flatten(1).long())
    assert_close(tok.quantizer.decode(tokens.ids), io[case + "quantized_from_ids"].flatten(2), **CLOSE)
    assert_close(tok.decode(tokens), io[case + "decoded"].transpose(1, 2), **CLOSE)


def test_a_picture_is_a_clip_of_one_frame(tok, io):
    x, ids = io["image.input"][:, :, 0], io["image.ids"].flatten(1)
    tokens = tok.encode(x[0])
    assert tokens.grid == (1, *io["image.ids"].shape[2:]) and torch.equal(tokens.ids[0, 0], ids[0].long())
    assert_close(tok.decode(tokens)[0, 0], io["image.decoded"][0, :, 0], **CLOSE)
    assert_close(tok(x).x_hat, io["image.decoded"][:, :, 0], **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_what_depends_on_later_frames(clip, kind):
    tok = _small(**KINDS[kind])
    clip = clip[:12] if kind == "noncausal" else clip
    start = clip[: len(clip) - 4]
    later = torch.cat([start, -clip[len(start) :]])
    z, other, count = tok.encode_latents(clip[None]), tok.encode_latents(later[None]), tok.encode(start).ids.shape[-1]
    same = torch.allclose(other[..., :count], z[..., :count], **CLOSE)
    assert same == (kind != "noncausal") and not torch.allclose(other[..., count:], z[..., count:], **CLOSE)
    if kind == "noncausal":
        return
    whole = tok.encode(clip)
    assert torch.equal(tok.encode(clip[:1]).ids, whole.ids[..., : count // 3]), "a picture has the ids of the first step"
    back, part = tok.decode(whole)[:, : len(start)], tok.decode(tok.encode(start))
    assert torch.allclose(back, part, **CLOSE) == (kind == "causal"), "what is interpolated depends on the next id"


@pytest.mark.parametrize(("kind", "steps"), [("causal", 3), ("causal_v1_1", 2), ("noncausal", 2)])
def test_clips_of_any_length_and_size_come_back(clip, kind, steps):
    tok, short = _small(**KINDS[kind]), clip[:7, :, :7, :9]
    tokens = tok.encode([clip, short, clip[:8, :, :7, :9]])
    assert [tuple(y.shape) for y in tok.decode(tokens)] == [(13, 3, 8, 12), (7, 3, 7, 9), (8, 3, 7, 9)]
    assert tokens.grids.tolist() == [[4, 2, 3], [steps, 2, 3], [steps, 2, 3]]
    filled = {
        "causal": torch.cat([short, short[-1:].expand(2, -1, -1, -1)]),
        "causal_v1_1": torch.cat([short[:1], short]),
        "noncausal": torch.cat([short, short[-1:]]),
    }[kind]
    again = tok.encode(filled)
    assert torch.equal(again.ids, tokens[1].ids)
    kept = {"causal": slice(0, 7), "causal_v1_1": slice(1, 8), "noncausal": slice(0, 7)}[kind]
    assert_close(tok.decode(tokens[1])[0], tok.decode(again)[0, kept], **CLOSE)
    assert_close(tok(short[None]).x_hat, tok.decode(tokens[1]), **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_clips_of_their_own(clip, kind):
    tok = _small(**KINDS[kind])
    tokens, parts = tok.encode(clip, window=6), [tok.encode(part) for part in clip.split(6)]  # 6, 6 and 1 frames
    steps = sum(p.grid[0] for p in parts)
    assert tokens.grid == (steps, 2, 3) and torch.equal(tokens.ids, torch.cat([p.ids for p in parts], dim=-1))
    assert_close(tok.decode(tokens, window=6), torch.cat([tok.decode(p) for p in parts], dim=1), **CLOSE)
    with pytest.raises(TokenError, match=f"13 frames have {steps} steps; with window=None there would be 4"):
        tok.decode(tokens)


@pytest.mark.parametrize(
    ("kind", "whole", "halved"),
    [("causal", [0, 0, 5, 6], [0, 5, 6]), ("causal_v1_1", [5, 5, 5, 6], [5, 5, 6]), ("noncausal", [0, 5, 6, 0], [5, 6, 0])],
)
def test_what_stands_beside_a_clip(kind, whole, halved):
    x = torch.tensor([5.0, 6.0]).view(1, 1, 2, 1, 1)
    assert beside(x, kind).flatten().tolist() == whole and beside(x, kind, stride=2).flatten().tolist() == halved


def test_frames_are_interpolated_within_the_first_step_and_within_the_rest():
    up = TimeUp(1, kind="causal_v1_1", alone=2)
    torch.nn.init.constant_(up.mix, 50.0)  # nothing of the convolution
    x = torch.tensor([0.0, 4.0, 100.0, 104.0, 108.0]).view(1, 1, 5, 1, 1)
    assert up(x).flatten().tolist() == [0, 1, 3, 4, 100, 101, 103, 105, 107, 108]
    assert up(x[:, :, :2]).flatten().tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time_down": [2]}, "levels 0 to 1"),
        ({"time_up": [0, 1]}, "levels 1 to 2"),
        ({"time_up": [1, 1]}, "each once"),
        ({"time_up": [1]}, "as many levels"),
        ({"interpolate": True}, "belongs to kind"),
    ],
)
def test_settings_that_do_not_fit(change, said):
    with pytest.raises(ConfigError, match=said):
        _small(**change)


def test_published_networks_have_the_size_of_the_authors():
    """157.40 million numbers of 416 tensors with 4x8x8 and 4096 codes, 164.94 million of 422 with 8x8x8."""
    for name, tensors, numbers in (("488-4096", 416, 157_396_363), ("888-32768-v1.1", 422, 164_944_910)):
        shapes = written_shapes("vidtok", card(f"vidtok-fsq-causal-{name}").config_overrides)
        assert len(shapes) == tensors and sum(math.prod(s) for s in shapes.values()) == numbers
