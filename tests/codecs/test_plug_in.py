"""Every quantizer plugs into each of the project's own families by config alone. Run: pytest tests/codecs/test_plug_in.py"""

import pytest
import tokenzoo
import torch
from quantizer_checks import FITTED, SETTINGS
from tokenzoo.codecs.quantizers import QUANTIZERS

FAMILIES = {
    "spectral": {"width": 8, "encoder_blocks": 1, "decoder_blocks": 1, "hop_samples": 8, "window_samples": 16},
    "waveform": {"width": 4, "strides": [2, 4], "dilations": [1]},
    "convnet": {"patch_size": 2, "widths": [8, 8], "encoder_blocks": [0, 1], "decoder_blocks": [0, 1]},
}


def test_every_kind_is_here():
    assert set(SETTINGS) >= set(QUANTIZERS.names()) - {"gumbel"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", sorted(SETTINGS))
def test_kind_in_family(kind, family):
    if kind.startswith("multiscale") and family != "convnet":
        pytest.skip("scales are two-dimensional: for pictures only")
    config = FAMILIES[family] | {"latent_dim": 8, "quantizer": {"kind": kind, **SETTINGS[kind]}}
    torch.manual_seed(0)
    tokenizer = tokenzoo.build_tokenizer(family, config)
    x = torch.rand(2, 3, 16, 16) * 2 - 1 if family == "convnet" else torch.randn(2, 1, 128) * 0.1
    if kind in FITTED:
        tokenizer.quantizer.fit(tokenizer.encode_latents(x).detach())
    tokenizer.train()
    out = tokenizer(x)
    (out.x_hat.square().mean() + out.quantized.loss).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in tokenizer.encoder.parameters())
    tokenizer.eval()
    tokens = tokenizer.encode(x)
    assert tokens.num_codebooks == tokenizer.spec.num_codebooks
    assert tokenizer.decode(tokens).shape == x.shape
    assert torch.allclose(tokenizer(x).x_hat, tokenizer.decode(tokens), atol=1e-5)
