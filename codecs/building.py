"""Build a tokenizer for given weights: compare shapes first, then allocate memory, only for the parts that are kept.

    tokenizer = build_around("dac", config, lambda model: state, "model.safetensors", part="encoder")
"""

import functools
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .config import SettingsError, to_mapping
from .families import build_tokenizer
from .identity import fingerprint_of_state, set_fingerprint
from .tokenizer import Tokenizer
from .weights import CheckpointError, check_shapes, is_under

Part = Literal["encoder", "decoder"]


def build_around(
    family: str,
    config: Any,
    weights: Callable[[Tokenizer], Mapping[str, Tensor]],
    name: str,
    *,
    count: int,
    numbers: int,
    part: Part | None = None,
) -> Tokenizer:
    """Build a tokenizer and fill in its weights, strictly.

    Args:
        family: name of the family.
        config: the family's config, or a mapping of fields.
        weights: called with the tokenizer before its values are filled in; returns its state dict.
        name: name of the checkpoint, for messages.
        count: number of tensors in the checkpoint; a config that describes far more modules or tensors is refused.
        numbers: number of values in all these tensors; a config that describes far more is refused before they are allocated.
        part: keep only what encoding ("encoder") or decoding ("decoder") needs; the other call then raises; None: keep both.

    Returns:
        The tokenizer on the CPU, float32, in eval mode.

    Raises:
        ConfigError, CheckpointError: config or weights that do not fit.
    """
    if part not in (None, "encoder", "decoder"):
        raise ValueError(f"part is {part!r}; allowed: 'encoder', 'decoder', or None for both.")
    values = config if isinstance(config, Mapping) else to_mapping(config)
    _check_numbers(values, 4 * count + 1000, name)
    state: Mapping[str, Tensor] | None = None
    if not _is_plain(values):  # first on "meta", without memory; plain configs skip it: its import alone takes a second
        plan = plan_of(family, config, name, count=count)
        state = weights(plan)
        check_shapes(plan, state, name)
    most = 4 * numbers + UNPLANNED if state is None else None
    with _bounded(4 * count + 1000, name, numbers=most), _NoStart(), torch.device("cpu"):
        tokenizer = _built(family, config, name)
    if state is None:
        state = weights(tokenizer)
        check_shapes(tokenizer, state, name)
    whole = None
    if part:
        whole = fingerprint_of_state(tokenizer, state)
        keep_part(tokenizer, part)
    with torch.no_grad():
        for key, value in tokenizer.state_dict().items():
            if value.numel() == state[key].numel():  # tensors of the removed half are empty
                value.copy_(state[key])
    if whole is not None:
        set_fingerprint(tokenizer, whole)
    return tokenizer.eval()


def plan_of(family: str, config: Any, name: str, *, count: int) -> Tokenizer:
    """Build the tokenizer on the device "meta": shapes without values. Arguments and errors are those of `build_around`."""
    _check_numbers(config if isinstance(config, Mapping) else to_mapping(config), 4 * count + 1000, name)
    with _bounded(4 * count + 1000, name), torch.device("meta"):
        return _built(family, config, name)


#: The largest value that a setting may have, by the end of its name; the first match applies. Settings that match only the
#: last pattern are counts of modules, which are built one at a time.
_LARGEST = (
    (re.compile(r".*(codebook_size|level|rate|hz|period|step|every|iteration|seed|pixel)s?"), 1 << 40),
    (re.compile(r".*window_samples|(image|patch|kernel|window)_size"), 1 << 20),
    (re.compile(r".*(samples|size)s?"), 1 << 23),
    (re.compile(r".*(dim|width|hidden|feed_forward|position|context|distance|channel|bin)s?"), 1 << 20),
    (re.compile(r".*"), 1 << 16),
)


