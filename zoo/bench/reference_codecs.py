"""Classical codecs beside tokenizers: JPEG, WebP and AVIF, Opus, Speex and Codec2, at the rates of the tokenizers' rows.

One quality is chosen for the whole set, whose bytes are nearest to those at a row's rate; the row is called "q30" after it, or after
its bit rate. Pictures count with their whole files, sound with its packets without a container. Decoded sound is aligned with the
original, for these codecs have a known look-ahead that players take out.
"""

import functools
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...codecs.files import write_text
from ...codecs.media import Waveform, resample, to_channels
from ...codecs.spec import AudioSpec, ImageSpec
from ..evaluate.alignment import LONGEST_SECONDS, delay_of
from ..evaluate.audio import AudioMetrics
from ..evaluate.images import ImageMetrics
from ..evaluate.report import Report
from ..progress import Bar
from .command_codecs import CODEC2_MODES, Commands, code, codec2, delay_by_spectra, shifted, speex
from .cost import frames_of
from .settings import Settings, corpus_of
from .table import Row
from .worker import read_result, row_of

#: Sample rate in Hz of wideband speech, and of comparisons of tokenizers up to it.
SPEECH_HZ = 16_000


@dataclass(frozen=True)
class Codec:
    """A codec by name, its qualities from the smallest files to the largest, and how one item is encoded and decoded.

    Attributes:
        code: (item, quality) -> (bytes, decoded item), each item as the metrics read it.
        shown: quality -> the setting in the table.
    """

    name: str
    qualities: tuple[int, ...]
    code: Callable[[Any, int], tuple[int, Tensor]]
    shown: Callable[[int], str]


class _Plain:
    """Stands for a tokenizer where metrics ask for its facts: pictures 0..1 of any size, or sound of one rate."""

    def __init__(self, spec: Any) -> None:
        self.spec, self.source, self.family = spec, "classical codecs", "classical"

    def to_uint8(self, x: Tensor) -> Tensor:
        """Pictures in 0..1 as 0..255."""
        return (x * 255).round().clamp(0, 255).to(torch.uint8)


