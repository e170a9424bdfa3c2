"""How many ids change when the same media are encoded another way: in a batch, in pieces, as a stream, in lower precision, compiled,
exported.

    exactness(tokenizer, media)     # {"batch": Change(share=0.0), ..., "stream": Change(reason="does not stream")}

The reference is float32, one item at a time, on the tokenizer's device; a share is that of all ids of all items.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...codecs.devices import pick_device
from ...codecs.kernels.mode import plain
from ...codecs.media import Waveform
from ...codecs.tokenizer import Tokenizer
from ...codecs.tokens import Tokens
from ..evaluate.images import parts_of
from ..evaluate.run import metrics_of
from ..export.errors import NotExportable
from ..tables import counted, table
from .settings import Corpus

#: Positions of a piece or tile, far fewer than the defaults, and samples that a stream is given at once: a number that no hop divides.
PIECE_POSITIONS, PUSHED_SAMPLES = 16, 1009


@dataclass(frozen=True)
class Change:
    """Share of ids that differ, 0..1, and the number compared; or the reason why this way could not be tried."""

    share: float = 0.0
    ids: int = 0
    reason: str = ""


class Both(NamedTuple):
    """Tokens of a way that takes other media than those of the reference, with the tokenizer's own of these media."""

    own: list[Tokens]
    other: list[Tokens]


class NotTried(Exception):
    """This way of encoding does not exist for the tokenizer or the machine; the message says why."""


@torch.no_grad()
def exactness(tokenizer: Tokenizer, media: Sequence[Any]) -> dict[str, Change]:
    """Compare the ids of several ways of encoding with those of float32, one item at a time.

    Args:
        tokenizer: float32, in eval mode; it is left as it is.
        media: items as `encode` takes them.
    """
    reference = [tokenizer.encode(x) for x in media]
    found = {}
    for name, way in WAYS.items():
        try:
            made = way(tokenizer, media)
            found[name] = _change(made.own, made.other) if isinstance(made, Both) else _change(reference, made)
        except NotTried as error:
            found[name] = Change(reason=str(error))
        except Exception as error:  # of compilers, of layers without a half-precision kernel: the other ways are tried
            lines = str(error).strip().splitlines()
            found[name] = Change(reason=f"{type(error).__name__}: {lines[0] if lines else ''}")
    return found


def of_corpus(tokenizer: Tokenizer, corpus: Corpus) -> tuple[dict[str, Change], dict[str, str]]:
    """`exactness` on the files of a set that can be read; and file -> reason of the others."""
    metrics, media, failed = metrics_of(tokenizer, 1), [], {}
    for path in corpus.files:
        try:
            media += parts_of(tokenizer, metrics.read(path))
        except Exception as error:  # decoders may raise any exception
            failed[str(path)] = str(error) or type(error).__name__
    return (exactness(tokenizer, media) if media else {}), failed


def text(name: str, found: Mapping[str, Change], about: str) -> str:
    """The shares as a table for a terminal."""
    rows = [
        [way, f"{100 * c.share:.3g} %" if not c.reason else "", f"{c.ids:,}" if not c.reason else "", c.reason]
        for way, c in found.items()
    ]
    head = f"{name}: ids that differ from those of float32, one item at a time ({about})"
    return f"{head}\n{table(['way', 'differ', 'ids', 'not tried because'], rows, right={1, 2})}"


def as_json(
    name: str, found: Mapping[str, Change], corpus: Corpus, facts: Mapping[str, Any], failed: Mapping[str, str]
) -> dict[str, Any]:
    """The shares with set, device and versions as a mapping for JSON."""
    ways = {way: {"reason": c.reason} if c.reason else {"share": c.share, "ids": c.ids} for way, c in found.items()}
    return {"tokenizer": name, "corpus": corpus.as_json(), **facts, "ways": ways, "failed": dict(failed)}


def about(corpus: Corpus, data: Sequence[str | Path], facts: Mapping[str, Any]) -> str:
    """Set, device and date on one line."""
    places = ", ".join(map(str, data))
    return f"{counted(len(corpus.files), 'item')} of {places}, sha256 {corpus.sha256[:12]}; {facts['device']}, {facts['date']}"


def _change(reference: Sequence[Tokens], other: Sequence[Tokens]) -> Change:
    """Ids that one side lacks count as different."""
    different = whole = 0
    for a, b in zip(reference, other, strict=True):
        x, y = a.ids.cpu(), b.ids.cpu()
        both = tuple(min(m, n) for m, n in zip(x.shape[1:], y.shape[1:], strict=True))
        most = max(x.numel(), y.numel())
        same = int((x[0, : both[0], : both[1]] == y[0, : both[0], : both[1]]).sum())
        different, whole = different + most - same, whole + most
    return Change(different / whole if whole else 0.0, whole)


