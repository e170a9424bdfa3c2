"""Tokenizers in the shapes of other projects. Run: pytest tests/zoo/adapters/test_adapters.py

transformers is installed with the tests. Of Codec-SUPERB, VERSA and DASB the interface is compared as they published it (files and
commits stand in the adapters' heads), and where Codec-SUPERB is installed, its own `synth` runs.
"""

import importlib.util
import inspect
import sys
import types

import numpy as np
import pytest
import soundfile
import tokenzoo
import torch
from families import TINY
from tokenzoo.codecs.config import ConfigError
from tokenzoo.zoo.adapters.codec_superb import codec_class
from tokenzoo.zoo.adapters.speechbrain import DasbTokenizer
from tokenzoo.zoo.adapters.versa import write_lists


def tiny(label: str = "spectral") -> tokenzoo.Tokenizer:
    torch.manual_seed(0)
    return tokenzoo.build_tokenizer(*TINY[label]).eval()


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 0.1


def item(samples: int, rate: int = 16000) -> dict:
    return {"id": f"n{samples}", "audio": {"array": noise(samples).numpy().astype(np.float64), "sampling_rate": rate}}


# --- Codec-SUPERB -------------------------------------------------------------------------------------------------------


SLOW = pytest.mark.slow


STEREO = pytest.param("encodec-stereo-segments", marks=SLOW)


@pytest.mark.parametrize("label", ["spectral", STEREO, pytest.param("neucodec", marks=SLOW)])
def test_codec_superb_gets_units_and_waves(label):
    tokenizer = tiny(label)
    codec = codec_class(tokenizer)()
    rate = tokenizer.spec.sample_rate_hz
    assert (codec.sampling_rate, codec.supports_decode) == (rate, True) and codec.setting
    unit = codec.extract_unit(item(5000, rate))
    tokens = tokenizer.encode((noise(5000), rate))
    assert torch.equal(unit.unit, tokens.ids[0]) and unit.unit.shape[0] == tokenizer.spec.num_codebooks
    wave = codec.decode_unit(unit.stuff_for_synth)
    assert isinstance(wave, np.ndarray) and wave.shape == ((5000,) if tokenizer.spec.channels == 1 else (2, 5000))
    many = codec.batch_extract_unit([item(5000, rate), item(3000, rate)])
    assert many.batch_size == 2 and torch.equal(many.units[0], unit.unit)
    waves = codec.batch_decode_unit(many)
    assert [w.shape[-1] for w in waves] == [5000, 3000] and np.allclose(waves[0], wave, atol=1e-5)


def test_codec_superb_codebooks_paths_and_other_kinds(tmp_path):
    codec = codec_class(tiny(), codebooks=1, setting="one book")()
    unit = codec.extract_unit(item(900)).unit
    assert unit.shape[0] == 1 and codec.setting == "one book"
    soundfile.write(tmp_path / "a.wav", noise(900).numpy(), 16000, subtype="FLOAT")
    for audio in (str(tmp_path / "a.wav"), {"path": str(tmp_path / "a.wav")}):
        assert torch.equal(codec.extract_unit({"audio": audio}).unit, unit)
    with pytest.raises(ConfigError, match="takes images"):
        codec_class(tiny("convnet"))()


@pytest.mark.skipif(importlib.util.find_spec("SoundCodec") is not None, reason="theirs is installed")
def test_codec_superb_without_their_package():
    codec = codec_class(tiny())()
    out = codec.synth(item(5000), local_save=False)
    assert out["audio"]["array"].shape == (5000,) and out["unit"].shape[0] == 3
    with pytest.raises(ModuleNotFoundError, match="install Codec-SUPERB"):
        codec.synth(item(5000))


