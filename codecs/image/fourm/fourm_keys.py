"""Key tables from the weights of 4M's VQ-VAE and DiVAE (apple/ml-4m @ cda590faa3) to those of this family's modules."""

from collections.abc import Callable

from torch import Tensor

from ...layouts.keymap import Each, KeyMap, Rename, Row, State, Step, Then, Unwrap, pointwise, under, without_ones
from ...layouts.vit_keys import TIMM_BLOCK
from .adm_unet import UNetConfig
from .divae import FourMDiVAEConfig
from .model import FourMConfig, FourMEncoderConfig
from .uvit import UViTConfig

#: Names under which the authors' loader expects the state dict in files of training runs.
_FILES = ("model", "state_dict")


def _half(side: str, *, residual: bool | None) -> list[Row]:
    """A transformer over a grid, or (`residual` not None) a tower of MLPs."""
    rows: list[Row]
    if residual is None:
        rows = [
            *under("blocks.{}.", "blocks.{}.", TIMM_BLOCK),
            ("pos_emb", "positions"),
            ("norm_mlp.*", "mlp_norm.*"),
            ("post_mlp.fc1.*", "mlp.0.*"),
            ("post_mlp.fc2.*", "mlp.2.*"),
        ]
    else:
        rows = [("linear_in.*", "enter.*"), ("linear_out.*", "leave.*"), ("layernorms.{}.*", "norms.{}.*")]
        rows.append(("blocks.{}.block.{0|2}.*", "blocks.{}.{0|2}.*") if residual else ("layers.{}.*", "blocks.{}.*"))
    return under(f"{side}.", f"{side}.", rows)


def _encoder(own: FourMEncoderConfig) -> list[Row]:
    return [
        *_half("encoder", residual=own.encoder_tower and own.encoder_tower.residual),
        ("encoder.proj.*", "patch_embed.*"),
        ("cls_emb.weight", "class_vectors.weight"),
        ("quant_proj.*", "to_latent.*"),
        ("quantize._codebook.embed", "quantizer.codebook.embed"),
        ("quantize.codes", "quantizer.codes"),
        ("quantize.to_k.weight", "quantizer.to_keys"),
        ("quantize.to_v.weight", "quantizer.to_values"),
    ]


def _statistics(own: FourMEncoderConfig) -> Then:
    """Running statistics start anew in training; written with all codes in use, or the authors' class would reinitialise them."""
    names = ("initted", "cluster_size", "embed_avg")

    def read(state: State) -> State:
        return {k: v for k, v in state.items() if k not in [f"quantize._codebook.{n}" for n in names]}

    def write(state: State) -> State:
        table = state.get("quantize._codebook.embed")
        if table is None:
            return state
        values = [table.new_ones(1), table.new_ones(len(table)), table]
        kept = names[:2] if getattr(own.quantizer, "normalize", False) else names
        return state | {f"quantize._codebook.{n}": v for n, v in zip(names, values, strict=True) if n in kept}

    return Then(read, write)


def vqvae_keys(own: FourMConfig) -> KeyMap:
    """The key map of one VQ-VAE."""
    refine: list[Row] = [
        ("dwconv.*", "depthwise.*"),
        ("norm.*", "norm.*"),
        ("pwconv1.*", "mlp.0.*"),
        ("pwconv2.*", "mlp.2.*"),
        ("gamma", "gain"),
    ]
    rows = [
        *_encoder(own),
        *_half("decoder", residual=own.decoder_tower and own.decoder_tower.residual),
        ("decoder.out_proj.*", "to_pixels.proj.*"),
        *under("decoder.out_conv.{}.", "refine.{}.", refine),
        ("post_quant_proj.*", "from_latent.*"),
    ]
    p = own.patch_size

    def read(v: Tensor) -> Tensor:
        v = v.unflatten(0, (-1, p, p)).movedim(0, 2).flatten(0, 2)
        return v[:, :, None, None] if v.ndim == 2 else v

    def write(v: Tensor) -> Tensor:
        v = v.unflatten(0, (p, p, -1)).movedim(2, 0).flatten(0, 2)
        return v.flatten(1) if v.ndim == 4 else v

    patches = Each(("to_pixels.proj.*",), read, write)  # (colour, row, column) of a patch to (row, column, colour)
    return KeyMap(Unwrap(*_FILES), _statistics(own), Rename(rows), without_ones("{encoder|decoder}.positions"), patches)


