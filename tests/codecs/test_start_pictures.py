"""First weights of narrow networks for pictures; wide ones begin as published. Run: pytest tests/codecs/test_start_pictures.py"""

import pytest
import torch
from small_runs import held_out
from tokenzoo.codecs.image.xqgan.model import LatentViT, TransformerSize
from tokenzoo.codecs.start import first_norm, start_vae


def vae(width):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    return diffusers.AutoencoderKL(**blocks, block_out_channels=[16, width], layers_per_block=1, norm_num_groups=8, latent_channels=4)


def test_latents_of_photographs_are_centred_and_hardly_noisy():
    untrained, x = vae(32), held_out(32, 32, (-1.0, 1.0))
    with torch.no_grad():
        before = untrained.encode(x).latent_dist
        start_vae(untrained, 4)
        after = untrained.encode(x).latent_dist
    assert before.mean.mean((0, 2, 3)).abs().max() > 0.2 and before.std.mean() > 0.5, "else there is nothing to start"
    assert after.mean.mean((0, 2, 3)).abs().max() < 0.15 and (after.mean.std((0, 2, 3)) - 1).abs().max() < 0.2
    assert after.std.max() < 0.01


def test_a_wide_vae_stays_as_it_is():
    untrained = vae(64)
    weights = {k: v.clone() for k, v in untrained.state_dict().items()}
    start_vae(untrained, 4)
    assert all(torch.equal(weights[k], v) for k, v in untrained.state_dict().items())


@pytest.mark.parametrize(("width", "norm", "scale"), [(64, 0.25, 1.0), (512, 1.0, 1e-5)])
def test_gains_of_narrow_and_wide_transformers(width, norm, scale):
    assert float(first_norm(width).weight.detach().unique()) == norm
    block = LatentViT(TransformerSize(width=width, layers=1, heads=8), patches=2, latents=2, parts=2).blocks[0]
    assert float(block.attention_scale.detach().unique()) == pytest.approx(scale)
