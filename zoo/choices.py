"""Checks options given as text (`-O name=value` of the commands) against those that a model's `encode` and `decode` take.

    chosen(tokenizer, {"quality": "0.08"}, positions=64).encode(tokenizer, "photo.jpg")
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..codecs.config import ConfigError, nearest

Verb = Literal["encode", "decode"]
BOTH: tuple[Verb, ...] = ("encode", "decode")

#: Names under which families take a limit of positions.
_POSITIONS = ("positions", "token_budget")


@dataclass(frozen=True)
class Chosen:
    """Checked options of `encode` and of `decode`; None for the one that the command does not run."""

    of_encode: Any = None
    of_decode: Any = None

    def encode(self, tokenizer: Any, media: Any) -> Any:
        """Tokens of `media`, encoded with the checked options; see `Tokenizer.encode`."""
        return tokenizer.encode(media, self.of_encode)

    def decode(self, tokenizer: Any, tokens: Any) -> Any:
        """Media of `tokens`, decoded with the checked options; see `Tokenizer.decode`."""
        return tokenizer.decode(tokens, self.of_decode)


def chosen(
    tokenizer: Any,
    given: Mapping[str, str],
    *,
    codebooks: int | None = None,
    positions: int | None = None,
    verbs: Sequence[Verb] = BOTH,
) -> Chosen:
    """Check the requested options against those that the tokenizer takes; an option that `encode` and `decode` take goes to both.

    Args:
        tokenizer: a loaded tokenizer.
        given: name of an option -> its value as text.
        codebooks: value of the option `num_codebooks`; None: not requested.
        positions: largest number of token positions: the option `positions` or, of families whose number of tokens depends on the
            picture, `token_budget`; None: not requested.
        verbs: which of "encode" and "decode" will run.

    Raises:
        ConfigError: an option that does not exist (the nearest are named), a value that is not allowed.
        ValueError: `codebooks` or `positions` contradicts the same option in `given`.
    """
    from ..codecs.options import option_names, options_class, parse_options

    texts = dict(given)
    names = {v: option_names(options_class(tokenizer, v)) for v in verbs}
    if codebooks is not None:
        _add(texts, "num_codebooks", codebooks, "--codebooks")
    if positions is not None:
        key = next((k for k in _POSITIONS if k in names["encode"]), None)
        if key is None:
            raise ConfigError(f"--positions is for models whose tokens may end early; {tokenizer.family} always needs all positions.")
        _add(texts, key, positions, "--positions")
    known = sorted({n for some in names.values() for n in some})
    for key in texts:
        if key not in known:
            take = "takes" if len(verbs) == 1 else "take"
            raise ConfigError(f"{' and '.join(verbs)} of {tokenizer.family} {take} no option {key!r}.{nearest(key, known)}")
    found = {v: parse_options(tokenizer, v, {k: t for k, t in texts.items() if k in names[v]}) for v in verbs}
    return Chosen(found.get("encode"), found.get("decode"))


def _add(texts: dict[str, str], key: str, value: int, flag: str) -> None:
    if texts.get(key, str(value)) != str(value):
        raise ValueError(f"{flag} {value} and -O {key}={texts[key]} contradict each other.")
    texts[key] = str(value)