def test_codec_superb_with_a_package_of_their_shape(monkeypatch):
    """A base class with their constructor and abstract methods: ours fits it, and its `synth` is the one that runs."""
    from abc import ABC, abstractmethod
    from dataclasses import make_dataclass

    class BaseCodec(ABC):
        def __init__(self):
            self.device, self.sampling_rate, self.setting = "cpu", None, None
            self.config()

        @abstractmethod
        def config(self): ...

        @abstractmethod
        def extract_unit(self, data): ...

        @abstractmethod
        def decode_unit(self, stuff_for_synth): ...

        def synth(self, data, local_save=True):
            return "theirs", self.decode_unit(self.extract_unit(data).stuff_for_synth).shape, local_save

    general = types.ModuleType("SoundCodec.base_codec.general")
    general.BaseCodec = BaseCodec
    general.ExtractedUnit = make_dataclass("ExtractedUnit", ["unit", "stuff_for_synth"])
    general.BatchExtractedUnit = make_dataclass("BatchExtractedUnit", ["units", "stuff_for_synth", "batch_size"])
    base = types.ModuleType("SoundCodec.base_codec")
    base.general = general
    for name, module in {"SoundCodec": types.ModuleType("SoundCodec"), base.__name__: base, general.__name__: general}.items():
        monkeypatch.setitem(sys.modules, name, module)
    codec = codec_class(tiny())()
    assert isinstance(codec, BaseCodec) and isinstance(codec.extract_unit(item(900)), general.ExtractedUnit)
    assert codec.synth(item(900)) == ("theirs", (900,), True)


# --- DASB ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["spectral", "snac", pytest.param("xcodec2", marks=SLOW), "waveform-causal-stereo"])
def test_dasb_tokens_and_signals(label):
    tokenizer = tiny(label)
    codec = DasbTokenizer(tokenizer).train()
    assert not codec.training and not tokenizer.training
    signal = noise(2, 4000)
    lengths = torch.tensor([1.0, 0.5])
    ids = codec.sig_to_tokens(signal, lengths)
    alone = tokenizer.encode((signal[1, :2000], codec.sample_rate)).ids[0].t()
    assert ids.ndim == 3 and ids.shape[2] == tokenizer.spec.num_codebooks
    assert torch.equal(ids[1, : len(alone)], alone) and not ids[1, len(alone) :].any(), "padding changes nothing"
    wave = codec.tokens_to_sig(ids[:1])
    assert wave.ndim == 2 and abs(wave.shape[1] - 4000) <= 4 * tokenizer.spec.hop_samples


def test_dasb_codebooks_and_embeddings():
    tokenizer = tiny()
    codec, (k, v) = DasbTokenizer(tokenizer), (3, tokenizer.spec.vocab_sizes[0])
    ids = codec.sig_to_tokens(noise(1, 4000), num_codebooks=2)
    assert ids.shape[2] == 2 and codec.tokens_to_sig(ids).shape[0] == 1
    table = codec.get_pretrained_embeddings(vocab_size=v, num_codebooks=k, device="cpu")
    assert table.shape[0] == k * v
    ids = torch.randint(v, (1, k, 20), generator=torch.Generator().manual_seed(0))
    summed = sum(table[i * v + ids[0, i]] for i in range(k))
    assert torch.allclose(summed.t()[None], tokenizer.quantizer.decode(ids), atol=1e-5)
    with pytest.raises(ConfigError, match="the recipe asks for 5"):
        codec.get_pretrained_embeddings(vocab_size=5)
    with pytest.raises(ConfigError, match="of sound"):
        DasbTokenizer(tiny("convnet"))


def test_dasb_methods_take_what_recipes_pass():
    passed = {"sig_to_tokens": {"signal", "lengths"}, "tokens_to_sig": {"tokens"}, "get_pretrained_embeddings": set()}
    for method, names in passed.items():
        parameters = inspect.signature(getattr(DasbTokenizer, method)).parameters
        assert names <= set(parameters) and any(p.kind is p.VAR_KEYWORD for p in parameters.values()), method


# --- VERSA --------------------------------------------------------------------------------------------------------------


def read_scp(path) -> dict[str, str]:
    """As VERSA's loader reads a list for `--io soundfile`: key, white space, the rest of the line."""
    rows = [line.strip().split(maxsplit=1) for line in path.read_text().splitlines()]
    assert not any(value.endswith("|") for _, value in rows)
    return dict(rows)


