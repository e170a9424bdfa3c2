"""Initial weights of a run: random, those of a saved tokenizer, or those of another run; and which parts stay frozen."""

import dataclasses
import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..codecs.config import ConfigError, from_mapping, nearest, to_mapping
from ..codecs.families import build_tokenizer
from ..codecs.quantizers.base import Quantizer
from ..codecs.serialize import CheckpointError, load_strict
from ..codecs.tokenizer import Tokenizer
from .config import FROM_INIT, ModelConfig, RunConfig, differences
from .files import merge
from .pretrained import Pretrained, open_pretrained


class OtherConfig(UserWarning):
    """The weights of `init` fit, but they were trained with other settings."""


class OtherDiscriminators(UserWarning):
    """The discriminators that were published with `init` are not those of the run."""


def open_init(config: RunConfig) -> Pretrained | None:
    """Read what `config.init` names, if anything; raises as `open_pretrained`."""
    return open_pretrained(config.init) if config.init else None


def new_tokenizer(config: RunConfig, init: Pretrained | None) -> tuple[ModelConfig, Tokenizer]:
    """Return the tokenizer of `config.model`, with the weights of `init` and `config.grafts` where these are given.

    Returns:
        `config.model` with the tokenizer's own family and whole config, and the tokenizer.

    Raises:
        ConfigError: neither `config.model` nor `init` names a family, or a source of weights does not exist.
        CheckpointError: the weights do not fit `config.model`; the message names how the two configs differ.
    """
    model = _settled(config.model, init)
    tokenizer = build_tokenizer(model.family, model.config)  # the user's own code was registered when the run file was read
    model = dataclasses.replace(model, config=to_mapping(tokenizer.config))
    if init is not None:
        _fill(tokenizer, model, init, config.init_parts)
    for part, source in config.grafts.items():
        _graft(tokenizer, part, source)
    tokenizer.layout = init.layout if init is not None else ""
    return model, tokenizer


def described(config: RunConfig, tokenizer: Tokenizer) -> ModelConfig:
    """Return `config.model` with family and config of a loaded tokenizer.

    Raises:
        ConfigError: `config.model` describes another tokenizer.
        ValueError: an encoder or decoder alone, or weights that are not float32.
    """
    if tokenizer.part:
        raise ValueError(f"this tokenizer holds its {tokenizer.part} alone and cannot be trained; load it without `part`.")
    if narrow := {p.dtype for p in tokenizer.parameters() if p.is_floating_point()} - {torch.float32}:
        raise ValueError(f"this tokenizer has weights in {narrow.pop()}; load it without `dtype` (float32) and set `precision`.")
    model, theirs = config.model, to_mapping(tokenizer.config)
    if model.family not in (FROM_INIT, tokenizer.family):
        raise ConfigError(f"model.family is {model.family!r}, but the tokenizer that was passed is of family {tokenizer.family!r}.")
    if model.config:
        whole = merge(theirs, model.config) if model.family == FROM_INIT else model.config
        odd = differences(theirs, to_mapping(from_mapping(type(tokenizer.config), whole, "model.config")), "model.config")
        if odd:
            raise ConfigError(f"model.config is not that of the tokenizer that was passed (its value -> yours): {_some(odd)}.")
    return dataclasses.replace(model, family=tokenizer.family, config=theirs)


def freeze(tokenizer: Tokenizer, parts: Iterable[str]) -> None:
    """Keep the weights of these parts (modules or single parameters), and their codebooks, as they are.

    Raises:
        ConfigError: the tokenizer has no such part.
    """
    known = {name for name, _ in tokenizer.named_modules() if name}
    parameters = dict(tokenizer.named_parameters())
    for name in parts:
        if name in parameters:
            parameters[name].requires_grad_(False)
            continue
        if name not in known:
            top = [n for n in known if "." not in n]
            raise ConfigError(f"model.frozen names {name!r}, which is no part of this tokenizer.{nearest(name, top)}")
        part = tokenizer.get_submodule(name).requires_grad_(False)
        for module in part.modules():
            if isinstance(module, Quantizer):
                module.freeze()


def start_discriminators(module: nn.Module, init: Pretrained | None, parts: tuple[str, ...]) -> None:
    """If `init` has discriminators, and is loaded as a whole, load these into `module`.

    Those of a published tokenizer that do not fit are left out with the warning `OtherDiscriminators`.

    Raises:
        CheckpointError: those of a run's checkpoint do not fit.
    """
    if init is not None and not parts and init.discriminators is not None:
        try:
            load_strict(module, init.discriminators, f"{init.name} (discriminators)")
        except CheckpointError as error:
            if init.published:
                warnings.warn(f"{error} This run starts with fresh discriminators.", OtherDiscriminators, stacklevel=2)
                return
            advice = "To begin with fresh ones, name the tokenizer alone: the folder `model` of that run."
            raise CheckpointError(f"{error} {advice}") from error


