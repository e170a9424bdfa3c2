"""Tokenizers of latents that are passed in: without an encoder or decoder of media, only the mapping between features and ids.

For quantizers that are published without their network, or whose network runs elsewhere (a language model's vision tower).
`Latent` is the plain form: it encodes latents to ids, and decodes ids to latents.

    tok = tokenzoo.build_tokenizer("latent", {"dim": 6, "quantizer": {"kind": "fsq", "levels": [8, 5, 5, 5, 3, 3]}})
    tokens = tok.encode(z)          # z [D, N], [B, D, N], [B, D, h, w], or a list of these
    z_q = tok.decode(tokens)        # the same shape
    tok.alternatives["2x15625"]     # a second quantizer for the same latents, also a `Latent`

A family with learned maps around its quantizer (a projection of features, a head that reconstructs them) derives from
`LatentTokenizer`: it sets `config`, `spec` and `quantizer` and writes `encode_latents` and `decode_latents`. All else is here.

Letters: B batch, C width of the features, D latent width, N positions of an item, h w grid, K codebooks, L = N or h w.
"""

import itertools
import os
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from .config import ConfigError
from .media import MediaError, Prepared
from .media.arrays import as_tensor
from .quantizers.base import QuantizerConfig
from .quantizers.fsq import FSQConfig
from .spec import LatentSpec
from .tokenizer import Reconstruction, Tokenizer
from .tokens import Tokens


def as_tensors(media: Any, item_axes: int, *, takes: str, advice: str) -> list[Tensor]:
    """Items as tensors, from one item with `item_axes` axes, a batch with one more axis, or a list of items.

    Args:
        media: tensors, arrays, nested lists of numbers; a list or tuple is a list of items.
        item_axes: number of axes of a single item.
        takes: what is allowed, for messages.
        advice: what to do, for messages.

    Raises:
        MediaError: a path, a picture, a waveform with its rate, or anything else that is no array; or no items.
    """

    def refused(got: str) -> MediaError:
        return MediaError(f"{takes}; got {got}. {advice}")

    if isinstance(media, tuple) and len(media) == 2 and isinstance(media[1], (int, float)):
        raise refused(f"a pair of {_kind(media[0])} and the number {media[1]}, as of sound and its rate")
    if not isinstance(media, (list, tuple, Tensor, np.ndarray)):
        raise refused(_kind(media))
    items = list(media) if isinstance(media, (list, tuple)) else _axes(as_tensor(media, "the batch"), item_axes)
    if len(items) == 0:
        raise refused("nothing; pass at least one item")
    out = []
    for i, x in enumerate(items):
        try:
            if not isinstance(x, (Tensor, np.ndarray, list)):
                raise TypeError
            out.append(torch.as_tensor(x) if isinstance(x, list) else as_tensor(x, f"item {i}"))
        except MediaError:
            raise
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise refused(f"{_kind(x)} as item {i}") from None
    return out


def _axes(x: Tensor, item_axes: int) -> list[Tensor]:
    """Items of a batch, or the single item; a tensor without axes counts as a single item."""
    return [x] if x.ndim == item_axes or x.ndim == 0 else list(x)


def _kind(x: Any) -> str:
    """Description of an object for an error message, with its shape or path."""
    if isinstance(x, (str, os.PathLike)):
        return f"the path {os.fspath(x)!r:.300}"
    if isinstance(x, (Tensor, np.ndarray)):
        return f"{x.dtype} {list(x.shape)}"
    if hasattr(x, "getbands") and hasattr(x, "size"):
        return f"a picture of {x.size[0]} x {x.size[1]} pixels"
    return f"an object of type {type(x).__name__}"


