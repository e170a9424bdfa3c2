"""Which medium a tokenizer takes, so that type checkers know its class and that of its facts."""

from typing import TYPE_CHECKING, TypeGuard

from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from .audio.base import AudioTokenizer
    from .image.base import ImageTokenizer


def is_sound(tokenizer: Tokenizer) -> TypeGuard["AudioTokenizer"]:
    """True for tokenizers of sound."""
    return tokenizer.spec.modality == "audio"


def is_pictures(tokenizer: Tokenizer) -> TypeGuard["ImageTokenizer"]:
    """True for tokenizers of pictures and of clips of pictures."""
    return tokenizer.spec.modality == "image"
