"""NeMo's audio codec against the authors' outputs, and its causal form against plain convolutions.

    pytest tests/audio/nemo_codec/test_nemo_codec.py
"""

import pytest
import torch
from audio_cases import as_folder, close, shake, stored, stream_audio, stream_ids
from tokenzoo.codecs.audio.nemo_codec.model import mask_of
from tokenzoo.zoo.convert import converter

ATOL = 5e-5


@torch.no_grad()
def test_stored_cases() -> None:
    for tok, name, want in stored("nemo-audio-codec"):
        if name.startswith("ragged"):
            continue
        x, ids = want["input"][:, None], want["ids"].permute(1, 0, 2).long()  # [B, K, L]
        assert torch.equal(want["ids"], want["ids_encode"])
        close(tok.encode_latents(x), want["latent"], ATOL)
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, ids), name
        close(tok.quantizer.decode(ids), want["quantized"], ATOL)
        close(tok.quantizer.decode(ids), want["quantized_from_ids"], ATOL)
        close(tok.decode(ids)[:, 0], want["decoded"], ATOL)
        close(tok.decode(tokens)[:, 0], want["decoded"][:, : x.shape[-1]], ATOL)


@torch.no_grad()
def test_the_authors_ragged_batch() -> None:
    for tok, name, want in stored("nemo-audio-codec"):
        if not name.startswith("ragged"):
            continue
        x, frames = want["input"][:, None], want["latent_len"]
        z = tok.encode_ragged(x, want["input_len"])
        close(z, want["latent"], ATOL)
        ids, mask = tok.quantizer.encode(z), mask_of(frames, z.shape[-1])
        assert torch.equal(ids * mask, want["ids"].permute(1, 0, 2).long())
        close(tok.quantizer.decode(ids) * mask, want["quantized"], ATOL)
        close(tok.decode_ragged(tok.quantizer.decode(ids), frames)[:, 0], want["decoded"], ATOL)
        whole = int(want["input_len"].argmax())  # an item that fills the batch is as it is alone
        assert torch.equal(tok.encode(x[whole : whole + 1]).ids, ids[whole : whole + 1])


#: The published causal form, small: grouped transposed convolutions, half Snakes, clamped output.
CAUSAL = {
    "sample_rate": 16000,
    "audio_encoder": {
        "class_name": "CausalHiFiGANEncoder", "encoded_dim": 6, "down_sample_rates": [2, 5], "base_channels": 4,
        "resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [1, 2], "activation": "snake",
    },
    "vector_quantizer": {"num_groups": 2, "num_levels_per_group": [9, 8, 7]},
    "audio_decoder": {
        "class_name": "CausalHiFiGANDecoder", "input_dim": 6, "up_sample_rates": [5, 2], "base_channels": 16,
        "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [1, 3], "activation": "half_snake",
        "output_activation": "clamp",
    },
}  # fmt: skip


@torch.no_grad()
def test_causal_form_streams_and_takes_the_authors_keys(tmp_path) -> None:
    from tokenzoo import build_tokenizer

    own = shake(build_tokenizer("nemo_codec", converter("nemo-audio-codec").config(CAUSAL)))
    state = {}
    for key, value in own.state_dict().items():  # this library's names in the authors' spelling
        parts = key.split(".")
        side = f"audio_{parts[0]}"
        if parts[0] == "quantizer":
            continue
        alpha = "snake_act.alpha" if "snake" in parts else "alpha"
        if parts[1] in ("stem", "head", "act"):
            name = {"stem": "pre_conv.conv", "head": "post_conv.conv", "act": "post_activation.activation"}[parts[1]]
            name = f"{name}.{alpha if parts[1] == 'act' else parts[-1]}"
        elif parts[3] == "conv":
            name = f"{'down' if parts[0] == 'encoder' else 'up'}_sample_conv_layers.{parts[2]}.conv.{parts[-1]}"
        elif parts[3] == "act":
            name = f"activations.{parts[2]}.activation.{alpha}"
        else:
            names = {"act_in": "input_activation.activation", "act_out": "skip_activation.activation"}
            names |= {"conv_in": "input_conv.conv", "conv_out": "skip_conv.conv"}
            last = alpha if parts[7].startswith("act") else parts[-1]
            name = f"res_layers.{parts[2]}.res_blocks.{parts[5]}.res_blocks.{parts[6]}.{names[parts[7]]}.{last}"
        state[f"{side}.{name}"] = value
    tok = as_folder(tmp_path, "nemo-audio-codec", CAUSAL, state)
    x = 0.3 * torch.randn(2, 1, 10 * 12 + 3)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids, own.encode(x).ids) and tok.spec.causal
    for size in (1, 7, 40):
        parts = stream_ids(tok, x, size)
        assert torch.equal(torch.cat([p.ids for p in parts], dim=-1), tokens.ids)
        close(stream_audio(tok, parts)[..., : x.shape[-1]], tok.decode(tokens), 1e-5)
    level = tok.decoder.levels[0].conv  # k - s samples are cut at the end, and channels stay apart
    z = torch.randn(1, 16, 7)
    full = torch.nn.functional.conv_transpose1d(z, level.weight, level.bias, stride=5, groups=8)
    close(level(z), full[..., :-5], 1e-6)


def test_wrong_configurations() -> None:
    make = converter("nemo-audio-codec").config
    assert make(CAUSAL)["decoder"]["grouped"]
    with pytest.raises(ValueError, match="MultiResolutionMelEncoder"):
        make(CAUSAL | {"audio_encoder": {"class_name": "MultiResolutionMelEncoder"}})
    with pytest.raises(ValueError, match="6 channels"):
        make(CAUSAL | {"vector_quantizer": {"num_groups": 3, "num_levels_per_group": [9, 8, 7]}})
    with pytest.raises(ValueError, match="eps"):
        make(CAUSAL | {"vector_quantizer": {"num_groups": 2, "num_levels_per_group": [9, 8, 7], "eps": 0.1}})
