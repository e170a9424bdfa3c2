"""ELM's binary autoencoder and ITER's VQGAN, whose weights stand in one numbered list of blocks a side.

Pepper-lll/LMforImageGeneration @ c2f29f0ac9 (no licence stated); chaofengc/ITER @ 826bcaa3a3 (CC BY-NC-SA 4.0).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...codecs.config import from_mapping
from ...codecs.layers.vqgan import DecoderConfig, EncoderConfig, StackConfig
from .authors import attention_levels, decoder_attention_levels, open_config, part, unwrap
from .base import Converter, rename
from .taming import legacy_vq
from .taming_keys import TABLE, fuse_qkv

_END = r"(weight|bias)"


def _elm(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "elm-bae")
    c.require("n_channels", 3)
    c.require("quantizer", "binary")
    c.drop("beta")  # stored, never read
    width, blocks, mult, size = c.take("nf"), c.take("res_blocks"), c.take("ch_mult"), c.take("img_size")
    wanted, dim, levels = c.take("attn_resolutions"), c.take("emb_dim"), len(mult)
    common = {"widths": [width * m for m in mult], "final_activation": "none"}
    encoder = {
        **common,
        "stem_width": width,
        "blocks": blocks,
        "attention_levels": attention_levels(size, wanted, levels, range(levels - 1)),
    }
    decoder = {
        **common,
        "blocks": int(blocks * c.take("gen_mul", 1.0)),
        "norm_first": c.take("norm_first", False),
        "attention_levels": decoder_attention_levels(size // 2 ** (levels - 1), wanted, levels, range(1, levels)),
    }
    quantizer = {
        "kind": "bernoulli",
        "bits": c.take("codebook_size"),
        "sample": not c.take("deterministic", False),
        "signed": c.take("use_tanh", False),
        "code_weight": float(c.take("code_weight", 0.0)),
        "double_sigmoid": True,
    }
    c.done()
    parts = {"encoder": encoder, "decoder": decoder, "z_channels": dim, "embed_dim": 0}
    return {**parts, "quantizer": quantizer, "value_range": [0.0, 1.0]}


def _iter(config: Mapping[str, Any]) -> dict[str, Any]:
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
    # further options reach the encoder's windows alone; the decoder's class swallows them
    encoder_swin = swin | {"heads": dd.take("num_heads", 8), "mlp_ratio": float(dd.take("mlp_ratio", 4.0))}
    common = {
        "widths": [width * m for m in mult],
        "middle": middle,
        "narrow_groups": "quarter",
        "final_activation": "none",
    }
    encoder = {**common, "stem_width": width, "blocks": dd.take("num_res_blocks", 2), "swin": encoder_swin}
    decoder = {**common, "blocks": 2, "swin": swin}  # the decoder never sees num_res_blocks
    dd.done()
    c.require("embed_dim", dim)
    quantizer = legacy_vq(c.take("n_embed"), float(c.take("beta", 0.25)))
    c.done()
    parts = {"encoder": encoder, "decoder": decoder, "z_channels": dim, "embed_dim": 0, "quantizer": quantizer}
    return {**parts, "value_range": [0.0, 1.0], "network_range": [-1.0, 1.0], "clip": True}


def _window(side: int, window: int) -> dict[str, Any]:
    """A grid no larger than the window is one window, never shifted."""
    return {"window": side, "shifted": False} if side <= window else {"window": window, "shifted": True}


# --- weights: what stands at each number ------------------------------------------------------------------------------


def _encoder_list(c: EncoderConfig) -> list[tuple[str, str]]:
    """(kind, own name) of each entry of the encoder's list."""
    out = [("conv", "stem")]
    for i in range(len(c.widths)):
        out += _level_list(c, i, i in c.halvings)
    out += [(kind, f"middle.{i}") for i, kind in enumerate(c.middle)]
    return [*out, ("norm", "norm"), ("conv", "head")]


def _decoder_list(c: DecoderConfig) -> list[tuple[str, str]]:
    """The same for the decoder's."""
    out = [("norm", "norm_first")] if c.norm_first else []
    out += [("conv", "stem")] + [(kind, f"middle.{i}") for i, kind in enumerate(c.middle)]
    for i in reversed(range(len(c.widths))):
        out += _level_list(c, i, i in c.doublings)
    return [*out, ("norm", "norm"), ("conv", "head")]


def _level_list(c: StackConfig, level: int, resample: bool) -> list[tuple[str, str]]:
    out = []
    for j in range(c.blocks):
        out.append(("residual", f"levels.{level}.blocks.{j}"))
        if level in c.attention_levels:
            out.append(("attention", f"levels.{level}.attentions.{j}"))
    return out + ([("resample", f"levels.{level}.resample")] if resample else [])


