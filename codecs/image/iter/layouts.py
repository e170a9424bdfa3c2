"""ITER's restoration (chaofengc/ITER @ 826bcaa3a3, CC BY-NC-SA 4.0 and NTU S-Lab), over its Swin VQGAN.

The authors' script loads two files, each with its state dict under "params": ITER_swinvqgan.pth, and ITER_x2.pth or ITER_x4.pth.
Here the keys of the first begin with `hq.` and those of the second with `lq.`; where the second holds the frozen VQGAN too, it is left
out. A state dict of the whole class, with the VQGAN's weights under `vqgan.`, is read as well.
"""

from collections.abc import Mapping
from typing import Any

from ...config import from_mapping, to_mapping
from ...layouts.configs import open_config
from ...layouts.fields import Fields
from ...layouts.keymap import Each, KeyMap, Rename, Row, State, Then, under, unwrap
from ...layouts.layout import Layout
from ..vqgan.layouts.block_lists import KINDS
from ..vqgan.layouts.iter import WINDOW_BUFFERS, iter_config, iter_rows
from ..vqgan.model import VQGANConfig
from .model import ITERConfig

#: Stride of the VQGAN that the depth of the authors' encoder is computed for, whatever the VQGAN's is.
_STRIDE = 8


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "iter-restoration")
    c.require("LQ_stage", True)
    c.drop("type", "in_channel", "codebook_params", "gt_resolution", "norm_type", "act_type")  # not read by the networks
    vqgan = from_mapping(VQGANConfig, iter_config(c.take("vqgan_opt")))
    if vqgan.encoder.stride != _STRIDE:
        raise ValueError(f"{c.name}: vqgan_opt has a stride of {vqgan.encoder.stride}; the encoder is made for {_STRIDE}.")
    phase = c.take("LQ_train_phase", None)
    out = {
        "base_family": "vqgan",
        "base": to_mapping(vqgan),
        "encoder": {"scale": c.take("scale_factor", 4), "swin": {"width": vqgan.z_channels, "stacks": 2}},
        "refinement": _refinement(c) if phase != "token_pred" else None,
    }
    if phase == "token_pred":
        c.drop(*_SAMPLING, *_NETWORK)
    c.done()
    return out


#: Arguments of `set_sample_params`, which the authors' script calls before it runs the network: theirs, ours, type.
_SAMPLING = {
    "T": ("steps", int),
    "temp_token": ("id_temperature", float),
    "temp_mask": ("position_temperature", float),
    "init_mask_threshold": ("threshold", float),
    "gamma_type": ("schedule", str),
}
#: Arguments of `SwinModel`, which the authors' class leaves as they are.
_NETWORK = {"ch": ("width", 256), "swin_blk_num": ("stacks", 4), "swin_blk_depth": ("depth", 6)}


def _refinement(c: Fields) -> dict[str, Any]:
    swin = {ours: c.take(theirs, usual) for theirs, (ours, usual) in _NETWORK.items()}
    found = {theirs: c.take(theirs, None) for theirs in _SAMPLING}
    sampling = {ours: kind(found[theirs]) for theirs, (ours, kind) in _SAMPLING.items() if found[theirs] is not None}
    return {"swin": swin, **sampling}


_RESIDUAL: tuple[Row, ...] = (
    ("conv.0.norm.*", "norm1.*"),
    ("conv.2.*", "conv1.*"),
    ("conv.3.norm.*", "norm2.*"),
    ("conv.5.*", "conv2.*"),
)


def _encoder_rows(halvings: int, blocks: int) -> list[Row]:
    """Rows of the encoder of degraded pictures, one numbered list."""
    rows: list[Row] = [("lq_encoder.model.0.*", "encoder.stem.*")]
    for i in range(halvings):
        theirs, ours = f"lq_encoder.model.{i + 1}.", f"encoder.halvings.{i}."
        rows.append((theirs + "0.*", ours + "down.*"))
        for j in range(blocks):
            rows += under(f"{theirs}{j + 1}.", f"{ours}blocks.{j}.", _RESIDUAL)
    last = f"lq_encoder.model.{halvings + 2}."
    return [
        *rows,
        (f"lq_encoder.model.{halvings + 1}.*", "encoder.narrow.*"),
        *under(last, "encoder.attention.", KINDS["swin"]),
        (f"lq_encoder.model.{halvings + 3}.*", "encoder.head.*"),
    ]


def _network_rows(theirs: str, ours: str) -> list[Row]:
    """Rows of one of the two networks over ids."""
    theirs, ours = f"token_refine_net.{theirs}.", f"refiner.{ours}."
    return [
        (theirs + "code_emb.weight", ours + "embed.weight"),
        (theirs + "combine.weight", ours + "combine.weight"),
        *under(theirs + "swin_layers.", ours + "attention.", KINDS["swin"]),
        (theirs + "conv_out.0.*", ours + "norm.*"),
        (theirs + "conv_out.2.*", ours + "head.*"),
    ]


def _joined(state: State) -> State:
    """One state dict of both files."""
    hq = unwrap({k.removeprefix("hq."): v for k, v in state.items() if k.startswith("hq.")}, "params_ema", "params")
    if not hq:
        return unwrap(state, "params")
    lq = unwrap({k.removeprefix("lq."): v for k, v in state.items() if k.startswith("lq.")}, "params")
    return {f"vqgan.{k}": v for k, v in hq.items()} | {k: v for k, v in lq.items() if not k.startswith("vqgan.")}


def _keys(own: ITERConfig) -> KeyMap:
    halvings = (_STRIDE // own.encoder.scale).bit_length() - 1
    rows = [*under("vqgan.", "base.", iter_rows(from_mapping(VQGANConfig, own.base))), *_encoder_rows(halvings, own.encoder.blocks)]
    if own.refinement is None:
        rows.append(("token_refine_net.**", None))
    else:
        rows += [*_network_rows("token_crit_net", "evaluator"), *_network_rows("token_refine_net", "refiner")]
    return KeyMap(
        Then(_joined, lambda state: state),
        Rename(rows, also_drop=WINDOW_BUFFERS),
        Each(  # a convolution of size 1 over ids as vectors of zeros and a one
            ("refiner.{evaluator|refiner}.embed.weight",),
            lambda v: v[..., 0, 0].t().contiguous(),
            lambda v: v.t()[..., None, None].contiguous(),
        ),
    )


LAYOUTS = (
    Layout(
        system="iter-restoration",
        upstream="chaofengc/ITER basicsr/archs/iter_arch.py ITER",
        family="iter",
        config=_config,
        keys=_keys,
    ),
)
