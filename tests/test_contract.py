"""What every family promises (DESIGN, "the contract"), over all registered families in tiny form.

    pytest tests/test_contract.py -k mimi
"""

import dataclasses

import pytest
import tokenzoo
import torch
from contract_cases import AUDIO, IMAGE, LABELS, batch, build, decode, item, media, sizes
from families import TINY
from tokenzoo.codecs.config import from_mapping, to_mapping
from tokenzoo.codecs.families import FAMILIES
from tokenzoo.codecs.kernels.conv_stack import ConvStack
from tokenzoo.codecs.serialize import load_folder, save_folder
from tokenzoo.codecs.tokenizer import Tokenizer


@pytest.fixture(scope="module", params=LABELS)
def tokenizer(request) -> Tokenizer:
    return build(request.param)


def test_every_family_is_here():
    assert {f for f, _ in TINY.values()} == set(FAMILIES.names()), "add the missing family's tiny form"


def test_ids_vary(tokenizer):
    """The other tests would say nothing over constant ids."""
    assert len(tokenizer.encode([media(x, tokenizer) for x in batch(tokenizer, 2)]).ids.unique()) > 2


def test_round_trip_gives_back_the_exact_size(tokenizer):
    for size in sizes(tokenizer):
        x = item(tokenizer, size)
        tokens = tokenizer.encode(media(x, tokenizer))
        y = decode(tokenizer, tokens)
        assert tokens.ids.dtype == torch.int64 and tokens.ids.shape[:2] == (1, tokenizer.spec.num_codebooks), size
        if tokenizer.spec.modality == "audio" and tokenizer.spec.decoded_rate_hz != tokenizer.spec.sample_rate_hz:
            rate = tokenizer.spec.decoded_rate_hz / tokenizer.spec.sample_rate_hz
            assert y.shape[-1] == -(-round(size * tokenizer.spec.decoded_rate_hz) // tokenizer.spec.sample_rate_hz), (size, rate)
        elif tokenizer.spec.decodes:
            assert y.shape[1:] == x.shape, size
        assert torch.isfinite(y).all()
        for k, v in enumerate(tokenizer.spec.vocab_sizes):
            assert 0 <= int(tokens.ids[:, k].min()) <= int(tokens.ids[:, k].max()) < v


def test_batch_equals_single(tokenizer):
    xs = list(batch(tokenizer, 3))
    together = tokenizer.encode([media(x, tokenizer) for x in xs])
    for i, x in enumerate(xs):
        alone = tokenizer.encode(media(x, tokenizer))
        assert torch.equal(together[i].ids, alone.ids)
        assert torch.allclose(decode(tokenizer, together)[i], decode(tokenizer, alone)[0], atol=1e-4)


def test_ragged_batch_equals_single(tokenizer):
    """Padding that another item brings into the batch changes nothing."""
    pool = sizes(tokenizer)[-3:]
    xs = [item(tokenizer, s, seed=i) for i, s in enumerate(pool)]
    together = tokenizer.encode([media(x, tokenizer) for x in xs])
    decoded = decode(tokenizer, together)
    for i, x in enumerate(xs):
        alone = tokenizer.encode(media(x, tokenizer))
        one = together[i]
        assert one.ids.shape == alone.ids.shape and torch.equal(one.ids, alone.ids)
        assert one.grid == alone.grid
        assert torch.allclose(decoded[i], decode(tokenizer, alone)[0], atol=1e-4)


def test_train_and_eval_mode_give_the_same_ids(tokenizer):
    x = batch(tokenizer, 2)
    ids = tokenizer.encode(x).ids
    before = {k: v.clone() for k, v in tokenizer.state_dict().items()}
    tokenizer.train()
    try:
        assert torch.equal(tokenizer.encode(x).ids, ids)
    finally:
        tokenizer.eval()
    assert all(torch.equal(v, before[k]) for k, v in tokenizer.state_dict().items()), "encode changed the weights"


def test_forward_equals_encode_then_decode(tokenizer):
    x = batch(tokenizer, 2)
    out = tokenizer(x)
    tokens = tokenizer.encode(x)
    assert torch.equal(out.quantized.ids[..., : tokens.ids.shape[-1]], tokens.ids)
    y = decode(tokenizer, tokens)
    x_hat = out.x_hat if y.is_floating_point() else out.x_hat.argmax(1)  # scores of classes
    assert torch.allclose(x_hat, y, atol=1e-4), (x_hat - y).abs().max()


def test_codebook_prefixes_decode_where_claimed(tokenizer):
    spec = tokenizer.spec
    if spec.num_codebooks == 1:
        pytest.skip("one codebook has no prefix")
    tokens = tokenizer.encode(batch(tokenizer, 2))
    if "codebooks" not in spec.prefix:
        with pytest.raises(ValueError, match="codebooks"):
            decode(tokenizer, tokens.first(codebooks=1))
        return
    whole = decode(tokenizer, tokens)
    for k in range(1, spec.num_codebooks):
        part = decode(tokenizer, tokens.first(codebooks=k))
        assert part.shape == whole.shape
        assert not torch.allclose(part, whole), "the codebooks left out made no difference"


def test_position_prefixes_decode_where_claimed(tokenizer):
    """Pictures keep their size; sound ends where its positions end, and before that it is that of the whole."""
    spec, tokens = tokenizer.spec, tokenizer.encode(batch(tokenizer, 2))
    if "positions" not in spec.prefix or tokens.ids.shape[2] == 1:
        pytest.skip("no position prefixes")
    whole = decode(tokenizer, tokens)
    step = max(spec.strides, default=1) if spec.modality == "audio" else 1
    positions = max(step, tokens.ids.shape[2] // 2 // step * step)
    part = decode(tokenizer, tokens.first(positions=positions))
    if spec.modality != "audio":
        assert part.shape == whole.shape
        assert not torch.allclose(part, whole), "the positions left out made no difference"
        return
    assert part.shape == (*whole.shape[:-1], positions * spec.hop_samples * spec.decoded_rate_hz // spec.sample_rate_hz)
    later = 0 if spec.streamable else min(positions, tokenizer.context_frames or positions)  # positions near the cut differ
    settled = part.shape[-1] * (positions - later) // positions
    assert torch.allclose(part[..., :settled], whole[..., :settled], atol=1e-4)


def test_foreign_tokens_are_refused(tokenizer):
    if not tokenizer.spec.decodes:
        pytest.skip("it refuses all tokens")
    tokens = tokenizer.encode(batch(tokenizer, 1))
    high = tokens.ids.clone()
    high[0, 0, 0] = tokenizer.spec.vocab_sizes[0]
    with pytest.raises(ValueError, match="outside its vocabulary"):
        decode(tokenizer, dataclasses.replace(tokens, ids=high))
    other = dataclasses.replace(tokens, ids=torch.zeros_like(tokens.ids), vocab_sizes=(7,) * tokens.num_codebooks)
    with pytest.raises(ValueError, match="another tokenizer"):
        decode(tokenizer, other)


#: Parameters that by design take no part in a training step of the tiny form, by family: name fragment -> why.
NO_GRADIENT: dict[str, tuple[str, ...]] = {
    "kanade": ("voice_encoder.", "synthesis.decoder.blocks."),  # until AdaLN has left its zeros
    "titok": ("text.proj.weight",),  # without a text its states are zeros
    "speechtokenizer": ("fusion.",),  # without the vectors of other models nothing is added
    "fdt_clip": ("text.", "codes.text_map."),  # of the texts alone
}


def test_gradients_reach_every_parameter(tokenizer):
    if not any(p.requires_grad for p in tokenizer.parameters()):
        pytest.skip("it is fitted, not trained")
    tokenizer.train()
    try:
        tokenizer.zero_grad()
        torch.manual_seed(0)
        for _ in range(8 if tokenizer.family == "retok" else 1):  # each batch of ReTok reads another number of tokens
            out = tokenizer(batch(tokenizer, 4, seed=7))
            (out.x_hat.square().mean() + out.quantized.loss + sum(f.float().square().mean() for f in out.features.values())).backward()
    finally:
        tokenizer.eval()
    allowed = NO_GRADIENT.get(tokenizer.family, ())
    missing = [
        n
        for n, p in tokenizer.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.abs().sum() > 0) and not any(a in n for a in allowed)
    ]
    assert not missing, missing
    tokenizer.zero_grad()


def test_save_and_load_gives_equal_ids(tokenizer, tmp_path):
    save_folder(tokenizer, tmp_path)
    again = load_folder(tmp_path)
    x = batch(tokenizer, 2)
    assert torch.equal(again.encode(x).ids, tokenizer.encode(x).ids)
    assert torch.equal(decode(again, again.encode(x)), decode(tokenizer, tokenizer.encode(x)))
    assert again.spec == tokenizer.spec
    assert not again.training


#: Families whose ids need the whole network, or that have nothing for one half alone.
WHOLE = {"latent", "alit", "fdt", "longcat_next_codes"}


def test_each_half_alone_gives_the_same(tokenizer, tmp_path):
    """`load(part=...)`: ids from the encoder's half, media from the decoder's, with fewer weights, and nothing else."""
    save_folder(tokenizer, tmp_path)
    x, spec = batch(tokenizer, 2), tokenizer.spec
    tokens = tokenizer.encode(x)
    encoder = load_folder(tmp_path, part="encoder")
    assert torch.equal(encoder.encode(x).ids, tokens.ids)
    with pytest.raises(ValueError, match=r"part='encoder'"):
        encoder.decode(tokens)
    halves = [encoder]
    if spec.decodes:
        decoder = load_folder(tmp_path, part="decoder")
        assert torch.equal(decode(decoder, tokens), decode(tokenizer, tokens))
        with pytest.raises(ValueError, match=r"part='decoder'"):
            decoder.encode(x)
        halves.append(decoder)
    whole = sum(p.numel() for p in tokenizer.state_dict().values())
    for half in halves:
        assert sum(p.numel() for p in half.state_dict().values()) < whole or tokenizer.family in WHOLE or not spec.decodes
        with pytest.raises(ValueError, match="cannot be saved"):
            save_folder(half, tmp_path / "half")


def test_tokens_survive_their_file(tokenizer, tmp_path):
    tokens = tokenizer.encode(batch(tokenizer, 2))
    tokens.save(tmp_path / "t.tok")
    assert tokenzoo.Tokens.load(tmp_path / "t.tok").equal(tokens)


def test_config_survives_json(tokenizer):
    mapping = to_mapping(tokenizer.config)
    assert from_mapping(tokenizer.config_class, mapping) == tokenizer.config


@pytest.mark.parametrize("label", AUDIO)
def test_chunked_equals_whole(label):
    tokenizer = build(label)
    if tokenizer.context_frames is None:
        pytest.skip(f"{label} depends on the whole clip")
    size = (3 * tokenizer.context_frames + 60) * tokenizer.spec.hop_samples - 1
    x = (item(tokenizer, size), tokenizer.spec.sample_rate_hz)
    whole = tokenizer.encode(x)
    y = decode(tokenizer, whole)
    tokenizer.piece_positions = 13
    chunked = tokenizer.encode(x)
    assert torch.equal(chunked.ids, whole.ids)
    assert torch.allclose(decode(tokenizer, whole), y, atol=1e-4)


@pytest.mark.parametrize("label", IMAGE)
def test_tiles_equal_whole(label):
    tokenizer = build(label)
    if getattr(tokenizer, "context_positions", None) is None or tokenizer.spec.image_size is not None:
        pytest.skip(f"{label} depends on the whole picture, or takes one size")
    side = (2 * tokenizer.context_positions + 9) * tokenizer.spec.stride
    x = item(tokenizer, (side, side - 3))
    whole = tokenizer.encode(x)
    y = decode(tokenizer, whole)
    tokenizer.piece_positions = 4
    tiled = tokenizer.encode(x)
    assert torch.equal(tiled.ids, whole.ids)
    assert torch.allclose(decode(tokenizer, whole), y, atol=1e-4)


@pytest.mark.parametrize("label", IMAGE)
def test_levels_in_pieces_equal_whole(label):
    """Norms over the whole picture, and yet only a part of it in memory."""
    tokenizer = build(label)
    stacks = [part for part in tokenizer.modules() if isinstance(part, ConvStack)]
    if not stacks:
        pytest.skip(f"{label} has no convolutional stack")
    multiple = getattr(tokenizer, "size_multiple", 1)
    x = item(tokenizer, tokenizer.spec.image_size or (6 * multiple - 1, 5 * multiple))
    whole = tokenizer.encode(x)
    y = decode(tokenizer, whole)
    for stack in stacks:
        stack.whole_values, stack.side = 0, 3
    assert torch.equal(tokenizer.encode(x).ids, whole.ids)
    assert torch.allclose(decode(tokenizer, whole), y, atol=1e-4)


@pytest.mark.parametrize("label", AUDIO)
@pytest.mark.parametrize("piece", [1, 13, 64])
def test_streamed_equals_whole(label, piece):
    tokenizer = build(label)
    if not tokenizer.spec.streamable:
        pytest.skip(f"{label} looks ahead")
    x = item(tokenizer, 8 * tokenizer.spec.hop_samples + 5)[None]
    whole = tokenizer.encode(x)
    stream = tokenizer.stream()
    parts = [stream.push(p) for p in x.split(piece, dim=-1)] + [stream.flush()]
    parts = [p for p in parts if p is not None]
    assert torch.equal(torch.cat([p.ids for p in parts], dim=-1), whole.ids)
    y = torch.cat([stream.decode(p, last=p is parts[-1]) for p in parts], dim=-1)
    offline = decode(tokenizer, whole)
    assert torch.allclose(y[..., : offline.shape[-1]], offline, atol=1e-5)


@pytest.mark.parametrize("label", AUDIO)
def test_streams_are_refused_where_the_spec_has_none(label):
    tokenizer = build(label)
    if tokenizer.spec.streamable:
        pytest.skip(f"{label} streams")
    assert tokenizer.spec.latency_samples == 0
    if not hasattr(tokenizer, "stream"):
        pytest.skip(f"{label} has no `stream` at all")
    with pytest.raises(ValueError, match="stream"):
        tokenizer.stream()


@pytest.mark.parametrize("label", AUDIO)
def test_latency_is_what_the_spec_says(label):
    """Sample by sample: the first decoded sample comes with the first one beyond `latency_samples`."""
    tokenizer = build(label)
    if not tokenizer.spec.streamable:
        pytest.skip(f"{label} looks ahead")
    x = item(tokenizer, tokenizer.spec.latency_samples + 2 * tokenizer.spec.hop_samples)[None]
    stream, pushed, decoded = tokenizer.stream(), 0, 0
    for sample in x.split(1, dim=-1):
        tokens = stream.push(sample)
        pushed += 1
        decoded = 0 if tokens is None else stream.decode(tokens).shape[-1]
        if decoded:
            break
    assert decoded and pushed == tokenizer.spec.latency_samples + 1


@pytest.mark.parametrize("label", AUDIO)
def test_resampled_audio_comes_back_at_its_own_rate(label):
    tokenizer = build(label)
    rate = tokenizer.spec.sample_rate_hz
    if tokenizer.spec.decoded_rate_hz != rate:
        pytest.skip("decodes at another rate by design")
    if not tokenizer.spec.decodes:
        pytest.skip("gives no sound back")
    x = item(tokenizer, 1234)
    y = decode(tokenizer, tokenizer.encode((x, rate * 3 // 2)))
    assert y.shape == (1, *x.shape)
