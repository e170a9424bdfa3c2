"""MOSS-Audio-Tokenizer against the authors' outputs.

    pytest tests/audio/moss/test_moss.py
"""

import dataclasses
import json

import pytest
import torch
from audio.moss import options as moss
from published_sizes import written_numbers
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.audio.base import pad_to_hop
from tokenzoo.codecs.layers.transformer1d import RingState
from tokenzoo.codecs.layers.window_attention import QUERY_BLOCK, window_attention
from tokenzoo.zoo.convert import convert, converter, load_reference


def close(got: torch.Tensor, want: torch.Tensor, atol: float = 5e-5) -> None:
    torch.testing.assert_close(got, want, atol=atol, rtol=1e-4)


@torch.no_grad()
def test_reference() -> None:
    folder = reference_folder("audio", "moss-audio-tokenizer")
    tok, io = load_reference(folder), load_io(folder)
    for name in sorted({k.split(".")[0] for k in io}):
        want = {k.split(".")[1]: v for k, v in io.items() if k.startswith(name + ".")}
        x, ids = want["input"], want["ids"].transpose(0, 1)
        close(tok.encode_latents(x), want["latent"])
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, ids), name
        assert torch.equal(tok.encode(x, num_codebooks=2).ids, want["ids_n2"].transpose(0, 1))
        close(tok.quantizer.decode(ids), want["quantized_from_ids"])
        close(tok.decode(ids), want["decoded"])
        close(tok.decode(tokens), want["decoded"][..., : x.shape[-1]])
        for k in (1, 2, 3):
            close(tok.decode(tokens.first(codebooks=k).ids), want[f"decoded_q{k}"])
        for size in (96, 240):
            if f"ids_chunk{size}" in want:
                check_chunks(tok, tokens, want, size)


def check_chunks(tok, tokens, want: dict[str, torch.Tensor], size: int) -> None:
    """The authors' chunks run through ring buffers and leave the last, partly filled frame out."""
    stream = tok.stream(state_class=RingState)
    x = pad_to_hop(want["input"], 48)  # they fill it up before the last chunk, so that its frames stay together
    pieces = [stream.push(piece) for piece in x.split(size, dim=-1)]
    theirs = want[f"ids_chunk{size}"].transpose(0, 1)
    assert torch.equal(torch.cat([t.ids for t in pieces], -1)[..., : theirs.shape[-1]], theirs)
    parts = tokens.ids.split(size // 48, dim=-1)
    audio = [stream.decode(dataclasses.replace(tokens, ids=p, lengths=None, grid=())) for p in parts]
    close(torch.cat(audio, -1), want[f"decoded_chunk{size}"])


@torch.no_grad()
def test_streams_as_offline() -> None:
    folder = reference_folder("audio", "moss-audio-tokenizer")
    tok, io = load_reference(folder), load_io(folder)
    for name in sorted({k.split(".")[0] for k in io}):
        x, ids = io[f"{name}.input"], io[f"{name}.ids"].transpose(0, 1)
        for size in (31, 144):
            stream = tok.stream()
            pieces = [t for piece in x.split(size, dim=-1) if (t := stream.push(piece)) is not None]
            pieces += [t] if (t := stream.flush()) is not None else []
            assert torch.equal(torch.cat([t.ids for t in pieces], -1), ids)
            close(torch.cat([stream.decode(t) for t in pieces], -1), io[f"{name}.decoded"], atol=1e-5)


def test_long_inputs_are_attended_in_blocks() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 2 * QUERY_BLOCK + 77, 8).unbind(0)
    for context in (None, 5, 700):
        at = torch.arange(q.shape[2])
        delta = at[:, None] - at
        mask = (delta >= 0) if context is None else (delta >= 0) & (delta < context)
        whole = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)
        close(window_attention(q, k, v, (-1 if context is None else context - 1, 0)), whole, atol=1e-5)


