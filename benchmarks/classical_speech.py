"""Opus, Codec2 and Speex at the bit rates of a speech tokenizer, measured on the fixed list of test clips.

The command-line tools of the Debian packages opus-tools, codec2 and speex do the work. Bit rates count packets, not
the Ogg pages around them (on clips of three seconds those would double the rate). A codec's delay is removed before
the comparison: the shift at which the mel spectra of all clips match best.

Letters: T samples, at 16 kHz.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torchaudio.functional import resample
from torchaudio.transforms import MelSpectrogram

RATE_HZ = 16_000
PACKAGES = {"opusenc": "opus-tools", "c2enc": "codec2", "speexenc": "speex"}
_MEL = dict(sample_rate=RATE_HZ, n_fft=1024, hop_length=256, n_mels=80, power=1.0)


@dataclass(frozen=True)
class Codec:
    """A codec as two commands; `{0}` is the input and `{1}` the output. `rate_hz` is what it encodes."""

    name: str
    encode: str
    decode: str
    rate_hz: int
    coded: str  # suffix of the coded file
    plain: str  # suffix of the samples: .wav, or .raw for headerless 16-bit


def _opus(kbps: int) -> Codec:
    options = f"--quiet --speech --bitrate {kbps} --framesize 20 --padding 0"
    decode = "opusdec --quiet --rate 16000 {0} {1}"
    return Codec(f"opus-{kbps}k", f"opusenc {options} {{0}} {{1}}", decode, 16_000, ".opus", ".wav")


CODECS = (
    _opus(6), _opus(8), _opus(12),
    Codec("codec2-3200", "c2enc 3200 {0} {1}", "c2dec 3200 {0} {1}", 8_000, ".bit", ".raw"),
    Codec("speex-nb-4k", "speexenc -n --quality 1 {0} {1}", "speexdec {0} {1}", 8_000, ".spx", ".wav"),
    Codec("speex-wb-4k", "speexenc -w --quality 0 {0} {1}", "speexdec {0} {1}", 16_000, ".spx", ".wav"),
)  # fmt: skip


def ogg_payload_bytes(data: bytes) -> int:
    """Bytes of the audio packets of an Ogg stream: the page bodies but for the pages of headers (position 0)."""
    offset = total = 0
    while offset + 27 <= len(data):
        if data[offset : offset + 4] != b"OggS":
            raise ValueError(f"no Ogg page at byte {offset}")
        position, segments = struct.unpack_from("<q", data, offset + 6)[0], data[offset + 26]
        body = sum(data[offset + 27 : offset + 27 + segments])
        total += body if position else 0
        offset += 27 + segments + body
    return total


def code(codec: Codec, samples: np.ndarray, folder: Path) -> tuple[np.ndarray, int]:
    """Encode and decode float samples [T]; the result at 16 kHz (its own length) and the packets' bytes."""
    source, coded, result = folder / f"in{codec.plain}", folder / f"x{codec.coded}", folder / f"out{codec.plain}"
    lower = resample(torch.from_numpy(samples), RATE_HZ, codec.rate_hz).numpy().clip(-1, 1)
    raw = dict(format="RAW", subtype="PCM_16", endian="LITTLE") if codec.plain == ".raw" else {}
    soundfile.write(source, lower, codec.rate_hz, **(raw or {"subtype": "PCM_16"}))
    for command, one, two in ((codec.encode, source, coded), (codec.decode, coded, result)):
        subprocess.run(command.format(one, two).split(), check=True, capture_output=True)
    back = dict(raw, samplerate=codec.rate_hz, channels=1) if raw else {}
    decoded, rate_hz = soundfile.read(result, dtype="float32", **back)
    data = coded.read_bytes()
    size = len(data) if raw else ogg_payload_bytes(data)
    return resample(torch.from_numpy(decoded), rate_hz, RATE_HZ).numpy(), size


