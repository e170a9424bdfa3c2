"""`verify` a folder of shards against its manifest, and its `stats`: what the tokens cost and hold."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...codecs.position_statistics import PositionCounts
from ...codecs.spec import id_bits
from ..readmes import README
from ..tables import counted, facts_table
from .dataset import TokenDataset
from .files import CorpusError, map_arrow, read_unsealed
from .formats.parquet import cached, unpacked
from .language.sources import item_of
from .ledger import MANIFEST
from .manifest import PACKING, check_file, default_cache, open_shards, read_manifest
from .packing.bpe import BpePacking
from .plain import Choice


def verify(folder: str | Path, *, cache: str | Path | None = None) -> list[str]:
    """Check every file against the manifest: there, of its size and checksum, with its number of items; and nothing else but a card.

    The manifest itself, `packing.json` and unpacked Parquet files in `cache` (None: the user's) are checked too.

    Returns:
        one line for each thing that is wrong; empty: all is well.

    Raises:
        CorpusError: no finished corpus.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, altered=True)
    wrong = [] if read_unsealed(folder / MANIFEST)[1] else [f"{MANIFEST} was altered: its checksum does not match"]
    packing = {PACKING: manifest["packing_file"]} if manifest.get("packing_file") else {}
    wrong += _check(folder, packing).values()
    cache = default_cache() if cache is None else Path(cache)
    for shard in manifest["shards"]:
        found = _check(folder, shard["files"])
        good = {name: facts for name, facts in shard["files"].items() if name not in found}
        problems = [*found.values(), *_check_cache(folder, good, cache)]
        if not problems:
            try:
                open_shards(folder, {**manifest, "shards": [shard]}, cache, check=False)  # the bytes are known to be right
            except CorpusError as error:
                problems = [str(error).removeprefix(f"{folder}: ").rstrip(".")]
        wrong += problems
    known = {MANIFEST, README} | packing.keys() | {n for s in manifest["shards"] for n in s["files"]}
    extra = sorted(p.name for p in folder.iterdir() if p.name not in known and not p.name.startswith("."))
    wrong += [f"{name} is not in the manifest" for name in extra]
    totals, items = manifest["totals"], manifest["source"]["items"]
    if totals["items"] + totals["failed"] != items:
        wrong.append(f"{totals['items']} items and {totals['failed']} failures do not make the {items} of the source")
    return wrong


def _check(folder: Path, files: dict[str, Any]) -> dict[str, str]:
    """What is wrong with each file that is not as the manifest says."""
    return {name: problem for name, facts in files.items() if (problem := check_file(folder, name, facts))}


def _check_cache(folder: Path, files: dict[str, Any], cache: Path) -> Iterator[str]:
    """What is wrong with the Arrow files that were made from these Parquet files, which are whole: bytes and contents."""
    for name, facts in files.items():
        path = cached(facts["sha256"], cache)
        if not name.endswith(".parquet") or not path.exists():
            continue
        try:
            if not map_arrow(path).equals(unpacked(folder / name)):
                yield f"{path} holds other rows than {name}; delete it"
        except CorpusError as error:
            yield f"{error} It was made from {name}; delete it"