def measured(
    modality: str,
    data: Sequence[str],
    settings: Settings,
    rows: Sequence[Row],
    results: Path,
    *,
    rate_hz: int = SPEECH_HZ,
    films: bool = False,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """One result for each codec, with a row for each rate, in the form of tokenizers' results.

    Args:
        modality, data, settings: of the bench.
        rows: of the tokenizers, whose rates are aimed at.
        results: folder of results, where those of codecs are kept too.
        rate_hz: of sound, see `rate_of`.
        films: as in `Job`; each frame is coded as a picture.
        progress: show a bar on a terminal.
    """
    corpus = corpus_of(data, modality, settings.limit, films=films)
    unit = "kbit/s" if modality == "audio" else "bits a pixel"
    targets = sorted({round(r.values[unit], 4) for r in rows if unit in r.values})
    path = results / "classical-codecs.json"
    key = {"data": corpus.sha256, "targets": targets, "extra": list(settings.extra), "rate_hz": rate_hz}
    found = read_result(path)
    if found is not None and found.get("key") == key:
        return found["results"]
    codecs, notes = _sound_codecs(rate_hz) if modality == "audio" else _picture_codecs()
    measure = metrics(modality, len(corpus.files), settings.extra, rate_hz=rate_hz)
    items = []
    for file in corpus.files:
        try:
            items.append((file, measure.read(file)))
        except Exception:  # decoders may raise any exception; the tokenizers' rows list the file
            continue
    out = []
    with Bar(len(codecs) * len(targets), "classical codecs", show=progress) as bar:
        for codec in codecs:
            own, done = [], set()
            for target in targets:
                quality, coded = _nearest(codec, [x for _, x in items], target * sum(_extent(x) for _, x in items) / 8)
                if quality not in done:
                    own.append(_row(codec, quality, coded, items, measure.anew()))
                done.add(quality)
                bar.step()
            out.append({"name": codec.name, "reference": True, "rate_hz": rate_hz, "notes": notes, "rows": own})
    write_text(path, json.dumps({"key": key, "results": out}, indent=1) + "\n")
    return out


def rate_of(results: Sequence[Mapping[str, Any]]) -> int:
    """The sample rate in Hz at which codecs are compared with tokenizers of these results: the highest of theirs, 16 kHz or more."""
    return max([SPEECH_HZ, *(int(result.get("rate_hz") or 0) for result in results)])


def codecs_of(modality: str, rate_hz: int = SPEECH_HZ) -> list[Codec]:
    """The codecs for "audio" or "image" that can be had here; for sound above 16 kHz, those that keep it."""
    return (_sound_codecs(rate_hz) if modality == "audio" else _picture_codecs())[0]


def metrics(modality: str, items: int = 1, extra: Sequence[str] = (), *, rate_hz: int = SPEECH_HZ) -> Any:
    """Metrics of sound at a rate, or of pictures of any size with values 0..1."""
    if modality == "audio":
        spec = AudioSpec(vocab_sizes=(2,), sample_rate_hz=rate_hz, hop_samples=1)
        return AudioMetrics(_Plain(spec), extra)
    return ImageMetrics(_Plain(ImageSpec(vocab_sizes=(2,), stride=1, value_range=(0.0, 1.0))), items)


def _extent(media: Any) -> float:
    """Pixels, or thousands of bits a second become bits: seconds times 1000."""
    if isinstance(media, Waveform):
        return media.samples.shape[-1] / media.sample_rate_hz * 1000
    return frames_of(media) * math.prod(media.shape[-2:])


def _nearest(codec: Codec, items: Sequence[Any], size: float) -> tuple[int, list[tuple[int, Tensor]]]:
    """The quality whose bytes over all items are nearest to `size`, and the coded items; sizes are taken to grow with quality."""

    @functools.cache
    def coded(place: int) -> list[tuple[int, Tensor]]:
        return [codec.code(x, codec.qualities[place]) for x in items]

    def total(place: int) -> int:
        return sum(n for n, _ in coded(place))

    low, high = 0, len(codec.qualities) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if total(middle) <= size else (low, middle)
    best = min((low, high), key=lambda place: abs(total(place) - size))
    return codec.qualities[best], coded(best)


def _row(codec: Codec, quality: int, coded: Sequence[tuple[int, Tensor]], items: Sequence[Any], metrics: Any) -> dict[str, Any]:
    values: dict[str, list[float]] = {}
    for (_, original), (_, decoded) in zip(items, coded, strict=True):
        for name, value in metrics.add(original, decoded).items():
            values.setdefault(name, []).append(value)
    extent = sum(_extent(x) for _, x in items)
    unit = "kbit/s" if isinstance(metrics, AudioMetrics) else "bits a pixel"
    totals = metrics.totals()
    report = Report(
        model=codec.name,
        data="",
        items=len(items),
        metrics={n: sum(v) / len(v) for n, v in values.items()} | totals,
        measured={n: len(v) for n, v in values.items()},
        tokens={unit: 8 * sum(n for n, _ in coded) / extent},
    )
    return row_of(report, codec.shown(quality))


# --- pictures -----------------------------------------------------------------------------------------------------------


def _picture_codecs() -> tuple[list[Codec], list[str]]:
    from PIL import features

    forms: list[tuple[str, str, Mapping[str, Any]]] = [
        ("JPEG", "JPEG", {"optimize": True, "subsampling": "4:2:0"}),
        ("WebP", "WEBP", {"method": 6}),
        ("AVIF", "AVIF", {"speed": 6, "subsampling": "4:2:0"}),
    ]
    notes = [f"no {name}: Pillow is built without it" for name, *_ in forms[1:] if not features.check(name.lower())]
    have = [form for form in forms if form[0] == "JPEG" or features.check(form[0].lower())]
    found = [Codec(name, tuple(range(1, 96)), functools.partial(_picture, form, options), "q{}".format) for name, form, options in have]
    return found, [*notes, "pictures are coded whole, in their own size; the bytes are those of the files"]


def _picture(form: str, options: Mapping[str, Any], x: Tensor, quality: int) -> tuple[int, Tensor]:
    from PIL import Image

    if x.ndim == 4:
        sizes, frames = zip(*(_picture(form, options, frame, quality) for frame in x), strict=True)
        return sum(sizes), torch.stack(frames)
    file = io.BytesIO()
    Image.fromarray(x.permute(1, 2, 0).numpy()).save(file, form, quality=quality, **options)
    back = np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))
    return len(file.getvalue()), torch.from_numpy(back.copy()).permute(2, 0, 1).float() / 255


# --- sound --------------------------------------------------------------------------------------------------------------


