"""Options of `encode` and `decode`: one frozen dataclass for each family and direction.

    tok.encode(x, quality=0.08)                                  # Python: keywords
    options = parse_options(tok, "encode", {"quality": "0.08"})  # command line, evaluation, bulk jobs: text, then
    tok.encode(x, options)                                       # the object
    describe_options(tok, "encode")                              # name, type, default and meaning of each

A family that takes more than its base class derives a dataclass from one of those here, documents each field under
"Attributes:", checks what does not depend on the model in `__post_init__`, and names it in `encode_options` or `decode_options`.

Letters: B batch, C channels, N positions of a feature, H W pixels, K codebooks.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Union

import numpy as np
from torch import Tensor

from .config import ConfigError, Signed, from_mapping, nearest
from .option_help import OptionHelp, describe, type_text

if TYPE_CHECKING:
    from .coding import Coding

Direction = Literal["encode", "decode"]
Resize = Literal["native", "crop", "squash"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base class of the options of `encode` and of `decode`."""

    def __post_init__(self) -> None:
        """Check everything that does not depend on the model; raises ConfigError."""


@dataclass(frozen=True, kw_only=True)
class EncodeOptions(Options):
    """Options of `encode` that every family takes.

    Attributes:
        num_codebooks: stop after this many codebooks, 1 to K, where `spec.prefix` holds "codebooks"; None: the family's default.
    """

    num_codebooks: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("num_codebooks", self.num_codebooks, 1)


@dataclass(frozen=True, kw_only=True)
class ImageEncodeOptions(EncodeOptions):
    """Options of `encode` of the image families.

    Attributes:
        resize: what happens to a picture that is not of `spec.image_size`: "crop" (scale the short side, cut out the centre)
            or "squash" (scale both sides); "native": it is refused. None: `spec.resize`. Families that take any size never resize.
        value_range: lowest and highest value of the float pixels that are passed, e.g. 0,1 or 0,255; None: `spec.value_range`.
    """

    resize: Resize | None = None
    value_range: tuple[Signed, Signed] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise ConfigError(f"value_range is {self.value_range}; give (lowest, highest), such as (0, 1).")


@dataclass(frozen=True, kw_only=True)
class OrderedEncodeOptions(ImageEncodeOptions):
    """Options of `encode` of the image families whose first N positions can be decoded without the others.

    Attributes:
        positions: keep this many positions of each picture, from the first on, where `spec.prefix` holds "positions"; None: all.
    """

    positions: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("positions", self.positions, 1)


