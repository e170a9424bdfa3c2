"""Key tables of autoencoders with one numbered list of blocks for the encoder and one for the decoder (ELM, ITER)."""

from ....layers.vqgan import DecoderConfig, EncoderConfig, StackConfig
from ....layouts.keymap import Row, under

#: (kind, own name) of each entry of a list.
Entries = list[tuple[str, str]]


def encoder_entries(c: EncoderConfig) -> Entries:
    """Kind and own name of each entry of the encoder's list, in order."""
    out = [("conv", "stem")]
    for i in range(len(c.widths)):
        out += _level(c, i, i in c.halvings)
    out += [(kind, f"middle.{i}") for i, kind in enumerate(c.middle)]
    return [*out, ("norm", "norm"), ("conv", "head")]


def decoder_entries(c: DecoderConfig) -> Entries:
    """Kind and own name of each entry of the decoder's list, in order."""
    out = [("norm", "norm_first")] if c.norm_first else []
    out += [("conv", "stem")] + [(kind, f"middle.{i}") for i, kind in enumerate(c.middle)]
    for i in reversed(range(len(c.widths))):
        out += _level(c, i, i in c.doublings)
    return [*out, ("norm", "norm"), ("conv", "head")]


def _level(c: StackConfig, level: int, resample: bool) -> Entries:
    out = []
    for j in range(c.blocks_at(level)):
        out.append(("residual", f"levels.{level}.blocks.{j}"))
        if level in c.attention_levels:
            out.append(("attention", f"levels.{level}.attentions.{j}"))
    return out + ([("resample", f"levels.{level}.resample")] if resample else [])


_LAYER = "swin_blks.{}.residual_group.blocks.{}"
_ATTENTION: tuple[Row, ...] = (("{norm|qkv}.*", "{norm|qkv}.*"), ("proj_out.*", "out.*"))

#: For each kind of block, the authors' names of its weights and ours.
KINDS: dict[str, tuple[Row, ...]] = {
    "conv": (("*", "*"),),
    "norm": (("*", "*"),),
    "resample": (("conv.*", "conv.*"),),
    "residual": (("{norm1|norm2|conv1|conv2}.*", "{norm1|norm2|conv1|conv2}.*"), ("conv_out.*", "shortcut.*")),
    "attention": _ATTENTION,
    "head_attention": _ATTENTION,
    "swin": (
        ("{conv_in|conv_out}.*", "{conv_in|conv_out}.*"),
        ("swin_blks.{}.conv.*", "convs.{}.*"),
        (_LAYER + ".{norm1|norm2}.*", "stacks.{}.{}.{norm1|norm2}.*"),
        (_LAYER + ".attn.relative_position_bias_table", "stacks.{}.{}.attention.offset_bias"),
        (_LAYER + ".attn.qkv.*", "stacks.{}.{}.attention.qkv.*"),
        (_LAYER + ".attn.proj.*", "stacks.{}.{}.attention.out.*"),
        (_LAYER + ".mlp.fc1.*", "stacks.{}.{}.mlp.up.*"),
        (_LAYER + ".mlp.fc2.*", "stacks.{}.{}.mlp.down.*"),
        (_LAYER + ".mlp.attn.0.*", "stacks.{}.{}.mlp.squeeze.*"),
        (_LAYER + ".mlp.attn.2.*", "stacks.{}.{}.mlp.excite.*"),
    ),
}


def side_rows(theirs: str, ours: str, entries: Entries, *, idle_shortcuts: frozenset[str] = frozenset()) -> list[Row]:
    """The rows of the encoder or decoder: `<theirs>.blocks.{number}.*` to `<ours>.{name}.*`.

    Args:
        theirs, ours: names of the encoder or decoder.
        entries: the result of `encoder_entries` or `decoder_entries`.
        idle_shortcuts: own names of residual blocks with an unused `conv_out` in the authors' weights, which is dropped.
    """
    rows: list[Row] = []
    for number, (kind, name) in enumerate(entries):
        own = KINDS[kind]
        if kind == "residual" and name in idle_shortcuts:
            own = (own[0], ("conv_out.*", None))
        rows += under(f"{theirs}.blocks.{number}.", f"{ours}.{name}.", own)
    return rows
