"""First weights of narrow networks for pictures; wide ones begin as published. Run: pytest tests/codecs/test_start_pictures.py"""

import pytest
import torch
from families import TINY
from small_runs import held_out
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.image.karl.model import KARL
from tokenzoo.codecs.image.xqgan.model import LatentViT, TransformerSize
from tokenzoo.codecs.start import first_norm, photographs, start_vae


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


def test_a_tokenizer_that_normalises_colours_starts_in_the_middle_of_them():
    """Patches of photographs have mean 0 and deviation 1, and the first pictures are grey, also with colours far from CLIP's."""
    plain = {
        "image_size": 32,
        "patch_size": 4,
        "latent_dim": 8,
        "head_width": 32,
        "quantizer": {"kind": "bsq", "bits": 8, "normalize": False},
    }
    side = {"width": 32, "layers": 1, "heads": 2, "hidden": 32}
    x = photographs(64, 32) / 2 + 0.5
    for mean, std in (((0.48, 0.46, 0.41), (0.27, 0.26, 0.28)), ((0.1, 0.1, 0.1), (0.05, 0.05, 0.05))):
        config = plain | {"encoder": side, "decoder": side, "pixel_mean": mean, "pixel_std": std}
        tokenizer = build_tokenizer("qlip", config).eval()
        with torch.no_grad():
            patches = tokenizer.patch_embed((x - tokenizer.pixel_mean) / tokenizer.pixel_std)
            y = tokenizer(x).x_hat
        assert patches.mean().abs() < 0.3 and 0.5 < patches.std() < 2, (patches.mean(), patches.std())
        assert (y.mean() - 0.45).abs() < 0.05 and y.std() < 0.1, (y.mean(), y.std())


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
