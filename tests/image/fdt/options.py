"""FDT's dictionary."""

import torch
from layout_options import DROP, Sweep


def _published(state: dict) -> dict:
    """A training checkpoint of a distributed run, with both backbones."""
    more = {
        "logit_scale": torch.ones(1), "logit_scale_sd": torch.ones(1), "visual.conv1.weight": torch.ones(4, 3, 2, 2),
        "visual.transformer.resblocks.0.attn.in_proj_weight": torch.ones(6, 2), "encode_text.text_projection": torch.ones(2, 2),
    }  # fmt: skip
    return {"model": {f"module.{k}": v for k, v in (state | more).items()}, "optimizer": {"state": {}}, "last_iter": 86560}


_IN_YAML = {
    "sd_temperature": 1000, "att_func_type": "sparsemax", "pool_type": "max", "use_allgather": True, "sd_num": 16, "sd_dim": 6,
    "raw_img_ft_dim": 8, "raw_txt_ft_dim": 5,
}  # fmt: skip

SWEEPS = {
    "fdt": Sweep(
        tiny=_IN_YAML,
        options={
            "as it is": {},
            "in the run's YAML": {"model": {"type": "clip_fdt_vitb32", "kwargs": {"fdt": _IN_YAML, "image_encode": {"embed_dim": 4}}}},
            "softmax": {"att_func_type": "softmax"},
            "sigmoid": {"att_func_type": "sigmoid"},
            "softmax by default": {"att_func_type": DROP},
            "the mean": {"pool_type": "mean"},
            "the sum": {"pool_type": "sum"},
            "the sum by default": {"pool_type": DROP},
            "no temperature": {"sd_temperature": DROP},
            "a cold one": {"sd_temperature": 0.01},
            "other widths": {"raw_img_ft_dim": 12, "raw_txt_ft_dim": 8},
            "a narrow dictionary": {"sd_dim": 3},
            "a large one": {"sd_num": 100},
            "as the class takes it": {"use_allgather": DROP},
        },
        refused={
            "another weighting": ({"att_func_type": "entmax"}, "sparsemax"),
            "another pooling": ({"pool_type": "min"}, "max"),
            "a misspelt key": ({"sd_nun": 16}, "sd_num"),
            "no size": ({"sd_num": DROP}, "sd_num"),
        },
        published=_published,
    ),
}
