"""Cosmos DV against the authors' outputs: clips, single pictures, pieces. Run: pytest tests/image/cosmos_dv/test_cosmos_dv.py"""

import math

import pytest
import tokenzoo
import torch
from cli_runs import run
from clip_cases import check_clip, check_picture, check_windows, fixtures, write_clip, write_picture
from image_cases import enliven
from PIL import Image
from published_sizes import written_shapes
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.image.cosmos_dv.blocks import HaarPatches3d
from tokenzoo.codecs.media import MediaError, read_clip
from tokenzoo.codecs.serialize import save_folder
from tokenzoo.zoo.corpus.dataset import TokenDataset
from tokenzoo.zoo.evaluate import evaluate
from tokenzoo.zoo.evaluate.images import ImageMetrics
from tokenzoo.zoo.registry import card
from torch.testing import assert_close

tok, io = fixtures("cosmos-dv")
CLOSE = {"atol": 5e-5, "rtol": 1e-4}


@pytest.mark.parametrize("case", ["v0.", "v1.", "image."])
def test_reference(tok, io, case):
    if case + "patched" in io:
        assert_close(tok.encoder.patches(io[case + "input"]), io[case + "patched"], **CLOSE)
    check_clip(tok, io, case, **CLOSE)


def test_a_picture_is_a_clip_of_one_frame(tok, io):
    check_picture(tok, io["image.input"][:, :, 0], io["image.ids"][:, 0], io["image.decoded"][:, :, 0], **CLOSE)


