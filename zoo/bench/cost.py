"""What a tokenizer costs to run: parameters, operations, times at batch 1, memory.

Operations are counted with PyTorch's own implementations (`codecs/kernels/mode.py`), so that they are those of the model; times and
memory are those of `encode` and `decode` as a user calls them, reading of files left out.
"""

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ...codecs.kernels.mode import plain
from ...codecs.media import Waveform
from ...codecs.tokenizer import Tokenizer
from ...codecs.weights import is_under
from ..evaluate.audio import read_sound
from ..evaluate.images import parts_of, read_picture
from . import memory

#: Longer sounds, larger pictures and longer clips are cut to this before they are timed.
MOST_SECONDS, MOST_SIDE, MOST_FRAMES = 10.0, 1024, 17
#: The timed calls of one direction end after about this time, once there were two.
MOST_WAIT_SECONDS = 60.0
NOTES = (
    "parameters: those that an optimiser would train; codebooks that are running means are not among them",
    "operations: two for each multiply-add of convolutions, matrix products, attention and LSTMs; not of FFTs and element-wise ones",
)


def parameters(tokenizer: Tokenizer) -> dict[str, float]:
    """Millions of parameters: of all, of what `encode` needs, of what `decode` needs; what both need counts in all three."""
    sizes = {name: p.numel() for name, p in tokenizer.named_parameters()}
    encode = sum(n for name, n in sizes.items() if not is_under(name, tokenizer.decoder_only))
    decode = sum(n for name, n in sizes.items() if not is_under(name, tokenizer.encoder_only))
    return {"parameters": sum(sizes.values()) / 1e6, "encoder parameters": encode / 1e6, "decoder parameters": decode / 1e6}


def sample_of(tokenizer: Tokenizer, files: tuple[Path, ...]) -> tuple[Any, Path]:
    """The first file that can be read, as `encode` takes it, cut to a common size.

    Args:
        tokenizer: of sound or pictures.
        files: of the set.

    Raises:
        ValueError: none can be read.
    """
    for path in files:
        try:
            media = read_sound(path, tokenizer.spec) if tokenizer.spec.modality == "audio" else read_picture(path, tokenizer)
        except Exception:  # decoders may raise any exception; the pass over the set lists the file
            continue
        return cut(parts_of(tokenizer, media)[0]), path
    raise ValueError(f"none of the {len(files)} files could be read.")


def cut(media: Any) -> Any:
    """The beginning of a sound or a clip, and the upper left part of pictures: at most `MOST_SECONDS`, `MOST_FRAMES`, `MOST_SIDE`."""
    if isinstance(media, Waveform):
        return Waveform(media.samples[..., : round(MOST_SECONDS * media.sample_rate_hz)], media.sample_rate_hz)
    return (media[:MOST_FRAMES] if media.ndim == 4 else media)[..., :MOST_SIDE, :MOST_SIDE]


def extent_of(media: Any) -> float:
    """Seconds of sound, or megapixels of a picture or of all frames of a clip."""
    if isinstance(media, Waveform):
        return media.samples.shape[-1] / media.sample_rate_hz
    return frames_of(media) * math.prod(media.shape[-2:]) / 1e6


def frames_of(media: Any) -> int:
    """Number of frames of a clip `[T, 3, H, W]`; 1 for a picture."""
    return len(media) if media.ndim == 4 else 1


@torch.no_grad()
def cost_of(tokenizer: Tokenizer, media: Any, *, rounds: int = 5, baseline: int = 0) -> dict[str, float]:
    """Measure one tokenizer on one item.

    Args:
        tokenizer: in eval mode.
        media: as `sample_of` returned it.
        rounds: timed calls of each direction; the median counts.
        baseline: resident memory in bytes before the tokenizer was loaded; 0: peak memory is left out on a CPU.

    Returns:
        Name -> value; `COST` in `columns.py` has their units.
    """
    sound, extent = isinstance(media, Waveform), extent_of(media)
    unit = "second" if sound else "megapixel"
    out = parameters(tokenizer)
    decodes = tokenizer.spec.decodes
    if tokenizer.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(tokenizer.device)
    with memory.watched() as peak:
        tokens = tokenizer.encode(media)
        out["encode s"] = _median(lambda: tokenizer.encode(media), tokenizer.device, rounds)
        if decodes:
            tokenizer.decode(tokens)  # the first call also compiles and allocates
            out["decode s"] = _median(lambda: tokenizer.decode(tokens), tokenizer.device, rounds)
    out |= _peak_memory(tokenizer.device, peak.bytes, baseline)
    for name in ("encode", "decode") if decodes else ("encode",):
        speed = (extent if sound else frames_of(media)) / out[f"{name} s"]
        out[f"{name} x real time" if sound else f"{name} pictures/s"] = speed
    out[f"encode GFLOPs a {unit}"] = operations(lambda: tokenizer.encode(media)) / extent / 1e9
    if decodes:
        out[f"decode GFLOPs a {unit}"] = operations(lambda: tokenizer.decode(tokens)) / extent / 1e9
    return out


def operations(call: Callable[[], Any]) -> int:
    """Floating-point operations of a call, two for a multiply-add."""
    counter = FlopCounterMode(display=False, custom_mapping=_OWN)
    with plain(), counter:
        call()
    return counter.get_total_flops()


def _lstm(x: tuple[int, ...], w_in: tuple[int, ...], w_hidden: tuple[int, ...], *_: Any, **__: Any) -> int:
    """`[T, B, I]` through one layer and direction of an LSTM with weights `[4H, I]`, `[4H, H]`."""
    return 2 * math.prod(x[:-1]) * (math.prod(w_in) + math.prod(w_hidden))


def _attention(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], *_: Any, **__: Any) -> int:
    """Scores and weighted sum of `[B, heads, L, D]`."""
    return 2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


#: Operators that `FlopCounterMode` does not know.
_OWN: dict[Any, Any] = {
    torch.ops.aten.mkldnn_rnn_layer: _lstm,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
}


def _median(call: Callable[[], Any], device: torch.device, rounds: int) -> float:
    """Median time of a call in seconds, after one that does not count."""
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < rounds and (len(times) < 2 or time.perf_counter() - begin < MOST_WAIT_SECONDS):
        _wait(device)
        start = time.perf_counter()
        call()
        _wait(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _peak_memory(device: torch.device, most: int, baseline: int) -> dict[str, float]:
    """Peak memory in MiB, weights included: of a GPU what PyTorch allocated, of a CPU what the process grew by since `baseline`."""
    if device.type == "cuda":
        return {"peak MiB": torch.cuda.max_memory_allocated(device) / 2**20}
    if not baseline or not most:
        return {}
    return {"peak MiB": max(0, most - baseline) / 2**20}
