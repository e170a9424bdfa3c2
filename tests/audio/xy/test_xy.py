"""XY-Tokenizer against the stored outputs of its authors' class. Run: pytest tests/audio/xy"""

import pytest
import tokenzoo
import torch
from audio_cases import close, noise, stored
from contract_cases import build
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.layouts.systems import converter

from .tiny import SMALL_XY


def test_stored_outputs():
    for tok, name, case in stored("xy-tokenizer"):
        clips = [case[k] for k in ("wav0", "wav1") if k in case]
        tokens = tok.encode([(c, 16000) for c in clips])
        if name == "chunked_b1":
            assert torch.equal(tokens.ids[0], case["ids_list0_plain"])
            tokens = tok.encode((clips[0], 16000), kept_seconds=2.0)
            assert torch.equal(tokens.ids[0], case["ids_list0"])
            whole = case["decoded_list0"].shape[-1]
            close(tok.decode(tokens, kept_seconds=2.0)[0, 0, :whole], case["decoded_list0"], 2e-4)
            continue
        with torch.no_grad():
            for i, clip in enumerate(clips):
                length = int(case["ids_len"][i])
                ids = case["ids"][:, i, :length]
                assert torch.equal(tokens[i].ids[0], ids)
                close(tok.encode_latents(clip[None, None])[0], case["latent"][i, :, :length], 2e-4)
                close(tok.vectors_of(ids[None])[0], case["quantized"][i, :, :length], 2e-4)
                y, want = tok.decode_latents(tok.vectors_of(ids[None]))[0], case["decoded"][i, :, : 1280 * length]
                alone = want.shape[-1] if length == max(case["ids_len"]) else want.shape[-1] - 1600  # else the batch reaches its end
                close(y[:, :alone], want[:, :alone], 2e-4)
            if "decoded_n2" in case:
                close(tok.decode_latents(tok.vectors_of(case["ids"][:2].transpose(0, 1))), case["decoded_n2"], 2e-4)


@pytest.mark.parametrize("samples", [1, 639, 640, 10240, 10879, 20480, 20481, 30720, 30721, 40000])
def test_windows(samples):
    """Windows of 32 ids every 16; the first 16 of each are kept, of the last one all."""
    tok = build("xy")
    x = noise(1, 1, samples)
    ids = tok.encode(x).ids
    assert ids.shape[2] == tok.num_frames(samples) == max(1, samples // 640)
    parts = []
    for start in range(0, max(samples, 640), 10240):
        part = x[..., start : start + 20480]
        if part.shape[-1] >= 640 or not start:
            z = (
                tok.encode_latents(part)[..., :16]
                if part.shape[-1] <= 10240
                else tok._window(part[:, 0], min(16, part.shape[-1] // 640))
            )
            parts.append(tok.quantizer.encode(z))
    assert torch.equal(ids, torch.cat(parts, dim=-1))
    z = tok.vectors_of(ids)
    waves = [tok.vocos(tok.decoder(tok.up(tok.after(z[..., a : a + 32]))))[..., :10240] for a in range(0, ids.shape[2], 16)]
    y = tok.decode(tok.tokens(ids))
    assert torch.allclose(y, torch.cat(waves, dim=-1)[..., : y.shape[-1]], atol=1e-6) and y.shape[-1] == 640 * ids.shape[2]


def test_what_lies_behind_a_clip_is_not_attended_to():
    """As many frames are computed as the clip has; the convolutions of the last ones reach into silence."""
    tok = build("xy")
    x = noise(1, 5000)
    behind = torch.cat([x, torch.zeros(1, 20480 - 5000)], dim=-1)
    mel = tok.mel(behind)
    frames = -(-5000 // 160) // 2
    with torch.no_grad():
        far = tok.semantic_encoder(mel, frames)
        near = tok.semantic_encoder(mel[..., : 2 * (frames + 1)], frames)
    assert torch.equal(tok.mel(torch.cat([x, torch.zeros(1, 1360)], dim=-1))[..., : 2 * (frames + 1)], mel[..., : 2 * (frames + 1)])
    assert torch.allclose(far, near, atol=1e-6)


@pytest.mark.parametrize("seconds", [0.0, 0.05, 2.0, float("nan"), -1.0])
def test_windows_that_keep_no_whole_ids(seconds):
    tok = build("xy")
    with pytest.raises(ConfigError, match="kept_seconds"):
        tok.encode(noise(5000), kept_seconds=seconds)


def test_another_rate_comes_out():
    tok = tokenzoo.build_tokenizer("xy", SMALL_XY | {"vocos_hop": 240, "vocos_window": 960}).eval()
    assert tok.spec.decoded_rate_hz == 24000
    assert tok.decode(tok.encode((noise(8000), 16000))).shape == (1, 1, 12000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kept_samples": 10000}, "multiples of 640"),
        ({"window_samples": 20000, "kept_samples": 640}, "multiple of 640"),
        ({"kept_samples": 20480 + 640}, "at most 20480"),
        ({"after": SMALL_XY["after"] | {"table": 31}}, "after.table"),
        ({"decoder": SMALL_XY["decoder"] | {"table": 63}}, "decoder.table"),
        ({"pool": 0}, "at least 1"),
        ({"semantic": SMALL_XY["semantic"] | {"heads": 3}}, "3 heads"),
        ({"sample_rate_hz": 22050, "vocos_hop": 161}, "no whole rate"),
    ],
)
def test_settings_that_fit_no_network(change, message):
    with pytest.raises(ConfigError, match=message):
        tokenzoo.build_tokenizer("xy", SMALL_XY | change)


def test_a_folder_of_transformers_spells_the_feed_forward_layers_otherwise():
    torch.manual_seed(0)
    tok = tokenzoo.build_tokenizer("xy", SMALL_XY).train()
    plain, other = (converter(system).write(tok.state_dict(), tok.config) for system in ("xy-tokenizer", "xy_tokenizer-hf"))
    renamed = {key.replace(".fc1.", ".mlp.fc1.").replace(".fc2.", ".mlp.fc2."): value for key, value in plain.items()}
    assert renamed != plain and other.keys() == renamed.keys()
    for spelling in (other, plain):
        read = converter("xy_tokenizer-hf").read(spelling, tok.config)
        assert all(torch.allclose(read[key].float(), value.float(), atol=1e-6) for key, value in tok.state_dict().items())
