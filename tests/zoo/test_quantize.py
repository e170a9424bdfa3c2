"""Levels fitted to the latents of a trained autoencoder. Run: pytest tests/zoo/test_quantize.py"""

import pytest
import tokenzoo
import torch
from tokenzoo import cli
from tokenzoo.codecs.quantizers.additive_vq import AdditiveVQConfig
from tokenzoo.codecs.quantizers.kmeans import KMeansConfig
from tokenzoo.zoo.quantize import quantize
from typer.testing import CliRunner

diffusers = pytest.importorskip("diffusers", reason="needs diffusers")
SIDE = {"widths": [8], "groups": 4}


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    return diffusers.AutoencoderKL(block_out_channels=[8, 16], norm_num_groups=4, scaling_factor=3.0, **blocks).eval()


@pytest.fixture(scope="module")
def pictures():
    g = torch.Generator().manual_seed(1)
    return [torch.rand(3, 20, 30, generator=g) * 2 - 1 for _ in range(4)]


def files_of(vae, folder):
    vae.save_pretrained(folder)
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("place", ["", "vae/"])
@torch.no_grad()
def test_any_autoencoder_of_diffusers_from_the_hub(hub, vae, pictures, tmp_path, place):
    hub.add("org/vae", {place + name: data for name, data in files_of(vae, tmp_path / "src").items()})
    loaded = tokenzoo.load("org/vae", cache_dir=tmp_path / "cache")
    z = torch.cat([loaded.encode_latents(p[None]) for p in pictures], dim=2)
    fitted, report = quantize(loaded, pictures, levels=256)
    assert fitted.spec.vocab_sizes == (256,) * 4 and loaded.spec.vocab_sizes == (64,) * 4
    reach = 3 * z.std(dim=2)[0]
    assert torch.allclose(fitted.quantizer.high[:, 0] - z.mean(dim=2)[0], reach, atol=1e-5)
    assert report.items == 4 and report.positions == z.shape[2] and 0 <= report.outside < 0.02

    def snr(tokenizer):  # by hand
        back = tokenizer.quantizer.decode(tokenizer.encode(pictures).ids)
        return 10 * ((z - z.mean(2, keepdim=True)).square().sum() / (back.transpose(0, 1).flatten(1) - z[0]).square().sum()).log10()

    assert report.latent_snr_db == pytest.approx(float(snr(fitted)), abs=0.05)
    assert report.latent_snr_db > snr(loaded) + 3
    assert quantize(loaded, pictures, levels=16)[1].latent_snr_db < report.latent_snr_db - 6


def test_command(vae, tmp_path):
    vae.save_pretrained(tmp_path / "vae")
    (tmp_path / "photos").mkdir()
    from PIL import Image

    for i in range(2):
        noise = torch.randint(0, 256, (24, 20, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
        Image.fromarray(noise.numpy()).save(tmp_path / "photos" / f"{i}.png")
    arguments = ["quantize", f"file:{tmp_path / 'vae'}", str(tmp_path / "photos"), "--out", str(tmp_path / "new"), "--levels", "8"]
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0 and "2 media" in result.output
    tok = tokenzoo.load(f"file:{tmp_path / 'new'}")
    tokens = tok.encode(tmp_path / "photos" / "0.png")
    assert tokens.vocab_sizes == (8,) * 4 and len(tokens.ids.unique()) == 8
    assert tok.decode(tokens).shape == (1, 3, 24, 20)


@pytest.mark.parametrize("settings", [KMeansConfig(codebook_size=16), AdditiveVQConfig(codebook_size=8, num_codebooks=2)])
@torch.no_grad()
def test_other_quantizers_of_an_autoencoder(pictures, settings):
    torch.manual_seed(0)
    kl = tokenzoo.build_tokenizer("kl_tokens", {"encoder": SIDE, "decoder": SIDE}).eval()
    fitted, report = quantize(kl, pictures, quantizer=settings)
    z = torch.cat([kl.encode_latents(kl.prepare(p)[0].x[None]) for p in pictures], dim=2)
    back = fitted.quantizer.decode(fitted.quantizer.encode(z))
    assert report.error == pytest.approx(float((back - z).square().mean()), rel=1e-3)
    power = (z - z.mean(2, keepdim=True)).square().mean()
    assert report.latent_snr_db == pytest.approx(float(10 * (power / (back - z).square().mean()).log10()), abs=0.01)
    assert report.positions == z.shape[2] and report.outside == 0 and fitted.decode(fitted.encode(pictures[0])).shape == (1, 3, 20, 30)


def test_what_cannot_be_fitted(pictures):
    other = tokenzoo.load("photo-f16-rvq7")
    with pytest.raises(ValueError, match="dimension_wise"):
        quantize(other, pictures)
    kl = tokenzoo.build_tokenizer("kl_tokens", {"encoder": SIDE, "decoder": SIDE})
    with pytest.raises(ValueError, match="no image media"):
        quantize(kl, [])
