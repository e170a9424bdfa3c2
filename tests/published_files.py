"""Repositories as their authors published them, made small: the real list of files and config, random weights in the real keys.

`tests/published/<card>/` holds what is known of a repository: `facts.yaml` (names and sizes of its files, wrappers, tensors that
are left out) and the text of its config. Sizes in the config are shrunk (`Sweep.tiny`), keys and all else stay.
"""

import dataclasses
import io
import json
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import yaml
from layout_options import Sweep, merged
from safetensors.torch import save
from tokenzoo.zoo.registry import Card
from tokenzoo.zoo.weight_files import is_config

PUBLISHED = Path(__file__).parent / "published"


def facts(card: Card) -> dict[str, Any]:
    """What is known of the card's repository; {} for nothing."""
    path = PUBLISHED / card.name / "facts.yaml"
    return yaml.safe_load(path.read_text()) if path.is_file() else {}


def published_config(card: Card, name: str) -> tuple[dict[str, Any] | None, bool]:
    """(text of the config file `name`, whether it is whole); (None, False) where nobody has seen it."""
    folder = PUBLISHED / card.name
    flat, leaf = name.replace("/", "__"), PurePosixPath(name).name
    stem = leaf.rsplit(".", 1)[0]
    part = [(folder / f"{stem}.partial.{end}", False) for end in ("json", "yaml")]
    for path, whole in [(folder / flat, True), (folder / leaf, True), *part]:
        if path.is_file():
            return (json.loads(path.read_text()) if path.suffix == ".json" else yaml.safe_load(path.read_text())), whole
    others = sorted(folder.glob(f"*__{leaf}"))
    return (json.loads(others[0].read_text()), True) if len(others) == 1 and leaf.endswith(".json") else (None, False)


@dataclasses.dataclass
class Repository:
    """A card with a tiny network, and the bytes of its files."""

    card: Card
    files: dict[str, bytes]
    evidence: str  # "config", "part of the config", "files", "none"


def repository(card: Card, sweep: Sweep, state_of: Any) -> Repository:
    """Make the card's repository.

    Args:
        state_of: the authors' config -> random weights in their keys.
    """
    known, tiny = facts(card), merged(sweep.tiny, sweep.cards.get(card.name, {}))
    configs, seen = {}, []
    for name in [n for n in card.files if is_config(n)]:
        text, whole = published_config(card, name)
        seen.append("config" if whole else "part of the config" if text is not None else "")
        configs[name] = dig(text or {}, card.sub_config)
    overrides = {k: v for k, v in merged(card.config_overrides, tiny).items() if k in card.config_overrides or not configs}
    main = next(iter(configs), None)
    if main is not None:
        configs[main] = {k: v for k, v in merged(configs[main], tiny).items() if k not in overrides}
    archive = next((n for n in card.files if n.endswith(".nemo")), None)
    if archive:
        configs = {archive: tiny}
        overrides = dict(card.config_overrides)
    theirs: dict[str, Any] = {}
    for values in configs.values():
        theirs |= values
    theirs |= overrides
    state = state_of(theirs)
    wrapped = sweep.published(dict(state))
    flat = all(n.endswith(".safetensors") for n in card.files if not is_config(n))
    if not flat or all(isinstance(v, torch.Tensor) for v in wrapped.values()):
        state = wrapped  # safetensors hold one flat dictionary
    files = {str(f["name"]): b"text" for f in known.get("files", []) if _is_name(str(f["name"]))}
    if "config.json" in files and "config.json" not in card.files:
        files["config.json"] = b'{"tags": ["counter of downloads"]}'
    for name, values in configs.items():
        if not name.endswith(".nemo"):
            files[name] = _text(bury(values, card.sub_config), name)
    files |= weight_files(card, sweep, state, configs)
    evidence = "files" if known.get("files") else "none"
    small = dataclasses.replace(card, config_overrides=overrides)
    return Repository(small, files, seen[0] if seen and seen[0] else evidence)


def _is_name(name: str) -> bool:
    return " " not in name and not name.endswith("/")


def dig(values: dict[str, Any], path: str) -> dict[str, Any]:
    """The mapping at a dotted path."""
    for key in path.split(".") if path else ():
        values = values.get(key) or {}
    return values


