"""The shared implementation of `encode` and `decode` for audio, images and features; `Tokenizer` is built on it.

    media --prepare_media--> [Prepared] --latents_of--> z --ids_of--> ids, lengths, loudness -> Tokens
    Tokens -> ids --media_of--> media of one shape -> each cut or scaled to its original's size

All other steps are implemented once, here: checking options, grouping items of equal shape, stacking them, device and number type,
one `Tokens` a batch, and the way back. A family overrides the four hooks named above, or only the methods about sizes that they
call (`grid_of`, `fit_out`, and those that the base class of its modality lists).

Letters: B batch, D latent width, K codebooks, L positions, S loudness segments.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from .identity import TokenizerId
from .media import Prepared
from .options import DecodeOptions, EncodeOptions, make_options, option_names
from .quantizers.base import Quantizer
from .spec import TokenizerSpec
from .token_ids import Ids
from .tokens import Tokens, present


@dataclass(frozen=True)
class Batch:
    """Items of one shape that go through the network together: the second argument of the hooks.

    Attributes:
        options: options of the call, an object of the family's `encode_options` or `decode_options`.
        items: index of each of these items among the items of the call.
        total: number of items of the whole call.
        grid: shape that was flattened into L, such as `(h, w)`; None: a plain sequence.
        sizes: decode: the original size of each item; empty if the tokens do not state it.
        scale: decode: loudness factors `[B, S]`, or None.
        tokens: decode: the items themselves, for what they carry beside their ids; empty in encode.
        samples: encode of audio: number of input samples that these latents were computed from.
        notes: values that one hook passes to a later one of the same batch.
    """

    options: Any
    items: Sequence[int]
    total: int
    grid: tuple[int, ...] | None = None
    sizes: Sequence[tuple[int, ...]] = ()
    scale: Tensor | None = None
    tokens: Sequence[Tokens] = ()
    samples: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    def rows(self, name: str) -> Tensor | None:
        """These items' entries `[B, ...]` of the option `name`, which holds one for each item of the call; None: not given.

        Raises:
            ValueError: another number of entries than items.
        """
        value = getattr(self.options, name)
        if value is None:
            return None
        if len(value) != self.total:
            raise ValueError(f"got {len(value)} {name} for {self.total} items; give one for each item.")
        own = [value[i] for i in self.items]
        if len({v.shape for v in own}) > 1:
            raise ValueError(f"{name} of items of one size are of the shapes {[list(v.shape) for v in own]}; give them one shape.")
        return torch.stack(own)

    def side(self, name: str) -> Tensor:
        """Decode: the side vectors `name` of these items, `[B, n, D]`.

        Raises:
            ValueError: items of other shapes than the first.
        """
        own = [item.side_vectors[name][0] for item in self.tokens]
        if len({v.shape for v in own}) > 1:
            raise ValueError(f"the {name} of items of one length is of the shapes {[list(v.shape) for v in own]}; give them one shape.")
        return torch.stack(own)


class Coded(NamedTuple):
    """Output of `ids_of` for a batch.

    Attributes:
        ids: int64 `[B, K, L]`.
        lengths: valid positions of each item; None: all L.
        scale: `[B, S]` loudness factors that `decode` multiplies in again, or None.
    """

    ids: Tensor
    lengths: list[int] | None = None
    scale: Tensor | None = None


class NoMeaning(ValueError):
    """The ids of this tokenizer have no semantic features (`spec.semantic_dim` is 0)."""


class Coding(nn.Module):
    """Base class with the shared `encode`, `decode` and `semantic`; the hooks are described at the top of the file."""

    family: ClassVar[str]
    #: Options of `encode` and `decode`; a tokenizer whose config allows fewer replaces them before it sets its `spec`.
    encode_options: type[EncodeOptions] = EncodeOptions
    decode_options: type[DecodeOptions] = DecodeOptions
    #: Positions of an item are a multiple of this.
    position_multiple: int = 1
    #: True where pictures of one size may have more or fewer positions than `spec.num_positions`.
    varying_positions: bool = False
    spec: TokenizerSpec
    quantizer: Quantizer

    @property
    def device(self) -> torch.device:
        """Device of the tokenizer's weights, to which `encode` and `decode` move their inputs."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point dtype of the tokenizer's weights, in which its network computes."""
        return next(self.parameters()).dtype

    @property
    def side_shapes(self) -> Mapping[str, tuple[int, int]]:
        """Shape `[n, D]` of each of `spec.side_vectors` that is the same for all items; `latents_of` leaves `[B, n, D]` in `notes`."""
        return {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "spec":  # families write their spec without the names of the options, which are filled in here
            value = value.with_options(option_names(self.encode_options), option_names(self.decode_options))
        super().__setattr__(name, value)

    # --- encode -----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, media: Any, options: EncodeOptions | None = None, /, **named: Any) -> Tokens:
        """Turn media into tokens, without gradients: `prepare`, then `encode_prepared`.

        Args:
            media: see `prepare_media` of the modality: a path, an array, a list of these, ...
            options: from `parse_options`; None: the defaults.
            named: options by name, such as `num_codebooks=2`; `describe_options(tokenizer, "encode")` lists them.

        Returns:
            `Tokens` with ids `[B, K, L]` on the tokenizer's device; B is 1 for a single item.

        Raises:
            ValueError: wrong media (`MediaError`) or options (`ConfigError`); the message states the fix.
        """
        chosen = make_options(self, "encode", options, named)
        return self.encode_prepared(self.prepare(media, chosen), chosen)

    def prepare(self, media: Any, options: EncodeOptions | None = None, /, **named: Any) -> list[Prepared]:
        """Read and check media and convert them to network inputs; may run in another thread or process than the model.

        Args:
            media: as in `encode`. Items that are `Prepared` already are returned unchanged.
            options: as in `encode`; those about sizes and value ranges are used here.
            **named: as in `encode`.

        Returns:
            One `Prepared` for each item.

        Raises:
            ValueError: wrong media (`MediaError`) or options (`ConfigError`).
        """
        chosen = make_options(self, "encode", options, named)
        if isinstance(media, Prepared):
            return [media]
        if isinstance(media, (list, tuple)) and any(isinstance(m, Prepared) for m in media):
            return [item for m in media for item in self.prepare(m, chosen)]
        return self.prepare_media(media, chosen)

    @torch.no_grad()
    def encode_prepared(self, items: Sequence[Prepared], options: EncodeOptions | None = None, /, **named: Any) -> Tokens:
        """Encode the output of `prepare`; the tokens equal those of `encode`.

        Args:
            items: in any order, of any shapes; also parts of several calls of `prepare`.
            options: as in `encode`.
            **named: as in `encode`.

        Raises:
            ValueError: no items, items that `prepare` did not return, or wrong options (`ConfigError`).
        """
        chosen = make_options(self, "encode", options, named)
        if not items or not all(isinstance(item, Prepared) for item in items):
            raise ValueError("encode_prepared takes a list of at least one item that `prepare` returned; `encode` takes media.")
        self._check_codebooks(chosen.num_codebooks)
        parts: dict[int, Tokens] = {}
        for group in equal_ones([self.encode_key(item, i, chosen) for i, item in enumerate(items)]):
            x = torch.stack([items[i].x for i in group]).to(self.device, non_blocking=True)  # [B, ...]
            x = x.to(self.dtype) if x.is_floating_point() else x
            batch = Batch(options=chosen, items=group, total=len(items), grid=self.grid_of(x))
            made = self.tokens_of_batch(self.encode_batch(x, batch), [items[i] for i in group], batch)
            if len(group) == len(items):
                parts = {0: made}
                break
            for row, i in enumerate(group):
                parts[i] = made[row : row + 1]
        tokens = Tokens.cat([parts[i] for i in sorted(parts)]).made_by(self.identity).to(self.device)
        return self._first_positions(tokens, chosen)

    def _check_codebooks(self, requested: int | None) -> None:
        most, cuts = self.spec.num_codebooks, "codebooks" in self.spec.prefix
        if requested is not None and requested != most and not (cuts and requested < most):
            allowed = f"1 to {most}" if cuts else f"only {most}"
            raise ValueError(f"num_codebooks is {requested}; this {self.family} tokenizer allows {allowed}.")

    def _first_positions(self, tokens: Tokens, options: EncodeOptions) -> Tokens:
        positions = getattr(options, "positions", None)
        if positions is None:
            return tokens
        if "positions" not in self.spec.prefix:
            raise ValueError(f"this {self.family} tokenizer decodes whole token sequences only; leave `positions` out.")
        return tokens.first(positions=positions)

    def encode_key(self, item: Prepared, index: int, options: EncodeOptions) -> Hashable:
        """Items with equal keys go through the network in one batch; `index` is the item's number in the call."""
        return tuple(item.x.shape)

    def encode_batch(self, x: Tensor, batch: Batch) -> Coded:
        """Ids of one batch `[B, ...]`: `latents_of`, then `ids_of`; audio calls them for one piece after another."""
        return self.ids_of(self.latents_of(x, batch), batch)

    def tokens_of_batch(self, coded: Coded, items: Sequence[Prepared], batch: Batch) -> Tokens:
        """Tokens of a batch; ids stay on the device, without synchronisation for each item."""
        k, spec, (b, _, length) = coded.ids.shape[1], self.spec, coded.ids.shape
        books = None if batch.grid is None else self.book_grids_of(batch.grid)
        rates = [item.sample_rate_hz for item in items]
        return Tokens(
            ids=coded.ids[..., : max(coded.lengths or [length])],
            vocab_sizes=spec.vocab_sizes[:k],
            grid=batch.grid or (),
            lengths=None if coded.lengths is None else torch.tensor(coded.lengths),  # type: ignore[arg-type]
            sizes=torch.tensor([item.size for item in items]) if items[0].size else None,
            sample_rate_hz=None if None in rates else torch.tensor(rates),
            scale=None if coded.scale is None else coded.scale.float(),
            book_grids=None if books is None else torch.tensor([books[:k]] * b),
            names=spec.names[:k],
            **self.layout_of(k, batch.grid),
        )

    def layout_of(self, codebooks: int, grid: tuple[int, ...] | None) -> dict[str, Any]:
        """Fields of `Tokens` that describe the layout of the first `codebooks`, by modality."""
        return {}

    # --- the four hooks ---------------------------------------------------------------------------------------------------

    def prepare_media(self, media: Any, options: Any) -> list[Prepared]:
        """First hook: media of any kind as items that fit the network."""
        raise NotImplementedError

    def latents_of(self, x: Tensor, batch: Batch) -> Tensor:
        """Second hook: latents `[B, D, L]` of a batch, or of one piece of it for audio and large pictures."""
        return self.encode_latents(x)

    def ids_of(self, z: Tensor, batch: Batch) -> Coded:
        """Third hook: ids `[B, K, L]` of latents `[B, D, L]`."""
        return Coded(self.quantizer.encode(z, grid=batch.grid, num_codebooks=batch.options.num_codebooks))

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Fourth hook: media `[B, ...]` of ids `[B, K', L]`, in the network's output size."""
        return self.decode_latents(self.vectors_of(ids, batch.grid), batch.grid)

    # --- what the hooks call ----------------------------------------------------------------------------------------------

    def encode_latents(self, x: Tensor) -> Tensor:
        """Return latents `[B, D, L]` of a batch `[B, ...]` of items of one size, with gradients."""
        raise NotImplementedError

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Return media `[B, ...]` from quantized latents `[B, D, L]`, with gradients."""
        raise NotImplementedError

    def vectors_of(self, ids: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Quantized latents `[B, D, L]` of ids `[B, K', L]`, in the number type of the weights."""
        return self.quantizer.decode(ids, grid=grid).to(self.dtype)

    def grid_of(self, x: Tensor) -> tuple[int, ...] | None:
        """The shape that is flattened into L for a batch `x`, such as `(h, w)`; None: a plain sequence."""
        return None

    # --- decode -----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def decode(self, tokens: Tokens | Ids, options: DecodeOptions | None = None, /, **named: Any) -> Any:
        """Turn tokens back into media of exactly the original size, without gradients.

        Args:
            tokens: from `encode` of this tokenizer, or a cut of it that `spec.prefix` allows; or ids as `Tokenizer.tokens`
                takes them, where that needs no grid.
            options: from `parse_options`; None: the defaults.
            named: options by name; `describe_options(tokenizer, "decode")` lists them.

        Returns:
            float32 `[B, ...]`, or a list of items where their sizes differ. Not clipped.

        Raises:
            ValueError: tokens of another tokenizer, or wrong options.
        """
        chosen = make_options(self, "decode", options, named)
        tokens = self.check_tokens(tokens).facts_on_host()
        outs: list[Any] = [None] * len(tokens)
        for items, batch in self._groups(tokens, chosen):
            ids = torch.cat([item.ids for item in items]).to(self.device, non_blocking=True)
            x = self.media_of(ids, batch)
            x = x.float() if x.is_floating_point() else x
            for row, i in enumerate(batch.items):
                outs[i] = self.fit_out(x[row], items[row], chosen)
        return one_batch(outs)

    # --- semantic features ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def semantic(self, tokens: Tokens | Ids, *, pooled: bool = False) -> Tensor | list[Tensor]:
        """Semantic features of ids: the features of a frozen model that they approximate, or their code vectors.

        Args:
            tokens: as in `decode`; also of tokenizers that only encode.
            pooled: return one vector for each item instead of one for each position, in families that have it.

        Returns:
            float32 `[B, D, L]`, D = `spec.semantic_dim` and L the positions of the semantic codebooks, or a list of `[D, L]` where
            L differs; with `pooled` `[B, E]`, E the width of the pooled vector.

        Raises:
            NoMeaning: the family has no such features, or no pooled vector.
        """
        if not self.spec.semantic_dim:
            raise NoMeaning(f"this {self.family} tokenizer has no semantic features (spec.semantic_dim is 0); `decode` the ids.")
        tokens = self.check_ids(tokens).facts_on_host()
        outs: list[Any] = [None] * len(tokens)
        for items, batch in self._groups(tokens, self.decode_options()):
            y = self.semantic_of(torch.cat([item.ids for item in items]).to(self.device), batch.grid)
            y = self.pooled_of(y) if pooled else y
            for row, i in enumerate(batch.items):
                outs[i] = y[row].float()
        return one_batch(outs)

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """Features `[B, D, L]` of ids `[B, K', L]`; only where `spec.semantic_dim` is not 0."""
        raise NotImplementedError

    def pooled_of(self, features: Tensor) -> Tensor:
        """One vector `[B, E]` of features `[B, D, L]`."""
        raise NoMeaning(f"this {self.family} tokenizer has no vector for a whole item; leave `pooled` out.")

    # --- shared by decode and semantic ----------------------------------------------------------------------------------------

    def _groups(self, tokens: Tokens, options: Any) -> list[tuple[list[Tokens], Batch]]:
        """Items that go through the decoder together, each cut to its own length."""
        items = list(tokens)
        groups = []
        for group in equal_ones([self.decode_key(item, options) for item in items]):
            first = items[group[0]]
            groups.append((
                [items[i] for i in group],
                Batch(
                    options=options,
                    items=group,
                    total=len(items),
                    grid=first.grid if len(first.grid) > 1 else None,
                    sizes=[tuple(size[0].tolist()) for i in group if (size := items[i].sizes) is not None],
                    scale=None if first.scale is None else torch.cat(present(items[i].scale for i in group)).to(self.device),
                    tokens=[items[i] for i in group],
                ),
            ))  # fmt: skip
        return groups

    def decode_key(self, item: Tokens, options: Any) -> Hashable:
        """Items with equal keys go through the decoder in one batch."""
        return item.grid, item.ids.shape

    def fit_out(self, x: Tensor, item: Tokens, options: Any) -> Tensor:
        """One decoded item in its original's size, or in the network's output size where `options.original` is False."""
        raise NotImplementedError

    def book_grids_of(self, grid: tuple[int, ...]) -> Sequence[tuple[int, int]] | None:
        """`(h, w)` of each codebook for a picture whose finest grid is `grid`, if codebooks have separate grids; else None."""
        return None

    @property
    def identity(self) -> TokenizerId | None:
        """Identity of this tokenizer for `Tokens.tokenizer`; None where its weights cannot be read."""
        raise NotImplementedError

    def check_tokens(self, tokens: Tokens | Ids) -> Tokens:
        """Return the tokens that `decode` takes; raise ValueError if this tokenizer cannot decode them."""
        raise NotImplementedError

    def check_ids(self, tokens: Tokens | Ids) -> Tokens:
        """As `check_tokens`, but also allowed for a tokenizer without a decoder."""
        raise NotImplementedError


def equal_ones(keys: Sequence[Hashable]) -> list[list[int]]:
    """Indices of equal keys, in order of first appearance."""
    groups: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    return list(groups.values())


def one_batch(outs: list[Tensor]) -> Tensor | list[Tensor]:
    """Items as one tensor `[B, ...]` if they have one shape, else unchanged."""
    return torch.stack(outs) if len({o.shape for o in outs}) == 1 else outs
