"""Loading and publishing against a hub on 127.0.0.1, through the real `huggingface_hub` client."""

import json
from pathlib import Path

import pytest
import tokenzoo
import torch
from reference import reference_folder
from safetensors.torch import load_file, save
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.serialize import CheckpointError, save_folder
from tokenzoo.zoo.convert import load_reference
from tokenzoo.zoo.hub import HubError

TINY = {"width": 8, "encoder_blocks": 1, "decoder_blocks": 1, "hop_samples": 20, "window_samples": 40, "latent_dim": 4}
QUANTIZER = {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 8, "kmeans_init": False}


def tiny(seed: int = 0) -> tokenzoo.Tokenizer:
    torch.manual_seed(seed)
    return tokenzoo.build_tokenizer("spectral", TINY | {"quantizer": QUANTIZER}).eval()


def files_of(tokenizer: tokenzoo.Tokenizer, folder: Path) -> dict[str, bytes]:
    save_folder(tokenizer, folder)
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture
def repo(hub, tmp_path):
    """`org/tiny` on the hub, and the tokenizer that it holds."""
    tokenizer = tiny()
    hub.add("org/tiny", files_of(tokenizer, tmp_path / "src"))
    return tokenizer


def same(a: tokenzoo.Tokenizer, b: tokenzoo.Tokenizer) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_load_by_hub_id(hub, repo, tmp_path):
    for name in ("org/tiny", "hub:org/tiny"):
        loaded = tokenzoo.load(name, cache_dir=tmp_path / "cache")
        assert same(loaded, repo)
        assert not loaded.training
        assert loaded.source == name
    x = torch.randn(1, 1, 333) * 0.1
    assert torch.equal(loaded.encode(x).ids, repo.encode(x).ids)


def test_second_load_downloads_nothing(hub, repo, tmp_path):
    tokenzoo.load("org/tiny", cache_dir=tmp_path / "cache")
    hub.requests.clear()
    tokenzoo.load("org/tiny", cache_dir=tmp_path / "cache")
    assert [r for r in hub.requests if r[0] == "GET"] == []


def test_revision_pinning(hub, repo, tmp_path):
    old = hub.commit_of("org/tiny", "main")
    newer = tiny(seed=1)
    hub.add("org/tiny", files_of(newer, tmp_path / "newer"))
    hub.add("org/tiny", hub.repos["org/tiny"][old], revision="v1")
    cache = tmp_path / "cache"
    assert same(tokenzoo.load("org/tiny", cache_dir=cache), newer)
    assert same(tokenzoo.load(f"org/tiny@{old}", cache_dir=cache), repo)
    assert same(tokenzoo.load("hub:org/tiny@v1", cache_dir=cache), repo)
    assert same(tokenzoo.load("org/tiny", revision=old, cache_dir=cache), repo)
    with pytest.raises(HubError, match=r"no revision 'v9'"):
        tokenzoo.load("org/tiny", revision="v9", cache_dir=cache)
    with pytest.raises(ValueError, match="two revisions"):
        tokenzoo.load("org/tiny@v1", revision="v2", cache_dir=cache)