def start_losses(losses: nn.ModuleDict, init: Pretrained | None, names: Iterable[str]) -> None:
    """Give the losses `names` the parameters that they had in the run `init`; those that it had not stay as they are.

    Raises:
        ConfigError: `init` is no run, or had no such loss, or one without parameters.
        CheckpointError: parameters of other names or shapes.
    """
    for name in names:
        saved = _below((init.losses if init else None) or {}, name)
        if init is None or not saved:
            raise ConfigError(
                f"init_losses names {name!r}, but {init.name if init else 'init'!r} has no parameters of such a loss; name the output "
                "folder of a run that trained it, or one of its checkpoint-N folders."
            )
        own = losses[name].state_dict()
        odd = [key for key, value in saved.items() if key not in own or own[key].shape != value.shape]
        if odd:
            raise CheckpointError(f"the loss {name!r} of init {init.name!r} does not fit this run's; the first odd key is {odd[0]!r}.")
        losses[name].load_state_dict(own | saved)


# --- weights --------------------------------------------------------------------------------------------------------


def _settled(model: ModelConfig, init: Pretrained | None) -> ModelConfig:
    """`model` with a family: its own, or that of `init`."""
    if model.family != FROM_INIT:
        return model
    if init is None:
        raise ConfigError("the run names no tokenizer: write `model: {family: ..., config: ...}`, or `init: NAME` without `model`.")
    return dataclasses.replace(model, family=init.family, config=merge(init.config, model.config))


def _fill(tokenizer: Tokenizer, model: ModelConfig, init: Pretrained, parts: tuple[str, ...]) -> None:
    """Take the weights of `init`, all or those of `parts`."""
    weights = _with_parts(tokenizer.state_dict(), init.weights, parts) if parts else init.weights
    odd = differences({"family": init.family, "config": init.config}, {"family": model.family, "config": model.config}, "model")
    try:
        load_strict(tokenizer, weights, f"init {init.name!r}")
    except CheckpointError as error:
        raise CheckpointError(
            f"{error} Its config differs from `model` (its value -> yours): {_some(odd) or 'in nothing'}. Leave `model` out, or "
            "write `model: from_init` to continue with its own config."
        ) from error
    if odd and not parts:
        warnings.warn(
            f"init {init.name!r} was trained with another config than `model` (its value -> yours): {_some(odd)}.",
            OtherConfig,
            stacklevel=2,
        )


def _some(lines: list[str], limit: int = 8) -> str:
    more = f"; and {len(lines) - limit} more" if len(lines) > limit else ""
    return "; ".join(lines[:limit]) + more


def _graft(tokenizer: Tokenizer, part: str, source: str) -> None:
    """Take the weights of `part` from "NAME" or "NAME#part" of another tokenizer; names below it and shapes must agree."""
    name, _, theirs = source.partition("#")
    weights, own = open_pretrained(name).weights, tokenizer.state_dict()
    mine = _below(own, part)
    if not mine:
        top = sorted({k.partition(".")[0] for k in own})
        raise ConfigError(f"grafts names {part!r}, which is no part of this tokenizer.{nearest(part, top)}")
    other = _below(weights, theirs) if theirs else weights
    if mine.keys() != other.keys() or any(mine[k].shape != v.shape for k, v in other.items()):
        odd = sorted(mine.keys() ^ other.keys()) or [k for k, v in other.items() if mine[k].shape != v.shape]
        raise ConfigError(f"grafts.{part}: {source!r} does not fit; the first of {len(odd)} differences is {odd[0]!r}.")
    tokenizer.load_state_dict({**own, **{".".join(filter(None, (part, k))): v for k, v in other.items()}})


def _below(weights: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """Those of `part`, by their names below it; a single tensor has the name ""."""
    return {k[len(part) :].removeprefix("."): v for k, v in weights.items() if f"{k}.".startswith(f"{part}.")}


def _with_parts(own: dict[str, Tensor], other: dict[str, Tensor], parts: Iterable[str]) -> dict[str, Tensor]:
    """`own`, with everything below `parts` taken from `other` (what does not fit there is for `load_strict` to find)."""
    for part in parts:
        mine = {k for k in own if f"{k}.".startswith(f"{part}.")}
        if not mine:
            top = sorted({k.partition(".")[0] for k in own})
            raise ConfigError(f"init_parts names {part!r}, which is no part of this tokenizer.{nearest(part, top)}")
        kept = {k: v for k, v in own.items() if k not in mine}
        own = kept | {k: v for k, v in other.items() if f"{k}.".startswith(f"{part}.")}
    return own
