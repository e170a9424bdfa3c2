"""Finite discrete tokens: patches of a picture and words of its text, both represented by the vectors of one dictionary.

Chen et al. 2023, "Revisiting Multimodal Representation in Contrastive Learning: From Patch and Token Embeddings to Finite
Discrete Tokens", arXiv 2303.14865. Parity checked against yuxiaochen1103/FDT @ ccf69830c1 (Apache-2.0), `Query_model` and
`space_dict` of class `Clip_FDT`. The backbones (CLIP's ViT and text transformer) are not included: the input is features.

A small network maps features `[B, C, N]` to D channels `[B, D, N]`. FDT scores every code of the dictionary for every position, pools
the scores over positions, and turns them into one mixture of codes for the whole picture or text, `[B, D]`: `mixture`.

Differs: the authors' code has neither ids nor a decoder. Here the id of a position is its best code (as in the paper's figures), ids
`[B, 1, N]`, and `decode` returns the codes' vectors `[B, D, N]`.

Letters: B batch, N positions = L, C width of the features, D width of the dictionary, V its size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ...config import ConfigError
from ...latent import LatentSpec, LatentTokenizer
from ...quantizers.base import QuantizerConfig
from ...quantizers.sparsemax import Sparsemax, SparsemaxConfig, sparsemax
from ...tokenizer import Reconstruction

Side = Literal["image", "text"]

_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "sparsemax": sparsemax,
    "softmax": lambda scores: scores.softmax(-1),
    "sigmoid": torch.sigmoid,
}


@dataclass(frozen=True, kw_only=True)
class FDTConfig:
    """Settings of `FDT`; the defaults are those of the published ViT-B/32 model.

    Attributes:
        width: C, channels of the picture features.
        text_width: channels of the text features; 0: no map for texts.
        code_dim: D, channels of the dictionary's vectors.
        weights: how pooled scores become the weights of the mixture; "sigmoid" divides by their sum.
        pool: how scores are pooled over positions.
        quantizer: of kind "sparsemax": the dictionary and the temperature of the scores. The authors' code can anneal it in
            training, down to 0.01; the settings of the published model specify a constant 1000.
    """

    width: int = 768
    text_width: int = 512
    code_dim: int = 512
    weights: Literal["sparsemax", "softmax", "sigmoid"] = "sparsemax"
    pool: Literal["max", "mean", "sum"] = "max"
    quantizer: QuantizerConfig = SparsemaxConfig(codebook_size=16384, temperature=1000.0)

    def __post_init__(self) -> None:
        if not isinstance(self.quantizer, SparsemaxConfig):
            raise ConfigError(f"quantizer is of kind {self.quantizer.kind!r}; FDT's mixture needs 'sparsemax'.")


class Mixture(NamedTuple):
    """FDT's representation of whole pictures or texts."""

    weights: Tensor  #: [B, V], of each code; with sparsemax most are 0
    feature: Tensor  #: [B, D], the weighted codes

    @property
    def support(self) -> Tensor:
        """Bool `[B, V]`: the codes with a weight over zero."""
        return self.weights > 0


class QueryMap(nn.Sequential):
    """Map features `[..., C]` to the space of the dictionary `[..., D]`."""

    def __init__(self, width: int, code_dim: int) -> None:
        super().__init__(
            nn.LayerNorm(width), nn.Linear(width, code_dim), nn.GELU(), nn.LayerNorm(code_dim), nn.Linear(code_dim, code_dim)
        )


class FDT(LatentTokenizer):
    """Picture features `[B, C, N]` to ids `[B, 1, N]`, and these to the dictionary's vectors `[B, D, N]`.

    There is no decoder back to features. Texts go through `mixture(x, side="text")`.
    """

    family: ClassVar[str] = "fdt"
    config_class: ClassVar[type] = FDTConfig
    encoder_only = ("image_map",)
    decoder_only = ()
    config: FDTConfig
    quantizer: Sparsemax

    def __init__(self, config: FDTConfig) -> None:
        super().__init__()
        self.config = c = config
        self.image_map = QueryMap(c.width, c.code_dim)
        self.text_map = QueryMap(c.text_width, c.code_dim) if c.text_width else None
        quantizer = c.quantizer.build(dim=c.code_dim)
        assert isinstance(quantizer, Sparsemax)
        self.quantizer = quantizer
        self.spec = LatentSpec.of(self.quantizer, channels=c.width, semantic_dim=c.code_dim)

    def queries(self, x: Tensor, *, side: Side = "image") -> Tensor:
        """Latents `[B, D, N]` of features `[B, C, N]` of pictures or texts.

        Raises:
            ValueError: features of another width, or texts where `text_width` is 0.
        """
        width = self.config.width if side == "image" else self.config.text_width
        made = self.image_map if side == "image" else self.text_map
        if made is None or x.ndim != 3 or x.shape[1] != width:
            raise ValueError(f"{self.family} takes {side} features [B, C={width}, N]; got {list(x.shape)}.")
        return made(x.transpose(1, 2)).transpose(1, 2)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of picture features `[B, C, L]` or `[B, C, h, w]`."""
        return self.queries(x.flatten(2))

    def mixture(self, x: Tensor, *, side: Side = "image", padding: Tensor | None = None) -> Mixture:
        """One mixture of codes for all positions of each item, with gradients.

        Args:
            x: features `[B, C, N]`.
            side: whether the features are of pictures or of texts.
            padding: `[B, N]`, 0 at real positions and another number at padding, whose scores become 0 before pooling. As in the
                authors' code: with "max" a code with negative scores at all real positions then has the score 0.
        """
        return self._mixture(self.queries(x, side=side), padding)

    def scores(self, z: Tensor) -> Tensor:
        """Dot products `[B, N, V]` of latents `[B, D, N]` with all codes, not scaled: the score of each code at each position."""
        return z.transpose(1, 2) @ self.quantizer.table.t()

    def _mixture(self, z: Tensor, padding: Tensor | None) -> Mixture:
        q = self.quantizer
        scores = q.scores(z.transpose(1, 2).float())  # [B, N, V]
        if padding is not None:
            scores = scores * (padding == 0).unsqueeze(2)
        pooled = scores.amax(1) if self.config.pool == "max" else getattr(scores, self.config.pool)(1)
        weights = _WEIGHTS[self.config.weights](pooled)
        feature = weights @ q.table
        if self.config.weights == "sigmoid":
            feature = feature / weights.sum(-1, keepdim=True)
        return Mixture(weights, feature)

    def forward(self, x: Tensor, text: Tensor | None = None) -> Reconstruction:
        """Quantize each position with gradients.

        Args:
            x: picture features `[B, C, N]`.
            text: features `[B, C', N']` of the texts that belong to them; columns of zeros are padding.

        Returns:
            Among its features are "mixture" `[B, D, 1]` and, with texts, "text_mixture" `[B, D, 1]`.
        """
        grid = self.grid_of(x)
        z = self.encode_latents(x)
        quantized = self.quantizer(z, grid=grid)
        features = {"mixture": self._mixture(z, None).feature.unsqueeze(2)}
        if text is not None:
            padding = (text == 0).all(1).long()  # [B, N']
            features["text_mixture"] = self.mixture(text, side="text", padding=padding).feature.unsqueeze(2)
        return Reconstruction(x_hat=self.decode_latents(quantized.z_q, grid), z=z, quantized=quantized, features=features)