def bury(values: dict[str, Any], path: str) -> dict[str, Any]:
    """The reverse: `values` at a dotted path of a larger config."""
    for key in reversed(path.split(".") if path else ()):
        values = {key: values, "hidden_size": 8}
    return values


def _text(values: dict[str, Any], name: str) -> bytes:
    return (json.dumps(values) if name.endswith(".json") else yaml.safe_dump(values)).encode()


def weight_files(card: Card, sweep: Sweep, state: dict[str, Any], configs: dict[str, Any]) -> dict[str, bytes]:
    """Every file of weights of the card."""
    names = [n for n in card.files if not is_config(n)]
    out: dict[str, bytes] = {}
    left = dict(state)
    for name in reversed(names):  # the first takes what is left
        prefix = card.prefixes.get(name, "")
        heads = next((h for part, h in sweep.parts.items() if part in name), ())
        if prefix and not card.key_prefix:
            mine = {k: left.pop(k) for k in list(left) if k.startswith(prefix)}
            mine = {k.removeprefix(prefix): v for k, v in mine.items()}
        elif prefix:
            inner = prefix.removeprefix(card.key_prefix)
            mine = {k.removeprefix(inner): left.pop(k) for k in list(left) if heads and k.startswith(tuple(heads))}
        elif heads:
            mine = {k: left.pop(k) for k in list(left) if k.startswith(tuple(heads))}
        elif name != names[0]:
            mine = {}
        else:
            mine = left
        if card.key_prefix and not prefix:
            mine = {card.key_prefix + k: v for k, v in mine.items()} | {"lm_head.weight": torch.zeros(2, 2)}
        out |= _written(name, mine, configs.get(name, {}))
    return out


def _written(name: str, state: dict[str, Any], config: dict[str, Any]) -> dict[str, bytes]:
    if name.endswith(".index.json"):
        keys, folder = sorted(state), name.rpartition("/")[0]
        stem = name.rpartition("/")[2].removesuffix(".index.json")
        base, ending = stem.rsplit(".", 1)
        halves = {f"{base}-0000{i + 1}-of-00002.{ending}": keys[i::2] for i in range(2)}
        index = {"metadata": {}, "weight_map": {k: n for n, ks in halves.items() for k in ks}}
        shards = {(f"{folder}/" if folder else "") + n: _bytes(n, {k: state[k] for k in ks}) for n, ks in halves.items()}
        return {name: json.dumps(index).encode(), **shards}
    if name.endswith(".nemo"):
        return {name: _tar({"./model_config.yaml": _text(config, "x.yaml"), "./model_weights.ckpt": _bytes("x.ckpt", state)})}
    return {name: _bytes(name, state)}


def _bytes(name: str, state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    if name.endswith(".safetensors"):
        return save({k: v.clone().contiguous() for k, v in state.items()})
    if name.endswith(".npy"):
        import numpy as np

        np.save(buffer, next(iter(state.values())).numpy())
    elif name.endswith(".onnx"):
        from s3_graphs import onnx_bytes

        return onnx_bytes(state)
    elif name.endswith(".mvn"):
        rows = {k: " ".join(f"{v:.9g}" for v in state[k].tolist()) for k in ("shift", "scale")}
        row = "{} 560 560\n<LearnRateCoef> 0 [ {} ]\n"
        return ("<Nnet>\n" + row.format("<AddShift>", rows["shift"]) + row.format("<Rescale>", rows["scale"]) + "</Nnet>\n").encode()
    elif name.endswith(".jit"):
        return torch.jit.script(_scripted(state)).save_to_buffer()
    else:
        torch.save(state, buffer)
    return buffer.getvalue()


def _scripted(state: dict[str, Any]) -> torch.nn.Module:
    """A module whose state dict is `state`."""
    root = torch.nn.Module()
    for key, value in state.items():
        node, (*path, leaf) = root, key.split(".")
        for name in path:
            if not hasattr(node, name):
                node.add_module(name, torch.nn.Module())
            node = getattr(node, name)
        node.register_buffer(leaf, value)
    return root


def _tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
