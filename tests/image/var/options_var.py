"""VAR's tokenizer."""

from layout_options import DROP, Sweep

_SIDE = {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "using_sa": True, "using_mid_sa": True, "z_channels": 8, "double_z": False}
_PLAIN = {"using_sa": False, "using_mid_sa": False}


def _published(state: dict) -> dict:
    return {**state, "quantize.ema_vocab_hit_SV": state["quantize.embedding.weight"].new_ones(4, 16)}


SWEEPS = {
    "var": Sweep(
        tiny={
            "vocab_size": 16, "z_channels": 8, "ch": 32, "dropout": 0.0, "beta": 0.25, "using_znorm": False, "quant_conv_ks": 3,
            "quant_resi": 0.5, "share_quant_resi": 4, "default_qresi_counts": 0, "v_patch_nums": [1, 2, 4], "test_mode": True,
            "encoder": _SIDE, "decoder": _SIDE,
        },
        options={
            "as it is": {},
            "one convolution for all scales": {"share_quant_resi": 1},
            "one convolution a scale": {"share_quant_resi": 0},
            "so many convolutions": {"share_quant_resi": 0, "default_qresi_counts": 2},
            "no convolutions": {"quant_resi": 0.0},
            "a negative share": {"quant_resi": -0.5},
            "looked up by angle": {"using_znorm": True},
            "maps of 1 around the code": {"quant_conv_ks": 1},
            "no attention": {"encoder": _PLAIN, "decoder": _PLAIN},
            "attention in the middle alone": {"encoder": {"using_sa": False}, "decoder": {"using_sa": False}},
            "other scales": {"v_patch_nums": [1, 3]},
            "scales of two sides": {"v_patch_nums": [[1, 1], [2, 3]]},
            "more blocks": {"encoder": {"num_res_blocks": 2}, "decoder": {"num_res_blocks": 2}},
            "another width on each side": {"encoder": {"ch": 64}, "decoder": {"ch": DROP}},
            "three levels": {"encoder": {"ch_mult": [1, 1, 2]}, "decoder": {"ch_mult": [1, 1, 2]}},
            "dropout": {"dropout": 0.1},
            "defaults": {"share_quant_resi": DROP, "beta": DROP, "quant_resi": DROP, "using_znorm": DROP, "quant_conv_ks": DROP},
        },
        refused={
            "a misspelt key": ({"vocab_sizes": 16}, "vocab_size"),
            "moments": ({"encoder": {"double_z": True}}, "double_z"),
            "attention in one middle": ({"encoder": {"using_mid_sa": False}}, "using_mid_sa"),
        },
        published=_published,
    ),
}  # fmt: skip
