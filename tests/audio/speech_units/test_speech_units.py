"""Speech units against transformers called directly, and against k-means in NumPy.

pytest tests/audio/speech_units
"""

import numpy as np
import pytest
import tokenzoo
import torch
import torch.nn.functional as F
from audio_cases import noise
from contract_cases import build
from tiny_parts import SMALL_HUBERT, SMALL_W2V_BERT
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.layers.speech_features import FrozenModel, stacked_fbanks
from tokenzoo.codecs.quantizers.kmeans import KMeans
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.codecs.tokenizer import NotDecodable
from tokenzoo.zoo.convert import convert

transformers = pytest.importorskip("transformers", reason="the speech models are those of transformers")

#: The convolutions of the published models: a frame every 320 samples, or every 640.
AT_50_HZ = SMALL_HUBERT | {"num_hidden_layers": 3}
AT_25_HZ = AT_50_HZ | {"conv_dim": [4] * 8, "conv_kernel": [10, 3, 3, 3, 3, 2, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2, 2]}
LARGE = AT_50_HZ | {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}


def units(model, layers=(2,), size=6, **settings):
    """A tokenizer with random weights and centres among its hidden states."""
    torch.manual_seed(0)
    config = {"model": model, "model_name": "", "layers": layers, "quantizer": {"kind": "kmeans", "codebook_size": size}} | settings
    tokenizer = tokenzoo.build_tokenizer("speech_units", config).eval()
    tokenizer.quantizer.fit(tokenizer.encode_latents(noise(1, 1, 40_000))[0].t())
    return tokenizer


def states_of(tokenizer, x, layer):
    """Hidden states `[N, D]` of transformers for one piece `[T]`."""
    with torch.no_grad():
        return tokenizer.model.model(x[None], output_hidden_states=True).hidden_states[layer][0]


