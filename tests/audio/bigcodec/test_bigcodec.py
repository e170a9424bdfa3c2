"""BigCodec against the authors' outputs.

    pytest tests/audio/bigcodec/test_bigcodec.py
"""

import pytest
import torch
from audio_cases import close, noise, stored
from tokenzoo.codecs.layers.alias_free import AliasFree
from tokenzoo.zoo.convert import convert, converter


@torch.no_grad()
def test_reference() -> None:
    for tok, name, want in stored("bigcodec"):
        x = want["input"]
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, want["ids"].view(tokens.ids.shape)), name
        close(tok.encode_latents(x), want["latent"], 1e-4)
        close(tok.encoder(x), want["latent_unpadded"], 1e-4)
        z_q = tok.quantizer.decode(tokens.ids)
        close(z_q, want["quantized_from_ids"], 1e-4)
        close(z_q, want["quantized"], 1e-4)
        close(tok.decode(tokens.ids), want["decoded"], 1e-4)
        close(tok.decode(tokens.ids), want["decoded_straight_through"], 1e-4)
        assert tok.decode(tokens).shape == x.shape
        close(tok(x).x_hat, tok.decode(tokens), 1e-5)


@torch.no_grad()
def test_aligned_clips_get_a_frame_more() -> None:
    tok = next(stored("bigcodec"))[0]
    hop = tok.spec.hop_samples
    assert [tok.encode(noise(1, 1, n)).ids.shape[-1] for n in (1, hop - 1, hop, hop + 1)] == [1, 1, 2, 2]


@torch.no_grad()
def test_alias_free_of_nothing_is_nearly_nothing() -> None:
    """Up and down again around the identity keeps a slow wave, ends included."""
    x = torch.sin(torch.linspace(0, 12, 200))[None, None]
    close(AliasFree(torch.nn.Identity())(x), x, 2e-2)


def test_reads_the_yaml_of_a_run() -> None:
    """The authors' own names of the two classes; the discriminators' settings are left out."""
    parts = {"CodecEnc": {"ngf": 8, "out_channels": 24}, "generator": {"in_channels": 24, "vq_dim": 24, "codebook_size": [8, 4]}}
    yaml = {"codec_encoder": parts["CodecEnc"], "codec_decoder": parts["generator"], "mpd": {"periods": [2]}, "mstft": {}}
    own = converter("bigcodec").own_config(yaml)
    assert own == converter("bigcodec").own_config(parts)
    assert own.quantizer.num_codebooks == 2


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="vq_dim"):
        convert("bigcodec", {"CodecEnc": {"out_channels": 24}, "generator": {"in_channels": 24}}, {})
    with pytest.raises(ValueError, match=r"ngff.*ngf"):
        convert("bigcodec", {"CodecEnc": {"ngff": 24}, "generator": {}}, {})
