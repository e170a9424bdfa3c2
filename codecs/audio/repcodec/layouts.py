"""MaskGCT's semantic codec in its authors' layout, with the file of the features' statistics beside its weights."""

from collections.abc import Mapping
from typing import Any

from ...layouts.backbone_keys import backbone
from ...layouts.configs import factorised_rvq
from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, WeightNorm, pointwise
from ...layouts.layout import Layout
from ...layouts.speech_keys import STATISTICS, feature_statistics
from .model import RepCodecConfig


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `RepCodec`, also inside MaskGCT's JSON, under `model.semantic_codec`."""
    if isinstance(config.get("model"), Mapping):
        config = {k: v for k, v in config.items() if k != "model"} | dict(config["model"]["semantic_codec"])
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, "downsample_scale")  # convolutions that the class builds and does not call
    out = {
        "features": f.take("hidden_size", 1024),
        "width": f.take("vocos_dim", 384),
        "hidden": f.take("vocos_intermediate_dim", 2048),
        "layers": f.take("vocos_num_layers", 12),
        "semantic_model": f.take("speech_config", {}),  # ours: a speech model's configuration in the terms of transformers
        "quantizer": factorised_rvq(
            num_codebooks=f.take("num_quantizers", 1),
            codebook_size=f.take("codebook_size", 8192),
            codebook_dim=f.take("codebook_dim", 8),
            commitment_weight=0.15,
        ),
    }
    f.done()
    return out


def _keys(own: RepCodecConfig) -> KeyMap:
    names = "quantizer.quantizers.{}", "quantizer.levels.{}"
    rows: list[Row] = [
        *backbone("encoder.0", "encoder.backbone"),
        ("encoder.1.*", "encoder.head.*"),
        *backbone("decoder.0", "decoder.backbone"),
        ("decoder.1.*", "decoder.head.*"),
        (f"{names[0]}.in_project.*", f"{names[1]}.in_proj.*"),
        (f"{names[0]}.out_project.*", f"{names[1]}.out_proj.*"),
        (f"{names[0]}.codebook.weight", f"{names[1]}.codebook.embed"),
        *STATISTICS,
    ]
    return KeyMap(
        WeightNorm(on=("quantizer.**.{in_project|out_project}.weight",)),
        Rename(rows, also_drop=("{up|down}.{weight|bias}",)),
        feature_statistics(own.features),
        pointwise("quantizer.levels.{}.{in_proj|out_proj}.weight"),
    )


LAYOUTS = (
    Layout(
        system="maskgct-semantic",
        upstream="open-mmlab/Amphion models/codec/kmeans/repcodec_model.py RepCodec",
        family="repcodec",
        config=_config,
        keys=_keys,
    ),
)
