"""What map, codebook and adaptive number of codes are worth on clips of a photograph.

    pytest -m effect -s tests/image/vqtoken/test_vqtoken_clips.py
"""

import numpy as np
import pytest
import tokenzoo
import torch
import torch.nn.functional as F
from effects import effect
from PIL import Image
from small_runs import PHOTO

pytestmark = [pytest.mark.slow, pytest.mark.effect]

FRAMES, SIDE, PATCH = 8, 64, 8
CODES = 32
#: (top, left) of a clip's first frame, and pixels by which the camera moves to the right from frame to frame.
PANS = [(100, 20, 1), (100, 20, 4), (100, 20, 16), (200, 10, 40)]


@pytest.fixture(scope="module")
def tok():
    torch.manual_seed(0)
    model = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": 32, "depth": 2, "num_heads": 2}
    config = {"model": "vit_tiny_patch16_224", "model_options": model, "published": False, "num_tokens": 64, "least_tokens": 2}
    tok = tokenzoo.build_tokenizer("vqtoken", config | {"layer": 0}).eval()
    torch.nn.init.zeros_(tok.tower.model.pos_embed)  # of an untrained model they say as much as an even patch, of a trained one little
    return tok


def pan(top, left, step, cells=None):
    """A clip `[T, 3, 64, 64]` of a camera over the photograph; `cells`: out of focus, with this many cells on a side."""
    photo = torch.from_numpy(np.asarray(Image.open(PHOTO).convert("RGB")).copy()).permute(2, 0, 1) / 255
    clip = torch.stack([photo[:, top : top + SIDE, left + step * i : left + step * i + SIDE] for i in range(FRAMES)])
    return clip if cells is None else F.interpolate(F.interpolate(clip, size=(cells, cells), mode="area"), size=(SIDE, SIDE))


@torch.no_grad()
def coded(tok, clip, **options):
    """Number of codes of a clip, and the square distance of its features from those that its tokens give back."""
    tokens = tok.encode(clip, **options)
    distance = (tok.semantic(tokens) - tok.encode_latents(clip[None])).square().sum(1).mean()
    return len(tokens.side_vectors["table"][0]), float(distance)


@torch.no_grad()
def pooled(tok, clip, frames, cells):
    """The same distance where the features are the means of `frames` x `cells` x `cells` equal blocks of the clip."""
    h = SIDE // PATCH
    z = tok.encode_latents(clip[None]).unflatten(2, (FRAMES, h, h))  # [1, C, T, h, w]
    back = F.interpolate(F.adaptive_avg_pool3d(z, (frames, cells, cells)), size=(FRAMES, h, h))
    return float((back - z).square().sum(1).mean())


def test_a_map_says_more_than_means_of_blocks(tok):
    clips = [pan(*place) for place in PANS]
    with_ = [coded(tok, clip, num_tokens=CODES) for clip in clips]
    without = [min(pooled(tok, clip, 2, 4), pooled(tok, clip, 8, 2)) for clip in clips]  # 32 means, in the better of two ways
    assert all(k == CODES for k, _ in with_)
    mean = sum(e for _, e in with_) / len(clips), sum(without) / len(clips)
    figure = "square error of features, 32 codes and a map, and 32 means of blocks"
    effect("map and codebook (VQToken)", figure, with_=mean[0], without=mean[1])
    assert all(e < 0.5 * plain for (_, e), plain in zip(with_, without, strict=True)), (with_, without)


def test_adaptive_codes_go_where_they_are_needed(tok):
    """As many codes in all: for clips of few colours and clips of many, chosen for each clip, or the same for all."""
    clips = [pan(*place) for place in PANS] + [pan(top, left, 0, cells=2) for top, left, _ in PANS]
    adaptive = [coded(tok, clip, adaptive="elbow") for clip in clips]
    same = -(-sum(k for k, _ in adaptive) // len(clips))  # rounded up
    fixed = [coded(tok, clip, num_tokens=same) for clip in clips]
    with_, without = (sum(e for _, e in found) / len(clips) for found in (adaptive, fixed))
    codes = sum(k for k, _ in adaptive) / len(clips)
    figure = f"square error of features, {codes:.1f} codes a clip on average, and {same} for each"
    effect("adaptive number of codes (VQToken)", figure, with_=with_, without=without)
    print("codes by clip:", [k for k, _ in adaptive])
    assert with_ < 0.95 * without, (adaptive, fixed)
