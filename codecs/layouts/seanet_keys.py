"""SEANet in the spellings of EnCodec, audiocraft, SpeechTokenizer, WavTokenizer and transformers.

They all number the layers of one `nn.Sequential`; the layer of a number depends on the config, so the table is built
from the config.
"""

from typing import Any, Literal

import torch

from ..layers.seanet import SEANetConfig
from .fields import Fields
from .keymap import NotWritable, Row, State, Then

#: The authors' names of activations -> ours.
ACTIVATIONS = {
    "ELU": "elu", "ReLU": "relu", "LeakyReLU": "leaky_relu", "GELU": "gelu", "SiLU": "silu", "Tanh": "tanh",
    "Snake": "snake",
}  # fmt: skip

#: "authors": a convolution is wrapped twice (`conv.conv`); "transformers": once (`conv`).
Spelling = Literal["authors", "transformers"]


def _conv(spelling: Spelling, kind: str) -> tuple[Row, ...]:
    """Rows of one convolution of the list; `kind` is "conv" or "convtr"."""
    stem = f"{kind}." if spelling == "authors" else ""
    inner = kind if spelling == "authors" else "conv"
    return ((f"{stem}{inner}.{{weight|bias}}", ".{weight|bias}"), (f"{stem}norm.*", ".norm.*"))


def _unit(spelling: Spelling) -> tuple[Row, ...]:
    stem = "conv." if spelling == "authors" else ""
    rows: list[Row] = [("block.0.alpha", ".act_in.alpha"), ("block.2.alpha", ".act_out.alpha")]
    for theirs, ours in (("block.1", "conv_in"), ("block.3", "conv_out"), ("shortcut", "skip")):
        rows += [(f"{theirs}.{stem}conv.{{weight|bias}}", f".{ours}.{{weight|bias}}"), (f"{theirs}.{stem}norm.*", f".{ours}.norm.*")]
    return tuple(rows)


_LSTM: tuple[Row, ...] = (("lstm.**", ".lstm.**"),)
_ACT: tuple[Row, ...] = (("alpha", ".alpha"),)


def layer_names(config: SEANetConfig, side: str, spelling: Spelling = "authors") -> list[tuple[str, tuple[Row, ...]]]:
    """Our name and key table of each of the authors' layers, in their order; `side` is "encoder" or "decoder"."""
    conv, transposed, unit = _conv(spelling, "conv"), _conv(spelling, "convtr"), _unit(spelling)
    out: list[tuple[str, tuple[Row, ...]]] = [("stem", conv)]
    lstm = [("lstm", _LSTM)] if config.lstm_layers else []
    if side == "decoder":
        out += lstm
    for level in range(len(config.strides)):
        units = [(f"levels.{level}.units.{j}", unit) for j in range(config.residual_layers)]
        resample = [(f"levels.{level}.act", _ACT), (f"levels.{level}.conv", conv if side == "encoder" else transposed)]
        out += units + resample if side == "encoder" else resample + units
    if side == "encoder":
        out += lstm
    return [*out, ("act", _ACT), ("head", conv)]


def seanet_rows(config: SEANetConfig, side: str, theirs: str, ours: str, spelling: Spelling = "authors") -> list[Row]:
    """The key table of the encoder or decoder: authors' `theirs.{number}.*` to `ours.{name}.*`."""
    return [
        (f"{theirs}.{number}.{a}", f"{ours}.{name}{b}")
        for number, (name, rows) in enumerate(layer_names(config, side, spelling))
        for a, b in rows
    ]


def codebook_rows(theirs: str, ours: str) -> list[Row]:
    """Rows from the authors' `EuclideanCodebook` buffers to those of `Codebook`; both patterns may contain one `{}`."""
    return [
        (f"{theirs}.embed", f"{ours}.embed"),
        (f"{theirs}.embed_avg", f"{ours}.sums"),
        (f"{theirs}.cluster_size", f"{ours}.counts"),
        (f"{theirs}.inited", f"{ours}.ready"),
    ]


def running_codebooks() -> Then:
    """The step after `codebook_rows`: `ready` as a bool, and statistics from which training can continue."""
    return Then(_finish, _back)


