"""Speech units made from a model of transformers: fitted to sound, or from published centres.

pytest tests/zoo/test_units.py
"""

import pickle

import numpy as np
import pytest
import tokenzoo
import torch
from audio_cases import noise
from cli_runs import run
from safetensors.torch import save_file
from tiny_parts import SMALL_HUBERT, SMALL_W2V_BERT
from tokenzoo.codecs.quantizers.anchors import AnchorsConfig
from tokenzoo.codecs.quantizers.kmeans import KMeansConfig
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.quantize import quantize
from tokenzoo.zoo.units import model_config, read_centres, unfitted_units, with_centres

transformers = pytest.importorskip("transformers", reason="the speech models are those of transformers")

#: A frame every 20 samples.
SMALL = SMALL_HUBERT | {"conv_dim": [4, 4], "conv_kernel": [6, 4], "conv_stride": [5, 4], "num_hidden_layers": 3}
LARGE = SMALL | {"model_type": "wav2vec2", "do_stable_layer_norm": True, "feat_extract_norm": "layer"}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders of models as transformers saves them, and one of sound."""
    root = tmp_path_factory.mktemp("units")
    torch.manual_seed(0)
    for name, config in (("base", SMALL), ("large", LARGE), ("fbanks", SMALL_W2V_BERT | {"add_adapter": False})):
        own = transformers.AutoConfig.for_model(**config)
        transformers.AutoModel.from_config(own).save_pretrained(root / name)
    (root / "sound").mkdir()
    import soundfile

    for i in range(3):
        soundfile.write(root / "sound" / f"{i}.wav", (noise(3000) * (i + 1) / 3).numpy(), 16000)
    return root


def states_of(folder, x, layer):
    """Hidden states `[N, D]` by transformers alone."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(x[None], output_hidden_states=True).hidden_states[layer][0]


def test_the_command_fits_centres_to_a_folder(places, tmp_path):
    """The folder that it writes loads without the model's, and gives the ids of the whole model."""
    import soundfile

    out = tmp_path / "out"
    ran = run("quantize", "--features", f"{places / 'base'}:1,3", str(places / "sound"), "--codebook", "9", "--out", str(out))
    assert ran.code == 0, ran.err
    tokenizer = tokenzoo.load(f"file:{out}")
    assert tokenizer.spec.vocab_sizes == (9, 9) and tokenizer.config.model_name == "" and tokenizer.config.normalize == "none"
    clips = [torch.from_numpy(soundfile.read(p, dtype="float32")[0]) for p in sorted((places / "sound").iterdir())]
    error, rows = 0.0, 0
    for clip in clips:
        ids = tokenizer.encode((clip, 16000)).ids[0]
        for k, layer in enumerate((1, 3)):
            table = tokenizer.quantizer.branches[k].centres.double().numpy()
            distances = ((states_of(places / "base", clip, layer).double().numpy()[:, None] - table) ** 2).mean(-1)
            assert np.array_equal(ids[k].numpy(), distances.argmin(1))
            error, rows = error + distances.min(1).sum() / 2, rows + len(distances)
    assert f"3 media, {rows // 2:,} positions" in ran.out and f"mean square {error / (rows / 2):.4g}" in ran.out
    assert "error of latents" in ran.out and f"tokenzoo.load('file:{out}')" in ran.out


@pytest.mark.parametrize(("name", "layer"), [("base", 1), ("base", 3), ("large", 1), ("large", 2), ("large", 3)])
def test_layers_that_are_not_needed_are_left_out(places, name, layer):
    tokenizer = unfitted_units(f"file:{places / name}:{layer}", quantizer=KMeansConfig(codebook_size=3))
    assert tokenizer.config.num_layers == min(3, layer + 1)
    x = noise(500)
    given = torch.nn.functional.layer_norm(x, x.shape) if name == "large" else x
    assert tokenizer.config.normalize == ("clip" if name == "large" else "none")
    assert torch.equal(tokenizer.encode_latents(x[None, None])[0].t(), states_of(places / name, given, layer))


def test_missing_weights_are_not_left_at_random(places, tmp_path, capfd):
    from safetensors.torch import load_file

    folder = tmp_path / "cut"
    folder.mkdir()
    for path in (places / "base").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert unfitted_units(f"{folder}:1") and "UNEXPECTED" not in "".join(capfd.readouterr()), "layers that are left out are no news"
    state = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in state.items() if "layers.0.attention.k_proj" not in k}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"no weights for '.*k_proj.*' and 1 others"):
        unfitted_units(f"{folder}:1")


def test_a_model_of_the_hub_stays_a_name(places, hub, tmp_path, monkeypatch):
    hub.add("org/hubert", {p.name: p.read_bytes() for p in (places / "base").iterdir()})
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    tokenizer = unfitted_units("org/hubert:2")
    assert tokenizer.config.model_name == "org/hubert" and tokenizer.model is None
    x = noise(400)
    assert torch.equal(tokenizer.encode_latents(x[None, None])[0].t(), states_of(places / "base", x, 2))
    stored = unfitted_units("org/hubert:2", include_model=True)
    assert stored.model is not None and torch.equal(stored.encode_latents(x[None, None]), tokenizer.encode_latents(x[None, None]))


