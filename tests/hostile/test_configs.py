"""Configs, indexes, names and weight files of strangers: what fits, or one of our errors, before time or memory goes into it.

Run: pytest tests/hostile. Every fuzzer is seeded and prints how many inputs were accepted and refused.
"""

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tokenzoo
import torch
import yaml
from contract_cases import build
from hostile_values import SHARES, WRONG, changed, end, results, seeds, shown
from own_process import linux_only, run_script
from safetensors.torch import save_file
from tokenzoo.codecs.config import from_mapping, to_mapping
from tokenzoo.codecs.serialize import load_folder, save_folder
from tokenzoo.train.config import RunConfig
from tokenzoo.train.files import bundled_names, load_run, read_mapping
from tokenzoo.train.state import TrainState
from tokenzoo.zoo.loader import Folder
from tokenzoo.zoo.torch_files import read_torch
from tokenzoo.zoo.weight_files import read_settings, read_weights

#: One of each kind of network and quantizer.
FAMILIES = (
    "spectral", "encodec", "dac", "snac", "mimi", "vqgan", "convnet", "titok", "var", "bsq_vit", "dualvitok", "latent",
    "speech-units-layers",
)  # fmt: skip


# --- config.json ----------------------------------------------------------------------------------------------------


def larger(value: Any, rng: random.Random) -> Any:
    """A copy with one of its numbers far too large, or slightly another."""
    text = json.dumps(value)
    whole = json.loads(text)
    spots = list(numbers(whole))
    holder, key = rng.choice(spots)
    old = holder[key]
    holder[key] = rng.choice((old + 1, -old, old * 2, 0, old * 1000, 10**5, 10**6, 10**8, 10**12, 10**30, old / 3))
    return whole


def numbers(node: Any) -> Any:
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        if isinstance(node[key], (dict, list)):
            yield from numbers(node[key])
        elif isinstance(node[key], (int, float)) and not isinstance(node[key], bool):
            yield node, key


@pytest.mark.parametrize("label", FAMILIES)
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.filterwarnings("ignore")
def test_configs_of_tokenizers(label, share, capsys, tmp_path):
    """`config.json` is changed, the weights are not: what loads has their shapes."""
    tokenizer, count = build(label), Counter()
    save_folder(tokenizer, tmp_path)
    want = {k: v.shape for k, v in tokenizer.state_dict().items()}
    path = tmp_path / "config.json"
    whole = json.loads(path.read_text())
    for rng in seeds(f"config {label}", 30 * share):
        odd = (
            changed(whole, rng)
            if rng.random() < 0.2
            else {**whole, "config": (larger if rng.random() < 0.5 else changed)(whole["config"], rng)}
        )
        path.write_text(json.dumps(odd), encoding="utf-8")
        made = results(count, lambda: load_folder(tmp_path))
        assert all({k: v.shape for k, v in m.state_dict().items()} == want for m in made), odd
    shown(capsys, f"config.json of {label}", count)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"family": ' + "[" * 900 + "]" * 900 + ', "config": {}}',
        '{"family": NaN, "config": {}}',
        "\ufeff{}",
        "9" * 6000,
    ],
)
def test_texts_that_are_no_config(text, tmp_path):
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    for name in (tmp_path, f"file:{tmp_path}"):
        assert end(tokenzoo.load, name) == "refused"
    assert end(load_folder, tmp_path) == "refused"


GROW = """
import json, sys
from pathlib import Path
import torch, tokenzoo

def peak():
    return int(next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")).split()[1]) / 1024

torch.set_num_threads(1)
folder, out = Path(sys.argv[1]), []
tokenzoo.load(folder)
for values in json.loads(Path(sys.argv[2]).read_text()):
    (folder / "config.json").write_text(json.dumps(values))
    before = peak()
    try:
        tokenzoo.load(folder)
        end = "accepted"
    except ValueError:
        end = "refused"
    out.append([end, peak() - before])
print(json.dumps(out))
"""


@linux_only
@pytest.mark.parametrize("label", ["encodec", *(pytest.param(x, marks=pytest.mark.slow) for x in ("vqgan", "bsq_vit"))])
def test_numbers_of_giants_take_no_memory(label, tmp_path):
    """Each number of the config in turn is a million, a hundred million, and more than any machine has."""
    save_folder(build(label), tmp_path / "m")
    whole = json.loads((tmp_path / "m/config.json").read_text())
    files = []
    for i in range(len(list(numbers(whole["config"])))):
        for giant in (10**6, 10**8, 10**30):
            odd = json.loads(json.dumps(whole))
            holder, key = list(numbers(odd["config"]))[i]
            holder[key] = giant
            files.append(odd)
    (tmp_path / "files.json").write_text(json.dumps(files))
    found = run_script(GROW, str(tmp_path / "m"), str(tmp_path / "files.json"))
    assert len(found) == len(files) and any(outcome == "refused" for outcome, _ in found)
    for (outcome, megabytes), odd in zip(found, files, strict=True):
        assert megabytes < 200, (outcome, megabytes, odd["config"])