def divae_keys(own: FourMDiVAEConfig) -> KeyMap:
    """The key map of one DiVAE."""
    if own.uvit is None:
        network, steps = _unet(own.unet), _unet_steps(own.unet)
    else:
        network, steps = _uvit(own.uvit), [without_ones("unet.middle.positions")]
    rows = [*under("decoder.", "unet.", network), *_encoder(own)]
    first = Unwrap(*_FILES), _statistics(own), Then(_one_name, _both_names)
    return KeyMap(*first, Rename(rows), without_ones("encoder.positions"), *steps)


# --- the U-Net --------------------------------------------------------------------------------------------------------

_RES: tuple[Row, ...] = (
    ("in_layers.0.*", "norm_in.*"),
    ("in_layers.2.*", "conv_in.*"),
    ("emb_layers.1.*", "time.*"),
    ("out_layers.0.*", "norm_out.*"),
    ("out_layers.3.*", "conv_out.*"),
    ("skip_connection.*", "skip.*"),
)
_ATTENTION: tuple[Row, ...] = (("norm.*", "norm.*"), ("qkv.*", "qkv.*"), ("proj_out.*", "out.*"))


def _unet(c: UNetConfig) -> list[Row]:
    """Guided diffusion counts the parts of a step: a residual block, attention if there is any, a change of size if any."""
    rows: list[Row] = [
        ("time_embed.{0|2}.*", "time.{0|2}.*"),
        ("input_blocks.0.0.*", "stem.*"),
        ("out.0.*", "norm_out.*"),
        ("out.2.*", "conv_out.*"),
        *under("middle_block.0.", "middle.0.block.", _RES),
        *under("middle_block.1.", "middle.0.attention.", _ATTENTION),
        *under("middle_block.2.", "middle.1.block.", _RES),
    ]
    down = up = 0
    for level in range(len(c.multipliers)):
        attention = 2**level in c.attention_strides
        for _ in range(c.blocks):
            down += 1  # the authors' list begins with the stem
            rows += under(f"input_blocks.{down}.0.", f"down.{down - 1}.block.", _RES)
            rows += under(f"input_blocks.{down}.1.", f"down.{down - 1}.attention.", _ATTENTION) if attention else []
        if level < len(c.multipliers) - 1:
            down += 1
            halve = under("", "block.", _RES) if c.resample_blocks else [("op.*", "resample.conv.*")]
            rows += under(f"input_blocks.{down}.0.", f"down.{down - 1}.", halve)
    for level in reversed(range(len(c.multipliers))):
        attention = 2**level in c.attention_strides
        for i in range(c.blocks + 1):
            rows += under(f"output_blocks.{up}.0.", f"up.{up}.block.", _RES)
            rows += under(f"output_blocks.{up}.1.", f"up.{up}.attention.", _ATTENTION) if attention else []
            if level and i == c.blocks:
                double = _RES if c.resample_blocks else (("conv.*", "conv.*"),)
                rows += under(f"output_blocks.{up}.{1 + attention}.", f"up.{up}.resample.", double)
            up += 1
    return rows


def _unet_steps(c: UNetConfig) -> list[Step]:
    """Rows of fused q, k, v: (head, q k v) in the authors' weights, (q k v, head) here."""

    def turned(heads: int, *, back: bool) -> Callable[[Tensor], Tensor]:
        def turn(v: Tensor) -> Tensor:
            h = len(v) // 3 // c.head_width if c.head_width else heads
            v = v.unflatten(0, (3, h, -1) if back else (h, 3, -1)).transpose(0, 1).flatten(0, 2)
            return v if v.ndim == 1 else v[:, :, None] if back else v.flatten(1)

        return turn

    up = c.up_heads or c.heads
    return [
        Each(("unet.{down|middle}.{}.attention.qkv.*",), turned(c.heads, back=False), turned(c.heads, back=True)),
        Each(("unet.up.{}.attention.qkv.*",), turned(up, back=False), turned(up, back=True)),
        pointwise("unet.{down|middle|up}.{}.attention.out.weight"),
    ]