def test_offline_uses_the_cache_only(hub, repo, tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(HubError, match="not in the cache"):
        tokenzoo.load("org/tiny", cache_dir=cache, local_files_only=True)
    tokenzoo.load("org/tiny", cache_dir=cache)
    hub.stop()
    assert same(tokenzoo.load("org/tiny", cache_dir=cache, local_files_only=True), repo)
    hub.start()


def test_unreachable_hub_without_cache(hub, repo, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between its tries
    hub.stop()
    try:
        with pytest.raises(HubError, match="could not be reached"):
            tokenzoo.load("org/tiny", cache_dir=tmp_path / "cache")
    finally:
        hub.start()


def test_missing_file(hub, repo, tmp_path):
    del hub.repos["org/tiny"]["main"]["model.safetensors"]
    with pytest.raises(HubError, match=r"holds no file 'model.safetensors'"):
        tokenzoo.load("org/tiny", cache_dir=tmp_path / "cache")


def test_weights_in_several_files(hub, tmp_path):
    """Large repositories of other authors hold `model-0000x-of-y.safetensors` and an index."""
    folder = reference_folder("audio", "mimi-hf")
    state = load_file(folder / "model.safetensors")
    names = sorted(state)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    index = {"weight_map": {n: part for part, inside in parts.items() for n in inside}}
    files = {part: save({n: state[n] for n in inside}) for part, inside in parts.items()}
    files |= {"config.json": (folder / "config.json").read_bytes(), "model.safetensors.index.json": json.dumps(index).encode()}
    hub.add("org/cut", files)
    assert same(tokenzoo.load("org/cut", cache_dir=tmp_path / "cache"), load_reference(folder))
    for name, data in files.items():
        (tmp_path / "mimi-hf").mkdir(exist_ok=True)
        (tmp_path / "mimi-hf" / name).write_bytes(data)
    assert same(tokenzoo.load(f"file:{tmp_path / 'mimi-hf'}"), load_reference(folder))
    index["weight_map"]["ghost"] = "model-1.safetensors"
    (tmp_path / "mimi-hf" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="ghost"):
        tokenzoo.load(f"file:{tmp_path / 'mimi-hf'}")


def test_interrupted_download_goes_on(hub, repo, tmp_path):
    """The connection breaks in the middle of the weights; the client asks for the rest, and the file is whole."""
    hub.cut["model.safetensors"] = 1000
    assert same(tokenzoo.load("org/tiny", cache_dir=tmp_path / "cache"), repo)
    gets = [r for r in hub.requests if r == ("GET", "/org/tiny/resolve/main/model.safetensors") or "GET" in r[0]]
    assert len(gets) >= 3  # config, first part, rest


def test_unknown_private_and_gated(hub, repo, tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(HubError, match="was not found on the hub, or it is private"):
        tokenzoo.load("org/nothing", cache_dir=cache)
    hub.private.add("org/tiny")
    with pytest.raises(HubError, match="private"):
        tokenzoo.load("org/tiny", cache_dir=cache)
    hub.private.clear()
    hub.gated.add("org/tiny")
    with pytest.raises(HubError, match="gated"):
        tokenzoo.load("org/tiny", cache_dir=cache)
    assert same(tokenzoo.load("org/tiny", cache_dir=cache, token="good-token"), repo)


def test_push_and_load_again(hub, tmp_path):
    tokenizer = tiny()
    url = tokenzoo.push_to_hub(tokenizer, "org/pushed", licence="mit", token="good-token", private=True)
    assert "/org/pushed/commit/" in url
    assert set(hub.repos["org/pushed"]["main"]) >= {"config.json", "model.safetensors", "README.md"}
    assert b"library_name: tokenzoo" in hub.repos["org/pushed"]["main"]["README.md"]
    assert same(tokenzoo.load("org/pushed", token="good-token", cache_dir=tmp_path / "cache"), tokenizer)
    with pytest.raises(HubError, match="could not be published"):
        tokenzoo.push_to_hub(tokenizer, "org/other", licence="mit", token="bad-token")


# --- folders and what may be wrong with them ------------------------------------------------------------------------


def test_folder_round_trip(tmp_path):
    tokenizer = tiny()
    tokenzoo.save_pretrained(tokenizer, tmp_path / "m")
    assert same(tokenzoo.load(f"file:{tmp_path / 'm'}"), tokenizer)
    half = tokenzoo.save_pretrained(tokenizer, tmp_path / "half", dtype=torch.float16)
    assert (half / "model.safetensors").stat().st_size < 0.65 * (tmp_path / "m/model.safetensors").stat().st_size
    assert tokenzoo.load(f"file:{half}").dtype == torch.float32


def test_a_folder_needs_no_prefix(tmp_path, monkeypatch):
    """An existing folder wins over a hub id that is spelt alike; a `Path` is never a hub id."""
    tokenizer = tiny()
    tokenzoo.save_pretrained(tokenizer, tmp_path / "org/tiny")
    monkeypatch.chdir(tmp_path)
    for name in ("org/tiny", "./org/tiny", str(tmp_path / "org/tiny"), Path("org/tiny"), "file:org/tiny"):
        assert same(tokenzoo.load(name), tokenizer)
    with pytest.raises(CheckpointError, match="not a folder"):
        tokenzoo.load(Path("org/other"))
    with pytest.raises(CheckpointError, match="neither a folder on this machine nor a hub id"):
        tokenzoo.load("some/deep/path")


def test_the_address_of_a_page_is_a_hub_id(hub, repo, tmp_path):
    commit = hub.commit_of("org/tiny", "main")
    for page in ("https://huggingface.co/org/tiny", f"https://huggingface.co/org/tiny/tree/{commit}", "https://huggingface.co/org/tiny?x=1"):
        assert same(tokenzoo.load(page, cache_dir=tmp_path / "cache"), repo)


@pytest.mark.parametrize("fault", ["missing", "extra", "misshapen", "truncated", "no-weights"])
def test_weights_that_do_not_fit(fault, tmp_path):
    from safetensors.torch import load_file, save_file

    tokenizer, folder = tiny(), tmp_path / "m"
    path = tokenzoo.save_pretrained(tokenizer, folder) / "model.safetensors"
    state = load_file(path)
    name = next(iter(state))
    if fault == "missing":
        del state[name]
    elif fault == "extra":
        state["not.a.weight"] = torch.zeros(1)
    elif fault == "misshapen":
        state[name] = torch.zeros(3, 3, 3, 3)
    save_file(state, path)
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    if fault == "no-weights":
        path.unlink()
    match = {"missing": f"missing: {name}", "extra": "not expected: not.a.weight", "misshapen": "has shape"}
    match = match.get(fault, "holds no file" if fault == "no-weights" else "broken")
    with pytest.raises(CheckpointError, match=match):
        tokenzoo.load(f"file:{folder}")


def test_unknown_family_and_config_key_name_the_nearest(tmp_path):
    folder = tokenzoo.save_pretrained(tiny(), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())

    def rewrite(**changes) -> None:
        (folder / "config.json").write_text(json.dumps(config | changes))

    rewrite(family="spectrall")
    with pytest.raises(ConfigError, match="'spectral'"):
        tokenzoo.load(f"file:{folder}")
    rewrite(config=config["config"] | {"widht": 8})
    with pytest.raises(ConfigError, match=r"widht.*'width'"):
        tokenzoo.load(f"file:{folder}")
    rewrite(format=99)
    with pytest.raises(CheckpointError, match="Update tokenzoo"):
        tokenzoo.load(f"file:{folder}")


def test_unknown_registry_name_names_the_nearest():
    with pytest.raises(KeyError, match="no model is called 'speech-16khz-4kbpss'"):
        tokenzoo.load("speech-16khz-4kbpss")