# --- run files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", SHARES)
def test_run_files(share, capsys, tmp_path):
    names, count = bundled_names(), Counter()
    for rng in seeds("run", 100 * share):
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(changed(read_mapping(rng.choice(names)), rng), allow_unicode=False))
        count[end(load_run, tmp_path / "run.yaml")] += 1
    shown(capsys, "run files", count)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.filterwarnings("ignore")
def test_numbers_of_run_files(share, capsys):
    """One number of a run file is negative, zero or broken: all parts are built, or one line says what is wrong."""
    names, count = [n for n in bundled_names() if n.endswith("-debug")], Counter()
    for rng in seeds("run number", 40 * share):
        whole = to_mapping(load_run(rng.choice(names)))
        holder, key = rng.choice(list(numbers(whole)))
        holder[key] = rng.choice((-1, -1, 0, 0, -0.5, -(10**6), 0.001, float("nan")))
        count[end(lambda: TrainState(from_mapping(RunConfig, whole)))] += 1  # noqa: B023  # called at once
    shown(capsys, "numbers of run files", count)


KEYS = (
    "steps", "optimizer.lr", "optimizer.betas", "grad_clip", "every.keep", "data.crop_seconds", "data.train", "losses.mel.weight",
    "losses.mel", "model.family", "model.config.width", "model", "ema.decay", "losses", "", ".", "a..b", "losses.mel.kind", "base",
)  # fmt: skip
TEXTS = (
    "", "1", "-1", "nan", "inf", "1e400", "null", "[1", "[=1", "${", "${steps}", "${oc.env:NO_SUCH}", "{a: 1", "{a: 1}", "[]",
    "!!python/name:os.system",
    "'", '"', "*x", "&x 1", "\\", "\0", "os:system", "true", "x" * 2000, "[" * 300, "0x10",
    "1_000", "- 1", ": :", "\ud800", "?", "@", "%", "=", "1=2",
)  # fmt: skip


@pytest.mark.parametrize("share", SHARES)
def test_overrides(share, capsys):
    names, count = bundled_names(), Counter()
    for rng in seeds("override", 150 * share):
        items = [f"{rng.choice(KEYS)}{rng.choice(('=', '=', '=', '', '+='))}{rng.choice(TEXTS)}" for _ in range(rng.choice((1, 1, 2)))]
        count[end(load_run, rng.choice(names), items)] += 1
    shown(capsys, "overrides", count)


@pytest.mark.parametrize("share", SHARES)
def test_names_of_run_files(share, capsys, tmp_path):
    count = Counter()
    for rng in seeds("run name", 30 * share):
        count[end(load_run, odd_name(rng, bundled_names(), tmp_path))] += 1
    shown(capsys, "names of run files", count)


# --- names for load -------------------------------------------------------------------------------------------------


def odd_name(rng: random.Random, known: list[str], folder: Path) -> Any:
    """A name with a letter more, less or other; a path; or no text at all."""
    text = rng.choice(known)
    at, letter = rng.randrange(len(text)), rng.choice("/.:@#?%\\~\0\n \u00e9\ud800x-")
    forms = (
        text[:at] + letter + text[at:], text[:at] + text[at + 1 :], text[:at] + letter + text[at + 1 :], f"hub:{text}", f"file:{text}",
        f"{text}@", f"{text}@main", f"a/{text}", f"a/b/{text}", f"../{text}", f"hub:a/b@{letter}", f"https://127.0.0.1/{text}",
        f"https:/{text}",
        str(folder), f"{folder}{letter}", f"file:{folder / text}", "~", "~nobody/x", "file:", "hub:",
        "@", "/", ".", "..", "\0", text.upper(),
        "x/" * 500, "x" * 5000, *(w for w in WRONG if not isinstance(w, list)), b"x", 3, folder / "x", folder,
    )  # fmt: skip
    return rng.choice(forms)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.filterwarnings("ignore")
def test_names_for_load(share, capsys, monkeypatch, tmp_path):
    """Nothing is downloaded here. A registry name that does not exist is a KeyError, as documented."""
    monkeypatch.chdir(tmp_path)
    known, count = sorted(tokenzoo.zoo.registry.cards()), Counter()
    for rng in seeds("name", 150 * share):
        name, more = odd_name(rng, known, tmp_path), {}
        if rng.random() < 0.3:
            more = {rng.choice(("part", "revision", "device", "dtype", "folder")): rng.choice(WRONG)}
        count[end(tokenzoo.load, name, local_files_only=True, also=(KeyError,), **more)] += 1
    shown(capsys, "names for load", count)


# --- indexes, weights and settings ----------------------------------------------------------------------------------


PLACES = (
    "w.safetensors",
    "../w.safetensors",
    "a/w.safetensors",
    "/w.safetensors",
    "",
    ".",
    "..",
    "\0",
    "w.bin",
    "w.safetensors.index.json",
    "~/w",
    "a\\w",
    *WRONG,
)


