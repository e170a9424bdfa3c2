"""H-Codec 1.5 and 2.0 against the authors' outputs, and what an adaptive rate promises.

    pytest tests/audio/hcodec/test_versions.py
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from audio.hcodec.tiny import SMALL_SPECTRA
from audio_cases import close, drawn_weight
from families import TINY
from reference import load_io
from tokenzoo import build_tokenizer
from tokenzoo.codecs.layers.frame_groups import GroupVectors, group_frames
from tokenzoo.codecs.layers.transformer1d import Transformer1dConfig
from tokenzoo.codecs.run_lengths import collapse, expand
from tokenzoo.zoo.convert import convert, converter
from torch import Tensor

ATOL = 2e-5
REFERENCES = Path(__file__).parent / "references"


def reference(system: str) -> tuple[Any, dict[str, dict[str, Tensor]]]:
    """The tokenizer of a stored case, and its tensors by case and name."""
    folder = REFERENCES / system
    shapes = json.loads((folder / "shapes.json").read_text())
    state = {k: drawn_weight(k, tuple(shape)) for k, shape in shapes.items()}
    cases: dict[str, dict[str, Tensor]] = {}
    for key, value in load_io(folder).items():
        case, name = key.split(".")
        cases.setdefault(case, {})[name] = value
    return convert(system, json.loads((folder / "config.json").read_text()), state), cases


def folded(ids: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Runs `[B, K + 1, R]` as the authors' ids `[B, K, R]`, which hold the duration of their group."""
    return ids[:, :-1] + ids[:, -1:] * torch.tensor(sizes)[None, :, None]


@torch.no_grad()
def test_spectra() -> None:
    tok, cases = reference("h-codec-2.0")
    assert (tok.spec.sample_rate_hz, tok.spec.hop_samples) == (48000, 4 * 24)
    for want in cases.values():
        tokens = tok.encode(want["input"], features=want["features"])
        assert torch.equal(tokens.ids, want["ids"])
        assert min(len(row.unique()) for row in want["ids"].transpose(0, 1).flatten(1)) > 4
        close(tok.decode(tokens)[:, 0], want["decoded"], ATOL)
        out = tok(want["input"], want["features"])
        close(out.x_hat[:, 0], want["decoded"], ATOL)
        close(out.features["semantic"], want["predicted_features"], ATOL)


@torch.no_grad()
def test_adaptive_rate() -> None:
    tok, cases = reference("h-codec-1.5")
    for case, threshold in (("published", None), ("higher", 0.9)):
        want = cases[case]
        tokens = tok.encode(want["input"], features=want["features"], threshold=threshold)
        runs = collapse(tokens, longest=tok.config.merging.longest)
        assert torch.equal(folded(runs.ids, tokens.vocab_sizes), want["ids"])
        assert runs.ids.shape[2] < tokens.ids.shape[2]
        assert torch.equal(expand(runs).ids, tokens.ids)
        close(tok.decode(expand(runs))[:, 0], want["decoded"], ATOL)
    out = tok(cases["published"]["input"], cases["published"]["features"])
    close(out.x_hat[:, 0], cases["published"]["decoded"], ATOL)
    close(out.features["semantic"], cases["published"]["predicted_features"], ATOL)


def test_groups() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    frames = torch.stack([a, 2 * a, a, a, a, b, a, b, b], dim=1)[None]  # [1, 2, 9]
    assert group_frames(frames, threshold=0.5, longest=None).tolist() == [[0, 0, 0, 0, 0, 1, 2, 3, 3]]
    assert group_frames(frames, threshold=0.5, longest=2).tolist() == [[0, 0, 1, 1, 2, 3, 4, 5, 5]]
    assert group_frames(frames[..., :1], threshold=0.5, longest=2).tolist() == [[0]]


