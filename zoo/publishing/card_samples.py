"""Samples for a model card: media before and after the tokenizer, small enough to look at and listen to on a page."""

import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from torch import Tensor

from ...codecs.media import MediaError, resample
from ...codecs.tokenizer import Tokenizer
from ..demo.coded import Look, check_kind, encode, look, quality
from ..demo.medium import Limits, Medium, read_medium
from ..demo.shapes import picture
from ..finding import find
from ..model_card import Sample

FOLDER = "samples"
#: Smaller than on the page of the demo: cards are read on slow lines too.
_LIMITS = Limits(side=448, seconds=8.0)
_MOST = 4
_SHIPPED = {"image": "chelsea.png", "audio": "speech.flac"}
_CREDITS = {
    "image": "Photograph: Stéfan van der Walt, CC0-1.0.",
    "audio": "Speech: Allison Smith, with contributions by Digium, Inc. (Asterisk), CC-BY-SA-3.0.",
}


def write_samples(tokenizer: Tokenizer, folder: Path, media: Sequence[str | Path] | None = None) -> list[Sample]:
    """Encode and decode some media, and write both versions below `folder`.

    Args:
        tokenizer: of pictures or sound; of one that takes features, or has no decoder, there are no samples.
        folder: gets the sub-folder `samples`.
        media: files, folders or patterns, of which the first four are taken; None: the photograph or the sentence that is shipped.

    Raises:
        ValueError, OSError: media that the user named cannot be read or coded. Shipped ones only cause a warning.
    """
    kind = tokenizer.spec.modality
    if kind not in _SHIPPED or not tokenizer.spec.decodes:
        if media:
            raise ValueError(f"this {tokenizer.family} tokenizer decodes to no picture and no sound, so there can be no samples.")
        return []
    if media is None:
        try:
            with resources.as_file(resources.files("tokenzoo.zoo.demo").joinpath("media", _SHIPPED[kind])) as path:
                return [_write(tokenizer, read_medium(path, _LIMITS), folder, 0, _CREDITS[kind])]
        except (ValueError, NotImplementedError) as error:  # such as a family that takes more than a picture
            warnings.warn(f"the card has no samples: {' '.join(str(error).split()):.300}", stacklevel=3)
            return []
    from ...codecs.media import ENDINGS

    paths = [found.path for found in find([str(m) for m in media], ENDINGS[kind])][:_MOST]
    return [_write(tokenizer, read_medium(path, _LIMITS), folder, i, "") for i, path in enumerate(paths)]


def _write(tokenizer: Tokenizer, medium: Medium, folder: Path, number: int, credit: str) -> Sample:
    check_kind(tokenizer, f"this {tokenizer.family} tokenizer", medium)
    seen = look(tokenizer, encode(tokenizer, medium))
    if seen.decoded is None:
        raise MediaError(f"{medium.name} was not decoded.")
    ending = "webp" if medium.kind == "image" else "flac"
    names = [f"{FOLDER}/{number}-{what}.{ending}" for what in ("original", "decoded")]
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for name, media in zip(names, (seen.original, seen.decoded), strict=True):
        if medium.kind == "image":
            picture(media).save(folder / name, quality=90, method=4)
        else:
            _write_sound(folder / name, media, seen.rate_hz)
    return Sample(medium.kind, names[0], names[1], _spent(seen, medium.kind), credit)


def _write_sound(path: Path, samples: Tensor, rate_hz: int) -> None:
    import soundfile

    if rate_hz > 48000:
        samples, rate_hz = resample(samples, rate_hz, 48000), 48000
    soundfile.write(path, samples.clamp(-1, 1).T.numpy(), rate_hz, format="FLAC", subtype="PCM_16")


def _spent(seen: Look, kind: str) -> str:
    if kind == "image":
        rate = f"{seen.bits / (seen.original.shape[1] * seen.original.shape[2]):.3f} bits a pixel"
    else:
        rate = f"{seen.bits / 1000 / (seen.original.shape[1] / seen.rate_hz):.2f} kbit/s"
    return f"{seen.bits:,} bits, {rate}, {quality(seen)}"
