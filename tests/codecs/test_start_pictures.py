"""First weights of narrow networks for pictures; wide ones begin as published. Run: pytest tests/codecs/test_start_pictures.py"""

import pytest
import torch
from families import TINY
from small_runs import held_out
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.image.karl.model import KARL
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


@pytest.mark.parametrize(("width", "norm", "scale", "positions"), [(64, 0.25, 1.0, 1.0), (512, 1.0, 1e-5, 0.02)])
def test_gains_and_positions_of_narrow_and_wide_transformers(width, norm, scale, positions):
    assert float(first_norm(width).weight.detach().unique()) == norm
    for own in (0, 16):
        vit = LatentViT(TransformerSize(width=width, layers=1, heads=8), patches=8, latents=4, parts=2, own_positions=own)
        assert float(vit.blocks[0].attention_scale.detach().unique()) == pytest.approx(scale)
        for table in (vit.positions, *([vit.latent_positions] if own else [])):
            assert float(table.detach().std()) == pytest.approx(positions, rel=0.1)


def test_narrow_karl_begins_with_positions_as_large_as_patches():
    tokenizer = build_tokenizer(*TINY["karl"])
    assert isinstance(tokenizer, KARL)
    for table in (tokenizer.encoder_positions, tokenizer.decoder_positions):
        assert float(table.detach().std()) == pytest.approx(1.0, rel=0.15)
