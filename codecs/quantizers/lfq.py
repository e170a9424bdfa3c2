"""Lookup-free quantization: each channel's sign is a bit, and an entropy term keeps all codes in use.

Yu et al. 2023 (MAGVIT-v2), arXiv 2310.05737, section 3.1; Open-MAGVIT2, arXiv 2409.04410.
Ids checked against TencentARC/SEED-Voken @ b9a17eac8e and vector-quantize-pytorch 1.32.
"""

from dataclasses import dataclass
from typing import ClassVar

from .binary import BinaryConfig, BinaryQuantizer


@dataclass(frozen=True, kw_only=True)
class LFQConfig(BinaryConfig):
    """Settings of `LFQ`, all of them in `BinaryConfig`.

    Open-MAGVIT2: bits 18, bit_order "lsb", entropy "exact", temperature 0.01; each of its configs states its own entropy and
    commitment weights. vector-quantize-pytorch's defaults: bit_order "msb", commitment_weight 0.
    """

    kind: ClassVar[str] = "lfq"

    def quantizer_class(self) -> type["LFQ"]:
        return LFQ


class LFQ(BinaryQuantizer):
    """Values +-1; commitment is the mean of the squared distance over positions and channels.

    Differs: vector-quantize-pytorch takes log(max(p, 1e-5)) in its entropies, so that with 2^18 codes, whose mean
    probability is 4e-6, code_entropy has almost no gradient; here the entropy is exact.
    """

    def __init__(self, config: LFQConfig) -> None:
        super().__init__(config, scale=1.0)
