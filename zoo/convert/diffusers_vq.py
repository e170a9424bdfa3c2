"""diffusers' VQModel (huggingface/diffusers @ 58eb52c080, Apache-2.0): its config.json and key names.

Its `encode` gives latents that are not quantized yet and its `decode` quantizes; here `encode` gives ids.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import open_config
from .base import Converter, rename
from .fields import Fields
from .taming import legacy_vq

#: What diffusers writes into every config.json.
HUB_KEYS = ("_class_name", "_diffusers_version", "_name_or_path")


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "diffusers-vqmodel")
    c.drop(*HUB_KEYS, "scaling_factor", "lookup_from_codebook")  # of diffusion models, or of how latents are handed over
    stacks = take_stacks(c)
    spatial = c.one_of("norm_type", {"group": False, "spatial": True}, "group")
    z = c.take("latent_channels", 3)
    dim = c.take("vq_embed_dim", None) or z
    if spatial and dim != z:
        raise ValueError(
            f"diffusers-vqmodel: norm_type 'spatial' needs vq_embed_dim ({dim}) equal to latent_channels ({z})."
        )
    if spatial:
        stacks["decoder"] |= {"condition": "spatial", "groups": 32}  # fixed in its spatial norm
    quantizer = legacy_vq(c.take("num_vq_embeddings", 256), 0.25)
    c.done()
    return {**stacks, "z_channels": z, "embed_dim": dim, "quantizer": quantizer}


def take_stacks(c: Fields) -> dict[str, dict[str, Any]]:
    """Settings of encoder and decoder, of what diffusers' autoencoders have in common."""
    c.drop("sample_size", "force_upcast")
    c.require("in_channels", 3)
    c.require("out_channels", 3)
    widths, blocks = c.take("block_out_channels", [64]), c.take("layers_per_block", 1)
    attention = c.take("mid_block_add_attention", True)
    activation = c.one_of(
        "act_fn", {"silu": "silu", "swish": "silu", "gelu": "gelu", "relu": "relu", "mish": "mish"}, "silu"
    )
    common = {
        "widths": widths,
        "groups": c.take("norm_num_groups", 32),
        "activation": activation,
        "middle": ["residual", "attention", "residual"] if attention else ["residual", "residual"],
    }
    down = _attended(c, "down_block_types", "DownEncoderBlock2D", "AttnDownEncoderBlock2D")
    up = _attended(c, "up_block_types", "UpDecoderBlock2D", "AttnUpDecoderBlock2D")
    encoder = {**common, "stem_width": widths[0], "blocks": blocks, "attention_levels": down}
    # the decoder's levels are counted from coarse to fine
    decoder = {**common, "blocks": blocks + 1, "attention_levels": [len(widths) - 1 - i for i in up]}
    return {"encoder": encoder, "decoder": decoder}


def _attended(c: Fields, key: str, plain: str, attended: str) -> list[int]:
    types = c.take(key, [plain])
    for name in types:
        if name not in (plain, attended):
            raise ValueError(f"{c.name}: the block {name!r} is not supported; {plain} and {attended} are.")
    return [i for i, name in enumerate(types) if name == attended]


_SIDE = r"(encoder|decoder)"
_END = r"(weight|bias)"
#: Norms have other names under a condition: `norm_layer` is the GroupNorm, `conv_y` the gain, `conv_b` the shift.
_NORM = (
    (rf"\.{_END}", r".%s"),
    (rf"\.norm_layer\.{_END}", r".norm.%s"),
    (rf"\.conv_y\.{_END}", r".gain.%s"),
    (rf"\.conv_b\.{_END}", r".shift.%s"),
)


