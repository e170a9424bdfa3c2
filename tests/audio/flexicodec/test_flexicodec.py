"""FlexiCodec against the authors' outputs, and what positions that stand for several frames promise.

pytest tests/audio/flexicodec/test_flexicodec.py
"""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from audio_cases import close, drawn_weight, noise
from families import TINY
from reference import load_io
from tokenzoo import Tokens, build_tokenizer
from tokenzoo.codecs.audio.flexicodec.durations import WithDurations
from tokenzoo.codecs.audio.flexicodec.model import FlexiCodec, GroupsConfig, SemanticPath
from tokenzoo.codecs.audio.flexicodec.sensevoice import SenseVoiceConfig, stacked_bins
from tokenzoo.codecs.quantizers import build
from tokenzoo.codecs.run_lengths import collapse, expand
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.convert import convert
from tokenzoo.zoo.kaldi_files import read_statistics
from torch import Tensor

ATOL = 5e-5
FOLDER = Path(__file__).parent / "references" / "flexicodec"
#: case -> samples, threshold (None: the config's), codebooks with that of durations
CASES = {"published": (30001, None, 5), "higher": (30001, 0.7, 5), "short": (4000, None, 5), "fixed": (12800, 1.0, 4),
         "semantic": (20000, None, 2)}  # fmt: skip


def sound(samples: int) -> Tensor:
    """The clip `[1, 1, T]` of the references."""
    i = torch.arange(samples, dtype=torch.float64)
    t = i / 16000
    sweep = 0.3 * (2 * math.pi * (200 + 300 * t) * t).sin() * (0.5 + 0.5 * (9 * t + 1).sin())
    return (sweep + 0.02 * (0.37 * i**1.5).sin()).float()[None, None]


def authors_state(io: dict[str, Tensor]) -> dict[str, Tensor]:
    out = {}
    for key, shape in json.loads((FOLDER / "shapes.json").read_text()).items():
        quiet = key.startswith("dac.decoder.") and key.endswith("weight_g")
        out[key] = drawn_weight(key, tuple(shape)) * (0.7 if quiet else 1)
    out |= {"semantic_mean": torch.zeros(1), "semantic_std": torch.ones(1)}
    return out | {k: v.repeat(7) for k, v in io.items() if k.startswith("cmvn.")}


@pytest.fixture(scope="module")
def reference() -> tuple[FlexiCodec, dict[str, Tensor]]:
    io = load_io(FOLDER)
    return convert("flexicodec", json.loads((FOLDER / "config.json").read_text()), authors_state(io)), io


def tiny(**changes: object) -> FlexiCodec:
    torch.manual_seed(0)
    family, config = TINY["flexicodec"]
    return build_tokenizer(family, config | changes).eval()


@torch.no_grad()
def test_the_speech_model(reference) -> None:
    tok, io = reference
    x = sound(4000)[0]
    bins = (stacked_bins(x[0]) + tok.speech.shift) * tok.speech.scale
    close(bins[:, ::7], io["speech.bins"], ATOL)
    close(tok.speech(x)[0], io["speech.features"], ATOL)
    assert tok.speech(x).shape[-1] == 4 and len(tok.speech.layers) == 3, "layers behind the features are left out"


@torch.no_grad()
def test_ids_durations_and_waveform_are_the_authors(reference) -> None:
    tok, want = reference
    for case, (samples, threshold, codebooks) in CASES.items():
        x = sound(samples)
        tokens = tok.encode(x, threshold=threshold, num_codebooks=codebooks)
        assert torch.equal(tokens.ids[0, 1:], want[f"{case}.ids"]), case
        if case != "semantic":
            assert torch.equal(tokens.ids[:, 0] + 1, want[f"{case}.token_lengths"]), case
            frames = want[f"{case}.token_lengths"].repeat_interleave(want[f"{case}.token_lengths"][0], dim=1)
            assert frames.shape[1] == tok.num_frames(samples)
            features = want[f"{case}.semantic"].repeat_interleave(want[f"{case}.token_lengths"][0], dim=1)
            close(tok.semantic(tokens)[0], features, ATOL)
        y = tok.decode(tokens)
        assert y.shape == x.shape
        shown = min(y[..., ::41].shape[-1], want[f"{case}.decoded"].shape[-1])
        close(y[0, :, ::41][:, :shown], want[f"{case}.decoded"][:, :shown], ATOL)
    assert want["published.ids"].shape[1] < want["higher.ids"].shape[1] < tok.num_frames(30001)


