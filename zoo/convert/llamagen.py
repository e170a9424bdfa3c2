"""LlamaGen's VQ-8 and VQ-16, and the MaskGIT-VQGAN.

FoundationVision/LlamaGen @ ce98ec4180; bytedance/1d-tokenizer @ 942a96fbdd.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from .authors import open_config, part, training_only, unwrap
from .base import Converter, rename
from .fields import Fields
from .taming import legacy_vq
from .taming_keys import TABLE, attention, residual, taming_weights


def _llamagen(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "llamagen")
    z, dropout = c.take("z_channels", 256), float(c.take("dropout_p", 0.0))
    parts = {"z_channels": z}
    for side in ("encoder", "decoder"):
        mult = c.take(f"{side}_ch_mult", [1, 1, 2, 2, 4])
        own = part(c, side, {})  # the published class passes neither width nor blocks
        width, blocks = own.take("ch", 128), own.take("num_res_blocks", 2)
        with_conv = own.take("resamp_with_conv", True)
        own.require("norm_type", "group")
        own.require("in_channels" if side == "encoder" else "out_channels", 3)
        own.done()
        parts[side] = {
            "widths": [width * m for m in mult],
            "blocks": blocks if side == "encoder" else blocks + 1,
            "attention_levels": [len(mult) - 1],
            "dropout": dropout,
        }
        if side == "encoder":
            parts[side] |= {"stem_width": width, "resample": "conv" if with_conv else "average"}
        else:
            parts[side] |= {"resample": "nearest_conv" if with_conv else "nearest"}
    unit = {"normalize": True, "returns": "normalized"} if c.take("codebook_l2_norm", True) else {}
    # beta is where it belongs here: on the commitment
    losses = {"commitment_weight": float(c.take("commit_loss_beta", 0.25)), "codebook_weight": 1.0}
    quantizer = legacy_vq(c.take("codebook_size", 16384), 1.0, **unit) | losses
    c.take("codebook_show_usage", True)  # a buffer of recent ids, for display
    training_only(c, "entropy_loss_ratio", 0.0)
    embed_dim = c.take("codebook_embed_dim", 8)
    c.done()
    return {**parts, "embed_dim": embed_dim, "quantizer": quantizer}


def _llamagen_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    levels = len(config.get("decoder_ch_mult", [1, 1, 2, 2, 4]))
    return llamagen_stacks(unwrap(state, "ema", "model", "state_dict"), levels, dropped=(r"quantize\.codebook_used",))


def llamagen_stacks(
    state: Mapping[str, Tensor],
    levels: int,
    *,
    more: Sequence[tuple[str, str]] = TABLE,
    dropped: Sequence[str] = (),
) -> dict[str, Tensor]:
    """Rename LlamaGen's stacks, whose decoder has so many levels; further keys as in `taming_weights`."""
    flips = [(rf"decoder\.conv_blocks\.{i}\.(.*)", rf"decoder.levels.{levels - 1 - i}.\1") for i in range(levels)]
    state = rename(
        state,
        [
            (r"encoder\.conv_blocks\.(.*)", r"encoder.levels.\1"),
            *flips,  # the decoder counts from coarse to fine
            (r"(.*)", r"\1"),
        ],
    )
    state = {k.replace(".res.", ".block.") if ".levels." in k else k: v for k, v in state.items()}
    middle = residual(r"mid\.0", "middle.0") + attention(r"mid\.1", "middle.1") + residual(r"mid\.2", "middle.2")
    return taming_weights(state, middle=middle, more=more, dropped=dropped)


def _maskgit(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "maskgit-vqgan")
    parts = maskgit_stacks(c)
    size, dim = c.take("num_embeddings", 1024), c.take("embedding_dim", 256)
    if dim != parts["z_channels"]:
        raise ValueError(f"maskgit-vqgan: embedding_dim {dim} and z_channels {parts['z_channels']} must be equal.")
    # the authors' cost factor stands at the codebook term
    quantizer = legacy_vq(size, float(c.take("commitment_cost", 0.25)))
    c.done()
    return {**parts, "embed_dim": 0, "quantizer": quantizer, "value_range": [0.0, 1.0]}


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
    c.take("resolution", 256)  # read for a message alone
    c.require("num_channels", 3)
    encoder = {**common, "stem_width": width, "resample": "average", "head_kernel": 1}
    return {"encoder": encoder, "decoder": common, "z_channels": c.take("z_channels", 256)}


def maskgit_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename MaskGIT-VQGAN's weights (`encoder.*`, `decoder.*`, `quantize.embedding.weight`; any part of them)."""
    return taming_weights(state, middle=tuple(p for i in range(16) for p in residual(rf"mid\.{i}", f"middle.{i}")))


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="llamagen",
        upstream="FoundationVision/LlamaGen tokenizer/tokenizer_image/vq_model.py VQModel",
        family="vqgan",
        config=_llamagen,
        weights=_llamagen_weights,
    ),
    Converter(
        system="maskgit-vqgan",
        upstream="bytedance/1d-tokenizer modeling/titok.py PretrainedTokenizer",
        family="vqgan",
        config=_maskgit,
        weights=lambda state, config: maskgit_weights(unwrap(state, "state_dict")),
    ),
)
