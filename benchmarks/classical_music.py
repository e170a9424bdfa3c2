"""Opus at several bit rates on the test list of the music corpus, at 24 kHz, by the metrics of `tokenzoo eval`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokenzoo.zoo.bench.reference_codecs import codecs_of, metrics

RATE_HZ = 24_000
KBPS = (6, 8, 12, 16, 24)
SHOWN = ("mel distance", "STFT distance", "SI-SDR dB")


def run(clips: list[Path]) -> Iterator[list[dict[str, object]]]:
    """One row a bit rate: bits of the packets a second, and means of `SHOWN` over clips. Yields the rows so far after each.

    Raises:
        RuntimeError: the package av has no Opus.
    """
    codecs = codecs_of("audio", RATE_HZ)
    if not codecs:
        raise RuntimeError("the package av is not installed, or has no libopus: pip install 'tokenzoo[media]'")
    rows: list[dict[str, object]] = []
    for kbps in KBPS:
        measure, size, seconds = metrics("audio", rate_hz=RATE_HZ), 0, 0.0
        values: dict[str, list[float]] = {}
        for clip in clips:
            media = measure.read(clip)
            taken, decoded = codecs[0].code(media, kbps)
            size, seconds = size + taken, seconds + media.samples.shape[-1] / RATE_HZ
            for name, value in measure.add(media, decoded).items():
                values.setdefault(name, []).append(value)
        means = {name: round(sum(values[name]) / len(values[name]), 4) for name in SHOWN if name in values}
        rows.append({"codec": f"opus-{kbps}k", "kbps": round(8 * size / seconds / 1000, 2), **means, "clips": len(clips)})
        yield rows