@torch.no_grad()
def test_a_fixed_rate_is_the_authors(reference) -> None:
    """Nothing goes through the transformers that their class still has."""
    _, want = reference
    config = json.loads((FOLDER / "config.json").read_text())
    config["model"]["use_similarity_alignment"] = False
    tok, x = convert("flexicodec", config, authors_state(want)), sound(30001)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[0], want["fixed_rate.ids"]) and tok.smoother is None
    close(tok.decode(tokens)[0, :, ::41][:, : want["fixed_rate.decoded"].shape[-1]], want["fixed_rate.decoded"], ATOL)


@torch.no_grad()
def test_a_batch_of_many_lengths_and_rates_equals_its_items(reference) -> None:
    tok, _ = reference
    clips = [sound(30001)[0], sound(40000)[0, :, 9999:], noise(1, 30001), torch.zeros(1, 30001), sound(700)[0], sound(1)[0]]
    together = tok.encode(clips, threshold=0.7)
    assert len(set(together.lengths.tolist())) > 3, "clips of one length have different numbers of groups"
    decoded = tok.decode(together)
    for i, clip in enumerate(clips):
        alone = tok.encode(clip[None], threshold=0.7)
        assert torch.equal(together[i].ids, alone.ids)
        close(decoded[i], tok.decode(alone)[0], ATOL)
        assert decoded[i].shape == clip.shape


@torch.no_grad()
def test_silence_keeps_its_groups() -> None:
    """Neighbouring groups with equal ids stay apart: the durations say where one ends."""
    tok = tiny()
    tokens = tok.encode(torch.zeros(1, 1, 16000))
    assert (tokens.ids[0, 0, :-1] == 3).sum() > 1
    assert int((tokens.ids[:, 0] + 1).sum()) == tok.num_frames(16000)
    frames = expand(tokens)
    assert frames.names == tokens.names[1:] and frames.ids.shape[-1] == tok.num_frames(16000)
    with pytest.raises(ValueError, match="run lengths already"):
        collapse(tokens)


@torch.no_grad()
def test_ids_of_a_language_model_last_as_long_as_they_say() -> None:
    tok, hop = tiny(), 1280
    ids = torch.tensor([[[0, 2, 3], [5, 9, 9], [1, 2, 3], [4, 5, 6]], [[1, 0, 0], [5, 9, 9], [1, 2, 3], [4, 5, 6]]])
    decoded = tok.decode(tok.tokens(ids, lengths=[3, 2]))
    assert [y.shape[-1] for y in decoded] == [n * hop for n in (1 + 3 + 4, 2 + 1)]
    close(decoded[1], tok.decode(ids[1:, :, :2])[0], ATOL)
    equally_many = tok.decode(tok.tokens(ids))
    assert [y.shape[-1] for y in equally_many] == [8 * hop, 4 * hop]
    close(equally_many[1], tok.decode(ids[1:])[0], ATOL)
    twice = tok.decode(tok.tokens(ids, lengths=[3, 2], sample_rate_hz=32000))
    assert [y.shape[-1] for y in twice] == [2 * n * hop for n in (1 + 3 + 4, 2 + 1)]
    cut = dataclasses.replace(tok.encode(sound(16000)), tokenizer=None)
    part = tok.decode(cut.first(positions=1))
    assert part.shape[-1] == int(cut.ids[0, 0, 0] + 1) * hop


@torch.no_grad()
def test_rates_follow_the_threshold() -> None:
    tok, x = tiny(), noise(1, 1, 16000)
    counts = [int(tok.encode(x, threshold=t).lengths) for t in (0.0, 0.95, 1.0)]
    assert counts[0] < counts[1] < counts[2] == tok.num_frames(16000)
    with pytest.raises(ValueError, match="threshold is 1.5"):
        tok.encode(x, threshold=1.5)
    fixed = build_tokenizer(*TINY["flexicodec-fixed-rate"])
    with pytest.raises(ValueError, match="threshold"):
        fixed.encode(x, threshold=0.9)


@torch.no_grad()
def test_features_take_the_speech_models_place() -> None:
    tok, x = tiny(), noise(2, 1, 16000)
    features = tok.speech_features(x)
    assert torch.equal(tok.encode(x, features=features).ids, tok.encode(x).ids)
    other = tiny(speech=None)
    other.load_state_dict({k: v for k, v in tok.state_dict().items() if not k.startswith("speech.")})
    assert torch.equal(other.encode(x, features=features).ids, tok.encode(x).ids)
    with pytest.raises(ValueError, match="pass `features=`"):
        other.encode(x)
    with pytest.raises(ValueError, match="do not belong together"):
        tok.encode(x, features=features[..., :4])
    with pytest.raises(ValueError, match="features have 1 frames"):
        tok.encode(x, features=features[..., :1])
    with pytest.raises(ValueError, match="features have 5 channels"):
        tok.encode(x, features=features[:, :5])


