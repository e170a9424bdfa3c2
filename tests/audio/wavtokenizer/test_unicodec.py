"""UniCodec, a WavTokenizer with experts and domains, against its authors' outputs.

    pytest tests/audio/wavtokenizer/test_unicodec.py
"""

import pytest
import torch
from audio_cases import close, stored
from families import TINY
from tokenzoo import build_tokenizer
from tokenzoo.codecs.config import ConfigError

ATOL = 1e-4


@torch.no_grad()
def test_stored_cases() -> None:
    for tok, name, want in stored("unicodec"):
        x = want["input"][:, None]
        close(tok.encoder(x), want["cnn"].transpose(1, 2), ATOL)
        close(tok.encode_latents(x), want["latent"], ATOL)
        for domain, kind in (("speech", "speech"), ("music", "music"), ("sound", "sound"), (None, "any")):
            tokens = tok.encode(x, domain=domain)
            assert torch.equal(tokens.ids, want[f"ids_{kind}"].long().transpose(0, 1)), (name, domain)
            if f"features_{kind}" in want:
                close(tok.quantizer.decode(tokens.ids), want[f"features_{kind}"], ATOL)
                close(tok.decode(tokens.ids), want[f"decoded_{kind}"][:, None], ATOL)
        tokens = tok.encode(x)
        if "ids_mixed" in want:
            speech, sound = tok.encode(x[:1], domain="speech"), tok.encode(x[1:], domain="sound")
            assert torch.equal(torch.cat([speech.ids, sound.ids]), want["ids_mixed"].long().transpose(0, 1))
        close(tok.quantizer.decode(tokens.ids), want["features_from_ids"], ATOL)
        close(tok.decode(tokens.ids), want["decoded_from_ids"][:, None], ATOL)


def test_domains_need_their_table() -> None:
    family, config = TINY["wavtokenizer"]
    with pytest.raises(ConfigError, match="simvq"):
        build_tokenizer(family, config | {"domains": True})
    with pytest.raises(ConfigError, match="active is 4"):
        build_tokenizer(family, config | {"experts": {"active": 4}})
    tok = build_tokenizer(family, config)
    with pytest.raises(ConfigError, match="takes no 'domain'"):
        tok.encode(torch.zeros(1, 1, 99), domain="speech")


@torch.no_grad()
def test_a_row_takes_its_expert_alone() -> None:
    """Skipping the rows that go elsewhere changes nothing."""
    torch.manual_seed(0)
    tok = build_tokenizer(*TINY["wavtokenizer-experts"]).eval()
    mixture, x = tok.transformer.blocks[0].feed_forward, torch.randn(2, 5, 6)
    want = mixture.shared(x)
    scores = mixture.router(x).softmax(-1)
    for i, expert in enumerate(mixture.experts):
        want = want + expert(x) * scores[..., i : i + 1] * (scores.argmax(-1) == i)[..., None]
    close(mixture(x), want, 1e-6)
    assert len(scores.argmax(-1).unique()) > 1
    close(mixture.train()(x), want, 1e-6)
