"""Show-o's MAGVIT-v2, whose three parts take arguments though its class takes none."""

from typing import Any

from image_cases import enliven
from layout_options import DROP, Sweep

_SIDE = {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": [1, 2], "attn_resolutions": [5], "resolution": 16, "z_channels": 6}


def _both(**change: Any) -> dict[str, Any]:
    return {"encoder": change, "decoder": change}


SWEEPS = {
    "showo-magvitv2": Sweep(
        tiny={"encoder": _SIDE, "decoder": _SIDE | {"ch_mult": [1, 1]}, "quantize": {"codebook_dim": 6}},
        options={
            "as it is": {},
            "a saved file's keys": {"_class_name": "MAGVITv2", "_diffusers_version": "0.30.1"},
            "one block a level": _both(num_res_blocks=[1, 1]),
            "more blocks at the fine level": _both(num_res_blocks=[3, 1]),
            "three levels": _both(ch_mult=[1, 1, 2], num_res_blocks=[1, 2, 1]),
            "unlike sides": {"encoder": {"num_res_blocks": [2, 1]}, "decoder": {"num_res_blocks": [1, 3]}},
            "attention at the coarse level": _both(attn_resolutions=[8]),
            "attention at both": _both(attn_resolutions=[8, 16]),
            "no attention in levels, by default": _both(attn_resolutions=DROP),
            "a wider stem": _both(ch=64),
            "another first level": {"encoder": {"ch_mult": [2, 1]}},
            "dropout": _both(dropout=0.1),
            "4 bits": _both(z_channels=4) | {"quantize": {"codebook_dim": 4}},
            "weights of its losses": {"quantize": {"num_codebook_entry": -1, "beta": 0.25, "entropy_multiplier": 0.1}},
        },
        refused={
            "codes of another width": ({"quantize": {"codebook_dim": 5}}, "codebook_dim"),
            "a number of blocks too few": ({"encoder": {"num_res_blocks": [1]}}, "num_res_blocks"),
            "grey pictures": ({"encoder": {"in_ch": 1}}, "in_ch"),
            "a posterior": ({"encoder": {"double_z": True}}, "double_z"),
            "a misspelt key": ({"encoder": {"ch_mlut": [1]}}, "ch_mult"),
        },
        enliven=enliven,
    )
}