@dataclass(frozen=True)
class Stats:
    """Token economics of a corpus.

    Attributes:
        items, failed: items with tokens, and without.
        positions, tokens: token positions, and ids over all codebooks.
        bits: ceil(log2 V) for each id.
        entropy_bits: of each codebook, the unigram entropy of its ids: no model without context codes them in less.
        position_entropy_bits: of each codebook, the mean over positions of the entropy of the ids at that position, over items.
        position_ids: of each codebook, the mean over positions of the number of different ids at that position.
        usage: of each codebook, the share of its V ids that occur.
        extent: seconds of sound, or pixels.
        disk_bytes, source_bytes: of the shards, and of the media they were made from.
        lengths: positions of the shortest, the median and the longest item.
        steps: of all items packed, begin and end tokens included: before frequent pairs are merged (`packing/bpe.py`), and after; None
            where no packing was given and the shards hold no merged ids.
        modality: "audio" or "image".
        warnings: what a model trained on these tokens would suffer from.
    """

    items: int
    failed: int
    positions: int
    tokens: int
    bits: int
    entropy_bits: tuple[float, ...]
    position_entropy_bits: tuple[float, ...]
    position_ids: tuple[float, ...]
    warnings: tuple[str, ...]
    usage: tuple[float, ...]
    extent: float
    disk_bytes: int
    source_bytes: int
    lengths: tuple[int, int, int]
    modality: str
    steps: tuple[int, int] | None = None

    def table(self) -> str:
        """The statistics as text for people."""
        unit, much = ("second", self.extent) if self.modality == "audio" else ("megapixel", self.extent / 1e6)
        whole = f"{self.extent / 3600:.2f} hours" if self.modality == "audio" else f"{self.extent / 1e6:.1f} megapixels"
        much = much or float("nan")
        rate = f"{self.bits / 1000 / much:.3f} kbit/s" if self.modality == "audio" else f"{self.bits / self.extent:.4f} bits a pixel"
        entropy = sum(self.entropy_bits) / max(1, len(self.entropy_bits))
        rows = {
            "items": f"{self.items:,}" + (f" ({self.failed:,} failed)" if self.failed else ""),
            "media": f"{whole}, {self.source_bytes / 2**20:,.1f} MiB",
            "tokens": f"{self.tokens:,} ({counted(len(self.usage), 'codebook')} x {counted(self.positions, 'position')})",
            f"tokens a {unit}": f"{self.tokens / much:,.1f}",
            "tokens an item": f"{self.tokens / max(1, self.items):,.1f}",
            "positions an item": "shortest {:,}, median {:,}, longest {:,}".format(*self.lengths),
            "bits": f"{self.bits / 8 / 2**20:,.2f} MiB, {rate}",
            "on disk": f"{self.disk_bytes / 2**20:,.2f} MiB, 1 : {self.source_bytes / max(1, self.disk_bytes):.1f} of the media",
            "unigram entropy": f"{entropy:.3f} bits a token; by codebook {', '.join(f'{e:.2f}' for e in self.entropy_bits)}",
            "entropy given the position": f"by codebook {', '.join(f'{e:.2f}' for e in self.position_entropy_bits)} bits a token",
            "different ids a position": ", ".join(f"{n:.1f}" for n in self.position_ids),
            "ids in use": ", ".join(f"{u:.1%}" for u in self.usage),
        }
        if self.steps is not None:
            before, after = (n / max(1, self.items) for n in self.steps)
            saved = f"; {before:,.1f} before merging, {1 - after / before:.1%} less" if self.steps[0] > self.steps[1] else ""
            rows["steps an item, packed"] = f"{after:,.1f}{saved}"
        return "\n".join([facts_table(rows), *(f"warning: {w}" for w in self.warnings)])


def stats(folder: str | Path, *, packing: Choice = None) -> Stats:
    """Count a corpus.

    Args:
        folder: of a finished corpus.
        packing: count the steps of this packing, too; None: only those of shards that hold merged ids.

    Raises:
        CorpusError: no finished corpus.
        ConfigError: no packing, or one that does not fit.
    """
    data = TokenDataset(folder, seed=None, packing=packing)
    packed = data.packing if packing is not None or isinstance(data.packing, BpePacking) else None
    steps = [0, 0]
    m, layout = data.manifest, data.layout
    counts: list[Counter[int]] = [Counter() for _ in layout.vocab_sizes]  # of ids that occur: a vocabulary may be any size
    lengths, extent, positions = [], 0.0, PositionCounts()
    for i in range(data.documents):
        tokens = data.tokens(i)
        length = tokens.ids.shape[2]
        positions.add(tokens)
        if packed is not None:
            kept = tokens.first(codebooks=len(packed.vocab_sizes))
            after = int(packed.pack(kept).lengths[0])
            steps[0] += int(packed.inner.pack(kept).lengths[0]) if isinstance(packed, BpePacking) else after
            steps[1] += after
        for k, own in enumerate(item_of(tokens, "").ids):
            ids, number = np.unique(own, return_counts=True)
            counts[k].update(dict(zip(ids.tolist(), number.tolist(), strict=True)))
        assert tokens.sizes is not None
        size = tokens.sizes[0].tolist()
        rate = tokens.sample_rate_hz
        extent += float(np.prod(size)) if rate is None else size[0] / int(rate[0])
        lengths.append(length)
    sums = [c.total() for c in counts]
    places = positions.statistics()
    return Stats(
        items=data.documents,
        failed=m["totals"]["failed"],
        positions=sum(lengths),
        tokens=sum(sums),
        bits=sum(n * id_bits(v) for n, v in zip(sums, layout.vocab_sizes, strict=True)),
        entropy_bits=tuple(entropy(np.array(sorted(c.values()), np.int64)) for c in counts),
        position_entropy_bits=tuple(places.entropy_bits.tolist()),
        position_ids=tuple(places.distinct.tolist()),
        warnings=tuple(places.warnings()),
        usage=tuple(len(c) / v for c, v in zip(counts, layout.vocab_sizes, strict=True)),
        extent=extent,
        disk_bytes=sum(f["bytes"] for s in m["shards"] for f in s["files"].values()),
        source_bytes=m["source"]["bytes"],
        lengths=(min(lengths, default=0), int(np.median(lengths)) if lengths else 0, max(lengths, default=0)),
        modality=layout.modality,
        steps=None if packed is None else (steps[0], steps[1]),
    )


def entropy(counts: np.ndarray) -> float:
    """Entropy, in bits, of the distribution given by counts."""
    p = counts[counts > 0] / max(1, counts.sum())
    return float(-(p * np.log2(p)).sum())
