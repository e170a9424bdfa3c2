"""The unit vocoder against the authors' outputs, and its place in the family.

    pytest tests/audio/speech_units/test_vocoder.py
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from audio.speech_units.tiny import FRAMES_OF_20, SMALL_UNITS
from audio_cases import close, drawn_weight
from reference import load_io
from tokenzoo import build_tokenizer
from tokenzoo.codecs.audio.speech_units.vocoder import runs_of
from tokenzoo.codecs.run_lengths import collapse
from tokenzoo.codecs.tokenizer import NotDecodable
from tokenzoo.zoo.convert import convert

REFERENCE = Path(__file__).parent / "references/code-hifigan"
SMALL_VOCODER = {
    "dim": 4, "decoder_width": 8, "strides": [4, 5], "stride_kernels": [8, 11], "unit_kernels": [3], "unit_dilations": [[1, 3]],
    "duration_width": 4,
}  # fmt: skip
WITH_VOCODER = SMALL_UNITS | {"vocoder": SMALL_VOCODER}

pytest.importorskip("transformers", reason="transformers holds the speech model")


def reference() -> tuple[Any, dict[str, torch.Tensor]]:
    """A tokenizer with the authors' vocoder, and the stored tensors."""
    model = SMALL_UNITS["model"] | FRAMES_OF_20
    units = build_tokenizer("speech_units", SMALL_UNITS | {"model": model, "quantizer": {"kind": "kmeans", "codebook_size": 7}})
    shapes = json.loads((REFERENCE / "shapes.json").read_text())
    state = {f"speech_model.{k}": v for k, v in units.model.model.state_dict().items()}
    voice = {k: drawn_weight(f"generator.{k}", tuple(shape)) for k, shape in shapes.items()}
    state |= {"cluster_centers_": torch.randn(7, 8), "generator": voice}
    config = {"model": model, "layers": [1], "n_clusters": 7, "vocoder": json.loads((REFERENCE / "config.json").read_text())}
    return convert("kmeans-units", config, state), load_io(REFERENCE)


@torch.no_grad()
def fitted() -> Any:
    """A tokenizer with a vocoder, its centres among the hidden states of noise."""
    tok = build_tokenizer("speech_units", WITH_VOCODER)
    noise = 0.3 * torch.randn(1, 1, 800, generator=torch.Generator().manual_seed(1))
    tok.quantizer.use(tok.encode_latents(noise)[0].t()[: tok.quantizer.codebook_sizes[0]])
    return tok


@torch.no_grad()
def test_it_equals_the_authors() -> None:
    tok, want = reference()
    assert tok.spec.decodes
    close(tok.decode(want["units"][None]), want["decoded"], 2e-5)
    longer = tok.with_repeats(want["units"][0])
    assert torch.equal(tok.vocoder.durations(want["units"]), want["durations"])
    assert len(want["durations"].unique()) > 2
    close(tok.decode(longer), want["with_durations"], 2e-5)


def test_runs() -> None:
    runs = runs_of(torch.tensor([[4, 4, 1, 1, 1, 4], [2, 2, 2, 2, 2, 2]]))
    assert runs.units.tolist() == [[4, 1, 4], [2, 0, 0]]
    assert runs.durations.tolist() == [[2, 3, 1], [6, 0, 0]]


@torch.no_grad()
def test_clips_come_back_at_their_lengths() -> None:
    tok = fitted().eval()
    clips = [0.3 * torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (400, 533)]
    tokens = tok.encode(clips)
    assert [y.shape[-1] for y in tok.decode(tokens)] == [400, 533]
    assert torch.equal(tok.decode(tokens[:1])[0], tok.decode(tokens)[0])
    units = collapse(tokens[:1]).first(codebooks=1).ids[0, 0]
    assert tok.with_repeats(units).ids.shape[-1] >= len(units)
    with pytest.raises(ValueError, match="predicts no durations"):
        build_tokenizer("speech_units", WITH_VOCODER | {"vocoder": SMALL_VOCODER | {"duration_width": 0}}).with_repeats([1, 2])
    with pytest.raises(NotDecodable):
        build_tokenizer("speech_units", SMALL_UNITS).with_repeats([1, 2])


def test_training_reaches_the_vocoder_alone() -> None:
    tok = fitted().train()
    x = 0.3 * torch.randn(2, 1, 800, generator=torch.Generator().manual_seed(0))
    out = tok(x)
    assert out.x_hat.shape == x.shape
    assert out.features["log_durations"].shape == out.features["log_durations_target"].shape
    (out.x_hat.square().mean() + out.features["log_durations"].square().mean()).backward()
    reached = {name.partition(".")[0] for name, p in tok.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached == {"vocoder"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocoder": SMALL_VOCODER | {"strides": [4, 4]}}, "16 samples of a unit"),
        ({"layers": [0, 1]}, "one layer"),
        ({"vocoder": SMALL_VOCODER | {"duration_kernel": 4}}, "must be odd"),
    ],
)
def test_wrong_configurations(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_tokenizer("speech_units", WITH_VOCODER | change)
