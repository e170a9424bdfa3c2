"""Published k-means centres over a self-supervised speech model: estimators of scikit-learn, saved by joblib, one file for each layer.

The files hold no settings; those that the authors' code has in its own tables are given by the cards. The speech model's weights are
another repository's; a checkpoint that holds them, too, has them under `speech_model.`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, State, Then, flat
from ...layouts.layout import Layout
from ...serialize import CheckpointError
from .model import SpeechUnitsConfig

_CENTRES, _MODEL, _OURS = "cluster_centers_", "speech_model.", "model.model."


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Their settings, by the names of textless (`max_chunk`), scikit-learn (`n_clusters`) and fairseq (`normalize`)."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    out = {
        "model": f.take("model", {"model_type": "hubert"}),
        "model_name": f.take("pretrained_model", ""),
        "layers": list(f.take("layers")),
        "quantizer": {"kind": "kmeans", "codebook_size": f.take("n_clusters", 500)},
        "normalize": "clip" if f.one_of("normalize", {False: False, True: True}, False) else "none",
        "pad_samples": f.take("padding", 0),
        "chunk_samples": f.take("max_chunk", 1_600_000),
    }
    f.done()
    return out


def _authors_config(own: SpeechUnitsConfig) -> dict[str, Any]:
    return {
        "model": dict(own.model), "pretrained_model": own.model_name, "layers": list(own.layers),
        "n_clusters": own.quantizer.codebook_size, "normalize": own.normalize == "clip",  # type: ignore[attr-defined]
        "padding": own.pad_samples, "max_chunk": own.chunk_samples,
    }  # fmt: skip


def _keys(own: SpeechUnitsConfig) -> KeyMap:
    """`cluster_centers_` of one layer, `L.cluster_centers_` of layer L of several; all else of an estimator is dropped."""
    alone = len(own.layers) == 1

    def names() -> list[tuple[str, str]]:
        return [
            ((_CENTRES, "quantizer") if alone else (f"{layer}.{_CENTRES}", f"quantizer.branches.{i}"))
            for i, layer in enumerate(own.layers)
        ]

    def read(state: State) -> State:
        theirs = flat(state)
        out = {_OURS + k.removeprefix(_MODEL): v for k, v in theirs.items() if k.startswith(_MODEL)}
        for name, ours in names():
            bare = name.removesuffix(_CENTRES).rstrip(".")  # an array without an estimator around it
            table = theirs.get(name, theirs.get(bare))
            if not isinstance(table, Tensor):
                raise CheckpointError(f"the checkpoint holds no centres {name!r}; it holds {', '.join(sorted(theirs)[:5])}.")
            known = table.device.type != "meta"
            if known and not bool(torch.isfinite(table).all()):
                raise CheckpointError(f"the centres {name!r} hold NaN or infinities; download or copy the file again.")
            # an unfitted tokenizer that was written in this layout has a table of zeros
            out |= {f"{ours}.centres": table.float(), f"{ours}.fitted": torch.tensor(not known or bool(table.any()))}
        return out

    def write(state: State) -> State:
        out = {_MODEL + k.removeprefix(_OURS): v for k, v in state.items() if k.startswith(_OURS)}
        return out | {name: state[f"{ours}.centres"] for name, ours in names()}

    return KeyMap(Then(read, write))


LAYOUTS = (
    Layout(
        system="kmeans-units",
        upstream="facebookresearch/textlesslib textless/data/kmeans_quantizer.py KMeansQuantizer",
        family="speech_units",
        config=_config,
        keys=_keys,
        authors_config=_authors_config,
    ),
)
