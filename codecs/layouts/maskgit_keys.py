"""MaskGIT-VQGAN's config and key table, for the system itself and for TiTok's second decoder."""

from typing import Any

from .fields import Fields
from .keymap import Row, under
from .vqgan_keys import LEVELS, residual


def maskgit_stacks(c: Fields) -> dict[str, Any]:
    """Encoder, decoder and z_channels of MaskGIT-VQGAN; the defaults are those of its one published model."""
    mult, width = c.take("channel_mult", [1, 1, 2, 2, 4]), c.take("hidden_channels", 128)
    levels = c.take("num_resolutions", len(mult))
    if levels != len(mult):
        raise ValueError(f"maskgit-vqgan: num_resolutions is {levels}, but channel_mult has {len(mult)} entries.")
    blocks = c.take("num_res_blocks", 2)
    common = {
        "widths": [width * m for m in mult],
        "blocks": blocks,
        "middle": ["residual"] * blocks,
        "bias": False,
        "shortcut": "output",
        "dropout": float(c.take("dropout", 0.0)),
    }
    c.drop("resolution")  # used in a message only
    c.require("num_channels", 3)
    encoder = {**common, "stem_width": width, "resample": "average", "head_kernel": 1}
    return {"encoder": encoder, "decoder": common, "z_channels": c.take("z_channels", 256)}


def maskgit_rows(theirs: str = "", ours: str = "") -> list[Row]:
    """Rows of encoder and decoder with the prefixes `theirs` and `ours`: ("pixel_", "head.pixel_") for TiTok's second decoder."""
    rows: list[Row] = [*LEVELS, *residual("mid.{}", "middle.{}")]
    rows.append(("decoder.[up|levels].{}.upsample_conv.*", "decoder.levels.{}.resample.conv.*"))
    return under(theirs, ours, rows)
