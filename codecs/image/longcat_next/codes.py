"""The codes of LongCat-Next's visual tokenizer: a small map of given features, then residual quantization.

Meituan LongCat Team 2026, "LongCat-Next: Lexicalizing Modalities as Discrete Tokens", arXiv 2603.27538; residual quantization
with one table for all levels: Lee et al. 2022 (RQ-VAE, arXiv 2203.01941). Parity checked against
meituan-longcat/LongCat-Next-inference @ 70ab100bee (no licence file; the model's repository is MIT), class `VisualQuantizer`.

`decode` returns the sum of the codes of all levels, which is the input of the pixel decoder in `model.py`.
Letters: B batch, L positions, K levels, C width of the features, D width of the codes.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ...config import ConfigError
from ...latent import LatentSpec, LatentTokenizer
from ...quantizers.base import QuantizerConfig
from ...quantizers.residual_vq import ResidualVQConfig


@dataclass(frozen=True, kw_only=True)
class LongCatNextCodesConfig:
    """Settings of `LongCatNextCodes`; the defaults are those of the published model.

    Attributes:
        width: C, channels of the features.
        code_dim: D, channels of the codes.
        mlp: whether features are mapped (LayerNorm, linear, GELU, linear) before quantization.
        quantizer: settings of any quantizer; its `dim` is filled in.
    """

    width: int = 3584
    code_dim: int = 3584
    mlp: bool = True
    quantizer: QuantizerConfig = ResidualVQConfig(
        num_codebooks=8, codebook_size=16384, shared_codebook=True, commitment_weight=0.25 / 8
    )

    def __post_init__(self) -> None:
        if not self.mlp and self.width != self.code_dim:
            raise ConfigError(f"without mlp, width {self.width} and code_dim {self.code_dim} must be equal.")


class LongCatNextCodes(LatentTokenizer):
    """Features `[B, C, L]` or grids `[B, C, h, w]` to ids `[B, K, L]`; back to code sums `[B, D, L]` or `[B, D, h, w]`."""

    family: ClassVar[str] = "longcat_next_codes"
    config_class: ClassVar[type] = LongCatNextCodesConfig
    encoder_only = ("to_code",)
    decoder_only = ()
    config: LongCatNextCodesConfig

    def __init__(self, config: LongCatNextCodesConfig) -> None:
        super().__init__()
        self.config = c = config
        self.to_code = None
        if c.mlp:
            self.to_code = nn.Sequential(
                nn.LayerNorm(c.width), nn.Linear(c.width, c.width), nn.GELU(), nn.Linear(c.width, c.code_dim)
            )
        self.quantizer = c.quantizer.build(dim=c.code_dim)
        self.spec = LatentSpec.of(
            self.quantizer,
            channels=c.width,
            semantic_dim=c.code_dim,
        )

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of features `[B, C, L]` or `[B, C, h, w]`, each position by itself."""
        x = x.flatten(2)
        return x if self.to_code is None else self.to_code(x.transpose(1, 2)).transpose(1, 2)
