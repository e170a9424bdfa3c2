"""SimVQ's image tokenizers (youngsheen/SimVQ @ d8bd94d9ca): Open-MAGVIT2's convolutions around a frozen table behind one linear map.

The files hold averaged weights beside the raw ones; the raw ones are taken, as by the authors' evaluation.py, whose figures they state.
"""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import open_config, part
from ....layouts.keymap import KeyMap, Rename, Row, Unwrap
from ....layouts.layout import Layout
from ....layouts.vqgan_keys import LEVELS, LIGHTNING, residual
from ..model import VQGANConfig
from .magvit2_parts import RESAMPLE, TRAINER, magvit2_stacks

_SYSTEM = "simvq"


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `VQModel`, or the YAML of a training around them."""
    c = open_config(config, _SYSTEM)
    c.drop(*TRAINER, "accumulate_steps")
    parts = magvit2_stacks(part(c, "ddconfig"), noise=False)
    parts["decoder"] |= {"condition": "none"}
    q = part(c, "quantconfig")
    c.done()
    target = str(q.take("target")).rpartition(".")[2]
    if target != "SimVQ":
        raise ValueError(f"{_SYSTEM}.quantconfig.target is {target!r}; only SimVQ is supported.")
    args = part(q, "params")
    q.done()
    beta, legacy, width = float(args.take("beta", 0.25)), args.take("legacy", True), args.take("e_dim")
    if width != parts["z_channels"]:
        raise ValueError(f"{_SYSTEM}: e_dim {width} and z_channels {parts['z_channels']} must be equal.")
    if args.take("remap", None) is not None:
        raise ValueError(f"{_SYSTEM}: remap tables of indices are not supported; load without one.")
    args.drop("unknown_index", "sane_index_shape")
    quantizer = {
        "kind": "simvq",
        "codebook_size": args.take("n_e"),
        "bias": True,
        "commitment_weight": 1.0 if legacy else beta,
        "codebook_weight": beta if legacy else 1.0,
    }
    args.done()
    return {**parts, "quantizer": quantizer}


_TABLE: tuple[Row, ...] = (
    ("quantize.embedding.weight", "quantizer.table"),
    ("quantize.embedding_proj.*", "quantizer.transform.*"),
)


def _keys(own: VQGANConfig) -> KeyMap:
    rows = [*LEVELS, *RESAMPLE, *residual("mid_block.{}", "middle.{}"), *_TABLE]
    return KeyMap(Unwrap("state_dict"), Rename(rows, also_drop=LIGHTNING))


LAYOUTS = (
    Layout(system=_SYSTEM, upstream="youngsheen/SimVQ taming/models/vq.py VQModel", family="vqgan", config=_config, keys=_keys),
)
