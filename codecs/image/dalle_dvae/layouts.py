"""OpenAI's two pickled modules of the package `dall_e` (openai/DALL-E @ 5be4b236bc), under the prefixes `encoder.` and `decoder.`"""

from collections.abc import Mapping
from typing import Any

import torch

from ...layouts.configs import check_round_trip, open_config, the_quantizer
from ...layouts.keymap import KeyMap, Rename, Row, State, Then, pointwise
from ...layouts.layout import Layout
from ...quantizers.gumbel import GumbelConfig
from .model import DalleDVAEConfig

_SYSTEM = "dalle-dvae"


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our fields from the arguments of `Encoder` and `Decoder`; those that both have must be equal."""
    c = open_config(config, _SYSTEM)
    c.require("input_channels", 3)
    c.require("output_channels", 3)
    c.drop("device", "requires_grad", "use_mixed_precision", "group_count")  # the number of groups is fixed in the class
    start = c.take("n_init", 128)
    out = {
        "width": c.take("n_hid", 256),
        "blocks": c.take("n_blk_per_group", 2),
        "code_dim": start,
        "quantizer": {"kind": "gumbel", "codebook_size": c.take("vocab_size", 8192), "code_dim": start, "kl_weight": 6.6 / 192},
    }
    c.done()
    return out


def _back(own: DalleDVAEConfig) -> dict[str, Any]:
    size = the_quantizer(own.quantizer, GumbelConfig).codebook_size
    out = {"n_hid": own.width, "n_blk_per_group": own.blocks, "n_init": own.code_dim, "vocab_size": size}
    return check_round_trip(own, out, _config)


def _rows(own: DalleDVAEConfig) -> list[Row]:
    rows: list[Row] = [
        ("encoder.blocks.input.w", "encoder.stem.weight"),
        ("encoder.blocks.input.b", "encoder.stem.bias"),
        ("encoder.blocks.output.conv.w", "quantizer.scores.weight"),
        ("encoder.blocks.output.conv.b", "quantizer.scores.bias"),
        ("decoder.blocks.input.w", "quantizer.embed"),
        ("decoder.blocks.output.conv.w", "decoder.to_statistics.weight"),
        ("decoder.blocks.output.conv.b", "decoder.to_statistics.bias"),
    ]
    for i in range(own.groups):
        for j in range(own.blocks):
            theirs, ours = f"{{encoder|decoder}}.blocks.group_{i + 1}.block_{j + 1}", f"{{encoder|decoder}}.groups.{i}.{j}"
            for short, long in (("w", "weight"), ("b", "bias")):
                rows.append((f"{theirs}.id_path.{short}", f"{ours}.shortcut.{long}"))
                rows += [(f"{theirs}.res_path.conv_{k + 1}.{short}", f"{ours}.convs.{k}.{long}") for k in range(4)]
    return rows


_WEIGHT, _BIAS = "decoder.blocks.input.w", "decoder.blocks.input.b"


def _read_table(state: State) -> State:
    """The convolution of a one-hot code, `[d, V, 1, 1]` and a bias, as a table `[V, d]`."""
    out = dict(state)
    if _WEIGHT in out and _BIAS in out:
        out[_WEIGHT] = out[_WEIGHT].flatten(1).t() + out.pop(_BIAS)
    return out


def _write_table(state: State) -> State:
    out = dict(state)
    if _WEIGHT in out:
        table = out[_WEIGHT]
        out |= {_WEIGHT: table.t().contiguous()[..., None, None], _BIAS: torch.zeros_like(table[0])}
    return out


LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="openai/DALL-E dall_e/encoder.py Encoder",
        family="dalle_dvae",
        config=_config,
        keys=lambda own: KeyMap(Then(_read_table, _write_table), Rename(_rows(own)), pointwise("quantizer.scores.weight", axes=2)),
        authors_config=_back,
    ),
)
