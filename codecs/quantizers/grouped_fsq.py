"""Grouped finite scalar quantization: the channels are cut into groups, each with its own id.

NVIDIA NeMo audio codecs (low frame-rate speech codec, arXiv 2409.12117): K groups of levels (8, 7, 6, 6).
Checked against NVIDIA-NeMo/NeMo @ 8cfedd7203 (Apache-2.0).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from ..config import ConfigError
from .fsq import FSQ, MAX_CODEBOOK_SIZE, Convention, FSQConfig


@dataclass(frozen=True, kw_only=True)
class GroupedFSQConfig(FSQConfig):
    """Settings of `GroupedFSQ`; `dim` 0 without a family means num_groups * len(levels). Others as in `FSQConfig`.

    NeMo: 4 x (9, 8, 8, 7), 8 or 13 x (8, 7, 6, 6), 8 x (8, 5, 5, 5).

    Attributes:
        num_groups: K, number of groups and so of ids at each position.
        levels: levels of the channels of one group, at most 2^18 codes together.
        convention: as in `fsq.py`.
    """

    kind: ClassVar[str] = "grouped_fsq"

    num_groups: int = 8
    levels: tuple[int, ...] = (8, 7, 6, 6)
    convention: Convention = "nemo"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_groups < 1:
            raise ConfigError(f"num_groups is {self.num_groups}; it must be at least 1.")
        if math.prod(self.levels) > MAX_CODEBOOK_SIZE:
            size = math.prod(self.levels)
            raise ConfigError(f"levels {self.levels} have {size} codes a group; at most 2^18. Use more groups.")

    def quantizer_class(self) -> type["GroupedFSQ"]:
        return GroupedFSQ


class GroupedFSQ(FSQ):
    """ids `[B, K, L]`: id k is that of the channels k*n .. (k+1)*n - 1, n the number of levels of a group."""

    config: GroupedFSQConfig

    def __init__(self, config: GroupedFSQConfig) -> None:
        super().__init__(config, groups=config.num_groups)