@pytest.mark.parametrize("kind", ["hubert", "wavlm", "wav2vec2", "unispeech-sat", "data2vec-audio"])
@pytest.mark.parametrize("base", [AT_50_HZ, AT_25_HZ, LARGE], ids=["50 Hz", "25 Hz", "large"])
def test_hidden_states_and_nearest_centres(kind, base):
    """Frames without padding, states of transformers, ids of the smallest distance in float64."""
    tokenizer = units(base | {"model_type": kind}, layers=(0, 2, 3))
    hop = tokenizer.spec.hop_samples
    assert hop == (640 if base is AT_25_HZ else 320)
    x = noise(9000)
    tokens = tokenizer.encode(x)
    window = 720 if base is AT_25_HZ else 400
    assert tokens.ids.shape == (1, 3, (9000 - window) // hop + 1) and tokenizer.num_frames(9000) == tokens.ids.shape[2]
    tables = [part.centres.double().numpy() for part in tokenizer.quantizer.modules() if isinstance(part, KMeans)]
    for k, layer in enumerate((0, 2, 3)):
        states = states_of(tokenizer, x, layer).double().numpy()
        distances = ((states[:, None] - tables[k][None]) ** 2).sum(-1)
        assert np.array_equal(tokens.ids[0, k].numpy(), distances.argmin(1)), layer
        found = tokenizer.encode_latents(x[None, None])[0, 8 * k : 8 * k + 8].t().numpy()
        assert np.array_equal(found, states.astype(np.float32))
    assert tokens.names == ("layer 0", "layer 2", "layer 3")


def test_ids_of_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is the peer")
    tokenizer = units(AT_50_HZ, size=20)
    states = tokenizer.encode_latents(noise(1, 1, 160_000))[0].t().contiguous().numpy()
    peer = cluster.KMeans(20, n_init=1, random_state=0).fit(states)
    tokenizer.quantizer.use(torch.from_numpy(peer.cluster_centers_))
    assert np.array_equal(tokenizer.encode(noise(160_000)).ids[0, 0].numpy(), peer.predict(states))


def test_filter_banks_of_w2v_bert():
    tokenizer = units(SMALL_W2V_BERT, layers=(1,))
    for samples in (560, 719, 720, 9000):
        x = noise(samples)
        banks = stacked_fbanks(x)
        with torch.no_grad():
            states = tokenizer.model.model(banks[None], output_hidden_states=True).hidden_states[1][0]
        assert torch.equal(tokenizer.encode_latents(x[None, None])[0].t(), states)
        assert tokenizer.num_frames(samples) == len(states)
    for samples in (1, 400, 559):  # one filter bank has no variance
        assert tokenizer.encode(noise(samples)).ids.shape == (1, 1, 1)
        assert tokenizer.encode_latents(noise(1, 1, samples)).isfinite().all()


@pytest.mark.parametrize("samples", [1, 399, 400, 719, 720])
def test_short_clips_have_one_id_at_least(samples):
    tokenizer = units(AT_50_HZ)
    assert tokenizer.encode(noise(samples)).ids.shape[2] == tokenizer.num_frames(samples) == max(1, (samples - 400) // 320 + 1)


@pytest.mark.parametrize("samples", [1999, 2000, 2300, 4000, 4399, 4400, 7001])
def test_pieces_go_through_the_model_alone(samples):
    """fairseq's chunks; what is left at the end and too short for a frame has no ids."""
    tokenizer = units(AT_50_HZ, chunk_samples=2000)
    x = noise(samples)
    pieces = [p for p in x.split(2000) if len(p) >= 400]
    expected = torch.cat([states_of(tokenizer, p, 2) for p in pieces])
    assert torch.equal(tokenizer.encode_latents(x[None, None])[0].t(), expected)
    ids = tokenizer.encode(x).ids
    assert torch.equal(ids, tokenizer.quantizer.encode(expected.t()[None])) and ids.shape[2] == tokenizer.num_frames(samples)


def test_normalised_once_before_it_is_cut_and_padded():
    tokenizer = units(LARGE, normalize="clip", pad_samples=40, chunk_samples=2000)
    x = 0.2 * noise(4500) + 0.3
    given = F.pad(F.layer_norm(x, x.shape), (40, 40))
    expected = torch.cat([states_of(tokenizer, p, 2) for p in given.split(2000)])
    assert torch.equal(tokenizer.encode_latents(x[None, None])[0].t(), expected)
    assert torch.allclose(tokenizer.encode_latents(3 * x[None, None] - 0.1), tokenizer.encode_latents(x[None, None]), atol=1e-3)


@pytest.mark.parametrize("label", ["speech-units", "speech-units-layers", "speech-units-fbanks"])
def test_a_clip_does_not_notice_the_others(label):
    """Hidden states, too, are the same to the last bit."""
    tokenizer = build(label)
    clips = [noise(n) * (i + 1) / 4 for i, n in enumerate((4100, 4100, 1700, 4100, 900))]
    together = tokenizer.encode([(c, 16000) for c in clips])
    for i, clip in enumerate(clips):
        assert torch.equal(together[i].ids, tokenizer.encode((clip, 16000)).ids)
    both = tokenizer.encode_latents(torch.stack([clips[0], clips[3]])[:, None])
    assert torch.equal(both[1], tokenizer.encode_latents(clips[3][None, None])[0])


def test_it_only_encodes():
    tokenizer = units(AT_50_HZ)
    tokens = tokenizer.encode(noise(4000))
    with pytest.raises(NotDecodable):
        tokenizer.decode(tokens)
    assert torch.equal(tokenizer.semantic(tokens)[0].t(), tokenizer.quantizer.centres[tokens.ids[0, 0]])
    assert tokenizer.spec.semantic_dim == 8 and tokenizer.spec.frame_rate_hz == 50


def test_a_published_model_is_loaded_when_it_is_needed(monkeypatch, tmp_path):
    """By its name, without the layers above, and not stored with the tokenizer."""
    whole, asked = units(LARGE, layers=(1,)), []

    def pretrained(name, part="", **options):
        asked.append((name, options))
        torch.manual_seed(0)
        return FrozenModel(LARGE | options) if not options else _cut(whole.model, LARGE | options)

    monkeypatch.setattr(FrozenModel, "pretrained", pretrained)
    config = {"model": LARGE, "model_name": "org/large", "layers": [1], "quantizer": {"kind": "kmeans", "codebook_size": 6}}
    named = tokenzoo.build_tokenizer("speech_units", config).eval()
    named.quantizer.load_state_dict(whole.quantizer.state_dict())
    assert not asked and set(named.state_dict()) == {"quantizer.centres", "quantizer.fitted"} and named.device.type == "cpu"
    tokenzoo.save_pretrained(named, tmp_path)
    again = tokenzoo.load(tmp_path)
    x = noise(4000)
    assert torch.equal(again.encode(x).ids, whole.encode(x).ids)
    states = [t.encode_latents(x[None, None]) for t in (named, again, whole)]
    assert torch.equal(states[0], states[1]) and torch.equal(states[1], states[2]), "a layer below the last is raw"
    assert set(map(str, asked)) == {str(("org/large", {"num_hidden_layers": 2}))}


def _cut(model, config):
    out = FrozenModel(config)
    out.load_state_dict({k: v for k, v in model.state_dict().items() if k in out.state_dict()})
    return out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"model_type": "whisper"}}, "model_type"),
        ({"layers": [4]}, "from 0 to 3"),
        ({"layers": [-1]}, "below 0"),
        ({"layers": []}, "one or more"),
        ({"layers": [1, 1]}, "different"),
        ({"chunk_samples": 399}, "one frame"),
        ({"pad_samples": -1}, "below 0"),
        ({"model": AT_50_HZ | {"conv_stride": [5, 2]}}, "differ in length"),
        ({"model": AT_50_HZ | {"conv_stride": [5, 0]}}, "positive"),
        ({"model": AT_50_HZ | {"hidden_size": "8"}}, "hidden_size"),
        ({"normalize": "batch"}, "normalize"),
    ],
)
def test_settings_that_fit_no_model(change, message):
    with pytest.raises(ConfigError, match=message):
        tokenzoo.build_tokenizer("speech_units", {"model": AT_50_HZ, "model_name": "", "layers": [2]} | change)


