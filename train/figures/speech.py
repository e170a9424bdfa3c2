"""Figures of speech at 16 kHz mono: PESQ-WB (ITU-T P.862.2, package `pesq`) and STOI (Taal et al. 2011, package `pystoi`)."""

import importlib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.media import resample
from ...codecs.spec import AudioSpec, TokenizerSpec
from .base import Figure, FigureConfig, MeanFigure, Unfit

#: Sample rate at which speech is judged.
RATE_HZ = 16000


def pesq_wb(x: Tensor, y: Tensor) -> float:
    """PESQ-WB, about 1 to 4.64, of a recording `x` and its reconstruction `y`, `[T]` at 16 kHz.

    Raises:
        Unfit: shorter than a quarter of a second, silent, or no speech was found.
        ImportError: the package pesq is not installed.
    """
    pesq = importlib.import_module("pesq")
    _check_loud(x)
    try:
        return float(pesq.pesq(RATE_HZ, x.numpy(), y.numpy(), "wb"))
    except (pesq.PesqError, ValueError, ZeroDivisionError) as error:
        # "buffer needs to be at least 1/4 of a second", "no utterances detected"
        raise Unfit("too short" if x.shape[-1] < RATE_HZ // 4 else f"unfit ({_words(error)})") from error


def stoi(x: Tensor, y: Tensor, *, extended: bool = False) -> float:
    """STOI, at most 1, of a recording `x` and its reconstruction `y`, `[T]` at 16 kHz; `extended`: ESTOI (Jensen and Taal 2016).

    Raises:
        Unfit: silent, fewer samples than one of its frames, or too few that are not silent.
        ImportError: the package pystoi is not installed.
    """
    pystoi = importlib.import_module("pystoi")
    _check_loud(x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = float(pystoi.stoi(x.numpy(), y.numpy(), RATE_HZ, extended=extended))
        except (ValueError, IndexError, ZeroDivisionError) as error:  # fewer samples than one of its frames
            raise Unfit("too short") from error
    if any("Not enough" in str(w.message) for w in caught) or not math.isfinite(value):
        raise Unfit("too short, or silent for too long,")
    return value


@dataclass(frozen=True, kw_only=True)
class PesqConfig(FigureConfig):
    """Mean PESQ-WB of the crops, at 16 kHz; crops shorter than a quarter of a second, or silent, are left out."""

    kind: ClassVar[str] = "pesq"
    higher: ClassVar[bool] = True

    def build(self, spec: TokenizerSpec) -> Figure:
        return _speech(self.kind, "pesq", pesq_wb, spec)


@dataclass(frozen=True, kw_only=True)
class StoiConfig(FigureConfig):
    """Mean STOI of the crops, at 16 kHz; crops of fewer than 30 frames that are not silent (.4 s) are left out."""

    kind: ClassVar[str] = "stoi"
    higher: ClassVar[bool] = True

    def build(self, spec: TokenizerSpec) -> Figure:
        return _speech(self.kind, "pystoi", stoi, spec)


def _speech(kind: str, package: str, judge: Callable[[Tensor, Tensor], float], spec: TokenizerSpec) -> Figure:
    if not isinstance(spec, AudioSpec):
        raise ConfigError(f"the figure {kind!r} judges sound; this tokenizer is of the modality {spec.modality!r}.")
    _installed(kind, package)
    rate = spec.decoded_rate_hz

    def judged(x: Tensor, y: Tensor) -> float:
        a, b = (resample(v.float().cpu(), rate, RATE_HZ).mean(0) for v in (x, y))
        return judge(a, b)

    return MeanFigure(judged)


def _installed(kind: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"the figure {kind!r} needs the package {package}: pip install 'tokenzoo[eval]'.") from error


def _check_loud(x: Tensor) -> None:
    if not x.any():
        raise Unfit("silent")


def _words(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) or type(error).__name__
