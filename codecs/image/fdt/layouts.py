"""FDT's dictionary and its two query maps (yuxiaochen1103/FDT @ ccf69830c1, prototype/model/clip_fdt.py)."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import open_config
from ...layouts.keymap import KeyMap, Rename, Row, Unwrap, without_prefix
from ...layouts.layout import Layout
from .model import FDTConfig


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(config.get("model"), Mapping) and "kwargs" in config["model"]:
        config = config["model"]["kwargs"]["fdt"]  # the path of these keys in a training run's YAML
    c = open_config(config, "fdt")
    c.drop("use_allgather")  # for the contrastive loss
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


_ROWS: tuple[Row, ...] = (
    ("space_dict", "quantizer.table"),
    ("img_query_model.q_map.{}.*", "image_map.{}.*"),
    ("txt_query_model.q_map.{}.*", "text_map.{}.*"),
)
#: The two backbones, and the temperatures of the contrastive loss.
_DROPPED = ("visual.**", "encode_text.**", "[logit_scale|logit_scale_sd]")


def _keys(own: FDTConfig) -> KeyMap:
    return KeyMap(Unwrap("model", "state_dict"), without_prefix("module."), Rename(_ROWS, also_drop=_DROPPED))


LAYOUTS = (
    Layout(
        system="fdt",
        upstream="yuxiaochen1103/FDT prototype/model/clip_fdt.py Clip_FDT: Query_model, space_dict",
        family="fdt",
        config=_config,
        keys=_keys,
    ),
)
