"""A few items for the page, each as original and as every tokenizer and classical codec of a bench gives it back.

Files lie in `media/` beside the page: pictures as WebP, clips as animated WebP, sounds as FLAC with a spectrogram; their names are
numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile
import torch
from PIL import Image
from torch import Tensor

from ....codecs.files import replacing
from ....codecs.media import Waveform
from ....codecs.modalities import is_pictures, is_sound
from ....codecs.tokenizer import Tokenizer
from ...demo.coded import log_mel
from ...demo.shapes import picture, spectrogram
from ...evaluate.images import joined, parts_of
from ...evaluate.run import media_files, metrics_of
from ...finding import other_kind
from ...media_out import FRAME_MS
from .. import reference_codecs
from ..cost import MOST_FRAMES, MOST_SECONDS, MOST_SIDE, cut, frames_of
from ..settings import Point
from ..table import number
from .markup import Html, join, tag

#: Quality of stored pictures: no difference to the decoded ones can be seen, and a quarter of the bytes of a PNG.
_QUALITY = 92
_SPECTRUM = (480, 120)
#: Metrics that stand below an item, of those that could be measured.
_SHOWN = ("PSNR dB", "LPIPS (VGG)", "LPIPS-HED", "PESQ-WB", "STOI", "mel distance")


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """One picture or sound: what it is called, what stands below it, the medium; the rate of a sound."""

    name: str
    words: str
    media: Tensor
    rate_hz: int = 0
    original: bool = False


@dataclass(kw_only=True)
class Samples:
    """Items by file, filled one tokenizer after the other.

    Attributes:
        modality: "audio" or "image".
        files: of the items, in order.
        folder: the page's; files go to `media/` in it.
        failed: why something is not shown.
        written: names of the files in `media/`.
    """

    modality: str
    files: Sequence[Path]
    folder: Path
    failed: list[str] = field(default_factory=list)
    written: set[str] = field(default_factory=set)
    _items: list[list[_Shown]] = field(default_factory=list)

    @classmethod
    def of(cls, modality: str, show: Sequence[str | Path], folder: Path) -> "Samples":
        """Items of one modality among the files, folders and patterns in `show`."""
        found = media_files([str(s) for s in show], modality) if show else []
        files = [f for f in found if f.exists() and not other_kind(f, modality, "")]
        return cls(modality=modality, files=files, folder=folder, _items=[[] for _ in files])

    def add(self, name: str, tokenizer: Tokenizer, settings: Sequence[str]) -> None:
        """Encode and decode every item at each setting, as `Point.label` gives it."""
        metrics = metrics_of(tokenizer, 1)
        for place, file in enumerate(self.files):
            try:
                media = cut(metrics.read(file))
                if not self._items[place]:
                    self._items[place].append(_original(media))
                for setting in settings:
                    self._items[place].append(_coded(name, setting, media, tokenizer, metrics))
            except Exception as error:  # decoders may raise any exception; the other items are shown
                self.failed.append(f"{file.name} with {name}: {error or type(error).__name__}")

    def add_codecs(self, results: Sequence[Mapping[str, Any]], target: float) -> None:
        """Classical codecs as the bench ran them, each at the setting whose rate is nearest to `target`."""
        rate_hz = reference_codecs.rate_of(results)
        codecs = {c.name: c for c in reference_codecs.codecs_of(self.modality, rate_hz)}
        unit = "kbit/s" if self.modality == "audio" else "bits a pixel"
        for result in results:
            rows = [r for r in result["rows"] if unit in r.get("figures", {})]
            codec = codecs.get(result["name"])
            if codec is None or not rows:
                continue
            row = min(rows, key=lambda r: abs(r["figures"][unit] - target))
            quality = next(q for q in codec.qualities if codec.shown(q) == row["setting"])
            metrics = reference_codecs.metrics(self.modality, rate_hz=rate_hz)
            for place, file in enumerate(self.files):
                try:
                    media = cut(metrics.read(file))
                    size, decoded = codec.code(media, quality)
                    words = _words(metrics.add(media, decoded), 8 * size, media)
                    shown = decoded if self.modality == "audio" else (decoded * 255).round().clamp(0, 255).to(torch.uint8)
                    rate = media.sample_rate_hz if isinstance(media, Waveform) else 0
                    self._items[place].append(_Shown(name=f"{codec.name} {row['setting']}", words=words, media=shown, rate_hz=rate))
                except Exception as error:  # as above
                    self.failed.append(f"{file.name} with {codec.name}: {error or type(error).__name__}")

    def section(self) -> Html:
        """Write the files, and return the items as figures."""
        parts: list[Html] = []
        for place, (file, shown) in enumerate(zip(self.files, self._items, strict=False)):
            if not shown:
                continue
            figures = [self._figure(place, i, one, shown[0]) for i, one in enumerate(shown)]
            parts += [tag("h4", file.name), tag("div", *figures, class_="items sound" if self.modality == "audio" else "items")]
        if self.failed:
            parts.append(tag("ul", *(tag("li", f"not shown: {line}") for line in self.failed), class_="plain"))
        if parts:
            limit = f"The first {MOST_SECONDS:g} s are shown, stored without loss" if self.modality == "audio" else (
                f"At most {MOST_SIDE} x {MOST_SIDE} pixels and {MOST_FRAMES} frames are shown, stored as WebP of quality {_QUALITY}"
            )  # fmt: skip
            parts.append(tag("p", f"{limit}.", class_="soft"))
        return join(parts)

    def _figure(self, place: int, order: int, one: _Shown, original: _Shown) -> Html:
        stem = f"{self.modality}-{place + 1:02d}-{order:02d}"
        caption = [tag("b", one.name), one.words]
        if self.modality == "audio":
            sound, drawn, (wide, high) = f"{stem}.flac", f"{stem}.webp", _SPECTRUM
            self._write_sound(sound, one.media, one.rate_hz)
            top = float(log_mel(original.media, original.rate_hz).max())
            self._write_pictures(drawn, [spectrogram(log_mel(one.media, one.rate_hz), top, _SPECTRUM)], quality=75)
            words = f"spectrogram of {one.name}"
            drawing = tag("img", src=f"media/{drawn}", alt=words, loading="lazy", width=wide, height=high)
            player = tag("audio", controls=True, preload="none", src=f"media/{sound}", aria_label=one.name)
            return tag("figure", drawing, player, tag("figcaption", *caption), class_="original" if one.original else None)
        file = f"{stem}.webp"
        self._write_pictures(file, [picture(x) for x in one.media.reshape(-1, *one.media.shape[-3:])], quality=_QUALITY)
        if not one.original and one.media.shape == original.media.shape:
            first = f"media/{self.modality}-{place + 1:02d}-00.webp"
            caption.append(tag("div", tag("button", "show the original", type="button", data_original=first, aria_pressed="false")))
        high, wide = one.media.shape[-2:]
        image = tag("img", src=f"media/{file}", alt=one.name, loading="lazy", width=wide, height=high)
        return tag("figure", image, tag("figcaption", *caption), class_="original" if one.original else None)

    def _write_pictures(self, name: str, frames: Sequence[Image.Image], *, quality: int) -> None:
        with replacing(self._path(name)) as file:
            if len(frames) > 1:
                frames[0].save(file, "WEBP", quality=quality, method=6, save_all=True, append_images=frames[1:], duration=FRAME_MS)
            else:
                frames[0].save(file, "WEBP", quality=quality, method=6)

    def _write_sound(self, name: str, samples: Tensor, rate_hz: int) -> None:
        with replacing(self._path(name)) as file:
            soundfile.write(file, samples.clamp(-1, 1).T.numpy(), rate_hz, format="FLAC", subtype="PCM_16")

    def _path(self, name: str) -> Path:
        path = self.folder / "media" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.written.add(name)
        return path


def _original(media: Any) -> _Shown:
    if isinstance(media, Waveform):
        words = f"{media.samples.shape[-1] / media.sample_rate_hz:.1f} s at {media.sample_rate_hz / 1000:g} kHz"
        return _Shown(name="original", words=words, media=media.samples, rate_hz=media.sample_rate_hz, original=True)
    clip = f"{frames_of(media)} frames of " if media.ndim == 4 else ""
    return _Shown(name="original", words=f"{clip}{media.shape[-1]} x {media.shape[-2]} pixels", media=media, original=True)


def _coded(name: str, setting: str, media: Any, tokenizer: Tokenizer, metrics: Any) -> _Shown:
    """An item through a tokenizer at one setting."""
    option, _, value = setting.partition("=")
    options = Point(option, value).options(tokenizer)
    made = [tokenizer.encode(part, options.of_encode)[0] for part in parts_of(tokenizer, media)]
    decoded = joined(tokenizer, media, [tokenizer.decode(tokens, options.of_decode)[0].cpu() for tokens in made])
    words = _words(metrics.add(media, decoded), sum(tokens.bits()[0] for tokens in made), media)
    label = f"{name} {setting}".strip()
    if isinstance(media, Waveform):
        assert is_sound(tokenizer)
        return _Shown(name=label, words=words, media=decoded, rate_hz=tokenizer.spec.decoded_rate_hz)
    assert is_pictures(tokenizer)
    return _Shown(name=label, words=words, media=tokenizer.to_uint8(decoded))


def _words(figures: Mapping[str, float], bits: int, media: Any) -> str:
    """Bits and the metrics of one item."""
    if isinstance(media, Waveform):
        rate = f"{bits / 1000 / (media.samples.shape[-1] / media.sample_rate_hz):.3g} kbit/s"
    else:
        rate = f"{bits / (frames_of(media) * media.shape[-1] * media.shape[-2]):.3g} bits a pixel"
    return ", ".join([f"{bits / 8:,.0f} bytes", rate, *(f"{n} {number(figures[n])}" for n in _SHOWN if n in figures)])