PUBLISHED = {"model": AT_50_HZ, "pretrained_model": "org/hubert", "layers": [1], "n_clusters": 3}


def test_published_centres_with_and_without_an_estimator():
    """Two files of a card have a prefix each; a file may also be the array alone."""
    table = torch.arange(24.0, dtype=torch.float64).view(3, 8)
    one = convert("kmeans-units", PUBLISHED, {"cluster_centers_": table, "labels_": torch.zeros(9, dtype=torch.int32)})
    assert torch.equal(one.quantizer.centres, table.float()) and one.quantizer.fitted and one.model is None
    assert torch.equal(convert("kmeans-units", PUBLISHED, {"": table}).quantizer.centres, table.float())
    several = {"3.cluster_centers_": table, "3.counts_": torch.ones(3), "1": -table}
    both = convert("kmeans-units", PUBLISHED | {"layers": [1, 3]}, several)
    assert [float(b.centres[2, 7]) for b in both.quantizer.branches] == [-23, 23] and both.spec.names == ("layer 1", "layer 3")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"cluster_centers_": torch.full((3, 8), torch.nan)}, "NaN"),
        ({"cluster_centers_": torch.zeros(3, 9)}, "centres"),
        ({"cluster_centers_": torch.zeros(4, 8)}, "centres"),
        ({"labels_": torch.zeros(9)}, "no centres"),
        ({"2.cluster_centers_": torch.zeros(3, 8)}, "no centres"),
    ],
)
def test_published_centres_that_do_not_fit(state, message):
    with pytest.raises(CheckpointError, match=message):
        convert("kmeans-units", PUBLISHED, state)


def test_without_centres_there_are_no_ids():
    tokenizer = tokenzoo.build_tokenizer("speech_units", {"model": AT_50_HZ, "model_name": "", "layers": [2]})
    with pytest.raises(ValueError, match="no centres yet"):
        tokenizer.encode(noise(4000))
