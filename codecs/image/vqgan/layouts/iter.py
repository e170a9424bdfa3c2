"""ITER's Swin VQGAN (chaofengc/ITER @ 826bcaa3a3, CC BY-NC-SA 4.0): one list of blocks on each side."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import legacy_vq, open_config, part
from ....layouts.keymap import KeyMap, Rename, Row, Unwrap
from ....layouts.layout import Layout
from ....layouts.vqgan_keys import TABLE
from ..model import VQGANConfig
from .block_lists import decoder_entries, encoder_entries, side_rows


def iter_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Config fields of the VQGAN from the arguments of the authors' class."""
    c = open_config(config, "iter")
    c.drop("ckpt_path", "type")
    dd = part(c, "ddconfig")
    dd.require("in_channels", 3)
    width, mult, dim, size = dd.take("nf"), dd.take("ch_mult"), dd.take("emb_dim"), dd.take("resolution")
    kind, levels = dd.take("global_blks", "swin"), len(mult)
    middle = {
        "swin": ["residual", "swin", "residual"],
        "mhsa": ["residual", "head_attention", "residual", "head_attention"],
    }.get(kind, ["residual", "residual"])  # any other name means none
    swin = {
        "width": dd.take("swin_dim"),
        "stacks": dd.take("swin_blk_num", 1),
        "depth": dd.take("swin_blk_depth"),
        **_window(min(size) // 2 ** (levels - 1), dd.take("swin_window", 8)),
    }
    # further options change the encoder's windows only; the decoder's class accepts and ignores them
    encoder_swin = swin | {"heads": dd.take("num_heads", 8), "mlp_ratio": float(dd.take("mlp_ratio", 4.0))}
    common = {
        "widths": [width * m for m in mult],
        "middle": middle,
        "narrow_groups": "quarter",
        "final_activation": "none",
    }
    encoder = {**common, "stem_width": width, "blocks": dd.take("num_res_blocks", 2), "swin": encoder_swin}
    decoder = {**common, "blocks": 2, "swin": swin}  # num_res_blocks is not passed to the decoder
    dd.done()
    c.require("embed_dim", dim)
    quantizer = legacy_vq(c.take("n_embed"), float(c.take("beta", 0.25)))
    c.done()
    parts = {"encoder": encoder, "decoder": decoder, "z_channels": dim, "embed_dim": 0, "quantizer": quantizer}
    return {**parts, "value_range": [0.0, 1.0], "network_range": [-1.0, 1.0], "clip": True}


def _window(side: int, window: int) -> dict[str, Any]:
    """Window and shift of a grid: a grid no larger than the window is one window, never shifted."""
    return {"window": side, "shifted": False} if side <= window else {"window": window, "shifted": True}


#: Buffers that are computed from the window.
WINDOW_BUFFERS = ("**.relative_position_index", "**.attn_mask")


def iter_rows(own: VQGANConfig) -> list[Row]:
    """Rows of all weights of the VQGAN."""
    assert own.decoder is not None
    return [
        ("generator.**", None),  # the decoder under a second name
        *side_rows("encoder", "encoder", encoder_entries(own.encoder)),
        *side_rows("decoder", "decoder", decoder_entries(own.decoder)),
        *TABLE,
    ]


def _keys(own: VQGANConfig) -> KeyMap:
    return KeyMap(Unwrap("params_ema", "params"), Rename(iter_rows(own), also_drop=WINDOW_BUFFERS))


LAYOUTS = (
    Layout(
        system="iter",
        upstream="chaofengc/ITER basicsr/archs/vqgan_swin.py VQModel",
        family="vqgan",
        config=iter_config,
        keys=_keys,
    ),
)