def _check_numbers(value: Any, most: int, name: str, path: str = "config", key: str = "config") -> None:
    """Reject numbers in an untrusted config that no real network has, before modules of that size or number are built."""
    if isinstance(value, Mapping):
        for inner, v in value.items():
            _check_numbers(v, most, name, f"{path}.{inner}", str(inner))
    elif isinstance(value, (list, tuple)):
        for v in value:
            _check_numbers(v, most, name, path, key)
    elif isinstance(value, (int, float)):
        largest = next(n for names, n in _LARGEST if names.fullmatch(key))
        if not abs(value) <= (max(most, largest) if largest == 1 << 16 else largest):
            raise CheckpointError(f"{name}: {path} holds {value}, which no network with these weights can have.")


#: A tensor of the shape `_PLAIN` x `_PLAIN` (1 GB) is small enough to allocate before shapes are compared.
_PLAIN = 1 << 14
#: Settings that are no axis of a large weight together with another setting, by the end of their names: up to 1 << 20 is plain.
_ALONE = re.compile(r".*(codebook_size|rate_hz|samples|bins|seed|every|steps|iterations)")
#: A network that is built before its shapes are compared may have four times the checkpoint's weights and this many more.
UNPLANNED = 1 << 24


def _is_plain(config: Any, key: str = "") -> bool:
    """True for a config without unusually large numbers."""
    if isinstance(config, Mapping):
        return all(_is_plain(v, str(k)) for k, v in config.items())
    if isinstance(config, (list, tuple)):
        return all(_is_plain(v, key) for v in config)
    return not isinstance(config, (int, float)) or abs(config) <= (1 << 20 if _ALONE.fullmatch(key) else _PLAIN)


def _built(family: str, config: Any, name: str) -> Tokenizer:
    try:
        return build_tokenizer(family, config)
    except SettingsError as error:
        raise CheckpointError(f"{name}: {error}") from error


# --- halves ---------------------------------------------------------------------------------------------------------


def keep_part(tokenizer: Tokenizer, part: Part) -> None:
    """Free the weights of `tokenizer` that only the other half needs, in place; calls of that half then raise ValueError."""
    lost = tokenizer.decoder_only if part == "encoder" else tokenizer.encoder_only
    for name, tensor in [*tokenizer.named_parameters(), *tokenizer.named_buffers()]:
        if is_under(name, lost) and tensor.ndim:
            # the modules stay: their lengths and strides are still used
            tensor.data = tensor.new_empty(0, *tensor.shape[1:])
    tokenizer.part = part
    missing = ("decode", "semantic", "decode_latents") if part == "encoder" else ("encode", "encode_prepared", "encode_latents")
    for call in (*missing, "forward"):
        setattr(tokenizer, call, functools.partial(_absent, part, call))


def _absent(part: str, call: str, *args: Any, **kwargs: Any) -> Any:
    raise ValueError(f"this tokenizer was loaded with part={part!r}, which has no {call}; load it without `part`.")


# --- memory ---------------------------------------------------------------------------------------------------------


class _NoStart(TorchFunctionMode):
    """Skips the initialisation of new weights: all are overwritten later, and untouched pages take no memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _STARTS:
            return args[0] if args else (kwargs or {})["tensor"]
        if func in (Tensor.normal_, Tensor.uniform_):  # called by other initialisers, some of which redraw until values are in range
            return args[0].zero_()
        return func(*args, **(kwargs or {}))


_STARTS = {nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_}


@contextmanager
def _bounded(most: int, name: str, *, numbers: int | None = None) -> Iterator[None]:
    """Stop a network with more than `most` modules or weights, or more `numbers` in them, while it is built in this thread."""
    thread, left = threading.get_ident(), [most, numbers or 1 << 62]

    def registered(_: nn.Module, __: str, value: Any) -> None:
        if threading.get_ident() == thread:
            left[0] -= 1
            left[1] -= value.numel() if isinstance(value, Tensor) else 0
            if min(left) < 0:
                raise CheckpointError(f"{name}: its config describes a far larger network than its weights belong to.")

    hooks = (
        nn.modules.module.register_module_module_registration_hook(registered),
        nn.modules.module.register_module_parameter_registration_hook(registered),
        nn.modules.module.register_module_buffer_registration_hook(registered),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