def codec_delay(pairs: list[tuple[np.ndarray, np.ndarray]], *, most_ms: int = 60) -> int:
    """Samples by which decoded clips come late: the shift, in steps of 1 ms, at which mel spectra match best over all.

    `pairs` holds (decoded [T], original [T]). Spectra are compared and not waveforms: vocoders do not keep the phase.
    """
    step = RATE_HZ // 1000
    mel = MelSpectrogram(sample_rate=RATE_HZ, n_fft=320, hop_length=step, n_mels=24, f_max=3800)
    shifts = range(-most_ms, most_ms + 1)
    scores = np.zeros(len(shifts))
    for pair in pairs:
        one, two = (torch.log(mel(torch.from_numpy(x)) + 1e-4) for x in pair)  # [24, T / 16] each
        length = min(one.shape[1], two.shape[1])
        middle = two[:, most_ms : length - most_ms]
        centred = middle - middle.mean(dim=1, keepdim=True)
        for number, shift in enumerate(shifts):
            moved = one[:, most_ms + shift : length - most_ms + shift]
            moved = moved - moved.mean(dim=1, keepdim=True)
            scores[number] += float((moved * centred).sum() / (moved.norm() * centred.norm()))
    return shifts[int(np.argmax(scores))] * step


def shift_to(decoded: np.ndarray, delay: int, length: int) -> np.ndarray:
    """`decoded` earlier by `delay` samples, cut or filled with zeros to `length`."""
    moved = decoded[delay:] if delay >= 0 else np.concatenate([np.zeros(-delay, np.float32), decoded])
    return np.pad(moved[:length], (0, max(0, length - len(moved))))


def mel_distance(decoded: np.ndarray, original: np.ndarray) -> float:
    """Mean absolute difference of natural-log mel spectra (80 bands, magnitudes from 1e-5)."""
    mel = MelSpectrogram(**_MEL)
    one, two = (torch.log(mel(torch.from_numpy(x)).clamp_min(1e-5)) for x in (decoded, original))
    return float((one - two).abs().mean())


def run(clips: list[Path]) -> Iterator[list[dict[str, object]]]:
    """One row a codec: bit rate, PESQ-WB, STOI, ESTOI, mel distance, delay. Yields the rows so far after each codec.

    Raises:
        RuntimeError: a command-line tool is missing.
    """
    for tool, package in PACKAGES.items():
        if shutil.which(tool) is None:
            raise RuntimeError(f"{tool} was not found: apt-get install {package}")
    originals = [soundfile.read(path, dtype="float32")[0] for path in clips]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for codec in CODECS:
            coded = [code(codec, samples, Path(folder)) for samples in originals]
            delay = codec_delay([(x, y) for (x, _), y in zip(coded, originals, strict=True)])
            results = [_score(shift_to(x, delay, len(y)), y) for (x, _), y in zip(coded, originals, strict=True)]
            seconds = sum(map(len, originals)) / RATE_HZ
            rows.append(_row(codec, sum(size for _, size in coded) * 8 / seconds / 1000, delay, np.array(results)))
            yield rows


def _score(decoded: np.ndarray, original: np.ndarray) -> tuple[float, float, float, float]:
    from pesq import PesqError, pesq
    from pystoi import stoi

    try:
        quality = pesq(RATE_HZ, original, decoded, "wb")
    except PesqError:
        quality = float("nan")
    plain, extended = (stoi(original, decoded, RATE_HZ, extended=flag) for flag in (False, True))
    return quality, plain, extended, mel_distance(decoded, original)


def _row(codec: Codec, kbps: float, delay: int, values: np.ndarray) -> dict[str, object]:
    mean = np.nanmean(values, axis=0)
    return {
        "codec": codec.name,
        "kbps": round(kbps, 2),
        "pesq_wb": round(float(mean[0]), 3),
        "stoi": round(float(mean[1]), 4),
        "estoi": round(float(mean[2]), 4),
        "mel_l1": round(float(mean[3]), 4),
        "delay_ms": delay / RATE_HZ * 1000,
        "clips": len(values),
        "pesq_failed": int(np.isnan(values[:, 0]).sum()),
    }
