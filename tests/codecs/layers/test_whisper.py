"""Whisper's features and blocks against transformers. Run: pytest tests/codecs/layers/test_whisper.py"""

import pytest
import torch
import torch.nn.functional as F
from audio_cases import noise, shake
from tokenzoo.codecs.layers import window_attention as window_module
from tokenzoo.codecs.layers.transformer1d import rotary_angles
from tokenzoo.codecs.layers.whisper import LogMel, WhisperAttention, WhisperBlock, WhisperStem, sinusoids
from tokenzoo.codecs.layouts.keymap import Rename
from tokenzoo.codecs.layouts.whisper_keys import hf_blocks, stem_rows

transformers = pytest.importorskip("transformers", reason="the peer is Whisper in transformers")


@pytest.mark.parametrize("bands", [32, 80, 128])
def test_features_are_whispers(bands):
    peer = transformers.WhisperFeatureExtractor(feature_size=bands)
    clips = noise(2, 16000 * 30)
    clips[0, 9000:] = 0
    clips[1] *= 1e-3
    want = peer(list(clips.numpy()), sampling_rate=16000, return_tensors="pt").input_features
    got = LogMel(bands)(clips)
    assert got.shape == want.shape == (2, bands, 3000)
    torch.testing.assert_close(got, want, atol=2e-5, rtol=0)


def test_each_clip_has_its_own_floor():
    mel, clips = LogMel(16), noise(2, 4000)
    clips[1] *= 1e6
    assert torch.equal(mel(clips)[0], mel(clips[:1])[0])


def test_encoder_is_whispers():
    config = transformers.WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=24, num_mel_bins=8, max_source_positions=20
    )
    peer = shake(transformers.models.whisper.modeling_whisper.WhisperEncoder(config))
    torch.testing.assert_close(sinusoids(20, 16), peer.embed_positions.weight.data, atol=1e-6, rtol=0)
    stem, blocks = WhisperStem(8, 16), torch.nn.ModuleList(WhisperBlock(16, 4, hidden=24) for _ in range(2))
    state = Rename([*stem_rows("", "stem."), *hf_blocks("", ""), ("**", None)]).read(peer.state_dict())
    stem.load_state_dict({k[5:]: v for k, v in state.items() if k.startswith("stem.")})
    blocks.load_state_dict({k[7:]: v for k, v in state.items() if k.startswith("blocks.")})
    x = noise(2, 8, 40)
    y = stem(x).transpose(1, 2) + peer.embed_positions.weight
    for block in blocks:
        y = block(y)
    y = F.layer_norm(y, (16,), peer.layer_norm.weight, peer.layer_norm.bias)
    torch.testing.assert_close(y, peer(x).last_hidden_state, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 9])
def test_a_causal_stem_sees_no_later_frame(length):
    stem = WhisperStem(3, 4, strides=(2, 2), causal=True)
    x = noise(1, 3, 9)
    assert stem(x[..., :length]).shape[-1] == WhisperStem(3, 4, strides=(2, 2))(x[..., :length]).shape[-1] == -(-length // 4)
    assert torch.allclose(stem(x[..., :length]), stem(x)[..., : -(-length // 4)], atol=1e-6)


def test_memory_is_a_convolution_of_the_values():
    attention, x = shake(WhisperAttention(8, 2, memory=3)), noise(2, 6, 8)
    plain = WhisperAttention(8, 2)
    plain.load_state_dict({k: v for k, v in attention.state_dict().items() if not k.startswith("memory")})
    values = attention.v(x)
    padded = F.pad(values, (0, 0, 1, 1))
    kernel = attention.memory.weight[:, 0]  # [W, 3]
    want = values + sum(padded[:, i : i + 6] * kernel[:, i] for i in range(3))
    angles = rotary_angles(6, 4, 10000.0, x)
    torch.testing.assert_close(attention(x, angles) - plain(x, angles), want, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(attention(x, angles), attention(x), atol=1e-3)


@pytest.mark.parametrize("reach", [(3, 1), (-1, 0), (0, -1), (0, 0), (2000, 2000)])
def test_attention_within_reach(reach, monkeypatch):
    """Blocks of queries give what one mask over all positions gives."""
    monkeypatch.setattr(window_module, "QUERY_BLOCK", 4)
    attention, x = shake(WhisperAttention(8, 2, reach=reach)), noise(2, 11, 8)
    distance = torch.arange(11) - torch.arange(11)[:, None]
    before, after = (11 if n < 0 else n for n in reach)
    mask = (distance >= -before) & (distance <= after)
    torch.testing.assert_close(attention(x), attention(x, mask=mask), atol=1e-6, rtol=1e-5)


def test_wrong_widths_are_refused():
    with pytest.raises(ValueError, match="3 heads"):
        WhisperAttention(8, 3)
    with pytest.raises(ValueError, match="odd"):
        WhisperAttention(8, 2, memory=4)