@pytest.mark.parametrize("settings", [KMeansConfig(codebook_size=5, normalize=True), AnchorsConfig(codebook_size=12, num_codebooks=2)])
def test_any_quantizer_that_is_fitted(places, settings):
    unfitted = unfitted_units(f"{places / 'base'}:2", quantizer=settings)
    clips = [noise(2000), noise(900)]
    tokenizer, fit = quantize(unfitted, [(c, 16000) for c in clips])
    assert fit.items == 2 and fit.positions == sum(tokenizer.num_frames(len(c)) for c in clips)
    rows = torch.cat([unfitted.encode_latents(c[None, None])[0].t() for c in clips])
    ids = tokenizer.quantizer.encode(rows.t()[None])
    if isinstance(settings, AnchorsConfig):  # k-means by cosine measures at length 1
        assert fit.error == pytest.approx(float((tokenizer.quantizer.decode(ids)[0].t() - rows).square().mean()), rel=1e-4)
    assert tokenizer.spec.num_codebooks == len(settings.build(dim=8).codebook_sizes)
    again, drawn = quantize(unfitted, [(c, 16000) for c in clips], positions=40)
    assert drawn.positions == 40 and again.spec == tokenizer.spec


CENTRES = torch.arange(24.0).view(3, 8)
WRITERS = {
    "km.npy": lambda p: np.save(p, CENTRES.numpy()),
    "km.safetensors": lambda p: save_file({"centroids": CENTRES}, p),
    "km.pt": lambda p: torch.save(CENTRES, p),
    "nested.pt": lambda p: torch.save({"state": {"labels": torch.ones(3, 2), "codebook": CENTRES}}, p),
    "km.pkl": lambda p: p.write_bytes(pickle.dumps({"cluster_centers_": CENTRES.double().numpy(), "x": np.ones((2, 2))})),
}


@pytest.mark.parametrize("name", WRITERS)
def test_published_centres(places, tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    assert torch.equal(read_centres(path), CENTRES) and read_centres(path).dtype == torch.float32
    out = tmp_path / "out"
    ran = run("quantize", "--features", f"{places / 'base'}:1", "--centres", str(path), "--out", str(out))
    assert ran.code == 0, ran.err
    tokenizer = tokenzoo.load(out)
    assert "1 x 3 centres" in ran.out and torch.equal(tokenizer.quantizer.centres, CENTRES)
    assert tokenizer.encode(noise(500)).ids.shape == (1, 1, 24)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (torch.full((3, 8), torch.nan), "NaN"),
        (torch.ones(3), "0 tables"),
        (torch.ones(3, 8, dtype=torch.int64), "0 tables"),
        ({"a": torch.ones(3, 8), "b": torch.ones(3, 8)}, "2 tables"),
        (torch.ones(0, 8), "0 tables"),
    ],
)
def test_files_that_hold_no_centres(tmp_path, table, message):
    torch.save(table, tmp_path / "km.pt")
    with pytest.raises(CheckpointError, match=message):
        read_centres(tmp_path / "km.pt")


def test_files_that_are_none(tmp_path):
    with pytest.raises(CheckpointError, match="not there"):
        read_centres(tmp_path / "km.pt")
    (tmp_path / "km.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(CheckpointError, match="no array"):
        read_centres(tmp_path / "km.npy")


def test_centres_that_do_not_fit(places, tmp_path):
    np.save(tmp_path / "wide.npy", np.ones((3, 9), np.float32))
    np.save(tmp_path / "five.npy", np.ones((5, 8), np.float32))
    np.save(tmp_path / "three.npy", np.ones((3, 8), np.float32))
    one, two = (unfitted_units(f"{places / 'base'}:{layers}") for layers in ("1", "1,2"))
    with pytest.raises(ValueError, match="8 channels"):
        with_centres(one, [tmp_path / "wide.npy"])
    with pytest.raises(ValueError, match="equal numbers"):
        with_centres(two, [tmp_path / "three.npy", tmp_path / "five.npy"])
    with pytest.raises(ValueError, match="one for each layer"):
        with_centres(two, [tmp_path / "three.npy"])


def test_filter_banks(places):
    assert model_config(str(places / "fbanks"))["model_type"] == "wav2vec2-bert"
    tokenizer, fit = quantize(unfitted_units(f"{places / 'fbanks'}:1", quantizer=KMeansConfig(codebook_size=4)), [(noise(9000), 16000)])
    assert tokenizer.config.normalize == "none" and tokenizer.encode(noise(9000)).ids.shape[2] == fit.positions == 27


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--features", "BASE", "SOUND", "--out", "OUT"], "MODEL:LAYER"),
        (["--features", "BASE:x", "SOUND", "--out", "OUT"], "MODEL:LAYER"),
        (["--features", "BASE:9", "SOUND", "--out", "OUT"], "from 0 to 3"),
        (["--features", "SOUND:1", "SOUND", "--out", "OUT"], "no folder and no hub id"),
        (["--features", "BASE:1", "--out", "OUT"], "--centres FILE --out"),
        (["--features", "BASE:1", "SOUND"], "--centres FILE --out"),
        (["--features", "BASE:1", "SOUND", "--centres", "km.bin", "--out", "OUT"], "as they are"),
        (["--features", "BASE:1", "SOUND", "--out", "OUT", "--codebook", "5000"], "5000 centres"),
        (["--features", "BASE:1", "SOUND", "--out", "OUT", "--quantizer", "vq"], "allowed: kmeans"),
        (["BASE", "--out", "OUT"], "MODEL FILES --out"),
    ],
)
def test_words_that_make_no_tokenizer(places, tmp_path, words, message):
    for short, place in (("BASE", places / "base"), ("SOUND", places / "sound"), ("OUT", tmp_path / "out")):
        words = [w.replace(short, str(place)) for w in words]
    ran = run("quantize", *words)
    assert ran.code != 0 and message in ran.err, ran.err
    assert not (tmp_path / "out").exists()
