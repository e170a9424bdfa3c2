"""SEANet in the spellings of EnCodec, audiocraft, SpeechTokenizer, WavTokenizer and transformers.

They all number the layers of one `nn.Sequential`; what a number means depends on the config, so the table is made
from it.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...codecs.layers.seanet import SEANetConfig
from .fields import Fields

#: The authors' activation names to ours.
ACTIVATIONS = {
    "ELU": "elu", "ReLU": "relu", "LeakyReLU": "leaky_relu", "GELU": "gelu", "SiLU": "silu", "Tanh": "tanh",
    "Snake": "snake",
}  # fmt: skip

#: Inside one layer of the authors' list -> inside ours; `{}` is the layer's own name.
#: Second spelling of each: transformers, which has one module less around every convolution.
_CONV = (
    (r"(?:conv\.|convtr\.)?(?:conv|convtr)\.(weight|bias)", r"{}.\1"),
    (r"(?:conv\.|convtr\.)?norm\.(weight|bias)", r"{}.norm.\1"),
)
_UNIT = (
    (r"block\.0\.alpha", r"{}.act_in.alpha"),
    (r"block\.1\.(?:conv\.)?conv\.(weight|bias)", r"{}.conv_in.\1"),
    (r"block\.1\.(?:conv\.)?norm\.(weight|bias)", r"{}.conv_in.norm.\1"),
    (r"block\.2\.alpha", r"{}.act_out.alpha"),
    (r"block\.3\.(?:conv\.)?conv\.(weight|bias)", r"{}.conv_out.\1"),
    (r"block\.3\.(?:conv\.)?norm\.(weight|bias)", r"{}.conv_out.norm.\1"),
    (r"shortcut\.(?:conv\.)?conv\.(weight|bias)", r"{}.skip.\1"),
    (r"shortcut\.(?:conv\.)?norm\.(weight|bias)", r"{}.skip.norm.\1"),
)
_LSTM = ((r"lstm\.(.*)", r"{}.lstm.\1"),)
_ACT = ((r"alpha", r"{}.alpha"),)


def layer_names(config: SEANetConfig, side: str) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Our name and key table of each of the authors' layers, in their order; `side` is "encoder" or "decoder"."""
    units = [f"units.{j}" for j in range(config.residual_layers)]
    out: list[tuple[str, tuple[tuple[str, str], ...]]] = [("stem", _CONV)]
    lstm = [("lstm", _LSTM)] if config.lstm_layers else []
    if side == "decoder":
        out += lstm
    for level in range(len(config.strides)):
        down = [(f"levels.{level}.{u}", _UNIT) for u in units]
        conv = [(f"levels.{level}.act", _ACT), (f"levels.{level}.conv", _CONV)]
        out += down + conv if side == "encoder" else conv + down
    if side == "encoder":
        out += lstm
    return [*out, ("act", _ACT), ("head", _CONV)]


def seanet_table(config: SEANetConfig, side: str, theirs: str, ours: str) -> list[tuple[str, str]]:
    """The key table of one side: authors' `theirs.{number}.*` to `ours.{name}.*`."""
    table = []
    for number, (name, keys) in enumerate(layer_names(config, side)):
        for pattern, new in keys:
            table.append((rf"{re.escape(theirs)}\.{number}\.{pattern}", new.format(f"{ours}.{name}")))
    return table


