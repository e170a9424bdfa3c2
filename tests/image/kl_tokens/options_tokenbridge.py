"""TokenBridge over MAR's KL autoencoder."""

from layout_options import DROP, Sweep

_SIDE = {
    "ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "resolution": 16, "z_channels": 4, "in_channels": 3, "out_ch": 3,
    "attn_resolutions": [], "resamp_with_conv": True, "double_z": True,
}  # fmt: skip


def _both(**change) -> dict:
    return {"encoder": change, "decoder": change}


def _published(state: dict) -> dict:
    return {"model": {**state, "loss.logvar": state["quant_conv.bias"].new_zeros(())}, "epoch": 100}


SWEEPS = {
    "tokenbridge": Sweep(
        tiny={
            "embed_dim": 4, "ch_mult": [1, 2], "use_variational": True, "encoder": _SIDE, "decoder": _SIDE, "latent_scale": 0.2325,
            "quantizer": {"bits": 6, "min_range": -5.0, "max_range": 5.0, "std_range": 3.0},
        },
        options={
            "as it is": {},
            "without a variance": {"use_variational": False},
            "8 levels": {"quantizer": {"bits": 3}},
            "another range": {"quantizer": {"min_range": -9.0, "max_range": 9.0}},
            "fewer deviations": {"quantizer": {"std_range": 2.0, "bits": 3}},
            "another scale": {"latent_scale": 1.0},
            "attention at the coarse level": _both(attn_resolutions=[8]),
            "attention at both levels": _both(attn_resolutions=[8, 16]),
            "resampling without weights": _both(resamp_with_conv=False),
            "three levels": _both(ch_mult=[1, 1, 1]),
            "two blocks": _both(num_res_blocks=2),
            "dropout": _both(dropout=0.1),
            "its own quantizer by default": {"quantizer": DROP, "latent_scale": DROP},
            "two channels": {"embed_dim": 2, **_both(z_channels=2)},
        },
        refused={
            "no quantizer": ({"quantizer": {"bits": 0}}, "bits"),
            "other channels": ({"encoder": {"z_channels": 8}}, "z_channels"),
            "a misspelt key": ({"embed_dims": 4}, "embed_dim"),
        },
        published=_published,
    ),
}  # fmt: skip
