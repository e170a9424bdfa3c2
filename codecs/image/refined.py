"""`Refined`, base class of tokenizers beside whose decoder stands a diffusion refiner, which draws a picture from the same tokens.

    tok.set_refiner("org/repo")                     # or a folder with the files of that repository
    tok.decode(tokens, refine=True, seed=1)         # or decode(tokens, refiner="org/repo", steps=28)

A refiner has often more weights than the tokenizer; nothing of it is read or built before one of these calls.
Letters: B batch, H W pixels, D latent width, L positions, h w grid.
"""

import os
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from .. import hooks
from ..coding import Batch
from ..config import ConfigError
from ..options import MAX_STEPS, DecodeOptions, check_at_least
from ..tokens import Tokens
from ..weights import CheckpointError, check_shapes
from .base import ImageTokenizer, resize_image


@dataclass(frozen=True, kw_only=True)
class RefineDecodeOptions(DecodeOptions):
    """Options of `decode`; all but `original` are options of the refiner, and each of them that is given asks for it.

    Attributes:
        refine: draw the picture by the diffusion refiner; none: where another option of it is given.
        refiner: folder or hub id with the refiner's files, which are read once and kept; none: the one that is there.
        steps: steps of the refiner, 1 to 10,000; none: its default.
        guidance: weight of the tokens (arXiv 2207.12598), 1: no guidance; none: the refiner's default.
        seed: seed of the noise, 0 or more; none: 0.
        noise: the start of the diffusion itself, one entry an item, in latents of the refined picture; none: drawn from `seed`, the
            same for every item of one size.
    """

    refine: bool | None = None
    refiner: str | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int | None = None
    noise: Tensor | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("steps", self.steps, 1, MAX_STEPS)
        check_at_least("guidance", self.guidance, 0)
        check_at_least("seed", self.seed, 0)
        if self.refine is False and (given := self._given()):
            raise ConfigError(f"refine is false, but {given[0]} is an option of the refiner; leave one of them out.")

    def _given(self) -> list[str]:
        return [f.name for f in fields(self) if f.name not in ("original", "refine") and getattr(self, f.name) is not None]

    @property
    def refines(self) -> bool:
        """Whether the refiner draws the picture."""
        return bool(self._given()) if self.refine is None else self.refine


class Refined(ImageTokenizer):
    """Base class; a family writes `read_refiner` and `refined`, and names "refiner" in `decoder_only`."""

    decode_options = RefineDecodeOptions
    #: Hub id and files of the published refiner, for messages.
    published_refiner: ClassVar[tuple[str, str]]
    refiner: nn.Module | None
    _refiner_source: str = ""

    def read_refiner(self, source: str | os.PathLike[str]) -> nn.Module:
        """The refiner of a folder or hub repository, in the number type of its file."""
        raise NotImplementedError

    def refined(self, z_q: Tensor, grid: tuple[int, ...], *, noise: Tensor | None, options: Any) -> Tensor:
        """Pictures `[B, 3, H, W]` that the refiner draws from latents `[B, D, L]`, of its own size, in `spec.value_range`."""
        raise NotImplementedError

    def set_refiner(self, source: str | os.PathLike[str] | nn.Module) -> Self:
        """Read a refiner and keep it; `save_pretrained` then writes its weights too.

        Args:
            source: folder or hub id with its files as published, or a module of this family's refiner.

        Returns:
            The tokenizer itself.

        Raises:
            CheckpointError, ConfigError: a file is missing or broken, or the refiner was made for other codes.
        """
        module = source if isinstance(source, nn.Module) else self._read(source)
        self._keep_refiner(module.to(device=self.device, dtype=self.dtype).eval().requires_grad_(False))
        self._refiner_source = "" if isinstance(source, nn.Module) else os.fspath(source)
        return self

    def _keep_refiner(self, module: nn.Module) -> None:
        """Hold `module` in the tokenizer and its settings in the config."""
        raise NotImplementedError

    def _read(self, source: str | os.PathLike[str]) -> nn.Module:
        try:
            return self.read_refiner(source)
        except CheckpointError as error:
            repository, files = self.published_refiner
            raise CheckpointError(
                f"{os.fspath(source)!r:.300} holds no refiner of {self.family}: {str(error).rstrip('.')}. It is published as "
                f"{repository}; download {files} of it into a folder, and pass the folder."
            ) from error

    def train(self, mode: bool = True) -> Self:
        """Switch the mode; the refiner stays as it is."""
        super().train(mode)
        if self.refiner is not None:
            self.refiner.eval()
        return self

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, K, L]`, by the decoder or, where the options say so, by the refiner."""
        o: RefineDecodeOptions = batch.options
        if not o.refines:
            return super().media_of(ids, batch)
        if o.refiner is not None and o.refiner != self._refiner_source:
            self.set_refiner(o.refiner)
        if self.refiner is None:
            repository, files = self.published_refiner
            raise CheckpointError(
                f"this {self.family} tokenizer has no refiner. It is published as {repository}: pass refiner={repository!r} to "
                f"`decode`, which downloads it, or download {files} of it into a folder and pass refiner=FOLDER."
            )
        assert batch.grid is not None
        return self.refined(self.vectors_of(ids, batch.grid), batch.grid, noise=batch.rows("noise"), options=o)

    def fit_out(self, x: Tensor, item: Tokens, options: Any) -> Tensor:
        """As the base class; a refined picture is first scaled from the refiner's size to that of the decoder."""
        if options.refines and options.original and item.sizes is not None:
            size = (item.grid[0] * self.spec.stride, item.grid[1] * self.spec.stride)
            x = x if x.shape[-2:] == size else resize_image(x, size, crop=False, value_range=None)
        return super().fit_out(x, item, options)


def start_noise(given: Tensor | None, shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise `[B, *shape]` in the type of `like [B, ...]`: the given one, or one draw for all items.

    Raises:
        ValueError: given noise of another shape.
    """
    if given is None:
        return torch.randn(shape, generator=generator, dtype=torch.float32).to(like).expand(len(like), *shape)
    if given.shape[1:] != shape:
        raise ValueError(f"noise of a picture is {list(given.shape[1:])}, expected {list(shape)}.")
    return given.to(like)


def fill(module: nn.Module, state: dict[str, Tensor], name: str) -> nn.Module:
    """Give a module that was built on the device "meta" its weights; raises CheckpointError where they do not fit."""
    check_shapes(module, state, name)
    module.load_state_dict({k: v.clone() for k, v in state.items()}, assign=True)  # out of the mapped file, and aligned in memory
    return module


def read_network(source: str | os.PathLike[str], **names: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and weights of a network in a folder or hub repository; see `zoo/network_files.py`."""
    return hooks.call("read_network", source, **names)