@dataclass(frozen=True, kw_only=True)
class FeatureEncodeOptions(EncodeOptions):
    """Options of `encode` of the audio families that take features of a frozen speech model besides the waveform.

    Attributes:
        features: output of that model, `[B, C, N]` or one `[C, N]` a clip, at the rate that the family states. Clips are then not
            resampled or padded for that model. None: the family runs the model itself.
    """

    features: Tensor | tuple[Tensor, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class DecodeOptions(Options):
    """Options of `decode` that every family takes.

    Attributes:
        original: return the original's size, or its number of samples at its rate; false: the network's output size and rate.
    """

    original: bool = True


@dataclass(frozen=True, kw_only=True)
class NoiseDecodeOptions(DecodeOptions):
    """Options of `decode` of families whose decoder starts from noise.

    Attributes:
        noise: the noise itself, one entry an item, of the family's noise shape; None: drawn from `seed`, the same for every
            item of one size.
        seed: seed of the noise, 0 or more.
    """

    noise: Tensor | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("seed", self.seed, 0)


#: The largest number that an option may be: seeds are int64.
MAX_NUMBER = (1 << 63) - 1
#: Most steps of a decoder that starts from noise; schedules of published ones have 1,000.
MAX_STEPS = 10_000


@dataclass(frozen=True, kw_only=True)
class GuidedDecodeOptions(NoiseDecodeOptions):
    """Options of `decode` of families that reach media from noise in steps, guided by the tokens.

    Attributes:
        steps: from noise to media, 1 to 10,000; None: the decoder's default.
        guidance: weight of the tokens (arXiv 2207.12598), 1: no guidance; None: the decoder's default.
    """

    steps: int | None = None
    guidance: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("steps", self.steps, 1, MAX_STEPS)
        check_at_least("guidance", self.guidance, 0)


def check_at_least(name: str, value: float | None, least: float, most: float = MAX_NUMBER) -> None:
    """Raise ConfigError where `value` is not None and not a number in `least..most`."""
    if value is not None and not least <= value <= most:
        allowed = f"{least:g} or more" if most == MAX_NUMBER and not value > most else f"{least:g} to {most}"
        raise ConfigError(f"{name} is {value!r:.40}; allowed: {allowed}.")


# --- which options there are --------------------------------------------------------------------------------------------------


def options_class(tokenizer: "Coding | type[Coding]", direction: Direction) -> type[Options]:
    """The dataclass of the options that `tokenizer` takes; an instance may take fewer options than its class."""
    if direction not in ("encode", "decode"):
        raise ValueError(f"direction is {direction!r:.200}; allowed: 'encode', 'decode'.")
    return tokenizer.encode_options if direction == "encode" else tokenizer.decode_options


def option_names(cls: type[Options]) -> tuple[str, ...]:
    """Names of the fields of an options class."""
    return tuple(f.name for f in dataclasses.fields(cls))


def describe_options(tokenizer: "Coding | type[Coding]", direction: Direction) -> list[OptionHelp]:
    """Name, type, default and meaning of each option of `tokenizer.encode` or `tokenizer.decode`, as text."""
    return describe(options_class(tokenizer, direction))


# --- from keywords, from text -------------------------------------------------------------------------------------------------


def make_options(
    tokenizer: "Coding | type[Coding]", direction: Direction, given: Options | None, named: Mapping[str, Any]
) -> Any:
    """The checked options of one call.

    Args:
        tokenizer: the tokenizer, or a family's class, that takes the options.
        direction: "encode" or "decode".
        given: options made before, by this function or `parse_options`; None: the defaults.
        named: values by name, which override those of `given`.

    Raises:
        ConfigError: an option that the tokenizer does not take, a wrong type or range; the message lists what is allowed.
    """
    cls = options_class(tokenizer, direction)
    if given is not None and not isinstance(given, cls):
        raise ConfigError(
            f"{direction} of {tokenizer.family} takes {cls.__name__}, got {type(given).__name__}. Make them with parse_options, or "
            "pass options by name."
        )
    if given is not None and not named:
        return given
    allowed = option_names(cls)
    for name in named:
        if name not in allowed:
            own = not isinstance(tokenizer, type) and name in option_names(options_class(type(tokenizer), direction))
            why = "this one's config has no use for it" if own else f"unknown option of {direction}"
            raise ConfigError(f"{tokenizer.family} takes no {name!r}: {why}.{nearest(name, allowed)}")
    before = {} if given is None else {n: getattr(given, n) for n in allowed}
    values = {n: v.item() if isinstance(v, np.generic) else v for n, v in named.items()}
    return from_mapping(cls, before | values)


def parse_options(tokenizer: "Coding | type[Coding]", direction: Direction, texts: Mapping[str, str]) -> Any:
    """Options from text, for command lines and text files.

    Args:
        tokenizer: a tokenizer, or a family's class; a tokenizer may take fewer options than its class.
        direction: "encode" or "decode".
        texts: option name -> text: numbers; "true" and "false"; "none" where that is allowed; words; several numbers with commas
            between them ("256,256").

    Returns:
        The object that `encode` (or `decode`) takes as its second argument.

    Raises:
        ConfigError: an unknown option (with the nearest names), text that is no value of its type, a value out of range, or an
            option that holds arrays and exists in Python only.
    """
    cls = options_class(tokenizer, direction)
    hints = typing.get_type_hints(cls)
    values = {name: _value(hints[name], text, name) if name in hints else text for name, text in texts.items()}
    return make_options(tokenizer, direction, None, values)


_WORDS = {"true": True, "false": False}


def _value(hint: Any, text: str, name: str) -> Any:
    """`text` converted to the type `hint`; ConfigError if it is no value of that type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _any_of(args, text, name)
    if hint is type(None) and text.strip().lower() in ("none", "null"):
        return None
    if hint is bool and text.strip().lower() in _WORDS:
        return _WORDS[text.strip().lower()]
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            pass
    if hint is str or origin is Literal:
        return text
    if origin is tuple and args[0] is str:
        return (text,)
    if origin is tuple and args[0] in (int, float):
        return tuple(_value(args[0], part, name) for part in text.split(","))
    kind = type_text(hint)
    if hint in (bool, int, float, type(None)):
        raise ConfigError(f"{name} is {text!r:.200}; allowed: {kind}.")
    raise ConfigError(f"{name} is of type {kind}: it cannot be given as text, only from Python.")


def _any_of(args: tuple[Any, ...], text: str, name: str) -> Any:
    """`text` converted to the first of several types that fits; None is tried first."""
    readable = [a for a in args if a in (bool, int, float, str, type(None)) or typing.get_origin(a) in (tuple, Literal)]
    texts = [a for a in readable if a is not type(None) and not (typing.get_origin(a) is tuple and typing.get_args(a)[0] is Tensor)]
    if not texts:
        raise ConfigError(f"{name} holds arrays: it cannot be given as text, only from Python.")
    for arg in sorted(readable, key=lambda a: a is not type(None)):
        try:
            return _value(arg, text, name)
        except ConfigError:
            pass
    raise ConfigError(f"{name} is {text!r:.200}; allowed: {' or '.join(type_text(a) for a in args if a in readable)}.")
