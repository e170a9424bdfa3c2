"""Streams in pieces of constant length, whose state is tensors alone. Run: pytest tests/zoo/export/test_steps.py -k mimi"""

import pytest
import tokenzoo
import torch
from contract_cases import build, item
from families import TINY
from tokenzoo.codecs.layers.causal import Conv1d
from tokenzoo.zoo.export import NotExportable
from tokenzoo.zoo.export.steps import StepDecoder, StepEncoder, check_stream

#: Zeros, repeated values and reflection before the start; LSTMs, attention, STFTs.
STREAMS = ["mimi", "encodec", *(pytest.param(n, marks=pytest.mark.slow) for n in
           ("mimi-layers", "moss", "qwen3_tts", "nemo-causal", "spectral-causal"))]  # fmt: skip


def tiny(label: str) -> tokenzoo.Tokenizer:
    torch.manual_seed(0)
    return tokenzoo.build_tokenizer(*TINY[label]).eval()


@pytest.mark.parametrize("label", STREAMS)
def test_pieces_give_what_the_stream_gives(label):
    tokenizer = tiny(label) if label in ("mimi", "encodec") else build(label)
    assert len(tokenizer.encode(item(tokenizer, 40 * tokenizer.spec.hop_samples)).ids.unique()) > 3, "the ids vary"
    check_stream(StepEncoder(tokenizer, codebooks=None, frames=None), "encoder", pieces=7)
    check_stream(StepDecoder(tokenizer, codebooks=None, frames=None), "decoder", pieces=7)


@pytest.mark.parametrize("label", ["encodec", "mimi"])
def test_a_row_begins_anew_where_its_state_is_zero(label):
    step = StepEncoder(tiny(label), codebooks=None, frames=None)
    length = step.inputs[0].axes[-1].size
    x = torch.stack([item(step.tokenizer, 4 * length, seed=i) for i in range(2)])
    want, state, made = step.tokenizer.encode(x).ids, [i.example() for i in step.inputs[1:]], []
    for _ in range(2):
        out = []
        with torch.no_grad():
            for piece in x.split(length, dim=-1):
                ids, *state = step(piece, *state)
                out.append(ids)
        made.append(torch.cat(out, dim=-1))
        for tensor in state:
            tensor[1] = 0
    assert torch.equal(made[0], want)
    assert torch.equal(made[1][1], want[1]), "it has no past"
    assert not torch.equal(made[1][0], want[0]), "the other row goes on"


def test_other_streams_are_refused(monkeypatch):
    with pytest.raises(NotExportable, match="the state of its WavLM is no tensor of constant shape"):
        StepEncoder(tiny("focalcodec-causal"), codebooks=None, frames=None)
    monkeypatch.setattr(Conv1d, "_step", lambda self, x, state: self(x))  # forgets what was before
    with pytest.raises(NotExportable, match="do not give what its stream gives"):
        check_stream(StepEncoder(tiny("mimi"), codebooks=None, frames=None), "encoder")