# --- ways -----------------------------------------------------------------------------------------------------------------


def _one_by_one(tokenizer: Tokenizer, media: Sequence[Any]) -> list[Tokens]:
    return [tokenizer.encode(x) for x in media]


def _batch(tokenizer: Tokenizer, media: Sequence[Any]) -> list[Tokens]:
    """All items at once, twice if there is only one; equal sizes are stacked."""
    made = tokenizer.encode([*media, *media])
    return [made[i] for i in range(len(media))]


def _pieces(tokenizer: Tokenizer, media: Sequence[Any]) -> list[Tokens]:
    context = next((getattr(tokenizer, n) for n in ("context_positions", "context_frames") if hasattr(tokenizer, n)), None)
    if getattr(tokenizer, "piece_positions", None) is None or (context is None and not getattr(tokenizer.spec, "streamable", False)):
        raise NotTried("every position depends on the whole item")
    before: Any = tokenizer.__dict__.get("piece_positions")
    tokenizer.piece_positions = PIECE_POSITIONS
    try:
        return _one_by_one(tokenizer, media)
    finally:
        if before is None:
            del tokenizer.piece_positions  # the class's value is seen again
        else:
            tokenizer.piece_positions = before


def _stream(tokenizer: Tokenizer, media: Sequence[Any]) -> list[Tokens]:
    if not getattr(tokenizer.spec, "streamable", False) or not hasattr(tokenizer, "stream"):
        raise NotTried("does not stream")
    return [_streamed(tokenizer, x) for x in media]


def _streamed(tokenizer: Any, x: Waveform) -> Tokens:
    stream, samples = tokenizer.stream(), x.samples[None]
    made = [stream.push(part) for part in samples.split(PUSHED_SAMPLES, dim=-1)] + [stream.flush()]
    parts: list[Tensor] = [t.ids for t in made if t is not None]
    if not parts:
        raise NotTried("the item is too short for one frame")
    return Tokens(ids=torch.cat(parts, -1), vocab_sizes=tuple(tokenizer.spec.vocab_sizes))


@contextmanager
def _with_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _threads(tokenizer: Tokenizer, media: Sequence[Any]) -> list[Tokens]:
    if tokenizer.device.type != "cpu":
        raise NotTried("not on a CPU")
    with _with_threads(1 if torch.get_num_threads() > 1 else 2):
        return _one_by_one(tokenizer, media)


def _plain(tokenizer: Tokenizer, media: Sequence[Any]) -> list[Tokens]:
    if tokenizer.device.type != "cpu":
        raise NotTried("not on a CPU")
    with plain():
        return _one_by_one(tokenizer, media)


def _in_dtype(dtype: torch.dtype) -> Callable[[Tokenizer, Sequence[Any]], list[Tokens]]:
    return lambda tokenizer, media: _one_by_one(copy.deepcopy(tokenizer).to(dtype), media)


def _compiled(tokenizer: Tokenizer, media: Sequence[Any]) -> list[Tokens]:
    return _one_by_one(copy.deepcopy(tokenizer).compile(), media)


def _other_device(tokenizer: Tokenizer, media: Sequence[Any]) -> list[Tokens]:
    if not torch.cuda.is_available():
        raise NotTried("this machine has no CUDA GPU")
    other = pick_device("cuda" if tokenizer.device.type == "cpu" else "cpu")
    return _one_by_one(copy.deepcopy(tokenizer).to(other), media)


def _exported(tokenizer: Tokenizer, media: Sequence[Any]) -> Both:
    """Through ONNX Runtime, on the CPU; items are first cut to the multiples that the file takes."""
    from ..export.items import NoRuntime, through_onnxruntime

    if tokenizer.device.type != "cpu":
        raise NotTried("not on a CPU")
    try:
        return Both(*through_onnxruntime(tokenizer, media))
    except (NoRuntime, NotExportable) as error:
        raise NotTried(str(error).rstrip(".")) from error


#: Name of a way -> (tokenizer, media) -> tokens of each item.
WAYS: dict[str, Callable[[Tokenizer, Sequence[Any]], list[Tokens] | Both]] = {
    "again": _one_by_one,
    "batch": _batch,
    "pieces or tiles": _pieces,
    "stream": _stream,
    "threads": _threads,
    "PyTorch's kernels": _plain,
    "compiled": _compiled,
    "export": _exported,
    "other device": _other_device,
    "bfloat16": _in_dtype(torch.bfloat16),
    "float16": _in_dtype(torch.float16),
}