def _sound_codecs(rate_hz: int) -> tuple[list[Codec], list[str]]:
    common = f"sound is compared at {rate_hz / 1000:g} kHz, mono; the bytes are those of the packets, decoded sound is aligned"
    if rate_hz > SPEECH_HZ:
        notes = [common, "no Speex, no Codec2: they are for speech and keep nothing above 8 kHz"]
        return [c for c in [_of_av("Opus", notes, application="audio", vbr="constrained")] if c is not None], notes
    notes = [f"{common}; Codec2 codes it at 8 kHz"]
    found = [c for c in (_of_av("Opus", notes, application="voip"), _of_av("Speex", notes)) if c is not None]
    commands: dict[str, tuple[tuple[int, ...], Callable[[int], Commands], str]] = {}
    commands["Codec2"] = (tuple(CODEC2_MODES), codec2, "{} bit/s")
    if "Speex" not in [c.name for c in found]:
        commands["Speex"] = (tuple(range(11)), functools.partial(speex, wide=True), "quality {}")
    for name, (qualities, made, shown) in commands.items():
        if missing := made(qualities[0]).missing:
            notes.append(f"no {name}: {missing}")
        else:
            notes = [n for n in notes if not n.startswith(f"no {name}:")]
            found.append(Codec(name, qualities, functools.partial(_by_command, made), shown.format))
    return found, notes


def _by_command(made: Callable[[int], Commands], x: Waveform, quality: int) -> tuple[int, Tensor]:
    """Encode with a program of the system; bytes of the packets, and what they decode to, aligned, `[1, T]`."""
    original = to_channels(x.samples, 1)
    size, decoded = code(made(quality), original[0], x.sample_rate_hz)
    delay = delay_by_spectra([(decoded, original[0])], x.sample_rate_hz)
    return size, shifted(decoded[None], delay, original.shape[-1])


#: Of libraries in av: library, rate in Hz, bit rates in kbit/s, options.
_OF_AV: dict[str, tuple[str, int, tuple[int, ...], dict[str, str]]] = {
    "Opus": ("libopus", 48000, (6, 8, 10, 12, 16, 20, 24, 32, 48, 64), {"frame_duration": "20"}),
    "Speex": ("libspeex", 16000, (4, 6, 8, 10, 13, 17, 21, 24, 28, 34, 42), {}),
}


def _of_av(name: str, notes: list[str], **more: str) -> Codec | None:
    """A codec of the package av with `more` options, or None and a note why not."""
    library, rate, kbps, options = _OF_AV[name]
    try:
        import av
    except ImportError:
        notes.append(f"no {name}: the package av is not installed; pip install 'tokenzoo[media]'")
        return None
    try:
        av.CodecContext.create(library, "w")
    except Exception:  # av names its errors differently from version to version
        notes.append(f"no {name}: this build of av has no {library}")
        return None
    return Codec(name, kbps, functools.partial(_sound, library, rate, {**options, **more}), "{} kbit/s".format)


def _sound(library: str, rate: int, options: Mapping[str, str], x: Waveform, kbps: int) -> tuple[int, Tensor]:
    """Encode mono at a bit rate; bytes of the packets, and what they decode to, aligned, `[1, T]` at the clip's rate."""
    import av

    encoder: Any = av.CodecContext.create(library, "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = rate, "mono", "s16", 1000 * kbps
    encoder.options = dict(options)
    encoder.open()
    samples = resample(to_channels(x.samples, 1), x.sample_rate_hz, rate)
    whole = (samples.clamp(-1, 1) * 32767).round().short().numpy()
    step = encoder.frame_size or rate // 50
    whole = np.pad(whole, ((0, 0), (0, -whole.shape[1] % step + step)))  # one frame more flushes the look-ahead
    packets = []
    for start in range(0, whole.shape[1], step):
        frame: Any = av.AudioFrame.from_ndarray(np.ascontiguousarray(whole[:, start : start + step]), "s16", "mono")
        frame.sample_rate, frame.pts = rate, start
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder: Any = av.CodecContext.create(encoder.name, "r")
    decoder.extradata = encoder.extradata
    decoder.sample_rate, decoder.layout = rate, "mono"
    parts = []
    for packet in packets:
        for frame in decoder.decode(packet):
            values = frame.to_ndarray()
            scale = 32768 if values.dtype.kind == "i" else 1
            parts.append(values.reshape(1, -1).astype(np.float32) / scale)
    back = resample(torch.from_numpy(np.concatenate(parts, 1)), rate, x.sample_rate_hz)
    return sum(packet.size for packet in packets), _in_place(back, to_channels(x.samples, 1), x.sample_rate_hz)


def _in_place(y: Tensor, x: Tensor, rate: int) -> Tensor:
    """`y` without its delay behind `x`, cut or filled with zeros to its length."""
    return shifted(y, delay_of(x, y, round(LONGEST_SECONDS * rate)), x.shape[-1])