# --- the U-ViT --------------------------------------------------------------------------------------------------------

#: diffusers has its halving convolution under two names; files contain one of them, or both.
_TWICE = "decoder.downsample_mid."


def _one_name(state: State) -> State:
    out = dict(state)
    for end in ("weight", "bias"):
        if (value := out.pop(f"{_TWICE}Conv2d_0.{end}", None)) is not None:
            out.setdefault(f"{_TWICE}conv.{end}", value)
    return out


def _both_names(state: State) -> State:
    return state | {k.replace(".conv.", ".Conv2d_0."): v for k, v in state.items() if k.startswith(_TWICE)}


#: diffusers' residual blocks.
_RESNET: tuple[Row, ...] = (
    ("norm1.*", "norm_in.*"),
    ("conv1.*", "conv_in.*"),
    ("time_emb_proj.*", "time.*"),
    ("norm2.*", "norm_out.*"),
    ("conv2.*", "conv_out.*"),
    ("conv_shortcut.*", "skip.*"),
)
_LAYER: tuple[Row, ...] = (
    ("norm1.*", "attention_norm.*"),
    ("norm2.*", "mlp_norm.*"),
    ("mlp.fc1.*", "mlp.0.*"),
    ("mlp.fc2.*", "mlp.2.*"),
    ("adaLN_modulation.*", "modulation.*"),
    ("adaLN_gate.*", "gates.*"),
    ("skip_linear.*", "skip.*"),
    ("query_norm.*", "cross_norm.*"),
    ("context_norm.*", "context_norm.*"),
    ("cross_attn.proj.*", "cross_attention.out.*"),
    ("cross_attn.{q|kv}.*", "cross_attention.{q|kv}.*"),
)


def _uvit(c: UViTConfig) -> list[Row]:
    attention = "self_attn" if c.condition == "cross" else "attn"
    layer: list[Row] = [(f"{attention}.qkv.*", "attention.qkv.*"), (f"{attention}.proj.*", "attention.out.*"), *_LAYER]
    rows: list[Row] = [
        ("conv_in.*", "stem.*"),
        ("time_embedding.linear_1.*", "time.0.*"),
        ("time_embedding.linear_2.*", "time.2.*"),
        ("downsample_mid.conv.*", "before_middle.conv.*"),
        ("upsample_mid.conv.*", "after_middle.conv.*"),
        ("mid_block.mid_pos_emb", "middle.positions"),
        ("mid_block.mask_token", "middle.mask_token"),
        ("mid_block.mid_cond_proj.*", "middle.codes.*"),
        ("mid_block.mid_proj_in.*", "middle.enter.*"),
        ("mid_block.mid_proj_out.*", "middle.leave.*"),
        *under("mid_block.mid_block.{}.", "middle.layers.{}.", layer),
        ("conv_norm_out.*", "norm_out.*"),
        ("conv_out.*", "to_pixels.*"),
    ]
    down = up = 0
    for level in range(len(c.channels)):
        for j in range(c.blocks):
            rows += under(f"down_blocks.{level}.resnets.{j}.", f"down.{down}.block.", _RESNET)
            down += 1
        if level < len(c.channels) - 1:
            rows.append((f"down_blocks.{level}.downsamplers.0.conv.*", f"down.{down}.resample.conv.*"))
            down += 1
    for level in range(len(c.channels)):  # from the coarsest
        for j in range(c.blocks + 1):
            rows += under(f"up_blocks.{level}.resnets.{j}.", f"up.{up}.block.", _RESNET)
            up += 1
        if level < len(c.channels) - 1:
            rows.append((f"up_blocks.{level}.upsamplers.0.conv.*", f"up.{up - 1}.resample.conv.*"))
    return rows