def test_nothing_depends_on_later_frames(tok, io):
    clip = io["v1.input"].transpose(1, 2)
    whole, k = tok.encode(clip), tok.config.networks.time_factor
    start = tok.encode(clip[:, : 1 + k])
    count = start.ids.shape[-1]
    assert torch.equal(tok.encode(clip[:, :1]).ids, whole.ids[..., : count // 2]), "a picture has the ids of the first step"
    assert start.grid[0] == 2 < whole.grid[0] and torch.equal(whole.ids[..., :count], start.ids)
    assert_close(tok.decode(whole)[:, : 1 + k], tok.decode(start), **CLOSE)
    later = torch.cat([clip[:, : 1 + k], -clip[:, 1 + k :]], dim=1)
    z, other = tok.encode_latents(clip), tok.encode_latents(later)
    assert_close(other[..., :count], z[..., :count], **CLOSE)
    assert not torch.allclose(other[..., count:], z[..., count:], **CLOSE), "the later frames make no difference at all"


def test_clips_of_any_length_and_size_come_back(tok, io):
    clip = io["v1.input"].transpose(1, 2)[0]
    short = clip[:4, :, :7, :13]
    tokens = tok.encode([clip, short])
    back = tok.decode(tokens)
    assert [tuple(y.shape) for y in back] == [tuple(clip.shape), tuple(short.shape)]
    assert tokens.grids.tolist() == [[3, 1, 2], [2, 1, 2]]
    filled = torch.cat([short, short[-1:].expand(5, -1, -1, -1)])
    assert torch.equal(tok.encode(filled).ids, tokens[1].ids)


def test_windows_are_clips_of_their_own(tok, io):
    clip = torch.cat([io["v1.input"].transpose(1, 2)[0]] * 2)  # 34 frames
    check_windows(tok, clip, 9, (8, 1, 2), 6, **CLOSE)  # 9, 9, 9 and 7 frames
    tokens = tok.encode(clip, window=9)
    assert tok.decode(tok.tokens(tokens.ids, grid=(8, 1, 2)), window=9).shape[1] == 36, "ids alone: no length is known"


def test_patches_go_back():
    x = torch.randn(2, 3, 9, 8, 4)
    for size in (1, 2, 4):
        patches = HaarPatches3d(size)
        assert patches(x).shape == (2, 3 * size**3, 1 + 8 // size, 8 // size, 4 // size)
        assert_close(patches.inverse(patches(x)), x)


_SMALL = {"widths": [4, 4, 4], "stem_width": 4, "blocks": 1, "latent_dim": 4, "patch_size": 2}


@pytest.mark.parametrize(("time", "space"), [(2, 4), (4, 4), (4, 8)])
def test_each_kind_of_compression(time, space):
    torch.manual_seed(0)
    tok = tokenzoo.build_tokenizer("cosmos_dv", {"networks": _SMALL | {"time_factor": time, "space_factor": space}}).eval()
    enliven(tok)
    clip = torch.rand(1 + 2 * time, 3, 2 * space, space) * 2 - 1
    tokens = tok.encode(clip)
    assert tokens.grid == (3, 2, 1) and tok.decode(tokens).shape == (1, *clip.shape)
    out = tok(clip[None])
    assert torch.equal(out.quantized.ids, tokens.ids) and out.x_hat.shape == (1, *clip.shape)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space_factor": 12}, "power of two"),
        ({"space_factor": 1}, "2 to 8"),
        ({"space_factor": 2, "time_factor": 4}, "halves space 0 times and the decoder doubles it 1"),
        ({"space_factor": 8, "time_factor": 8}, "halves space 2 times and the decoder doubles it 1"),
        ({"attention_levels": [3]}, "levels 0 to 2"),
    ],
)
def test_settings_that_do_not_fit(change, said):
    with pytest.raises(ConfigError, match=said):
        tokenzoo.build_tokenizer("cosmos_dv", {"networks": _SMALL | {"time_factor": 2, "space_factor": 4} | change})


def test_quantizers_of_pictures_are_refused():
    with pytest.raises(ConfigError, match="needs the grid of a picture"):
        networks = _SMALL | {"time_factor": 2, "space_factor": 4}
        tokenzoo.build_tokenizer("cosmos_dv", {"networks": networks, "quantizer": {"kind": "optvq", "codebook_size": 4}})


def test_files_of_clips_and_pictures(tok, tmp_path):
    """An animation comes back as one, a picture as a picture."""
    save_folder(tok, tmp_path / "model")
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in/a.gif")
    write_picture(tmp_path / "in/b.png")
    model = f"file:{tmp_path / 'model'}"
    assert run("encode", model, tmp_path / "in", "-o", tmp_path / "tokens", "-O", "window=2").code == 0
    assert tokenzoo.Tokens.load(tmp_path / "tokens/a.gif.tok").grid == (4, 2, 3)
    assert run("decode", model, tmp_path / "tokens", "-o", tmp_path / "back", "-O", "window=2").code == 0
    assert run("reconstruct", model, tmp_path / "in", "-o", tmp_path / "again").code == 0
    for folder in ("back", "again"):
        files = sorted((tmp_path / folder).iterdir())
        assert [(len(read_clip(f)), Image.open(f).size) for f in files] == [(4, (24, 16)), (1, (24, 16))]


def test_figures_of_a_clip_are_means_over_its_frames(tok):
    clip = torch.arange(8).view(4, 1, 1, 2).expand(4, 3, 16, 2).mul(30).to(torch.uint8)
    other = clip.float() / 127.5 - 1 + torch.tensor([0.1, 0.2, 0.4, 0.8]).view(4, 1, 1, 1) * (clip < 128) - 0.3 * (clip >= 128)
    metrics = ImageMetrics(tok)
    each = [metrics.add(a, b)["PSNR dB"] for a, b in zip(clip, other, strict=True)]
    assert metrics.add(clip, other)["PSNR dB"] == pytest.approx(sum(each) / 4) and max(each) - min(each) > 1


def test_corpora_hold_clips(tok, tmp_path):
    save_folder(tok, tmp_path / "model")
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in/a.gif")
    write_picture(tmp_path / "in/b.png")
    assert run("tokenize", f"file:{tmp_path / 'model'}", tmp_path / "in", "-o", tmp_path / "corpus").code == 0
    with pytest.raises(MediaError, match="4 frames of 24 x 16 pixels: refused; at most 1535"):
        read_clip(tmp_path / "in/a.gif", most_pixels=4 * 24 * 16 - 1)
    corpus = TokenDataset(tmp_path / "corpus", cache=tmp_path / "cache")
    for i, (name, grid, size) in enumerate((("a.gif", (2, 2, 3), [4, 16, 24]), ("b.png", (1, 2, 3), [1, 16, 24]))):
        kept, own = corpus.tokens(i), tok.encode(tmp_path / "in" / name)
        assert torch.equal(kept.ids, own.ids) and kept.grid == own.grid == grid and own.sizes.tolist() == [size]
        assert_close(tok.decode(kept)[:, : size[0], :, :16, :24], tok.decode(own))


def test_published_networks_have_the_size_of_the_authors():
    """112.47 million numbers of 322 tensors with 8x16x16, the convolutions of steps that are not taken among them."""
    shapes = written_shapes("cosmos-dv", card("cosmos-dv8x16x16").config_overrides)
    unused = 2 * (512 * 512 * 3 + 512)  # over time: after the encoder's level 1, and after the decoder's level 2
    assert len(shapes) + 4 == 322 and sum(math.prod(s) for s in shapes.values()) + unused == 112_472_182


def test_evaluation_of_clips(tok, tmp_path):
    report = evaluate(tok, write_clip(tmp_path / "a.gif"))
    assert report.items == 1 and not report.failed and report.metrics["PSNR dB"] < 40
    assert report.tokens["bits a pixel"] == pytest.approx(2 * 6 * 16 / (4 * 16 * 24))  # 2 steps of 2 x 3 ids
