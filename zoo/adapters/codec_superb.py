"""A tokenizer of sound as a codec of Codec-SUPERB (github.com/voidful/Codec-SUPERB, `SoundCodec/base_codec/general.py`, cfccafc).

Its harness imports `SoundCodec.codec.NAME` and calls `Codec()`. So a file `SoundCodec/codec/mine.py` of two lines is enough:

    from tokenzoo.zoo.adapters.codec_superb import codec_class
    Codec = codec_class("speech-16khz-4kbps")
"""

import copy
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ...codecs.audio.base import AudioTokenizer
from ...codecs.config import ConfigError
from ...codecs.modalities import is_sound
from ...codecs.tokenizer import Tokenizer
from ...codecs.tokens import Tokens
from ..hub import load


@dataclass
class ExtractedUnit:
    """As theirs, for where their package is not installed.

    Attributes:
        unit: ids `[K, L]`.
        stuff_for_synth: what `decode_unit` takes.
    """

    unit: Tensor
    stuff_for_synth: Any


@dataclass
class BatchExtractedUnit:
    """As theirs: units and what decodes them, one of each for every item."""

    units: list[Tensor]
    stuff_for_synth: list[Any]
    batch_size: int


def codec_class(name: str | Tokenizer, *, codebooks: int | None = None, setting: str = "", **options: Any) -> type:
    """A class that Codec-SUPERB can make a codec of, without arguments.

    It inherits their `BaseCodec` where `SoundCodec` can be imported, and so its `synth`, which resamples to the tokenizer's rate and
    back and writes files; the computing is here.

    Args:
        name: as `tokenzoo.load` takes it, or a loaded tokenizer of sound.
        codebooks: encode with the first of them only; None: all.
        setting: name in their tables; "": that of the tokenizer.
        options: of `tokenzoo.load`, such as `device`.
    """
    base, units = _theirs()

    class Codec(_Codec, base):
        def config(self) -> None:
            """Load the tokenizer; their constructor calls this."""
            device: dict[str, Any] = {"device": getattr(self, "device", "cpu")} | options
            tokenizer = name if isinstance(name, Tokenizer) else load(name, **device)
            if not is_sound(tokenizer):
                raise ConfigError(f"{name} takes {tokenizer.spec.modality}s; Codec-SUPERB compares codecs of sound.")
            self.tokenizer, spec = tokenizer, tokenizer.spec
            self.sampling_rate = spec.sample_rate_hz
            self.setting = setting or str(name if isinstance(name, str) else self.tokenizer.source or self.tokenizer.family)
            self.supports_decode = spec.decodes
            self.codebooks, self.units = codebooks, units

    return Codec


class _Codec:
    """What all codecs share: their methods on our tokenizer."""

    tokenizer: AudioTokenizer
    sampling_rate: int
    codebooks: int | None
    units: Any

    def extract_unit(self, data: dict[str, Any]) -> Any:
        """Ids of one item `{"audio": {"array": [T], "sampling_rate": Hz}}`; without a rate it is the tokenizer's.

        In place of the array there may be a path, as `{"audio": {"path": ...}}` or `{"audio": ...}`.
        """
        return self._unit(self._encode([data]))

    def decode_unit(self, stuff_for_synth: Tokens) -> np.ndarray:
        """The waveform `[T]`, or `[C, T]` of a codec with several channels, at the tokenizer's rate."""
        return self._waves(stuff_for_synth)[0]

    def batch_extract_unit(self, data_list: Sequence[dict[str, Any]]) -> Any:
        """Ids of several items; they go through the network together where their lengths allow it, and are those of `extract_unit`."""
        tokens = self._encode(data_list)
        own = [self._unit(tokens[i]) for i in range(len(tokens))]
        return self.units[1]([u.unit for u in own], [u.stuff_for_synth for u in own], len(own))

    def batch_decode_unit(self, batch_extracted_unit: Any) -> list[np.ndarray]:
        """Waveforms of several items."""
        return self._waves(Tokens.cat(batch_extracted_unit.stuff_for_synth))

    def synth(self, data: dict[str, Any], local_save: bool = True) -> dict[str, Any]:
        """Encode and decode one item: theirs where it is installed; else the item with its `unit` and the decoded `audio`.

        Raises:
            ModuleNotFoundError: files are to be written, and their package is not installed.
        """
        if theirs := getattr(super(), "synth", None):
            return theirs(data, local_save=local_save)
        if local_save:
            why = "synth with local_save=True writes files with SoundCodec; install Codec-SUPERB."
            raise ModuleNotFoundError(why, name="SoundCodec")
        unit = self.extract_unit(data)
        wave = self.decode_unit(unit.stuff_for_synth) if self.tokenizer.spec.decodes else None
        return copy.copy(data) | {"unit": unit.unit, "audio": {"array": wave, "sampling_rate": self.sampling_rate}}

    def _encode(self, items: Sequence[dict[str, Any]]) -> Tokens:
        media = []
        for item in items:
            audio = item["audio"]
            if isinstance(audio, str) or audio.get("array") is None:
                media.append(audio if isinstance(audio, str) else audio["path"])
            else:
                wave = np.asarray(audio["array"], dtype=np.float32)
                media.append((wave, int(audio.get("sampling_rate") or self.sampling_rate)))
        options = {} if self.codebooks is None else {"num_codebooks": self.codebooks}
        return self.tokenizer.encode(media, **options)

    def _unit(self, tokens: Tokens) -> Any:
        return self.units[0](tokens.ids[0].cpu(), tokens)

    def _waves(self, tokens: Tokens) -> list[np.ndarray]:
        """Waveforms at the tokenizer's input rate, which is what their `sampling_rate` says."""
        from ...codecs.media import resample

        rate = self.tokenizer.spec.decoded_rate_hz
        waves = self.tokenizer.decode(tokens, original=False)
        out = [resample(wave.cpu(), rate, self.sampling_rate).numpy() for wave in waves]
        return [wave[0] if wave.shape[0] == 1 else wave for wave in out]


def _theirs() -> tuple[type, tuple[type, type]]:
    """Their base class and two result classes; where the package is not installed, `object` and ours."""
    try:
        general = importlib.import_module("SoundCodec.base_codec.general")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("SoundCodec"):
            raise
        return _Alone, (ExtractedUnit, BatchExtractedUnit)
    return general.BaseCodec, (general.ExtractedUnit, general.BatchExtractedUnit)


class _Alone:
    """In place of their base class: calls `config` as theirs does."""

    def __init__(self) -> None:
        self.config()

    def config(self) -> None:
        """Load the tokenizer; each codec has its own."""
        raise NotImplementedError
