"""Who made tokens: the fingerprint, and what `decode` says of tokens of others. Run: pytest tests/codecs/test_identity.py"""

import copy
import dataclasses
import pickle
import warnings

import pytest
import tokenzoo
import torch
from contract_cases import LABELS, batch, build, item
from families import TINY
from tokenzoo import Tokens
from tokenzoo.codecs import identity
from tokenzoo.codecs.identity import checksum, fingerprint_of, identity_of
from tokenzoo.codecs.serialize import load_folder, save_folder
from tokenzoo.codecs.token_checks import ForeignTokensWarning
from tokenzoo.codecs.token_fields import TokenError


@pytest.fixture(scope="module")
def sound():
    return build("spectral")


@pytest.fixture
def quiet():
    """Any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# --- the fingerprint --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", LABELS)
def test_the_same_weights_are_the_same_tokenizer_and_others_are_not(label, tmp_path):
    """Saved, in halves, copied, pickled, moved, cast, compiled; and not after one step of training."""
    torch.manual_seed(0)
    tokenizer = tokenzoo.build_tokenizer(*TINY[label]).eval()
    own = fingerprint_of(tokenizer)
    save_folder(tokenizer, tmp_path)
    halves = [load_folder(tmp_path, part=part) for part in ("encoder", "decoder")]
    narrow = copy.deepcopy(tokenizer).to(torch.bfloat16)
    same = [load_folder(tmp_path), *halves, copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(narrow))]
    same += [narrow, narrow.float(), copy.deepcopy(tokenizer).half().double(), copy.deepcopy(tokenizer).train()]
    assert [fingerprint_of(t) for t in same] == [own] * len(same)
    if not any(True for n, _ in tokenizer.named_parameters() if not n.startswith(tokenizer.decoder_only)):
        return
    other = copy.deepcopy(tokenizer)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1 + 1e-5)
            p.add_(1e-6)
    assert fingerprint_of(other) != own == fingerprint_of(tokenizer)


@pytest.mark.parametrize("label", ["spectral", "vqgan"])
def test_a_copy_of_a_half_stays_that_tokenizer(label, tmp_path):
    tokenizer = build(label)
    save_folder(tokenizer, tmp_path)
    for part in ("encoder", "decoder"):
        half = load_folder(tmp_path, part=part)
        assert copy.deepcopy(half).identity == pickle.loads(pickle.dumps(half)).identity == tokenizer.identity


def test_every_weight_but_the_decoders_counts(sound):
    own = fingerprint_of(sound)
    for name in sound.state_dict():
        other = copy.deepcopy(sound)
        written = other.state_dict()[name]
        written.copy_(~written if written.dtype == torch.bool else written + 1)
        assert (fingerprint_of(other) == own) == name.startswith("decoder."), name
        assert (checksum(other) == checksum(sound)) == name.startswith("decoder."), name


def test_it_follows_training_step_by_step_however_weights_are_written(sound):
    tokenizer = copy.deepcopy(sound)
    seen = [fingerprint_of(tokenizer)]
    optimizer = torch.optim.SGD(tokenizer.parameters(), lr=1e-4)
    for _ in range(2):
        out = tokenizer(batch(tokenizer, 2))
        (out.x_hat.square().mean() + out.quantized.loss).backward()
        optimizer.step()
        seen.append(tokenizer.encode(item(tokenizer, 200)).tokenizer.fingerprint)
    first = next(tokenizer.parameters())
    first.data.mul_(0.5)  # behind the back of autograd
    seen.append(fingerprint_of(tokenizer))
    first.data = first.data * 0.5
    seen.append(fingerprint_of(tokenizer))
    tokenizer.load_state_dict(sound.state_dict())
    assert len(set(seen)) == 5 and fingerprint_of(tokenizer) == seen[0]


def test_a_cast_tokenizer_that_is_trained_on_is_another(sound):
    narrow = copy.deepcopy(sound).to(torch.bfloat16)
    assert narrow.identity == sound.identity
    with torch.no_grad():
        next(narrow.parameters()).add_(0.25)
    assert narrow.identity != sound.identity
    assert narrow.float().identity != sound.identity


def test_settings_count_and_those_at_their_defaults_do_not():
    plain, levels = {"dim": 3, "quantizer": {"kind": "fsq", "levels": [5, 5, 5]}}, [5, 5, 4]
    one = tokenzoo.build_tokenizer("latent", plain)
    spelt = tokenzoo.build_tokenizer("latent", plain | {"alternatives": {}})
    other = tokenzoo.build_tokenizer("latent", plain | {"quantizer": {"kind": "fsq", "levels": levels}})
    assert one.identity == spelt.identity != other.identity


def test_another_decoder_leaves_the_ids_what_they_are():
    """Bigger, or none at all: tokens of one are decoded by the other without a word."""
    torch.manual_seed(0)
    whole = tokenzoo.build_tokenizer(*TINY["vqgan"])
    alone = tokenzoo.build_tokenizer("vqgan", TINY["vqgan"][1] | {"decoder": None})
    alone.load_state_dict({n: v for n, v in whole.state_dict().items() if n in alone.state_dict()})
    assert alone.identity == whole.identity
    dac = TINY["dac"][1]
    wide = tokenzoo.build_tokenizer("dac", dac | {"decoder_width": 16})
    plain = tokenzoo.build_tokenizer("dac", dac)
    assert wide.identity != plain.identity  # other weights
    wide.load_state_dict({n: v for n, v in plain.state_dict().items() if not n.startswith("decoder.")}, strict=False)
    assert wide.identity == plain.identity


def test_it_does_not_depend_on_how_weights_lie_in_memory(sound):
    turned = copy.deepcopy(sound)
    for p in turned.parameters():
        if p.ndim > 1:
            p.data = p.data.transpose(0, -1).contiguous().transpose(0, -1)
    assert any(not p.is_contiguous() for p in turned.parameters())
    assert fingerprint_of(turned) == fingerprint_of(sound)


def test_weights_that_cannot_be_read_have_none(sound):
    with torch.device("meta"):
        empty = tokenzoo.build_tokenizer(*TINY["spectral"])
    assert empty.identity is None
    assert copy.deepcopy(sound).to("meta").identity is None


def test_looking_reads_a_few_numbers_of_each_tensor():
    """`encode` looks at every call."""
    config = {"width": 256, "encoder_blocks": 8, "decoder_blocks": 1, "hop_samples": 20, "window_samples": 40, "latent_dim": 6}
    tokenizer = tokenzoo.build_tokenizer("spectral", config | {"quantizer": {"kind": "residual_vq", "num_codebooks": 2}})
    assert identity_of(tokenizer) is not None
    views = [view if index is None else index for part in identity._KNOWN[tokenizer].parts.values() for view, index in part]
    weights = tokenizer.state_dict()
    assert len(views) > 50 and sum(p.numel() for p in weights.values()) > 1_000_000
    assert max(view.numel() for view in views) <= 2 * identity._NUMBERS


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("", "spectral"),
        ("speech-16khz-4kbps", "speech-16khz-4kbps"),
        ("org/repo@main", "org/repo@main"),
        ("file:/home/me/secret/codec", "codec"),
        ("/home/me/secret/codec/", "codec"),
        ("../codec", "codec"),
        ("file:C:\\me\\codec", "codec"),
    ],
)
def test_names_hold_no_paths(sound, source, name):
    tokenizer = copy.deepcopy(sound)
    tokenizer.source = source
    assert tokenizer.identity.name == name and tokenizer.identity == sound.identity


# --- tokens of others -------------------------------------------------------------------------------------------------


def test_encode_signs_and_decode_takes_its_own(sound, quiet, tmp_path):
    tokens = sound.encode([item(sound, 200), item(sound, 333)])
    assert tokens.tokenizer == sound.identity and tokens.tokenizer.modality == "audio"
    tokens.save(tmp_path / "t.tok")
    sound.decode(Tokens.load(tmp_path / "t.tok"))
    sound.decode(dataclasses.replace(tokens, tokenizer=None))
    narrow = copy.deepcopy(sound).to(torch.bfloat16)
    assert narrow.encode(item(sound, 200)).tokenizer == sound.identity
    narrow.decode(tokens)


def test_tokens_of_another_tokenizer_get_one_warning_that_names_both(sound):
    other = copy.deepcopy(sound)
    other.source = "org/tuned"
    with torch.no_grad():
        next(other.parameters()).add_(1)
    tokens = other.encode(item(sound, 200))
    own = copy.deepcopy(sound)
    with pytest.warns(ForeignTokensWarning, match=r"made by org/tuned \(spectral, .*decoded by spectral \(spectral, ") as caught:
        own.decode(tokens)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own.decode(tokens)
        own.decode(tokens.ids)
    third = copy.deepcopy(other)
    with torch.no_grad():
        next(third.parameters()).add_(1)
    with pytest.warns(ForeignTokensWarning):
        own.decode(third.encode(item(sound, 200)))


def test_another_modality_is_refused_with_and_without_a_maker(sound, quiet):
    picture = build("convnet")
    photo = picture.encode(item(picture, (12, 8)))
    clip = sound.encode(item(sound, 200))
    assert photo.vocab_sizes == clip.vocab_sizes
    with pytest.raises(TokenError, match=r"tokens of pictures, made by convnet .* this spectral tokenizer decodes sound"):
        sound.decode(photo)
    with pytest.raises(TokenError, match=r"tokens of sound, made by spectral .* this convnet tokenizer decodes pictures"):
        picture.decode(clip)
    for tokens, tokenizer in ((photo, sound), (clip, picture)):
        with pytest.raises(TokenError, match="these are tokens of"):
            tokenizer.decode(dataclasses.replace(tokens, tokenizer=None))
    with pytest.raises(TokenError, match="tokens of sound"):
        picture.decode(dataclasses.replace(clip, tokenizer=None, sample_rate_hz=None))
    with pytest.raises(TokenError, match="tokens of pictures"):
        sound.decode(dataclasses.replace(photo, tokenizer=None, sizes=None))
    assert sound.decode(photo.ids).ndim == 3  # ids are meant


# --- rates ------------------------------------------------------------------------------------------------------------


def test_clips_of_several_rates_in_one_call(tmp_path):
    """Ids are those of each clip alone; `decode` gives each at its own rate and length."""
    import soundfile

    tokenizer = build("spectral")
    assert tokenizer.spec.sample_rate_hz == 16000
    files = []
    for rate, samples in ((11025, 5512), (192000, 11520), (16000, 8000), (11025, 700)):
        files.append(tmp_path / f"{rate}-{samples}.wav")
        soundfile.write(files[-1], torch.sin(torch.arange(samples) * 2765 / rate).numpy() * 0.4, rate)
    together = tokenizer.encode(files)
    decoded = tokenizer.decode(together)
    assert together.sample_rate_hz.tolist() == [11025, 192000, 16000, 11025]
    for i, file in enumerate(files):
        alone = tokenizer.encode(file)
        assert together[i] == alone and tokenizer.rate_of(alone) == together.sample_rate_hz[i]
        assert decoded[i].shape[-1] == soundfile.info(file).frames
        assert torch.allclose(decoded[i], tokenizer.decode(alone)[0], atol=1e-5)
    together.save(tmp_path / "all.tok")
    again = tokenizer.decode(Tokens.load(tmp_path / "all.tok"))
    assert all(torch.equal(a, b) for a, b in zip(again, decoded, strict=True))


def test_the_rate_of_what_comes_out():
    plain, changing = build("spectral"), build("neucodec")
    assert (changing.spec.sample_rate_hz, changing.spec.decoded_rate_hz) == (16000, 24000)
    for tokenizer, rate, out in ((plain, 16000, 16000), (plain, 8000, 8000), (changing, 16000, 24000), (changing, 8000, 8000)):
        tokens = tokenizer.encode((item(tokenizer, 1600), rate))
        assert tokenizer.rate_of(tokens) == out
        assert tokenizer.decode(tokens).shape[-1] == 1600 * out // rate
        assert tokenizer.rate_of(tokens, original=False) == tokenizer.spec.decoded_rate_hz
    cut = plain.encode((item(plain, 1600), 8000)).first(positions=3)
    assert plain.rate_of(cut) == 16000 and plain.decode(cut).shape[-1] == 3 * plain.spec.hop_samples
