"""Rows of a stream that pause, end and begin anew on their own: each gives what it gives alone.

    pytest tests/audio/test_stream_rows.py
"""

import pytest
import torch
from contract_cases import AUDIO, build
from tokenzoo.codecs.audio.lanes import Lanes
from tokenzoo.codecs.kernels.stream import State, join_rows, progress, select_rows
from tokenzoo.codecs.tokens import Tokens

STREAMABLE = [label for label in AUDIO if build(label).spec.streamable]


def joined(parts: list[Tokens | None], row: int) -> torch.Tensor:
    """All ids `[K, L]` that a row has given."""
    return torch.cat([p.ids[row, :, : int(p.lengths[row])] for p in parts if p is not None], dim=-1)


def spoken(parts: list, row: int) -> torch.Tensor:
    return torch.cat([p[row] for p in parts], dim=-1)


@pytest.mark.parametrize("label", STREAMABLE)
def test_rows_that_pause_give_what_they_give_alone(label):
    """Four rows, each with pauses of its own; what is pushed in a pause is left out. Then decoded, with the same pauses."""
    tokenizer = build(label)
    hop, channels = tokenizer.spec.hop_samples, tokenizer.spec.channels
    generator = torch.Generator().manual_seed(3)
    active = torch.rand(9, 4, generator=generator) < 0.6
    active[0, 3] = False  # begins late
    x = 0.3 * torch.randn(9, 4, channels, hop + 3, generator=generator)
    stream = tokenizer.stream()
    parts = [stream.push(x[i], active=active[i]) for i in range(9)] + [stream.flush()]
    ids = []
    for row in range(4):
        alone = tokenizer.stream()
        pushed = [alone.push(x[i, row : row + 1]) for i in range(9) if active[i, row]] + [alone.flush()]
        ids.append(joined(pushed, 0))
        assert torch.equal(joined(parts, row), ids[row]), f"row {row}"
        sizes = sum(int(p.sizes[row, 0]) for p in parts if p is not None)
        assert sizes == int(active[:, row].sum()) * (hop + 3), "samples that the frames cover, padding left out"
    assert any(p is not None and len(set(p.lengths.tolist())) > 1 for p in parts), "the rows did not differ"

    some = [p for p in parts if p is not None]
    stream = tokenizer.stream()
    sound = [stream.decode(p) for p in some]
    for row in range(4):
        alone = tokenizer.stream()
        want = [alone.decode(p[row]) for p in some if int(p.lengths[row])]
        assert torch.allclose(spoken(sound, row), spoken(want, 0), atol=1e-5)


@pytest.mark.parametrize("label", STREAMABLE)
def test_a_row_that_is_reset_begins_anew_and_the_others_go_on(label):
    tokenizer = build(label)
    x = 0.3 * torch.randn(3, tokenizer.spec.channels, 6 * tokenizer.spec.hop_samples, generator=torch.Generator().manual_seed(5))
    first, second = x.chunk(2, dim=-1)
    stream = tokenizer.stream()
    before = [stream.push(first)]
    ended = stream.flush(active=[False, True, False])
    stream.reset([False, True, False])
    after = [stream.push(second), stream.flush()]
    for row in (0, 2):
        assert torch.equal(joined(before + after, row), tokenizer.encode(x[row : row + 1]).ids[0])
    assert torch.equal(joined([*before, ended], 1), tokenizer.encode(first[1:2]).ids[0])
    assert torch.equal(joined(after, 1), tokenizer.encode(second[1:2]).ids[0])
    parts = [p for p in after if p is not None]
    want = torch.cat([stream.decode(p, last=p is parts[-1])[0] for p in parts], dim=-1)
    stream.reset()
    assert torch.equal(torch.cat([stream.decode(p, last=p is parts[-1])[0] for p in parts], dim=-1), want)


def test_rows_at_the_same_place_run_together_again():
    """A convolutional codec remembers no position, so rows are only apart while their samples wait."""
    tokenizer = build("encodec")
    stream = tokenizer.stream()
    hop = tokenizer.spec.hop_samples
    x = torch.randn(3, tokenizer.spec.channels, 20 * hop)
    stream.push(x)
    stream.push(x, active=[True, False, True])
    assert len(stream._encoders.lanes) == 1 and stream._encoders.lanes[0].rows == [0, 1, 2]
    stream.push(x[..., : hop // 2], active=torch.tensor([True, False, False]))
    assert sorted(lane.rows for lane in stream._encoders.lanes) == [[0], [1, 2]]
    stream.push(x[..., hop // 2 : hop], active=[True, False, False])
    assert len(stream._encoders.lanes) == 1


def test_rows_of_a_state_come_apart_and_together():
    layer, other = torch.nn.Identity(), torch.nn.Identity()
    state = State({layer: (torch.arange(6).view(3, 2), None, 4), other: torch.arange(3)})
    parts = [select_rows(state, rows) for rows in ([2], [0, 1])]
    assert progress(parts[0]) == progress(parts[1])
    back = select_rows(join_rows(parts), [1, 2, 0])
    assert torch.equal(back[layer][0], state[layer][0]) and back[layer][1:] == (None, 4) and torch.equal(back[other], state[other])
    parts[0][layer] = (parts[0][layer][0], None, 5)
    assert progress(parts[0]) != progress(parts[1])


def test_rows_that_cannot_be():
    tokenizer = build("encodec")
    stream = tokenizer.stream()
    x = torch.randn(2, tokenizer.spec.channels, 8 * tokenizer.spec.hop_samples)
    tokens = stream.push(x)
    with pytest.raises(ValueError, match="3 rows; this stream has 2"):
        stream.push(x[:1].repeat(3, 1, 1))
    for active in ([True], [1, 0], torch.tensor([0.5, 1.0]), [[True], [False]]):
        with pytest.raises(ValueError, match="True or False"):
            stream.push(x, active=active)
    with pytest.raises(ValueError, match="True or False"):
        stream.reset([True])
    stream.decode(tokens)
    with pytest.raises(ValueError, match="1 rows; this stream has 2"):
        stream.decode(tokens[0])
    assert Lanes(State).split([]) == []