@pytest.mark.parametrize("query", ["mean", "learned"])
@torch.no_grad()
def test_vectors_do_not_depend_on_the_batch(query: Any) -> None:
    torch.manual_seed(0)
    config = Transformer1dConfig(width=8, layers=2, heads=2, feed_forward=8, causal=False, context=None, layer_scale=1.0)
    model, x = GroupVectors(6, config, query).eval(), torch.randn(3, 6, 7)
    groups = torch.tensor([[0, 0, 1, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0, 0]])
    together = model(x, groups)
    for row, one, own in zip(together, x, groups, strict=True):
        alone = model(one[None], own[None])[0]
        close(row[:, : alone.shape[1]], alone, 1e-5)
    # a query reads the frames of its group: with other frames elsewhere and here, its vector is another one
    assert not torch.allclose(model(x.roll(1, 2), groups), together)


@torch.no_grad()
def test_threshold_sets_the_rate() -> None:
    pytest.importorskip("transformers", reason="transformers holds the speech model")
    tok = build_tokenizer(*TINY["hcodec-adaptive"]).eval()
    x = 0.3 * torch.randn(2, 1, 6400, generator=torch.Generator().manual_seed(0))
    runs = [collapse(tok.encode(x, threshold=t)).lengths.sum() for t in (0.0, 0.99)]
    assert runs[0] < runs[1]
    with pytest.raises(ValueError, match="threshold is 1.5"):
        tok.encode(x, threshold=1.5)


@pytest.mark.parametrize("layers", [(), (0, 1)])
@torch.no_grad()
def test_features_at_48_khz(layers: tuple[int, ...]) -> None:
    pytest.importorskip("transformers", reason="transformers holds the speech model")
    import torchaudio

    tok = build_tokenizer("hcodec", SMALL_SPECTRA | {"semantic_layers": layers}).eval()
    x = 0.1 * torch.randn(2, 1, 2 * tok.spec.hop_samples)
    wave = torchaudio.transforms.Resample(48000, 16000)(x[:, 0])
    states = tok.semantic_model.model(torch.nn.functional.pad(wave, (160, 160)), output_hidden_states=True).hidden_states
    mean = torch.stack([states[i] for i in layers or range(len(states))], dim=1).mean(1)
    want = torch.where(mean > 0, 1, -1) * mean.abs() ** 0.3
    close(tok.speech_features(x), want.transpose(1, 2), 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_spectra_in_the_contract(dtype: torch.dtype) -> None:
    pytest.importorskip("transformers", reason="transformers holds the speech model")
    tok = build_tokenizer("hcodec", SMALL_SPECTRA).eval().to(dtype)
    clips = [0.1 * torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (2000, 3001, 2000)]
    tokens = tok.encode(clips)
    assert [y.shape[-1] for y in tok.decode(tokens)] == [2000, 3001, 2000]
    for clip, item in zip(clips, tokens, strict=True):
        assert torch.equal(tok.encode(clip).ids[0, :, : item.ids.shape[-1]], item.ids[0])


def test_published_sizes() -> None:
    c = converter("h-codec-1.5").own_config({})
    assert (c.seanet.strides, c.hop_samples, c.merging.longest, c.merging.threshold) == ((8, 5, 4, 2), 640, 8, 0.6)
    assert [t.layers for t in (c.merging.semantic, c.merging.acoustic, c.merging.smoother)] == [32, 32, 32]
    c = converter("h-codec-2.0").own_config({})
    assert (c.sample_rate_hz, c.hop_samples, c.heads, c.decoder_stride, c.quantizer.num_codebooks) == (48000, 3840, 24, 4, 16)


@pytest.mark.parametrize(
    ("system", "changes", "message"),
    [
        ("h-codec-2.0", {"decoder_config": {"target_frame_rate": 6.25}}, "differ"),
        ("h-codec-2.0", {"encoder_config": {"dim": 96}}, "64 channels"),
        ("h-codec-1.5", {"adaptive_config": {"use_query_token_aggregator": False}}, "use_query_token_aggregator"),
        ("h-codec-1.5", {"adaptive_config": {"manual_threshold": None, "infer_using_dynamic_threshold": True}}, "manual_threshold"),
        ("h-codec-1.5", {"adaptive_config": {"transformer_kwargs": {"input_dimension": 12}}}, "channels"),
    ],
)
def test_wrong_configurations(system: str, changes: dict, message: str) -> None:
    from layout_options import merged

    config = json.loads((REFERENCES / system / "config.json").read_text())
    with pytest.raises(ValueError, match=message):
        converter(system).own_config(merged(config, changes))