def _finish(state: State) -> State:
    out = dict(state)
    for key in [k for k in out if k.endswith(".ready")]:
        prefix = key[: -len("ready")]
        # A published table is initialised whatever its flag is: k-means must not overwrite it.
        out[key] = torch.tensor(True)
        out[prefix + "steps"] = torch.zeros((), dtype=torch.int64)
        counts, sums = out[prefix + "counts"], out[prefix + "sums"]
        if not bool((counts > 0).any()) or not torch.isfinite(sums).all():  # not written to the file
            out[prefix + "counts"], out[prefix + "sums"] = torch.ones_like(counts), out[prefix + "embed"].clone()
    return out


def _back(state: State) -> State:
    out = {k: v for k, v in state.items() if not k.endswith(".steps")}
    for key in [k for k in out if k.endswith(".ready")]:
        prefix = key[: -len("ready")]
        out[key] = out[key].to(torch.float32).reshape(1)
        if prefix + "sums" not in out:  # a table trained by gradient has none, but the authors' class requires some
            out |= {prefix + "counts": torch.ones_like(out[prefix + "counts"]), prefix + "sums": out[prefix + "embed"].clone()}
    return out


def seanet_config(fields: Fields, **defaults: Any) -> dict[str, Any]:
    """A `SEANetConfig` mapping from the constructor arguments of `SEANetEncoder` / `SEANetDecoder`.

    Args:
        fields: the authors' keyword arguments.
        defaults: defaults of the authors' class that differ from EnCodec's.
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


# --- transformers: one config for both sides --------------------------------------------------------------------------


def transformers_seanet(f: Fields, **defaults: Any) -> dict[str, Any]:
    """A `SEANetConfig` mapping from the keys that the configs of EnCodec and its derivatives share.

    Args:
        f: the config.
        defaults: defaults of the authors' class that differ from EnCodec's.
    """
    d = {"hidden_size": 128, "upsampling_ratios": (8, 5, 4, 2), "use_causal_conv": True} | defaults
    return {
        "channels": f.take("audio_channels", 1),
        "latent_dim": f.take("hidden_size", d["hidden_size"]),
        "width": f.take("num_filters", 32),
        "strides": list(reversed(f.take("upsampling_ratios", d["upsampling_ratios"]))),
        "residual_layers": f.take("num_residual_layers", 1),
        "kernel_size": f.take("kernel_size", 7),
        "last_kernel_size": f.take("last_kernel_size", 7),
        "residual_kernel_size": f.take("residual_kernel_size", 3),
        "dilation_base": f.take("dilation_growth_rate", 2),
        "compress": f.take("compress", 2),
        "identity_skip": not f.take("use_conv_shortcut", True),
        "lstm_layers": f.take("num_lstm_layers", 2),
        "causal": f.take("use_causal_conv", d["use_causal_conv"]),
        "padding": f.take("pad_mode", "reflect"),
        "norm": f.one_of("norm_type", {"weight_norm": "none", "time_group_norm": "group"}, "weight_norm"),
    }


def say_transformers_seanet(s: SEANetConfig) -> dict[str, Any]:
    """The keys of `transformers_seanet` for a `SEANetConfig`. Raises NotWritable if transformers' class cannot express it."""
    if not s.lstm_layers:
        raise NotWritable("lstm_layers is 0; the class of transformers always has an LSTM.")
    return {
        "audio_channels": s.channels,
        "hidden_size": s.latent_dim,
        "num_filters": s.width,
        "upsampling_ratios": list(reversed(s.strides)),
        "num_residual_layers": s.residual_layers,
        "kernel_size": s.kernel_size,
        "last_kernel_size": s.last_kernel_size,
        "residual_kernel_size": s.residual_kernel_size,
        "dilation_growth_rate": s.dilation_base,
        "compress": s.compress,
        "use_conv_shortcut": not s.identity_skip,
        "num_lstm_layers": s.lstm_layers,
        "use_causal_conv": s.causal,
        "pad_mode": s.padding,
        "norm_type": "time_group_norm" if s.norm == "group" else "weight_norm",
    }