def test_other_configurations() -> None:
    """Options that no reference folder shows map to the right sizes, and wrong ones are errors."""
    make = converter("moss-audio-tokenizer").config
    block = {"module_type": "Transformer", "d_model": 8, "num_heads": 2, "num_layers": 1, "causal": True}
    config = {
        "sampling_rate": 100,
        "downsample_rate": 4,
        "causal_transformer_context_duration": 0.5,
        "encoder_kwargs": [
            {"module_type": "PatchedPretransform", "patch_size": 4},
            {**block, "input_dimension": 4, "output_dimension": 6, "gating": "silu", "norm": "rms_norm_f32"},
        ],
        "decoder_kwargs": [
            {**block, "input_dimension": 6, "output_dimension": 4, "dim_feedforward": 32, "gating": "silu"},
            {"module_type": "PatchedPretransform", "patch_size": 4},
        ],
        "quantizer_kwargs": {"input_dim": 6, "output_dim": 6, "codebook_dim": 6, "quantizer_type": "spec_rvq"},
    }
    own = make(config)
    assert own["encoder"][1]["transformer"]["context"] == 12  # int(25 frames a second * 0.5 s)
    assert own["encoder"][1]["transformer"]["feed_forward"] == 2 * 2048 // 3
    assert own["decoder"][0]["transformer"]["feed_forward"] == 21
    assert own["quantizer"]["stack_dim"] == own["quantizer"]["codebook_dim"] == 0
    assert not own["quantizer"]["normalize"]
    with pytest.raises(ValueError, match="downsample_rate"):
        make({**config, "downsample_rate": 8})
    with pytest.warns(UserWarning, match="unknown_key"):  # the authors' class swallows it too
        make({**config, "unknown_key": 8})
    block = {**config["encoder_kwargs"][1], "unknown_key": 8}
    with pytest.raises(ValueError, match="unknown_key"):
        make({**config, "encoder_kwargs": [config["encoder_kwargs"][0], block]})


@torch.no_grad()
def test_stereo_is_one_alternating_stream() -> None:
    """The keys of Nano and v2: two channels run as one stream at twice the rate, windows by stage."""
    folder = reference_folder("audio", "moss-audio-tokenizer")
    mono, config = load_reference(folder), json.loads((folder / "config.json").read_text())
    state = load_file(folder / "weights.safetensors")
    extra = {"number_channels": 2, "enable_channel_interleave": True, "compute_dtype": "fp32", "sample_rate": 2400}
    stereo = convert("moss-audio-tokenizer", config | extra | {"sampling_rate": 2400, "downsample_rate": 24}, state)
    x = torch.randn(1, 2, 10 * 24, generator=torch.Generator().manual_seed(0)) * 0.3
    stream = x.transpose(1, 2).reshape(1, 1, -1)
    assert torch.equal(stereo.encode((x[0], 2400)).ids, mono.encode((stream[0], 4800)).ids)
    ids = mono.encode((stream[0], 4800)).ids
    close(stereo.decode(ids).transpose(1, 2).reshape(1, 1, -1), mono.decode(ids))
    modules = [m | {"context_duration": 0.02} if m["module_type"] == "Transformer" else m for m in config["encoder_kwargs"]]
    own = converter("moss-audio-tokenizer").config(config | {"encoder_kwargs": modules})
    assert own["encoder"][1]["transformer"]["context"] == 8  # 400 Hz * 0.02 s
    plain = converter("moss-audio-tokenizer").config(config)
    assert own["decoder"] == plain["decoder"]  # modules that name no duration have the global one
    with pytest.raises(ValueError, match="enable_channel_interleave"):
        converter("moss-audio-tokenizer").config(config | extra | {"enable_channel_interleave": False})


def nano() -> dict:
    """The widths of the published 48 kHz model of 22 million parameters."""

    def block(width_in: int, width_out: int, layers: int) -> dict:
        return moss.transformer(width_in, width_out, d_model=256, dim_feedforward=1024, num_heads=4, num_layers=layers)

    p = moss.patch
    encoder = [p(240), block(240, 384, 4), p(2), block(768, 384, 2), p(2), block(768, 384, 2), p(2), block(768, 192, 4), p(4)]
    decoder = [p(4), block(192, 768, 4), p(2), block(384, 768, 2), p(2), block(384, 768, 2), p(2), block(384, 240, 4), p(240)]
    quantizer = {"input_dim": 768, "rvq_dim": 512, "output_dim": 768, "num_quantizers": 16, "codebook_size": 1024, "codebook_dim": 8}
    rates = {"sampling_rate": 48000, "downsample_rate": 3840}
    return moss.STEREO | rates | {"encoder_kwargs": encoder, "decoder_kwargs": decoder, "quantizer_kwargs": quantizer}


def test_nano_has_as_many_parameters_as_published() -> None:
    assert written_numbers("moss-audio-tokenizer", nano()) == 21_969_664
    own = converter("moss-audio-tokenizer").own_config(nano())
    assert (own.channels, own.hop_samples, own.quantizer.num_codebooks) == (2, 3840, 16)
