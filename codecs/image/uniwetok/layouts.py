"""UniWeTok (shallowdream204/BitDance, autoencoder_uni.py `VQModel`): `ddconfig` and Lightning-like keys."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import open_config, part
from ...layouts.keymap import KeyMap, Rename, Row, Unwrap, lightning_average
from ...layouts.layout import Layout
from ...layouts.vqgan_keys import SIDE
from .model import UniWeTokConfig


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "uniwetok")
    c.require("gan_decoder", True)
    c.drop("checkpoint")
    dd = part(c, "ddconfig")
    c.done()
    dd.require("in_channels", 3)
    dd.require("out_ch", 3)
    dd.drop("resolution", "double_z")  # stored by the authors' classes, unused
    bits, width = dd.take("z_channels"), dd.take("ch")
    out = {
        "widths": [width * m for m in dd.take("ch_mult", (1, 2, 2, 4))],
        "blocks": dd.take("num_res_blocks"),
        "attention": {"blocks": dd.take("attn_blocks", 2), "heads": dd.take("n_heads", 16), "registers": 4},
        "latent_dim": bits,
        "quantizer": {"kind": "sign", "bits": bits},
    }
    dd.done()
    return out


_ENDS: tuple[Row, ...] = (
    ("encoder.conv_in.*", "encoder.stem.*"),
    ("decoder.conv_in.*", "decoder.stem.0.*"),
    ("encoder.down.{}.block.{}.{norm1|norm2|conv1|conv2}.*", "encoder.levels.{}.{}.{norm1|norm2|conv1|conv2}.*"),
    ("decoder.mid_block.{}.{norm1|norm2|conv1|conv2}.*", "decoder.middle.{}.{norm1|norm2|conv1|conv2}.*"),
    ("decoder.up.{}.block.{}.{norm1|norm2|conv1|conv2}.*", "decoder.levels.{}.blocks.{}.{norm1|norm2|conv1|conv2}.*"),
    ("decoder.up.{}.block.{}.nin_shortcut.*", "decoder.levels.{}.blocks.{}.shortcut.*"),
    ("decoder.up.{}.upsample.conv1.*", "decoder.levels.{}.resample.conv.*"),
    ("decoder.adaptive.{}.gamma.*", "decoder.levels.{}.adaptive.gain.*"),
    ("decoder.adaptive.{}.beta.*", "decoder.levels.{}.adaptive.shift.*"),
    (SIDE + ".norm_out.*", SIDE + ".norm.*"),
    (SIDE + ".conv_out.*", SIDE + ".head.*"),
)


def _attention(theirs: str, ours: str) -> list[Row]:
    block, own = f"{theirs}.mid_attn_blocks.{{}}", f"{ours}.blocks.{{}}"
    return [
        (f"{theirs}.register_token.weight", f"{ours}.registers"),
        (f"{block}.attention_norm.weight", f"{own}.attention_norm.weight"),
        (f"{block}.attention.wqkv.weight", f"{own}.attention.qkv.weight"),
        (f"{block}.attention.wo.weight", f"{own}.attention.out.weight"),
        (f"{block}.ffn_norm.weight", f"{own}.mlp_norm.weight"),
        (f"{block}.feed_forward.w1.weight", f"{own}.gate_up.weight"),
        (f"{block}.feed_forward.w2.weight", f"{own}.down.weight"),
    ]


def _keys(own: UniWeTokConfig) -> KeyMap:
    # in this library the strided convolution is the last entry of its level
    down: Row = ("encoder.down.{}.downsample.*", f"encoder.levels.{{}}.{own.blocks}.*")
    rows = [*_ENDS, down, *_attention("encoder", "encoder.attention"), *_attention("decoder", "decoder.stem.1")]
    training = ("{loss|discriminator|quantize}.**", "model_ema.**")
    return KeyMap(Unwrap("state_dict"), lightning_average(), Rename(rows, also_drop=training))


LAYOUTS = (
    Layout(
        system="uniwetok",
        upstream="shallowdream204/BitDance autoencoder_uni.VQModel",
        family="uniwetok",
        config=_config,
        keys=_keys,
    ),
)
