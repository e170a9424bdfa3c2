"""HiFi-Codec against the authors' outputs.

    pytest tests/audio/hificodec/test_hificodec.py
"""

import pytest
import torch
from audio_cases import close, noise, stored
from tokenzoo.zoo.convert import convert


@torch.no_grad()
def test_reference() -> None:
    for tok, name, want in stored("hificodec"):
        x = want["input"][:, None]
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, want["ids"].transpose(1, 2)), name
        z = tok.encode_latents(x)
        close(z, want["latent"], 5e-5)
        z_q = tok.quantizer.decode(tokens.ids)
        close(z_q, want["quantized_from_ids"], 5e-5)
        close(z_q, want["quantized"], 5e-5)
        close(tok.quantizer(z).loss, want["quantizer_loss"], 5e-5)
        close(tok.decode(tokens.ids), want["decoded"], 5e-5)
        audio, end = tok.decode(tokens), min(x.shape[-1], want["decoded"].shape[-1])
        assert audio.shape == x.shape
        close(audio[..., :end], want["decoded"][..., :end], 5e-5)
        close(tok(x).x_hat, audio, 1e-5)


@torch.no_grad()
def test_every_length_comes_back() -> None:
    tok = next(stored("hificodec"))[0]
    for samples in (1, 19, 20, 21, 39, 101):
        x = noise(1, 1, samples)
        tokens = tok.encode(x)
        assert tokens.ids.shape[-1] == tok.num_frames(samples)
        assert tok.decode(tokens).shape == x.shape


def test_refuses_what_does_not_fit() -> None:
    config = dict(
        resblock="1", upsample_rates=[4, 2], upsample_kernel_sizes=[8, 4], upsample_initial_channel=32,
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3, 5]], sampling_rate=8000, n_code_groups=2, n_codes=8,
    )  # fmt: skip
    with pytest.raises(ValueError, match="not 512"):
        convert("hificodec", config, {})
