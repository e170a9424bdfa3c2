"""Mimi against the authors' outputs, in both layouts, and against the class of transformers.

pytest tests/audio/mimi/test_mimi.py
"""

import dataclasses

import pytest
import torch
from layout_options import all_sweeps, merged
from reference import load_io, reference_folder
from tokenzoo.codecs.layers.causal import State
from tokenzoo.codecs.layers.transformer1d import RingState
from tokenzoo.codecs.layouts.keymap import NotWritable
from tokenzoo.zoo.convert import convert, converter, load_reference

ATOL = 2e-5


def close(got: torch.Tensor, want: torch.Tensor, atol: float = ATOL) -> None:
    torch.testing.assert_close(got, want, atol=atol, rtol=1e-4)


def cases(io: dict) -> list[str]:
    return sorted({k.split(".")[0] for k in io})


def stream_through(tok, x: torch.Tensor, size: int, state_class: type[State]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and waveform of pieces of `size` samples."""
    stream = tok.stream(state_class=state_class)
    tokens = [t for piece in x.split(size, dim=-1) if (t := stream.push(piece)) is not None]
    tokens += [t] if (t := stream.flush()) is not None else []
    return torch.cat([t.ids for t in tokens], -1), torch.cat([stream.decode(t) for t in tokens], -1)


@pytest.mark.parametrize("system", ["mimi", "mimi-hf"])
@torch.no_grad()
def test_reference(system: str) -> None:
    folder = reference_folder("audio", system)
    tok, io = load_reference(folder), load_io(folder)
    for name in cases(io):
        want = {k.split(".")[1]: v for k, v in io.items() if k.startswith(name + ".")}
        x = want["input"]
        padded = x if system == "mimi-hf" else torch.nn.functional.pad(x, (0, -x.shape[-1] % 120))
        close(tok.encoder.seanet(padded), want["seanet"])
        close(tok.encoder.transformer(want["seanet"]), want["transformer"])
        close(tok.encode_latents(x), want["latent"])
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, want["ids"]), name
        assert torch.equal(tok.encode(x, num_codebooks=2).ids, want["ids_n2"])
        close(tok.quantizer.decode(tokens.ids), want["quantized"])
        close(tok.decode(tokens.ids), want["decoded"])
        close(tok.decode(tokens), want["decoded"][..., : x.shape[-1]])
        for k in (1, 2, 3):
            close(tok.decode(tokens.first(codebooks=k).ids), want[f"decoded_q{k}"])
        if "forward" in want:
            close(tok(x).x_hat, want["forward"][..., : x.shape[-1]])


@torch.no_grad()
def test_streams_as_the_authors_do() -> None:
    """Ring buffers of 10 steps: with several steps at once other ids than offline."""
    folder = reference_folder("audio", "mimi")
    tok, io = load_reference(folder), load_io(folder)
    for name in ("mult_b1", "mult_b2"):
        for frames in (1, 4):
            ids, _ = stream_through(tok, io[f"{name}.input"], 120 * frames, RingState)
            assert torch.equal(ids, io[f"{name}.ids_stream{frames}"])
            stream, tokens = tok.stream(state_class=RingState), tok.encode(io[f"{name}.input"])
            parts = tokens.ids.split(frames, dim=-1)
            audio = [stream.decode(dataclasses.replace(tokens, ids=p, lengths=None, grid=())) for p in parts]
            close(torch.cat(audio, -1), io[f"{name}.decoded_stream{frames}"])


@pytest.mark.parametrize("system", ["mimi", "mimi-hf"])
@torch.no_grad()
def test_streams_as_offline(system: str) -> None:
    folder = reference_folder("audio", system)
    tok, io = load_reference(folder), load_io(folder)
    for name in cases(io):
        x = io[f"{name}.input"]
        for size in (77, 240, 601):
            ids, audio = stream_through(tok, x, size, State)
            assert torch.equal(ids, io[f"{name}.ids"]), (name, size)
            close(audio, io[f"{name}.decoded"], atol=1e-5)
    if system == "mimi-hf":
        ids, _ = stream_through(tok, io["mult_b1.input"], 240, State)
        assert torch.equal(ids, io["mult_b1.ids_stream"])


@torch.no_grad()
def test_long_audio_runs_in_pieces() -> None:
    tok = load_reference(reference_folder("audio", "mimi"))
    x = torch.randn(1, 1, 120 * 41 + 7, generator=torch.Generator().manual_seed(0)) * 0.3
    whole = tok.encode(x)
    audio = tok.decode(whole)
    tok.piece_positions = 7
    assert tok.encode(x).equal(whole)
    close(tok.decode(whole), audio, atol=1e-5)


@torch.no_grad()
def test_another_configuration_against_transformers() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers holds the peer")
    torch.manual_seed(1)
    config = transformers.MimiConfig(
        sampling_rate=1600,
        hidden_size=24,
        num_filters=4,
        num_residual_layers=2,
        upsampling_ratios=[4, 2],
        kernel_size=5,
        last_kernel_size=5,
        residual_kernel_size=5,
        dilation_growth_rate=3,
        codebook_size=32,
        codebook_dim=8,
        vector_quantization_hidden_dimension=8,
        num_quantizers=5,
        num_semantic_quantizers=2,
        use_conv_shortcut=True,
        upsample_groups=6,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=10,
        intermediate_size=40,
        sliding_window=7,
        attention_bias=True,
        pad_mode="replicate",
        norm_eps=1e-3,
        layer_scale_initial_scale=0.5,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    )
    peer = transformers.MimiModel(config).eval()
    for module in peer.modules():
        if hasattr(module, "embed_sum"):
            module.embed_sum.normal_()
            module.cluster_usage.uniform_(0.5, 2)
    state = {k: v.clone() for k, v in peer.state_dict().items()}
    tok = convert("mimi-hf", config.to_diff_dict(), state)
    x = torch.randn(2, 1, 16 * 23 + 5) * 0.3
    want = peer.encode(x).audio_codes
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids, want)
    for ids in (want, want[:, :1]):
        audio = peer.decode(ids).audio_values  # as loud as 150
        close(tok.decode(ids), audio, 1e-6 * float(audio.abs().max()))
    assert tok.spec.names == ("semantic",) * 2 + ("acoustic",) * 3


@torch.no_grad()
def test_the_authors_weights_in_the_other_layout() -> None:
    """Equal ids, but in a last frame that is partly filled: a warning says so."""
    folder = reference_folder("audio", "mimi")
    tok, io = load_reference(folder), load_io(folder)
    layout = converter("mimi-hf")
    own = dataclasses.replace(tok.config, default_codebooks=0)
    with pytest.warns(UserWarning, match="partial last frame"):
        theirs = layout.authors_config(own)
    again = convert("mimi-hf", theirs, layout.write(tok.state_dict(), tok.config))
    assert torch.equal(again.encode(io["mult_b2.input"]).ids, io["mult_b2.ids"])


def test_what_transformers_cannot_say() -> None:
    own = converter("mimi").own_config(merged(all_sweeps()["mimi"].tiny, {"transformer": {"gating": "silu"}}))
    with pytest.warns(UserWarning, match="partial last frame"), pytest.raises(NotWritable, match="gated"):
        converter("mimi-hf").authors_config(own)


def test_older_spellings_of_the_authors_weights() -> None:
    """`{"model": ...}` around all, older names of the tables' sums, older names of the attention."""
    folder = reference_folder("audio", "mimi")
    tok = load_reference(folder)
    layout = converter("mimi")
    older = {"embedding_sum": "embed_avg", "cluster_usage": "cluster_size", "_initialized": "inited"}
    attention = {"in_projs.0.weight": "in_proj_weight", "out_projs.0.weight": "out_proj.weight"}
    state = {}
    for key, value in layout.write(tok.state_dict(), tok.config).items():
        head, _, last = key.rpartition(".")
        key = f"{head}.{older.get(last, last)}"
        for new, old in attention.items():
            key = key.removesuffix(new) + old if key.endswith(new) else key
        state[key] = value
    assert any(k.endswith("embed_avg") for k in state) and any(k.endswith("in_proj_weight") for k in state)
    own = layout.read({"model": state}, tok.config)
    for key, value in own.items():
        torch.testing.assert_close(value, tok.state_dict()[key], atol=1e-6, rtol=1e-5, msg=key)