_SWIN_LAYER = r"swin_blks\.(\d+)\.residual_group\.blocks\.(\d+)"

#: What each kind of block calls its weights, and what they are called here.
_KINDS: dict[str, tuple[tuple[str, str], ...]] = {
    "conv": ((_END, r"\1"),),
    "norm": ((_END, r"\1"),),
    "resample": ((rf"conv\.{_END}", r"conv.\1"),),
    "residual": ((rf"(norm[12]|conv[12])\.{_END}", r"\1.\2"), (rf"conv_out\.{_END}", r"shortcut.\1")),
    "attention": ((rf"(norm|qkv)\.{_END}", r"\1.\2"), (rf"proj_out\.{_END}", r"out.\1")),
    "head_attention": ((rf"(norm|qkv)\.{_END}", r"\1.\2"), (rf"proj_out\.{_END}", r"out.\1")),
    "swin": (
        (rf"(conv_in|conv_out)\.{_END}", r"\1.\2"),
        (rf"swin_blks\.(\d+)\.conv\.{_END}", r"convs.\1.\2"),
        (rf"{_SWIN_LAYER}\.(norm[12])\.{_END}", r"stacks.\1.\2.\3.\4"),
        (rf"{_SWIN_LAYER}\.attn\.relative_position_bias_table", r"stacks.\1.\2.attention.offset_bias"),
        (rf"{_SWIN_LAYER}\.attn\.qkv\.{_END}", r"stacks.\1.\2.attention.qkv.\3"),
        (rf"{_SWIN_LAYER}\.attn\.proj\.{_END}", r"stacks.\1.\2.attention.out.\3"),
        (rf"{_SWIN_LAYER}\.mlp\.fc1\.{_END}", r"stacks.\1.\2.mlp.up.\3"),
        (rf"{_SWIN_LAYER}\.mlp\.fc2\.{_END}", r"stacks.\1.\2.mlp.down.\3"),
        (rf"{_SWIN_LAYER}\.mlp\.attn\.0\.{_END}", r"stacks.\1.\2.mlp.squeeze.\3"),
        (rf"{_SWIN_LAYER}\.mlp\.attn\.2\.{_END}", r"stacks.\1.\2.mlp.excite.\3"),
    ),
}


def _table(config: Mapping[str, Any], decoder_name: str) -> list[tuple[str, str]]:
    encoder, decoder = from_mapping(EncoderConfig, config["encoder"]), from_mapping(DecoderConfig, config["decoder"])
    sides = ((r"encoder", "encoder", _encoder_list(encoder)), (decoder_name, "decoder", _decoder_list(decoder)))
    return [
        (rf"{theirs}\.blocks\.{i}\.{pattern}", f"{ours}.{name}.{new}")
        for theirs, ours, entries in sides
        for i, (kind, name) in enumerate(entries)
        for pattern, new in _KINDS[kind]
    ]


def _elm_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    state = unwrap(state, "state_dict", "model")
    if any(k.startswith("ae.") for k in state):  # the checkpoint of the whole GAN
        state = {k[3:]: v for k, v in state.items() if k.startswith("ae.")}
    own = _elm(config)
    table = [
        *_table(own, "generator"),
        (rf"quantize\.proj\.0\.{_END}", r"quantizer.in_proj.\1"),
        (r"quantize\.embed\.weight", "quantizer.table"),
    ]
    dropped = [r"generator\.logsigma\..*"]  # never part of the picture
    # every block owns a shortcut, used only where its widths differ
    dropped += [rf"{k}.*" for k in _idle_shortcuts(state)]
    out = rename(fuse_qkv(state), table, dropped=dropped)
    out["quantizer.in_proj.weight"] = out["quantizer.in_proj.weight"].flatten(1)  # a 1x1 convolution
    return out


def _idle_shortcuts(state: Mapping[str, Tensor]) -> list[str]:
    ends = [k[: -len("weight")] for k in state if k.endswith(".conv_out.weight")]
    same = [e for e in ends if state[e + "weight"].shape[0] == state[e + "weight"].shape[1]]
    return [e.replace(".", r"\.") for e in same]


def _iter_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    state = unwrap(state, "params_ema", "params")
    dropped = (
        r"generator\..*",  # the decoder under a second name
        r".*\.(relative_position_index|attn_mask)",  # computed from the window
    )
    return rename(state, [*_table(_iter(config), "decoder"), *TABLE], dropped=dropped)


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="elm-bae",
        upstream="Pepper-lll/LMforImageGeneration bae/binaryae.py BinaryAutoEncoder",
        family="vqgan",
        config=_elm,
        weights=_elm_weights,
    ),
    Converter(
        system="iter",
        upstream="chaofengc/ITER basicsr/archs/vqgan_swin.py VQModel",
        family="vqgan",
        config=_iter,
        weights=_iter_weights,
    ),
)
