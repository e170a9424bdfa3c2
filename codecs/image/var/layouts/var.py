"""VAR's multi-scale tokenizer (FoundationVision/VAR @ 78b95394fc, models/vqvae.py `VQVAE`)."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import legacy_vq, open_config, part
from ....layouts.keymap import KeyMap
from ....layouts.layout import Layout
from ....layouts.vqgan_keys import TABLE, phis, taming_map, taming_middle
from ....quantizers.multiscale_vq import MultiScaleVQConfig
from ..model import MultiScaleVQGANConfig


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "var")
    c.drop("test_mode")
    z, width, dropout = c.take("z_channels", 32), c.take("ch", 128), float(c.take("dropout", 0.0))
    out: dict[str, Any] = {"z_channels": z, "embed_dim": z, "quant_kernel": c.take("quant_conv_ks", 3), "clip": True}
    for side in ("encoder", "decoder"):
        own = part(c, side, {})  # the published class has fixed values for all but width and dropout
        own_width, mult, blocks = own.take("ch", width), own.take("ch_mult", [1, 1, 2, 2, 4]), own.take("num_res_blocks", 2)
        own.require("z_channels", z)
        own.require("in_channels", 3)
        own.require("double_z", False)
        levels = [len(mult) - 1] if own.take("using_sa", True) else []
        middle = ["residual", "attention", "residual"] if own.take("using_mid_sa", True) else ["residual", "residual"]
        out[side] = {
            "widths": [own_width * m for m in mult],
            "blocks": blocks if side == "encoder" else blocks + 1,
            "attention_levels": levels,
            "middle": middle,
            "dropout": float(own.take("dropout", dropout)),
        }
        own.done()
        if side == "encoder":
            out[side]["stem_width"] = own_width
    if out["encoder"]["middle"] != out["decoder"]["middle"]:
        raise ValueError("var: using_mid_sa must be the same in encoder and decoder.")
    sides = c.take("v_patch_nums", [1, 2, 3, 4, 5, 6, 8, 10, 13, 16])
    shared, count = c.take("share_quant_resi", 4), c.take("default_qresi_counts", 0)
    beta = float(c.take("beta", 0.25))
    out["quantizer"] = legacy_vq(c.take("vocab_size", 4096), 1.0, commitment_weight=beta) | {
        "kind": "multiscale_vq",
        "scales": [[n, n] if isinstance(n, int) else list(n) for n in sides],
        "normalize": c.take("using_znorm", False),
        "phi_ratio": float(c.take("quant_resi", 0.5)),
        "phi_count": shared or count,
    }
    c.done()
    return out


def _keys(own: MultiScaleVQGANConfig) -> KeyMap:
    assert isinstance(own.quantizer, MultiScaleVQConfig)
    return taming_map(
        middle=taming_middle(with_attention="attention" in own.encoder.middle),
        more=[*TABLE, *phis("quantize.quant_resi", "quantizer.phis", own.quantizer.phi_count)],
        dropped=("quantize.ema_vocab_hit_SV",),  # usage of the codes, for display
        joined=True,
    )


LAYOUTS = (
    Layout(
        system="var",
        upstream="FoundationVision/VAR models/vqvae.py VQVAE",
        family="var",
        config=_config,
        keys=_keys,
    ),
)
