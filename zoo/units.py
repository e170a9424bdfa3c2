"""Speech units of any self-supervised speech model of transformers: k-means centres fitted to sound, or read from a published file.

    tokenzoo quantize --features facebook/hubert-base-ls960:6 SOUND --codebook 500 --out my-units
    tokenzoo quantize --features facebook/hubert-base-ls960:6 --centres km.bin --out hubert-km100
    tokenzoo.load("file:my-units")

Letters: V number of centres, D channels of a layer, K layers.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..codecs.audio.speech_units.model import FBANK_MODEL, SpeechUnits, SpeechUnitsConfig
from ..codecs.layers.speech_features import FrozenModel
from ..codecs.quantizers.base import QuantizerConfig
from ..codecs.quantizers.kmeans import KMeans, KMeansConfig
from ..codecs.serialize import CheckpointError
from .weight_files import read_weights

#: Names under which libraries keep the centres of a k-means, in the order in which they are tried.
CENTRE_NAMES = ("cluster_centers_", "centres", "centers", "centroids", "cluster_centers", "codebook", "embed", "")


def unfitted_units(
    features: str,
    *,
    quantizer: QuantizerConfig | None = None,
    normalize: Literal["none", "clip"] | None = None,
    include_model: bool = False,
) -> SpeechUnits:
    """A tokenizer of speech units without centres; `zoo.quantize.quantize` fits them, `with_centres` reads them.

    Args:
        features: `MODEL:LAYER` or `MODEL:LAYER,LAYER`; MODEL is a hub id or a folder of a model of transformers, layers count from 1,
            0 is the input of the first.
        quantizer: settings of the quantizer of each layer; None: k-means with 500 centres.
        normalize: "clip" brings clips to mean 0 and variance 1 first; None: as the model was trained, which its config tells.
        include_model: store the speech model's weights in the tokenizer; False: only its hub id, under which it is loaded when it is
            first needed. The weights of a folder are always stored.

    Raises:
        ValueError: text of another form, a model that cannot be read or is of another kind, or a layer that it does not have.
    """
    name, layers = _split(features)
    folder = Path(name.removeprefix("file:")).expanduser()
    local = name.startswith("file:") or os.path.isdir(folder)
    source = str(folder) if local else name
    model = model_config(source)
    by_layer_norm = model.get("feat_extract_norm", "group") == "layer" and model["model_type"] != FBANK_MODEL
    config = SpeechUnitsConfig(
        model=model,
        model_name=source,
        layers=layers,
        quantizer=KMeansConfig(codebook_size=500) if quantizer is None else quantizer,
        # models whose first convolution has a group norm do not notice the level of a clip
        normalize=normalize or ("clip" if by_layer_norm else "none"),
    )
    if not local and not include_model:
        return SpeechUnits(config).eval()
    kept = min(config.num_layers, max(layers) + 1)  # one more than the last that is needed, for a LayerNorm may follow the last one
    tokenizer = SpeechUnits(replace(config, model=model | {"num_hidden_layers": kept}, model_name=""))
    assert tokenizer.model is not None
    try:
        weights = FrozenModel.pretrained(source, num_hidden_layers=kept)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"the weights of the speech model {source!r} cannot be loaded: {_first_line(error)}") from error
    tokenizer.model.load_state_dict(weights.state_dict())
    return tokenizer.eval()


def model_config(source: str) -> dict[str, Any]:
    """What `SpeechUnitsConfig.model` holds of the model of transformers in a folder or under a hub id.

    Raises:
        ValueError: none is there, or it is of a kind that speech units are not made of.
    """
    try:
        from transformers import AutoConfig
    except ImportError as error:
        raise ImportError("speech models are those of the package transformers: pip install 'tokenzoo[transformers]'.") from error
    try:
        found = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ValueError(f"{source!r} is no folder and no hub id of a speech model of transformers: {_first_line(error)}") from error
    own, changed = found.to_dict(), set(found.to_diff_dict())
    changed -= {"transformers_version", "architectures", "dtype", "torch_dtype", "_name_or_path", "add_adapter", "auto_map"}
    changed |= {"model_type", "hidden_size", "num_hidden_layers", "conv_kernel", "conv_stride"}
    model = {key: own[key] for key in sorted(changed & set(own))}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in model.items()}


def with_centres(tokenizer: SpeechUnits, files: Sequence[str | os.PathLike[str]]) -> SpeechUnits:
    """A tokenizer with the centres of published files, in the order of its layers, in place of its quantizer.

    Raises:
        ValueError: another number of files than layers, tables of several sizes, or of another width than the layers.
        CheckpointError: as `read_centres`.
    """
    layers = tokenizer.config.layers
    if len(files) != len(layers):
        raise ValueError(f"{len(files)} files of centres for the layers {list(layers)}; give one for each layer, in their order.")
    tables = [read_centres(file) for file in files]
    shapes, width = [list(t.shape) for t in tables], tokenizer.config.width
    if any(shape[1] != width for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(f"centres of the shapes {shapes} do not fit layers of {width} channels with equal numbers of centres.")
    out = SpeechUnits(replace(tokenizer.config, quantizer=KMeansConfig(codebook_size=shapes[0][0])))
    if out.model is not None and tokenizer.model is not None:
        out.model.load_state_dict(tokenizer.model.state_dict())
    quantizers = [part for part in out.quantizer.modules() if isinstance(part, KMeans)]
    for part, table in zip(quantizers, tables, strict=True):
        part.use(table)
    return out.to(tokenizer.device, tokenizer.dtype).eval()


def read_centres(path: str | os.PathLike[str]) -> Tensor:
    """Return the centres `[V, D]`, float32, of a k-means that another library saved.

    Args:
        path: `.npy`; `.safetensors`; what `torch.save` wrote; a pickle of joblib or scikit-learn (`.km`, `.bin`, `.pkl`, `.pt`,
            `.joblib`), compressed or not. Nothing in it is executed. Of several arrays the one with a usual name is taken.

    Raises:
        CheckpointError: no such file, one that is broken, without a table of numbers or with several, or with numbers that are not
            finite.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise CheckpointError(f"{file} is not there, or is no file.")
    found = {name: t for name, t in _tables(read_weights(str(file), lambda name: Path(name))).items() if t.shape[0] and t.shape[1]}
    usual = [t for wanted in CENTRE_NAMES for name, t in found.items() if name.rpartition(".")[2] == wanted]
    if not usual and len(found) != 1:
        named = ", ".join(found)[:300] or "none"
        raise CheckpointError(f"{file} holds {len(found)} tables of numbers ({named}), and not the centres of a k-means.")
    centres = (usual or list(found.values()))[0].float()
    if not bool(torch.isfinite(centres).all()):
        raise CheckpointError(f"{file} holds centres with NaN or infinities; download or copy it again.")
    return centres


def _tables(state: Any, prefix: str = "") -> dict[str, Tensor]:
    """All matrices of floating-point numbers of a state dict, by their dotted names."""
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, dict):
            out |= _tables(value, name)
        elif isinstance(value, Tensor) and value.ndim == 2 and value.is_floating_point():
            out[name] = value
    return out


def _split(features: str) -> tuple[str, tuple[int, ...]]:
    name, sign, numbers = features.rpartition(":")
    try:
        layers = tuple(int(n) for n in numbers.split(","))
    except ValueError:
        layers = ()
    if not sign or not name or not layers:
        raise ValueError(f"features are MODEL:LAYER or MODEL:LAYER,LAYER, such as facebook/hubert-base-ls960:6; got {features!r:.200}.")
    return name, layers


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