def test_versa_lists_name_pairs_of_one_rate_and_length(tmp_path):
    media = tmp_path / "in"
    for name, rate, samples in (("a b/x.wav", 16000, 5000), ("a_b/x.wav", 8000, 3000), ("c.flac", 16000, 1200)):
        (media / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(media / name, noise(samples).numpy(), rate)
    (media / "broken.wav").write_bytes(b"no sound")
    tokenizer = tiny()
    lists = write_lists(tokenizer, [media], tmp_path / "out dir", codebooks=2)
    gt, pred = read_scp(lists.gt), read_scp(lists.pred)
    assert list(gt) == list(pred) and len(gt) == 3 and not any(" " in key for key in gt)
    assert list(lists.failed) == [str(media / "broken.wav")]
    for key in gt:
        (a, rate_a), (b, rate_b) = soundfile.read(gt[key]), soundfile.read(pred[key])
        assert rate_a == rate_b and a.shape == b.shape
    want = tokenizer.decode(tokenizer.encode(media / "c.flac", num_codebooks=2))[0, 0].clamp(-1, 1).numpy()
    assert np.abs(soundfile.read(pred["c"])[0] - want).max() < 1e-4
    command = lists.command("egs/codec_16k.yaml")
    assert command.startswith("python versa/bin/scorer.py --score_config egs/codec_16k.yaml --gt '/")
    assert command.endswith("--io soundfile")
    with pytest.raises(ConfigError, match="decodes to no sound"):
        write_lists(tiny("convnet"), [media], tmp_path / "out")


# --- transformers -------------------------------------------------------------------------------------------------------


@pytest.fixture
def audio():
    pytest.importorskip("transformers", reason="the extra transformers is not installed")
    from tokenzoo.zoo.adapters import transformers_audio

    return transformers_audio


@SLOW
@pytest.mark.parametrize("label", ["spectral", "encodec-stereo-segments", "mimi"])
def test_transformers_model_is_saved_and_loaded_by_theirs(audio, label, tmp_path):
    from transformers import AutoModel
    from transformers.modeling_utils import PreTrainedAudioTokenizerBase

    tokenizer = tiny(label)
    model = audio.AudioTokenizer.wrap(tokenizer)
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert isinstance(again, PreTrainedAudioTokenizerBase) and isinstance(again, audio.AudioTokenizer)
    x = noise(2, tokenizer.spec.channels, 5000)
    ids = tokenizer.encode(x).ids
    for one in (model, again):
        out = one.encode(x)
        assert torch.equal(out.audio_codes, ids) and bool(out.audio_codes_mask.all())
        wave = one.decode(out.audio_codes).audio_values
        assert torch.allclose(wave.reshape(2, -1), tokenizer.decode(ids, original=False).reshape(2, -1), atol=1e-5)
    assert AutoModel.from_pretrained(tmp_path, dtype="bfloat16").dtype == torch.bfloat16


@SLOW
def test_transformers_masks_prefixes_and_facts(audio):
    tokenizer = tiny()
    model = audio.AudioTokenizer.wrap(tokenizer)
    x, mask = noise(2, 4000), torch.ones(2, 4000, dtype=torch.long)
    mask[1, 2000:] = 0
    out = model.encode(x, padding_mask=mask)
    alone = tokenizer.encode((x[1, :2000], model.config.sampling_rate)).ids[0]
    assert torch.equal(out.audio_codes[1][:, out.audio_codes_mask[1].bool()], alone)
    assert model.encode(x, n_quantizers=1, return_dict=False)[0].shape[1] == 1
    assert model(x).audio_values.shape[0] == 2
    config, spec = model.config, tokenizer.spec
    assert (config.sampling_rate, config.hop_length) == (spec.sample_rate_hz, spec.hop_samples)
    assert config.num_codebooks == spec.num_codebooks
    assert np.prod(config.downsampling_ratios) == spec.hop_samples and config.codebook_size == spec.vocab_sizes[0]
    with pytest.raises(ConfigError, match="no tokenizer that encodes and decodes sound"):
        audio.AudioTokenizer.wrap(tiny("convnet"))
