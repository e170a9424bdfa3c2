"""Speech codecs that are programs of the system, not libraries of Python: Codec2, Speex and opus-tools.

    apt-get install codec2 speex opus-tools

Bytes count packets, not the Ogg pages around them: on clips of three seconds those would double the rate.
"""

import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor
from torchaudio.transforms import MelSpectrogram

from ...codecs.media import resample

#: A program and the Debian package that holds it.
PACKAGES = {"opusenc": "opus-tools", "c2enc": "codec2", "speexenc": "speex"}
#: Bits a second of Codec2 -> the name of its mode.
CODEC2_MODES = {700: "700C", 1200: "1200", 1300: "1300", 1400: "1400", 1600: "1600", 2400: "2400", 3200: "3200"}


@dataclass(frozen=True)
class Commands:
    """A codec as two commands; `{0}` is the input and `{1}` the output.

    Attributes:
        rate_hz: what it encodes, in mono and 16 bits.
        coded: suffix of the coded file; ".bit" holds nothing but packets, others are Ogg.
        plain: suffix of the samples: .wav, or .raw for headerless ones.
    """

    encode: str
    decode: str
    rate_hz: int
    coded: str
    plain: str

    @property
    def missing(self) -> str:
        """What to say where the program is not installed; "" where it is."""
        tool = self.encode.split()[0]
        return "" if shutil.which(tool) else f"{tool} was not found: apt-get install {PACKAGES[tool]}"


def codec2(bits_per_second: int) -> Commands:
    """Codec2 at one of `CODEC2_MODES`."""
    mode = CODEC2_MODES[bits_per_second]
    return Commands(f"c2enc {mode} {{0}} {{1}}", f"c2dec {mode} {{0}} {{1}}", 8_000, ".bit", ".raw")


def speex(quality: int, *, wide: bool) -> Commands:
    """Speex at a quality from 0 to 10, of 16 kHz (wide) or 8 kHz."""
    rate_hz, band = (16_000, "-w") if wide else (8_000, "-n")
    return Commands(f"speexenc {band} --quality {quality} {{0}} {{1}}", "speexdec {0} {1}", rate_hz, ".spx", ".wav")


def opus(kbps: int) -> Commands:
    """Opus for speech at a bit rate, in frames of 20 ms."""
    options = f"--quiet --speech --bitrate {kbps} --framesize 20 --padding 0"
    return Commands(f"opusenc {options} {{0}} {{1}}", "opusdec --quiet --rate 16000 {0} {1}", 16_000, ".opus", ".wav")


def code(commands: Commands, samples: Tensor, rate_hz: int) -> tuple[int, Tensor]:
    """Encode and decode mono samples `[T]` of `rate_hz`.

    Returns:
        Bytes of the packets; the decoded samples at `rate_hz`, with the codec's delay and of its own length.

    Raises:
        RuntimeError: the program is missing, or failed.
    """
    if commands.missing:
        raise RuntimeError(commands.missing)
    lower = resample(samples[None], rate_hz, commands.rate_hz)[0].numpy().clip(-1, 1)
    raw: dict[str, Any] = {"format": "RAW", "subtype": "PCM_16", "endian": "LITTLE"} if commands.plain == ".raw" else {}
    with tempfile.TemporaryDirectory() as folder:
        source, coded, result = (Path(folder, n) for n in (f"in{commands.plain}", f"x{commands.coded}", f"out{commands.plain}"))
        soundfile.write(source, lower, commands.rate_hz, **(raw or {"subtype": "PCM_16"}))
        for command, one, two in ((commands.encode, source, coded), (commands.decode, coded, result)):
            done = subprocess.run(command.format(one, two).split(), check=False, capture_output=True)
            if done.returncode:
                raise RuntimeError(f"{command.split()[0]} failed: {done.stderr.decode(errors='replace').strip()[-300:]}")
        back: dict[str, Any] = {**raw, "samplerate": commands.rate_hz, "channels": 1} if raw else {}
        decoded, decoded_hz = soundfile.read(result, dtype="float32", **back)
        data = coded.read_bytes()
    size = len(data) if commands.coded == ".bit" else ogg_payload_bytes(data)
    return size, resample(torch.from_numpy(decoded)[None], decoded_hz, rate_hz)[0]


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


def delay_by_spectra(pairs: list[tuple[Tensor, Tensor]], rate_hz: int, *, most_ms: int = 60) -> int:
    """Samples by which decoded clips come late: the shift, in steps of 1 ms, at which mel spectra match best over all.

    Spectra are compared and not waveforms: vocoders do not keep the phase.

    Args:
        pairs: (decoded `[T]`, original `[T]`); pairs too short to be shifted by `most_ms` do not count.
        rate_hz: of all of them.
        most_ms: the largest shift in either direction.
    """
    step = rate_hz // 1000
    mel = MelSpectrogram(sample_rate=rate_hz, n_fft=20 * step, hop_length=step, n_mels=24, f_max=3800)
    shifts = range(-most_ms, most_ms + 1)
    scores = np.zeros(len(shifts))
    for pair in pairs:
        one, two = (torch.log(mel(x) + 1e-4) for x in pair)  # [24, T / step] each
        length = min(one.shape[1], two.shape[1])
        if length <= 2 * most_ms:
            continue
        middle = two[:, most_ms : length - most_ms]
        centred = middle - middle.mean(dim=1, keepdim=True)
        for number, shift in enumerate(shifts):
            moved = one[:, most_ms + shift : length - most_ms + shift]
            moved = moved - moved.mean(dim=1, keepdim=True)
            scores[number] += float((moved * centred).sum() / (moved.norm() * centred.norm()).clamp_min(1e-12))
    return shifts[int(np.argmax(scores))] * step if scores.any() else 0


def shifted(decoded: Tensor, delay: int, length: int) -> Tensor:
    """`decoded`, `[..., T]`, earlier by `delay` samples, cut or filled with zeros to `length`."""
    moved = decoded[..., delay:] if delay >= 0 else torch.nn.functional.pad(decoded, (-delay, 0))
    return torch.nn.functional.pad(moved, (0, max(0, length - moved.shape[-1])))[..., :length]
