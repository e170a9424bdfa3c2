"""Settings of H-Codec 1.5's adaptive frame rate; what is done with them is in `layers/frame_groups.py`."""

from dataclasses import dataclass
from typing import Literal

from ...layers.frame_groups import check_draw, check_threshold
from ...layers.transformer1d import Transformer1dConfig

_TRANSFORMER = Transformer1dConfig(width=512, layers=32, causal=False, context=None)


@dataclass(frozen=True, kw_only=True)
class MergingConfig:
    """Settings of the adaptive frame rate; the defaults are those of H-Codec 1.5.

    Attributes:
        threshold: frames whose features have a cosine similarity above this to the frame before join its group.
        longest: largest number of frames of a group; None: no limit.
        draw_threshold: training draws a threshold from this range at each step; None: always `threshold`.
        query: "mean": the mean of a group's frames plus a learned vector; "learned": that vector alone.
        acoustic: the transformer that gives the groups of the waveform's latents their vectors.
        semantic: the transformer that gives the groups of the features' latents theirs.
        smoother: the transformer over all frames of the quantized latents, before the decoder; None: none.
    """

    threshold: float = 0.6
    longest: int | None = 8
    draw_threshold: tuple[float, float] | None = None
    query: Literal["mean", "learned"] = "mean"
    acoustic: Transformer1dConfig = _TRANSFORMER
    semantic: Transformer1dConfig = _TRANSFORMER
    smoother: Transformer1dConfig | None = Transformer1dConfig(width=1024, layers=32, causal=False, context=None)

    def __post_init__(self) -> None:
        check_threshold("threshold", self.threshold)
        if self.longest is not None and self.longest < 1:
            raise ValueError(f"longest is {self.longest}; a group has at least 1 frame.")
        check_draw(self.draw_threshold)