def seanet_config(fields: Fields, **defaults: Any) -> dict[str, Any]:
    """A `SEANetConfig` mapping from the constructor arguments of `SEANetEncoder` / `SEANetDecoder`.

    Args:
        fields: the authors' keyword arguments.
        defaults: what the authors' class takes where a key is missing, if it is not EnCodec's default.
    """
    d = {"n_residual_layers": 1, "lstm": 2, "true_skip": False, "norm": "weight_norm"} | defaults
    activation = fields.take("activation", "ELU")
    if activation not in ACTIVATIONS:
        raise ValueError(f"{fields.name}.activation is {activation!r}; supported: {', '.join(ACTIVATIONS)}.")
    slope = _slope(activation, dict(fields.take("activation_params", {"alpha": 1.0}) or {}))
    if fields.take("norm_params", {}) not in ({}, None):
        raise ValueError(f"{fields.name}.norm_params is not empty: settings of the norm are not supported.")
    final = fields.one_of("final_activation", {None: "none", "Tanh": "tanh", "Sigmoid": "sigmoid"}, None)
    if fields.take("final_activation_params", None):
        raise ValueError(f"{fields.name}.final_activation_params is not supported.")
    # weight norm is folded into the weights when they are loaded
    norm = fields.one_of("norm", {"weight_norm": "none", "none": "none", "time_group_norm": "group"}, d["norm"])
    return {
        "channels": fields.take("channels", 1),
        "latent_dim": fields.take("dimension", 128),
        "width": fields.take("n_filters", 32),
        "strides": list(reversed(fields.take("ratios", [8, 5, 4, 2]))),
        "residual_layers": fields.take("n_residual_layers", d["n_residual_layers"]),
        "kernel_size": fields.take("kernel_size", 7),
        "last_kernel_size": fields.take("last_kernel_size", 7),
        "residual_kernel_size": fields.take("residual_kernel_size", 3),
        "dilation_base": fields.take("dilation_base", 2),
        "compress": fields.take("compress", 2),
        "identity_skip": bool(fields.take("true_skip", d["true_skip"])),
        "lstm_layers": int(fields.take("lstm", d["lstm"]) or 0),
        "lstm_bidirectional": bool(fields.take("bidirectional", False)),
        "causal": bool(fields.take("causal", False)),
        "padding": fields.take("pad_mode", "reflect"),
        "norm": norm,
        "unnormed_outer": fields.take("disable_norm_outer_blocks", 0) if norm == "group" else _zero(fields),
        "activation": ACTIVATIONS[activation],
        "slope": slope,
        "final_activation": final,
        "trim_right": float(fields.take("trim_right_ratio", 1.0)),
    }


def codebook_table(theirs: str, ours: str) -> list[tuple[str, str]]:
    """The authors' `EuclideanCodebook` buffers to those of `Codebook`; expression and replacement template."""
    return [
        (rf"{theirs}\.embed", rf"{ours}.embed"),
        (rf"{theirs}\.embed_avg", rf"{ours}.sums"),
        (rf"{theirs}\.cluster_size", rf"{ours}.counts"),
        (rf"{theirs}\.inited", rf"{ours}.ready"),
    ]


def finish_codebooks(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give each table the form of `Codebook`: `ready` a truth value, statistics that training can go on from."""
    out = dict(state)
    for key in [k for k in out if k.endswith(".ready")]:
        prefix = key[: -len("ready")]
        # A published table is in use whatever its flag says: k-means must not overwrite it.
        out[key] = torch.tensor(True)
        out[prefix + "steps"] = torch.zeros((), dtype=torch.int64)
        counts, sums = out[prefix + "counts"], out[prefix + "sums"]
        if not bool((counts > 0).any()) or not torch.isfinite(sums).all():  # left out of the file
            out[prefix + "counts"], out[prefix + "sums"] = torch.ones_like(counts), out[prefix + "embed"].clone()
    return out


def _slope(activation: str, params: dict[str, Any]) -> float:
    key, default = {"ELU": ("alpha", 1.0), "LeakyReLU": ("negative_slope", 0.01)}.get(activation, ("", 1.0))
    slope = float(params.pop(key, default))
    if activation != "ELU":
        params.pop("alpha", None)  # the default of the authors' argument, meant for ELU
    if params:
        raise ValueError(f"activation_params holds {sorted(params)[0]!r}, which {activation} does not support here.")
    return slope


def _zero(fields: Fields) -> int:
    fields.take("disable_norm_outer_blocks", 0)  # without effect when the norm is folded
    return 0