class LatentTokenizer(Tokenizer):
    """Base of the families over features: checks of the input, and grids.

    Here `encode_latents` and `decode_latents` are the identity, up to flattening a grid. A family may override the hooks of
    `coding.py`, and the methods that check and resize items: `items_of`, `fit_in`, `kept_size`, `grid_of` and `fit_out`.
    """

    spec: LatentSpec  # pyright: ignore[reportIncompatibleVariableOverride]  (only a family itself sets it)
    #: how to compute the features; used in the error message for other input.
    features_advice: ClassVar[str] = "Run the network that computes the features, and pass its output."

    def prepare_media(self, media: Any, options: Any) -> list[Prepared]:
        """First hook: features as items for the network.

        Args:
            media: float `[C, N]`, a batch `[B, C, N]` or of grids `[B, C, h, w]`, or a list of `[C, N]` or `[C, h, w]`
                of any sizes.
            options: not used.

        Raises:
            MediaError: no features (a path, a picture, a waveform with its rate), wrong rank or width, NaN, integers, no items;
                the message states the fix.
        """
        return [Prepared(self.fit_in(x), self.kept_size(x)) for x in self.items_of(media)]

    def fit_in(self, x: Tensor) -> Tensor:
        """One item, resized or padded to a size that the network takes; here unchanged, since any size is taken."""
        return x

    def kept_size(self, x: Tensor) -> tuple[int, ...]:
        """The size of an item that `decode` cuts its result to, such as `(h, w)`; here `()`: nothing is cut."""
        return ()

    def fit_out(self, x: Tensor, item: Tokens, options: Any) -> Tensor:
        """One decoded item cut to the original's size."""
        if item.sizes is None or not options.original:
            return x
        height, width = (int(n) for n in item.sizes[0])
        return x[..., :height, :width]

    def layout_of(self, codebooks: int, grid: tuple[int, ...] | None) -> dict[str, Any]:
        """Fields of `Tokens`: the grids of the scales of a multi-scale quantizer."""
        return {"scales": self.spec.scales}

    def items_of(self, media: Any) -> list[Tensor]:
        """Check `media` and return its items, features `[C, N]` or `[C, h, w]`; raises MediaError."""
        width, many = self.spec.channels, isinstance(media, (list, tuple))
        takes = f"{self.family} takes float features [C={width}, N] or grids [C={width}, h, w], or batches or lists of them"
        xs = as_tensors(media, 2, takes=takes, advice=self.features_advice)
        for i, x in enumerate(xs):
            if x.ndim not in (2, 3) or x.shape[0] != width or x.numel() == 0 or not x.is_floating_point():
                name, shape = ("", list(media.shape)) if not many and isinstance(media, Tensor) else (f"item {i} ", list(x.shape))
                raise MediaError(f"{takes}; {name or 'the batch '}is {x.dtype} {shape}. Move the channel axis to the front.")
        finite = torch.stack([torch.isfinite(x).all().to(xs[0].device) for x in xs]).tolist()  # one transfer from an accelerator
        if not all(finite):
            raise MediaError(f"{self.family}: item {finite.index(False)} holds NaN or infinite values.")
        return xs

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """Features `[B, D, L]` of ids `[B, K', L]`: the output of `decode_latents`, neither cut nor on its grid."""
        return self.decode_latents(self.vectors_of(ids, grid)).flatten(2)

    def grid_of(self, x: Tensor) -> tuple[int, int] | None:
        """`(h, w)` of a batch of grids, None for sequences."""
        return (x.shape[2], x.shape[3]) if x.ndim == 4 else None

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of features `[B, C, N]` or `[B, C, h, w]`: here the features themselves."""
        return x.flatten(2)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Features `[B, C, N]` or `[B, C, h, w]` of quantized latents `[B, D, L]`: here the latents themselves, on their grid."""
        return z_q if grid is None or len(grid) != 2 else z_q.unflatten(-1, grid)

    def forward(self, x: Tensor) -> Reconstruction:
        """Encode, quantize and decode a batch `[B, C, N]` or `[B, C, h, w]`, with gradients."""
        grid = self.grid_of(x)
        z = self.encode_latents(x)
        quantized = self.quantizer(z, grid=grid)
        return Reconstruction(x_hat=self.decode_latents(quantized.z_q, grid), z=z, quantized=quantized)

    @property
    def device(self) -> torch.device:
        """Device of the weights, or of the quantizer's constants where there are no weights."""
        return next(itertools.chain(self.parameters(), self.buffers()), torch.empty(0)).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the maps around the quantizer; float32 where there are none."""
        own = (p for n, p in self.named_parameters() if not n.startswith(("quantizer.", "alternatives.")))
        return next(own, torch.empty(0, dtype=torch.float32)).dtype


@dataclass(frozen=True, kw_only=True)
class LatentConfig:
    """Settings of `Latent`.

    Attributes:
        dim: D, width of the latents.
        quantizer: settings of a quantizer of any kind.
        alternatives: further quantizers by name, for systems that publish several for one network; the width of each is its own
            `dim` if it has one, else this `dim`.
    """

    dim: int = 4
    quantizer: QuantizerConfig = FSQConfig()
    alternatives: dict[str, QuantizerConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ConfigError(f"dim is {self.dim}; give the width of the latents.")


class Latent(LatentTokenizer):
    """A quantizer as a tokenizer of the latents it quantizes."""

    family: ClassVar[str] = "latent"
    config_class: ClassVar[type] = LatentConfig
    beside = ("alternatives",)
    config: LatentConfig

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = config.quantizer.build(dim=config.dim)
        self.spec = LatentSpec.of(
            self.quantizer,
            channels=config.dim,
        )
        #: A separate `Latent` for each.
        self.alternatives = nn.ModuleDict(
            {name: Latent(LatentConfig(dim=q.dim or config.dim, quantizer=q)) for name, q in config.alternatives.items()}
        )
