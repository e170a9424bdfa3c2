"""The voice that is not quantized, which BiCodec's decoder follows at first: whom it teaches, and what it is worth.

    pytest tests/audio/bicodec/test_voice_guide.py
"""

import pytest
import torch
from effects import effect
from families import TINY
from small_runs import finished, write_speech
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.train.data.loader import collate


def guided(share):
    torch.manual_seed(0)
    return build_tokenizer("bicodec", TINY["bicodec"][1] | {"voice_guide": True, "guided": share}).train()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_sound_follows_the_guide_by_its_share(share):
    tokenizer = guided(share)
    out = tokenizer(torch.randn(2, 1, 400))
    out.x_hat.square().mean().backward()
    quantized, guide = (p.weight.grad for p in (tokenizer.voice_proj, tokenizer.voice_guide.proj))
    assert (quantized is not None and bool(quantized.any())) == (share < 1)
    assert (guide is not None and bool(guide.any())) == (share > 0)
    assert out.features["voice"].shape == out.features["voice_guide"].shape == (2, 8, 1)


def test_ids_and_their_sound_are_those_without_a_guide():
    tokenizer = guided(1.0).eval()
    x = torch.randn(1, 1, 400)
    with torch.no_grad():
        tokens = tokenizer.encode((x[0], tokenizer.spec.sample_rate_hz))
        sound = tokenizer.decode(tokens)
        tokenizer.config = guided(0.0).config
        assert torch.equal(tokens.ids, tokenizer.encode((x[0], tokenizer.spec.sample_rate_hz)).ids)
        assert torch.equal(sound, tokenizer.decode(tokens))


def test_a_share_needs_a_guide():
    with pytest.raises(ConfigError, match="only 0 without voice_guide"):
        build_tokenizer("bicodec", TINY["bicodec"][1] | {"guided": 0.5})


@torch.no_grad()
def gap(trainer):
    """Mean square distance of the quantized voice's vector from the guide's, as a share of the guide's mean square."""
    batch = collate([trainer.clips[i] for i in range(8)])
    out = trainer.state.tokenizer.train()(batch.x)
    voice, guide = out.features["voice"], out.features["voice_guide"]
    return float((voice - guide).square().mean() / guide.square().mean())


@pytest.mark.slow
@pytest.mark.effect
@pytest.mark.filterwarnings("ignore")
def test_the_quantized_voice_learns_to_equal_the_guide(tmp_path):
    speech = write_speech(tmp_path / "speech")
    always = tmp_path / "always.yaml"
    always.write_text("base: audio/bicodec-debug.yaml\nmoving: {model.guided: null, losses.voice.weight: null}\nsteps: 60\n")
    gaps = {}
    for weight in (1.0, 0.0):
        changes = ("model.config.guided=1.0", f"losses.voice.weight={weight}")
        gaps[weight] = gap(finished(str(always), speech, tmp_path / f"{weight}", *changes))
    effect("voice guide (BiCodec)", "distance of the quantized voice from the one that guides", with_=gaps[1.0], without=gaps[0.0])
    assert gaps[1.0] < 0.5 * gaps[0.0], gaps
