"""Encoder and decoder of diffusers' autoencoders: their keys in `config.json`, and their key tables."""

from typing import Any

from ..layers.vqgan import DecoderConfig, EncoderConfig
from .fields import Fields
from .keymap import Each, Fuse, Rename, Row, State, Step, Then, matches

#: Keys that diffusers writes into every config.json.
HUB_KEYS = ("_class_name", "_diffusers_version", "_name_or_path", "_use_default_values")

_ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu": "gelu", "relu": "relu", "mish": "mish"}


def take_stacks(c: Fields) -> dict[str, dict[str, Any]]:
    """Settings of encoder and decoder from the keys that diffusers' autoencoders share."""
    c.drop("sample_size", "force_upcast")
    c.require("in_channels", 3)
    c.require("out_channels", 3)
    widths, blocks = c.take("block_out_channels", [64]), c.take("layers_per_block", 1)
    attention = c.take("mid_block_add_attention", True)
    common = {
        "widths": widths,
        "groups": c.take("norm_num_groups", 32),
        "activation": c.one_of("act_fn", _ACTIVATIONS, "silu"),
        "middle": ["residual", "attention", "residual"] if attention else ["residual", "residual"],
    }
    down = _attended(c, "down_block_types", "DownEncoderBlock2D", "AttnDownEncoderBlock2D")
    up = _attended(c, "up_block_types", "UpDecoderBlock2D", "AttnUpDecoderBlock2D")
    encoder = {**common, "stem_width": widths[0], "blocks": blocks, "attention_levels": down}
    # the decoder's levels are counted from coarse to fine
    decoder = {**common, "blocks": blocks + 1, "attention_levels": sorted(len(widths) - 1 - i for i in up)}
    return {"encoder": encoder, "decoder": decoder}


def _attended(c: Fields, key: str, plain: str, attended: str) -> list[int]:
    types = c.take(key, [plain])
    for name in types:
        if name not in (plain, attended):
            raise ValueError(f"{c.name}: the block {name!r} is not supported; {plain} and {attended} are.")
    return [i for i, name in enumerate(types) if name == attended]


def written_stacks(e: EncoderConfig, d: DecoderConfig | None) -> dict[str, Any]:
    """Inverse of `take_stacks`; the caller checks that it reads back equal."""
    assert d is not None
    levels = range(len(e.widths))
    down = ["AttnDownEncoderBlock2D" if i in e.attention_levels else "DownEncoderBlock2D" for i in levels]
    up = ["AttnUpDecoderBlock2D" if i in d.attention_levels else "UpDecoderBlock2D" for i in reversed(levels)]
    return {
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": list(e.widths),
        "layers_per_block": e.blocks,
        "mid_block_add_attention": "attention" in e.middle,
        "norm_num_groups": e.groups,
        "act_fn": e.activation,
        "down_block_types": down,
        "up_block_types": up,
    }


# --- keys ---------------------------------------------------------------------------------------------------------

_SIDE = "{encoder|decoder}"


def _norm(theirs: str, ours: str, *, conditioned: bool) -> list[Row]:
    """Rows of a norm: in a conditional one `norm_layer` is the GroupNorm, `conv_y` the gain, `conv_b` the shift."""
    if not conditioned:
        return [(f"{theirs}.*", f"{ours}.*")]
    parts = {"norm_layer": "norm", "conv_y": "gain", "conv_b": "shift"}
    return [(f"{theirs}.{a}.*", f"{ours}.{b}.*") for a, b in parts.items()]


def _residual(theirs: str, ours: str, *, conditioned: bool) -> list[Row]:
    rows: list[Row] = []
    for name in ("norm1", "norm2"):
        rows += _norm(f"{theirs}.{name}", f"{ours}.{name}", conditioned=conditioned)
    return [*rows, (f"{theirs}.{{conv1|conv2}}.*", f"{ours}.{{conv1|conv2}}.*"), (f"{theirs}.conv_shortcut.*", f"{ours}.shortcut.*")]


def _attention(theirs: str, ours: str, *, conditioned: bool) -> list[Row]:
    norm = "spatial_norm" if conditioned else "group_norm"
    rows = _norm(f"{theirs}.{norm}", f"{ours}.norm", conditioned=conditioned)
    return [*rows, (f"{theirs}.qkv.*", f"{ours}.qkv.*"), (f"{theirs}.to_out.0.*", f"{ours}.out.*")]


def _side(side: str, levels: int, *, last: int, conditioned: bool) -> list[Row]:
    rows: list[Row] = [(f"{side}.conv_in.*", f"{side}.stem.*"), (f"{side}.conv_out.*", f"{side}.head.*")]
    rows += _norm(f"{side}.conv_norm_out", f"{side}.norm", conditioned=conditioned)
    for number, own in ((0, 0), (1, last)):
        rows += _residual(f"{side}.mid_block.resnets.{number}", f"{side}.middle.{own}", conditioned=conditioned)
    rows += _attention(f"{side}.mid_block.attentions.0", f"{side}.middle.1", conditioned=conditioned) if last == 2 else []
    block, sampler = ("down_blocks", "downsamplers") if side == "encoder" else ("up_blocks", "upsamplers")
    for i in range(levels):
        theirs, ours = f"{side}.{block}.{i}", f"{side}.levels.{i if side == 'encoder' else levels - 1 - i}"
        rows += _residual(f"{theirs}.resnets.{{}}", f"{ours}.blocks.{{}}", conditioned=conditioned)
        rows += _attention(f"{theirs}.attentions.{{}}", f"{ours}.attentions.{{}}", conditioned=conditioned)
        rows.append((f"{theirs}.{sampler}.0.conv.*", f"{ours}.resample.conv.*"))
    return rows


def stack_steps(e: EncoderConfig, d: DecoderConfig | None, more: list[Row]) -> list[Step]:
    """Steps of a key map: old names, q k v joined, linear maps as convolutions, renamed with the further rows `more`."""
    assert d is not None
    rows = [
        *more,
        *_side("encoder", len(e.widths), last=len(e.middle) - 1, conditioned=False),
        *_side("decoder", len(d.widths), last=len(d.middle) - 1, conditioned=d.condition == "spatial"),
    ]
    maps = ("**.attentions.{}.qkv.weight", "**.attentions.{}.to_out.0.weight")
    return [
        Then(_new_names, lambda state: state),
        Fuse(("to_q", "to_k", "to_v"), "qkv"),
        Each(maps, lambda v: v if v.ndim == 4 else v[..., None, None], lambda v: v.flatten(1)),
        Rename(rows),
    ]


#: Names of attention weights in files from before diffusers 0.17 -> today's names.
_OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def _new_names(state: State) -> State:
    out: State = {}
    for key, value in state.items():
        old = next((o for o in _OLD_NAMES if o in key), None) if matches(key, ("**.attentions.{}.**",)) else None
        out[key if old is None else key.replace(old, _OLD_NAMES[old])] = value
    return out