def _block(theirs: tuple[str, str], ours: tuple[str, str], groups: int) -> list[tuple[str, str]]:
    """A residual and an attention block; `groups` is the number of groups that `theirs` captures."""
    end = groups + 1
    out = []
    for suffix, new in _NORM:
        out += [(rf"{theirs[0]}\.{n}{suffix}", ours[0] + f".{n}" + new % f"\\{end}") for n in ("norm1", "norm2")]
        for name in ("group_norm", "spatial_norm"):
            out.append((rf"{theirs[1]}\.{name}{suffix}", ours[1] + ".norm" + new % f"\\{end}"))
    out += [(rf"{theirs[0]}\.{n}\.{_END}", rf"{ours[0]}.{n}.\{end}") for n in ("conv1", "conv2")]
    out.append((rf"{theirs[0]}\.conv_shortcut\.{_END}", rf"{ours[0]}.shortcut.\{end}"))
    out.append((rf"{theirs[1]}\.qkv\.{_END}", rf"{ours[1]}.qkv.\{end}"))
    out.append((rf"{theirs[1]}\.to_out\.0\.{_END}", rf"{ours[1]}.out.\{end}"))
    return out


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    table = [
        (rf"quant_conv\.{_END}", r"to_code.\1"),
        (rf"post_quant_conv\.{_END}", r"from_code.\1"),
        (r"quantize\.embedding\.weight", "quantizer.codebook.embed"),
    ]
    return rename_stacks(state, config, table)


def rename_stacks(
    state: Mapping[str, Tensor], config: Mapping[str, Any], more: list[tuple[str, str]]
) -> dict[str, Tensor]:
    """Rename encoder and decoder, and by the table `more` what stands between them."""
    levels = len(config.get("block_out_channels", [64]))
    last = 2 if config.get("mid_block_add_attention", True) else 1
    table = [
        *more,
        (rf"{_SIDE}\.conv_in\.{_END}", r"\1.stem.\2"),
        (rf"{_SIDE}\.conv_out\.{_END}", r"\1.head.\2"),
        *((rf"{_SIDE}\.conv_norm_out{suffix}", r"\1.norm" + new % r"\2") for suffix, new in _NORM),
        (rf"encoder\.down_blocks\.(\d+)\.downsamplers\.0\.conv\.{_END}", r"encoder.levels.\1.resample.conv.\2"),
        *_pair("encoder.down_blocks.(\\d+)", "encoder.levels.\\1", 2),
    ]
    for i in range(levels):
        own = f"decoder.levels.{levels - 1 - i}"
        table.append((rf"decoder\.up_blocks\.{i}\.upsamplers\.0\.conv\.{_END}", rf"{own}.resample.conv.\1"))
        table += _pair(rf"decoder\.up_blocks\.{i}", own, 1)
    for resnet, ours in ((0, 0), (1, last)):
        mid = rf"{_SIDE}\.mid_block"
        table += _block(
            (rf"{mid}\.resnets\.{resnet}", rf"{mid}\.attentions\.0"), (rf"\1.middle.{ours}", r"\1.middle.1"), 1
        )
    return rename(_fuse(state), table)


def _pair(theirs: str, ours: str, groups: int) -> list[tuple[str, str]]:
    """The numbered blocks of one level."""
    n = groups  # the number of the block is the last group captured
    return _block(
        (rf"{theirs}\.resnets\.(\d+)", rf"{theirs}\.attentions\.(\d+)"),
        (rf"{ours}.blocks.\{n}", rf"{ours}.attentions.\{n}"),
        groups,
    )


#: Older files have the names of before diffusers 0.17.
_OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def _fuse(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join `to_q`, `to_k`, `to_v`, and turn the linear maps of attention into 1x1 convolutions."""
    import torch

    out = dict(state)
    for key in state:
        old = next((o for o in _OLD_NAMES if o in key), None)
        if old and ".attentions." in key:
            out[key.replace(old, _OLD_NAMES[old])] = out.pop(key)
    for key in list(out):
        if ".to_q." in key:
            parts = [out.pop(key.replace(".to_q.", f".to_{p}.")) for p in "qkv"]
            out[key.replace(".to_q.", ".qkv.")] = torch.cat(parts)
    for key, value in out.items():
        if value.ndim == 2 and (".qkv." in key or ".to_out." in key):
            out[key] = value[..., None, None]
    return out


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="diffusers-vqmodel",
        upstream="huggingface/diffusers src/diffusers/models/autoencoders/vq_model.py VQModel",
        family="vqgan",
        config=_config,
        weights=_weights,
    ),
)
