"""UniWeTok (shallowdream204/BitDance, autoencoder_uni.py `VQModel`): `ddconfig` and Lightning-like keys."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import open_config, part, unwrap, use_ema
from .base import Converter, rename


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "uniwetok")
    c.require("gan_decoder", True)
    c.drop("checkpoint")
    dd = part(c, "ddconfig")
    c.done()
    dd.require("in_channels", 3)
    dd.require("out_ch", 3)
    dd.drop("resolution", "double_z")  # stored by the authors' classes, never read
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


_END = r"(weight|bias)"
_TABLE = [
    (rf"(encoder)\.conv_in\.{_END}", r"\1.stem.\2"),
    (rf"decoder\.conv_in\.{_END}", r"decoder.stem.0.\1"),
    (rf"encoder\.down\.(\d+)\.block\.(\d+)\.(norm[12]|conv[12])\.{_END}", r"encoder.levels.\1.\2.\3.\4"),
    (rf"encoder\.down\.(\d+)\.downsample\.(\d+)\.{_END}", r"encoder.levels.\1.\2.\3"),
    (rf"decoder\.mid_block\.(\d+)\.(norm[12]|conv[12])\.{_END}", r"decoder.middle.\1.\2.\3"),
    (rf"decoder\.up\.(\d+)\.block\.(\d+)\.(norm[12]|conv[12])\.{_END}", r"decoder.levels.\1.blocks.\2.\3.\4"),
    (rf"decoder\.up\.(\d+)\.block\.(\d+)\.nin_shortcut\.{_END}", r"decoder.levels.\1.blocks.\2.shortcut.\3"),
    (rf"decoder\.up\.(\d+)\.upsample\.conv1\.{_END}", r"decoder.levels.\1.resample.conv.\2"),
    (rf"decoder\.adaptive\.(\d+)\.gamma\.{_END}", r"decoder.levels.\1.adaptive.gain.\2"),
    (rf"decoder\.adaptive\.(\d+)\.beta\.{_END}", r"decoder.levels.\1.adaptive.shift.\2"),
    (rf"(encoder|decoder)\.norm_out\.{_END}", r"\1.norm.\2"),
    (rf"(encoder|decoder)\.conv_out\.{_END}", r"\1.head.\2"),
]


def _attention(theirs: str, ours: str) -> list[tuple[str, str]]:
    return [
        (rf"{theirs}\.register_token\.weight", f"{ours}.registers"),
        (rf"{theirs}\.mid_attn_blocks\.(\d+)\.attention_norm\.weight", rf"{ours}.blocks.\1.attention_norm.weight"),
        (rf"{theirs}\.mid_attn_blocks\.(\d+)\.attention\.wqkv\.weight", rf"{ours}.blocks.\1.attention.qkv.weight"),
        (rf"{theirs}\.mid_attn_blocks\.(\d+)\.attention\.wo\.weight", rf"{ours}.blocks.\1.attention.out.weight"),
        (rf"{theirs}\.mid_attn_blocks\.(\d+)\.ffn_norm\.weight", rf"{ours}.blocks.\1.mlp_norm.weight"),
        (rf"{theirs}\.mid_attn_blocks\.(\d+)\.feed_forward\.w1\.weight", rf"{ours}.blocks.\1.gate_up.weight"),
        (rf"{theirs}\.mid_attn_blocks\.(\d+)\.feed_forward\.w2\.weight", rf"{ours}.blocks.\1.down.weight"),
    ]


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    state = use_ema(unwrap(state, "state_dict"))
    blocks = config["ddconfig"]["num_res_blocks"]
    # here the strided convolution is the last entry of its level
    state = {k.replace(".downsample.", f".downsample.{blocks}."): v for k, v in state.items()}
    table = [*_TABLE, *_attention("encoder", "encoder.attention"), *_attention("decoder", r"decoder.stem.1")]
    return rename(state, table, dropped=[r"(loss|discriminator|quantize)\..*"])  # parts of their training


CONVERTERS = (
    Converter(
        system="uniwetok",
        upstream="shallowdream204/BitDance autoencoder_uni.VQModel",
        family="uniwetok",
        config=_config,
        weights=_weights,
    ),
)
