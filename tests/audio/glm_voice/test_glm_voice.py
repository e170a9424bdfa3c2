"""GLM-4-Voice's tokenizer against the stored outputs of its authors' class. Run: pytest tests/audio/glm_voice"""

import pytest
import tokenzoo
import torch
import torch.nn.functional as F
from audio_cases import close, noise, stored
from contract_cases import build
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.tokenizer import NotDecodable

from .tiny import SMALL_GLM


def test_stored_outputs():
    for tok, _, case in stored("glm-4-voice"):
        clips = [case[k] for k in ("wav0", "wav1") if k in case]
        tokens = tok.encode([(c, 16000) for c in clips])
        assert all(torch.equal(tokens[i].ids[0, 0], case[f"tokens{i}"]) for i in range(len(clips)))
        if len(clips) == 1:
            with torch.no_grad():
                close(tok.encode_latents(clips[0][None, None])[0].t(), case["latent"][0], 1e-4)


def test_pieces_go_through_the_network_alone():
    """Pieces of 7680 samples, 12 ids; the last one filled up with silence beyond its end, as beside longer ones in a batch."""
    tok = tokenzoo.build_tokenizer("glm_voice", {**SMALL_GLM, "causal_stem": False}).eval()  # a causal one sees no end
    x = noise(7680 + 1280)
    with torch.no_grad():
        parts = [tok.encode_latents(p[None, None]) for p in (x[:7680], x[7680:])]
        whole = tok.encode_latents(x[None, None])
        mel = tok.mel(F.pad(x[None, 7680:], (0, 640)))
        last = tok.encoder(mel, 8)[..., :2]
    assert torch.equal(whole, torch.cat([parts[0], last], dim=-1))
    assert float((last - parts[1]).abs().max()) > 1e-3, "its end would be reflected"
    assert torch.equal(tok.encode(x).ids, tok.quantizer.encode(whole))


@pytest.mark.parametrize(("attention", "sees"), [("block", 8), ("causal", 0), ("full", 99)])
def test_a_position_sees_its_block(attention, sees):
    """A change of one frame reaches those in the same block and all later ones; blocks have 8 frames, positions two."""
    torch.manual_seed(0)
    tok = tokenzoo.build_tokenizer("glm_voice", SMALL_GLM | {"attention": attention}).eval()
    mel = noise(1, 8, 48)
    other = mel.clone()
    other[..., 23] += 1  # frame 12 behind the convolutions, the 5th of the second block; position 6
    with torch.no_grad():
        changed = (tok.encoder(mel, 48) - tok.encoder(other, 48))[0].abs().amax(0) > 1e-6
    first = {0: 6, 8: 4, 99: 0}[sees]
    assert changed.tolist() == [i >= first for i in range(12)]


def test_fillings_are_not_attended_to():
    tok = build("glm-voice")
    mel = noise(1, 8, 48)
    other = torch.cat([mel[..., :40], noise(1, 8, 8) + 3], dim=-1)
    with torch.no_grad():
        assert torch.allclose(tok.encoder(mel, 40)[..., :10], tok.encoder(other, 40)[..., :10], atol=1e-6)


def test_a_piece_longer_than_the_table_is_refused():
    tok = tokenzoo.build_tokenizer("glm_voice", SMALL_GLM | {"table": 4})
    assert tok.encode(noise(1280)).ids.shape == (1, 1, 2)
    with pytest.raises(ValueError, match="positions for 4"):
        tok.encode(noise(1281))


def test_it_only_encodes():
    tok = build("glm-voice")
    tokens = tok.encode(noise(4000))
    with pytest.raises(NotDecodable):
        tok.decode(tokens)
    assert torch.equal(tok.semantic(tokens)[0].t(), tok.quantizer.codebook.embed[tokens.ids[0, 0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"piece_samples": 7681}, "multiple of 640"),
        ({"pool_after": 3}, "2 layers"),
        ({"heads": 3}, "3 heads"),
        ({"block": 1}, "nothing would be left"),
        ({"layers": 0}, "at least 1"),
        ({"attention": "none"}, "attention"),
    ],
)
def test_settings_that_fit_no_network(change, message):
    with pytest.raises(ConfigError, match=message):
        tokenzoo.build_tokenizer("glm_voice", SMALL_GLM | change)
