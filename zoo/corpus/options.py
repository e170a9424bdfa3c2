"""Settings of a bulk tokenization: those that determine the result, kept in its manifest, and those that affect only speed."""

from dataclasses import dataclass, field
from typing import Any, Literal

from ...codecs.config import ConfigError

Format = Literal["parquet", "tar", "megatron", "flat"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options that the tokens on disk depend on. A resumed job must have the same.

    Attributes:
        format: "parquet" (ids by codebook, and all that `decode` needs), "tar" (WebDataset), or sequences that a language
            model reads as they are: "megatron" (`.bin` and `.idx` of Megatron-LM) and "flat" (`.bin` and offsets).
        shard_mb: a shard is closed before its ids exceed this many MiB (2^20 bytes, uncompressed).
        shard_items: a shard holds at most this many items; 0: no limit.
        codebooks: keep only the first `codebooks` codebooks; None: all.
        positions: keep at most this many positions of each item; None: all.
        encode: further options of the tokenizer's `encode`, as text by name: `{"resize": "crop"}`, `{"quality": "0.08"}`.
        packing: pattern of the formats "megatron" and "flat": a kind ("interleaved"), a mapping of a kind and its settings,
            or the path or contents of a `packing.json`; None: the default one of the tokenizer.
        batch: million pixels or samples that go through the network at once; 0: 0.5 on a CPU, 4 elsewhere.
        unit_items, unit_mb: size of a unit, which a crash loses as a whole: at most this many items and MiB of media.
        max_pixels, max_seconds: larger media are listed as failures: decompression bombs.
        allow_paths: read files that cells of tables name instead of holding media, relative to the table's folder. Off: whoever
            made a table could bring any file of this machine into the corpus. Rows of open data sets, passed as objects, may always.
        threads: of torch in each process on a CPU; sums, and so ids, could depend on it.
        device, dtype: of the weights.
    """

    format: Format = "parquet"
    shard_mb: float = 256.0
    shard_items: int = 0
    codebooks: int | None = None
    positions: int | None = None
    encode: dict[str, str] = field(default_factory=dict)
    packing: str | dict[str, Any] | None = None
    batch: float = 0.0
    unit_items: int = 256
    unit_mb: float = 64.0
    max_pixels: int = 100_000_000
    max_seconds: float = 14400.0
    allow_paths: bool = False
    threads: int = 1
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        numbers = ("shard_mb", "unit_mb", "unit_items", "max_pixels", "max_seconds", "threads")
        for name in numbers:
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0.")
        if self.shard_items < 0 or self.batch < 0 or (self.codebooks is not None and self.codebooks < 1):
            raise ConfigError("shard_items and batch must not be below 0, nor codebooks below 1.")
        if self.packing is not None and self.format not in ("megatron", "flat"):
            raise ConfigError(f"format {self.format!r} keeps ids as they are; packing is for 'megatron' and 'flat'.")

    @property
    def batch_elements(self) -> int:
        """Pixels or samples in a batch."""
        return round(1e6 * (self.batch or (0.5 if self.device == "cpu" else 4.0)))


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How the work is done; none of it changes a byte of the result.

    Attributes:
        workers: processes that encode; 0: this one; None: one a CPU core, or one a GPU, and none for a few items.
        readers: threads of each that read and decode media ahead of the network.
        engine: "local", or "ray" (Ray Data; needs the extra `ray`).
        progress: show a bar on a terminal, a line now and then elsewhere.
    """

    workers: int | None = None
    readers: int = 2
    engine: Literal["local", "ray"] = "local"
    progress: bool = True
    ray: dict[str, Any] = field(default_factory=dict)
