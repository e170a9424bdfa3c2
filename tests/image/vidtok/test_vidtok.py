"""VidTok against the authors' outputs: clips, single pictures, pieces, three kinds. Run: pytest tests/image/vidtok/test_vidtok.py"""

import math

import pytest
import tokenzoo
import torch
from clip_cases import check_clip, check_picture, check_windows, fixtures
from image_cases import enliven
from published_sizes import written_shapes
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.image.vidtok.blocks import TimeUp, beside
from tokenzoo.codecs.layouts.keymap import NotWritable
from tokenzoo.codecs.layouts.systems import system_of_config
from tokenzoo.zoo.convert import converter
from tokenzoo.zoo.registry import card
from torch.testing import assert_close

tok, io = fixtures("vidtok")
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
def clip():
    return torch.rand(13, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("case", ["v0.", "v1.", "image."])
def test_reference(tok, io, case):
    check_clip(tok, io, case, **CLOSE)


def test_a_picture_is_a_clip_of_one_frame(tok, io):
    check_picture(tok, io["image.input"][:, :, 0], io["image.ids"][:, 0], io["image.decoded"][:, :, 0], **CLOSE)


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


@pytest.mark.parametrize(("kind", "steps"), [("causal", 7), ("causal_v1_1", 5), ("noncausal", 5)])
def test_windows_are_clips_of_their_own(clip, kind, steps):
    check_windows(_small(**KINDS[kind]), clip, 6, (steps, 2, 3), 4, **CLOSE)  # 6, 6 and 1 frames


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


@pytest.mark.parametrize("causal", [True, False])
def test_diffusers_reads_what_we_write(causal, clip):
    """Ids and frames of its class, of clips and pictures, with weights and config in its layout."""
    diffusers = pytest.importorskip("diffusers")
    tok, layout = _small(**KINDS["causal_v1_1" if causal else "noncausal"]), converter("diffusers-autoencodervidtok")
    config = layout.authors_config(tok.config)
    assert layout.own_config(config) == tok.config and system_of_config(config) == layout.system
    theirs = diffusers.AutoencoderVidTok.from_config(config).eval()
    theirs.load_state_dict(layout.write(tok.state_dict(), tok.config))
    for frames in (13, 5, 1) if causal else (16,):
        x = torch.cat([clip, clip])[:frames].transpose(0, 1)[None]  # [1, 3, T, H, W]
        with torch.no_grad():
            decoded = theirs(x).sample if causal else theirs.decode(theirs.encode(x)[0])
            ids = theirs(x, encoder_mode=True)[1] if causal else theirs.encode(x)[1]
        tokens = tok.encode(x.transpose(1, 2))
        assert torch.equal(tokens.ids[:, 0], ids.flatten(1).long()) and tokens.grid == tuple(ids.shape[1:])
        assert_close(tok.decode(tokens).transpose(1, 2), decoded, **CLOSE)
    for kind in ("causal", "causal_v1_1"):  # without interpolation
        with pytest.raises(NotWritable, match="version 1.1 with interpolation"):
            layout.authors_config(_small(kind=kind).config)


def test_published_networks_have_the_size_of_the_authors():
    """157.40 million numbers of 416 tensors with 4x8x8 and 4096 codes, 164.94 million of 422 with 8x8x8."""
    for name, tensors, numbers in (("488-4096", 416, 157_396_363), ("888-32768-v1.1", 422, 164_944_910)):
        shapes = written_shapes("vidtok", card(f"vidtok-fsq-causal-{name}").config_overrides)
        assert len(shapes) == tensors and sum(math.prod(s) for s in shapes.values()) == numbers
