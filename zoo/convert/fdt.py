"""FDT's dictionary and its two query maps (yuxiaochen1103/FDT @ ccf69830c1, prototype/model/clip_fdt.py)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import open_config, unwrap
from .base import Converter, rename


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "fdt")  # the run's YAML keeps these under model.kwargs.fdt
    if isinstance(config.get("model"), Mapping) and "kwargs" in config["model"]:
        c = open_config(config["model"]["kwargs"]["fdt"], "fdt")
    c.drop("use_allgather")  # of the contrastive loss
    out = {
        "width": c.take("raw_img_ft_dim"),
        "text_width": c.take("raw_txt_ft_dim"),
        "code_dim": c.take("sd_dim"),
        "weights": c.one_of("att_func_type", {n: n for n in ("sparsemax", "softmax", "sigmoid")}, "softmax"),
        "pool": c.one_of("pool_type", {n: n for n in ("max", "mean", "sum")}, "sum"),
        "quantizer": {
            "kind": "sparsemax",
            "codebook_size": c.take("sd_num"),
            "temperature": float(c.take("sd_temperature", 1)),
        },
    }
    c.done()
    return out


_KEYS = r"query_model\.q_map\.(\d)\.(weight|bias)"
_TABLE = (
    ("space_dict", "quantizer.table"),
    (r"img_" + _KEYS, r"image_map.\1.\2"),
    (r"txt_" + _KEYS, r"text_map.\1.\2"),
)
#: The two backbones, and the temperatures of the contrastive loss.
_DROPPED = (r"visual\..*", r"encode_text\..*", r"logit_scale(?:_sd)?")


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    state = {k.removeprefix("module."): v for k, v in unwrap(state, "model", "state_dict").items()}
    return rename(state, _TABLE, dropped=_DROPPED)


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="fdt",
        upstream="yuxiaochen1103/FDT prototype/model/clip_fdt.py Clip_FDT: Query_model, space_dict",
        family="fdt",
        config=_config,
        weights=_weights,
    ),
)
