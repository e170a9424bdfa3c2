"""Published k-means centres over a self-supervised speech model: estimators of scikit-learn, saved by joblib, one file for each layer.

The files hold no settings; those that the authors' code has in its own tables are given by the cards. The speech model's weights are
another repository's; a checkpoint that holds them, too, has them under `speech_model.`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, State, Then, WeightNorm, flat
from ...layouts.layout import Layout
from ...quantizers.base import codebook_size_of
from ...serialize import CheckpointError
from .model import SpeechUnitsConfig
from .vocoder import UnitVocoderConfig

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
    if "vocoder" in config:  # our key: fairseq's config of a unit vocoder
        out["vocoder"] = _vocoder(Fields(f.take("vocoder"), "vocoder"), out["quantizer"]["codebook_size"])
    f.done()
    return out


#: Keys of the vocoder's JSON that only its trainer reads.
_TRAINING = (
    "input_training_file", "input_validation_file", "num_gpus", "batch_size", "learning_rate", "adam_b1", "adam_b2", "lr_decay", "seed",
    "segment_size", "num_mels", "num_freq", "n_fft", "hop_size", "win_size", "fmin", "fmax", "fmax_for_loss", "num_workers",
    "dist_config", "dur_prediction_weight", "resblock", "code_hop_size", "type",
)  # fmt: skip


def _vocoder(f: Fields, units: int) -> dict[str, Any]:
    """A `UnitVocoderConfig` mapping from the JSON of fairseq's `CodeGenerator`."""
    f.drop(*_TRAINING)
    f.require("sampling_rate", 16000)
    f.require("num_embeddings", units)
    for key in ("f0", "multispkr", "embedder_params"):
        if f.take(key, None):
            raise ValueError(f"vocoder.{key} is set; only vocoders of one voice and without pitch are supported.")
    dim = f.take("embedding_dim")
    f.require("model_in_dim", dim, 80)
    predictor = dict(f.take("dur_predictor_params", None) or {})
    out = {
        "dim": dim,
        "decoder_width": f.take("upsample_initial_channel"),
        "strides": f.take("upsample_rates")[::-1],
        "stride_kernels": f.take("upsample_kernel_sizes")[::-1],
        "unit_kernels": f.take("resblock_kernel_sizes"),
        "unit_dilations": f.take("resblock_dilation_sizes"),
        "duration_width": 0,
    }
    f.done()
    if predictor:
        p = Fields(predictor, "vocoder.dur_predictor_params")
        p.require("encoder_embed_dim", dim)
        out |= {
            "duration_width": p.take("var_pred_hidden_dim"), "duration_kernel": p.take("var_pred_kernel_size"),
            "duration_dropout": p.take("var_pred_dropout"),
        }  # fmt: skip
        p.done()
    return out


def _authors_vocoder(own: UnitVocoderConfig, units: int) -> dict[str, Any]:
    """The inverse of `_vocoder`. Raises ValueError for residual units that their class does not have."""
    if own.unit != "double":
        raise ValueError(f"vocoder.unit is {own.unit!r}; the authors' vocoder has double ones.")
    predictor = {
        "encoder_embed_dim": own.dim, "var_pred_hidden_dim": own.duration_width, "var_pred_kernel_size": own.duration_kernel,
        "var_pred_dropout": own.duration_dropout,
    }  # fmt: skip
    return {
        "num_embeddings": units, "embedding_dim": own.dim, "model_in_dim": own.dim, "upsample_initial_channel": own.decoder_width,
        "upsample_rates": list(own.strides[::-1]), "upsample_kernel_sizes": list(own.stride_kernels[::-1]),
        "resblock_kernel_sizes": list(own.unit_kernels), "resblock_dilation_sizes": [list(d) for d in own.unit_dilations],
        "sampling_rate": 16000, "dur_predictor_params": predictor if own.duration_width else None,
    }  # fmt: skip


def _vocoder_rows(own: UnitVocoderConfig) -> list[Row]:
    rows: list[Row] = [
        ("generator.dict.weight", "vocoder.embed.weight"),
        ("generator.conv_pre.*", "vocoder.generator.stem.*"),
        ("generator.conv_post.*", "vocoder.generator.head.*"),
        ("generator.ups.{}.*", "vocoder.generator.levels.{}.conv.*"),
        ("generator.dur_predictor.conv1.0.*", "vocoder.predictor.conv_in.*"),
        ("generator.dur_predictor.conv2.0.*", "vocoder.predictor.conv_out.*"),
        ("generator.dur_predictor.ln1.*", "vocoder.predictor.norm_in.*"),
        ("generator.dur_predictor.ln2.*", "vocoder.predictor.norm_out.*"),
        ("generator.dur_predictor.proj.*", "vocoder.predictor.out.*"),
    ]
    kinds = len(own.unit_kernels)
    for i in range(len(own.strides) * kinds):  # the authors number the units through all levels
        at = f"vocoder.generator.levels.{i // kinds}.units.{i % kinds}"
        rows += [(f"generator.resblocks.{i}.{a}.{{}}.*", f"{at}.{b}.{{}}.*") for a, b in (("convs1", "dilated"), ("convs2", "plain"))]
    return rows


def _authors_config(own: SpeechUnitsConfig) -> dict[str, Any]:
    voice = {} if own.vocoder is None else {"vocoder": _authors_vocoder(own.vocoder, codebook_size_of(own.quantizer))}
    return voice | {
        "model": dict(own.model), "pretrained_model": own.model_name, "layers": list(own.layers),
        "n_clusters": codebook_size_of(own.quantizer), "normalize": own.normalize == "clip",
        "padding": own.pad_samples, "max_chunk": own.chunk_samples,
    }  # fmt: skip


def _keys(own: SpeechUnitsConfig) -> KeyMap:
    """`cluster_centers_` of one layer, `L.cluster_centers_` of layer L of several; all else of an estimator is dropped."""
    alone = len(own.layers) == 1
    vocoder = None
    if own.vocoder is not None:
        vocoder = KeyMap(WeightNorm(but=("generator.dur_predictor.**",)), Rename(_vocoder_rows(own.vocoder)))

    def names() -> list[tuple[str, str]]:
        return [
            ((_CENTRES, "quantizer") if alone else (f"{layer}.{_CENTRES}", f"quantizer.branches.{i}"))
            for i, layer in enumerate(own.layers)
        ]

    def read(state: State) -> State:
        theirs = flat(state)
        out = {_OURS + k.removeprefix(_MODEL): v for k, v in theirs.items() if k.startswith(_MODEL)}
        if vocoder is not None:
            out |= vocoder.read({k: v for k, v in theirs.items() if k.startswith("generator.")})
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
        if vocoder is not None:
            out |= vocoder.write({k: v for k, v in state.items() if k.startswith("vocoder.")})
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