@pytest.mark.parametrize("share", SHARES)
def test_indexes(share, capsys, tmp_path):
    """An index leads to files beside it, which hold what it promises; never outside."""
    inside, count = tmp_path / "m", Counter()
    (inside / "a").mkdir(parents=True)
    for path in (tmp_path / "w.safetensors", inside / "w.safetensors", inside / "a/w.safetensors"):
        save_file({"x": torch.full((2,), float(path.parent == inside)), "y": torch.ones(1)}, path)
    index = inside / "m.safetensors.index.json"
    for rng in seeds("index", 150 * share):
        odd = {"metadata": {"total_size": 12}, "weight_map": {"x": "w.safetensors", "y": rng.choice(PLACES)}}
        index.write_text(json.dumps(changed(odd, rng, wrong=PLACES) if rng.random() < 0.7 else odd))
        made = results(count, lambda: read_weights(index.name, Folder(inside).file))
        assert all(float(v.sum()) == len(v) for state in made for v in state.values()), "read outside the folder"
    shown(capsys, "indexes", count)


@pytest.mark.parametrize("share", SHARES)
def test_weights_of_tokenizers(share, capsys, tmp_path):
    """Bytes of `model.safetensors` and its header are changed."""
    save_folder(build("convnet"), tmp_path)
    path, count = tmp_path / "model.safetensors", Counter()
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    for rng in seeds("weights", 60 * share):
        data = bytearray(whole)
        match rng.randrange(4):
            case 0:
                del data[rng.randrange(len(data)) :]
            case 1:
                data[rng.randrange(8 + size)] = rng.randrange(256)
            case 2:
                data[8 : 8 + size] = json.dumps(changed(json.loads(whole[8 : 8 + size]), rng)).encode()
                data[:8] = (len(data) - len(whole) + size).to_bytes(8, "little")
            case 3:
                data[:8] = rng.randbytes(8)
        path.unlink()
        path.write_bytes(data)
        count[end(load_folder, tmp_path)] += 1
    shown(capsys, "model.safetensors", count)


@pytest.mark.parametrize("share", SHARES)
def test_files_of_pytorch(share, capsys, tmp_path):
    """Bytes changed at random: tensors as they stand there, or refused. Nothing in them runs."""
    state: dict[str, Any] = {"state_dict": {"a.w": torch.ones(3, 4), "b": torch.zeros(5).half()}, "step": 3, "shape": torch.Size([2])}
    torch.save(state, tmp_path / "new.pt")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.jit.script(torch.nn.Linear(2, 3)).save(str(tmp_path / "script.pt"))
    files, count = [p.read_bytes() for p in sorted(tmp_path.glob("*.pt"))], Counter()
    for rng in seeds("torch", 200 * share):
        data = bytearray(rng.choice(files))
        for _ in range(rng.choice((1, 1, 3, 20))):
            match rng.randrange(3):
                case 0:
                    data[rng.randrange(len(data))] = rng.randrange(256)
                case 1:
                    at = data.find(b"\x80\x02") if rng.random() < 0.7 else rng.randrange(len(data))
                    data[(at + rng.randrange(300)) % len(data)] = rng.choice(b"cR.(]}){tsubqh\x80\x85\x86K\x8aX\xff\x00Q")
                case 2:
                    del data[max(9, rng.randrange(len(data)) if rng.random() < 0.1 else len(data)) :]
        path = tmp_path / "odd.bin"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        count[end(read_torch, path)] += 1
    shown(capsys, "files of PyTorch", count)


@pytest.mark.parametrize("share", SHARES)
def test_settings(share, capsys, tmp_path, monkeypatch):
    """Downloaded JSON and YAML with odd bytes. No reference in it is resolved, no tag makes an object."""
    monkeypatch.setenv("SECRET", "of the environment")
    texts = (
        "a: ${oc.env:SECRET}\nb: [1, 2.5, x]\nc: {d: *e}\n",
        "a: &e [1]\nb: *e\n",
        "a: !!python/name:os.getcwd\n",
        '{"a": [1, {"b": null}]}',
        "? [1]\n: 2\n",
    )
    count = Counter()
    for rng in seeds("settings", 200 * share):
        data = bytearray(rng.choice(texts), "ascii")
        for _ in range(rng.choice((0, 1, 2))):
            data[rng.randrange(len(data))] = rng.choice(b"\x00\xff{}[]:&*!|>-?%@`'\"#,\t\n 0e")
        path = tmp_path / rng.choice(("c.yaml", "c.json"))
        path.write_bytes(data)
        made = results(count, lambda path=path: read_settings(path))
        assert all("of the environment" not in repr(m) for m in made)
    shown(capsys, "settings", count)


def test_folders_of_nothing_known(tmp_path):
    """Weights without a config, a config of another library, a folder in place of a file."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    save_file({"w": torch.ones(1)}, tmp_path / "a/model.safetensors")
    (tmp_path / "b/config.json").write_text('{"model_type": ["encodec"], "architectures": 5, "_class_name": {}}')
    shutil.copy(tmp_path / "a/model.safetensors", tmp_path / "b")
    (tmp_path / "c/config.json").mkdir()
    for name in ("a", "b", "c"):
        assert end(tokenzoo.load, tmp_path / name) == "refused"