@torch.no_grad()
def test_convolutions_over_groups_do_not_see_what_fills_up() -> None:
    path = SemanticPath(tiny().config)
    x, valid = torch.randn(2, 8, 9), torch.ones(2, 1, 9)
    valid[0, :, 6:] = 0
    close(path.encode(x, valid)[:1, :, :6], path.encode(x[:1, :, :6], valid[:1, :, :6]), 1e-6)
    assert not torch.allclose(path.encode(x, torch.ones(2, 1, 9))[:1, :, :6], path.encode(x, valid)[:1, :, :6])


def test_durations_are_a_codebook_of_their_own() -> None:
    inner = build("fsq", dim=2, levels=(4, 4))
    q = WithDurations(inner, 4)
    z = torch.cat([torch.tensor([[[3.0, 1.0, 0.0]], [[1.0, 2.0, 4.0]]]), torch.randn(2, 2, 3)], dim=1)
    out = q.train()(z)
    assert out.ids[:, 0].tolist() == [[2, 0, 0], [0, 1, 3]] and out.ids[0, 1, 2] == 0
    assert torch.equal(q.encode(z), out.ids) and torch.equal(q.encode(z, num_codebooks=1), out.ids[:, :1])
    assert torch.equal(out.ids[1, 1:], inner.encode(z[1:, 1:])[0])
    assert torch.equal(q.decode(out.ids)[1], out.z_q[1])
    assert not q.decode(out.ids[:, :1])[:, 1:].any()


def test_training_draws_a_threshold() -> None:
    tok, x = tiny().train(), noise(1, 1, 16000)
    torch.manual_seed(0)
    rates = {tok(x).z.shape[-1] for _ in range(12)}
    assert len(rates) > 1
    tok.eval()
    assert {tok(x).z.shape[-1] for _ in range(3)} == {int(tok.encode(x).lengths)}


def test_the_authors_loader_prefers_the_checkpoints_speech_model(reference) -> None:
    """With SenseVoice's own file beside a checkpoint that holds it as well, and beside one that does not."""
    tok, io = reference
    state, config = authors_state(io), json.loads((FOLDER / "config.json").read_text())
    apart = {f"sensevoice.{k.removeprefix('semantic_model.')}": v for k, v in state.items() if k.startswith("semantic_model.")}
    without = {k: v for k, v in state.items() if not k.startswith("semantic_model.")}
    want = tok.state_dict()
    for given in (state | {k: v + 1 for k, v in apart.items()}, without | apart):
        own = convert("flexicodec", config, given).state_dict()
        assert all(torch.equal(own[k], v) for k, v in want.items())
    with pytest.raises(CheckpointError, match="missing"):
        convert("flexicodec", config, without)


def test_statistics_of_filter_banks(tmp_path: Path) -> None:
    rows = (
        "<Splice> 2 2",
        "[ 0 ]",
        "<AddShift> 2 2",
        "<LearnRateCoef> 0 [ -8.5 1e-1 ]",
        "<Rescale> 2 2",
        "<LearnRateCoef> 0 [ 0.5 2 ]",
    )
    text = "\n".join(("<Nnet>", *rows, "</Nnet>", ""))
    path = tmp_path / "am.mvn"
    path.write_text(text)
    found = read_statistics(path)
    close(found["shift"], torch.tensor([-8.5, 0.1]), 1e-6)
    close(found["scale"], torch.tensor([0.5, 2.0]), 1e-6)
    for broken in (text.replace("<Rescale>", "<Else>"), text.replace("0.5 2 ]", "0.5 ]"), text.replace("1e-1", "nan"), ""):
        path.write_text(broken)
        with pytest.raises(CheckpointError, match=r"am\.mvn"):
            read_statistics(path)


def test_wrong_settings() -> None:
    for cls, change, message in (
        (GroupsConfig, {"longest": 257}, "longest is 257"),
        (GroupsConfig, {"threshold": -0.1}, "threshold is -0.1"),
        (GroupsConfig, {"draw_threshold": (0.9, 0.8)}, "draw_threshold"),
        (SenseVoiceConfig, {"heads": 5}, "multiple of heads"),
        (SenseVoiceConfig, {"kernel_size": 4}, "kernel_size is 4"),
        (SenseVoiceConfig, {"outputs": (70,)}, "layers count from 0 to 69"),
    ):
        with pytest.raises(ValueError, match=message):
            cls(**change)
    config = tiny().config
    for change, message in (
        ({"latent_dim": 12}, "they must be equal"),
        ({"subtract_decoded": False}, "semantic_width must equal"),
        ({"speech_stride": 0.5}, "speech_stride is 0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(config, **change)
    with pytest.raises(ValueError, match="frames a second"):
        tiny(strides=[20, 40]).encode(noise(1, 1, 4000))
    assert isinstance(tiny().encode(noise(1, 1, 4000)), Tokens)
