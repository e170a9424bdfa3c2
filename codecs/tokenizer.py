"""`Tokenizer`: the interface of every family. `audio/base.py` and `image/base.py` add reading and resizing of their media."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from . import hooks
from .coding import Coding
from .compiling import compile_again, compile_methods, state_of
from .identity import TokenizerId, identity_of, keeping_fingerprint
from .quantizers.base import Quantized, Quantizer
from .spec import TokenizerSpec
from .summary import summary
from .token_checks import checked
from .token_ids import Ids, tokens_of
from .tokens import Tokens


@dataclass(frozen=True)
class Reconstruction:
    """Output of `Tokenizer.forward`, for the training loop.

    Attributes:
        x_hat: reconstruction, of the shape of the input.
        z: latents before the quantizer, `[B, D, L]`.
        quantized: the quantizer's result.
        features: further outputs that losses use by name (e.g. of a semantic head); empty for most families.
    """

    x_hat: Tensor
    z: Tensor
    quantized: Quantized
    features: Mapping[str, Tensor] = field(default_factory=dict)


class NotDecodable(ValueError):
    """The tokenizer only encodes and cannot decode ids (`spec.decodes` is False)."""


class Tokenizer(Coding):
    """Base class of all tokenizers: encodes media to integers and decodes them to media again.

    A family sets `family`, `config_class`, `config`, `spec` and `quantizer`, and writes `encode_latents` and
    `decode_latents`. `encode` and `decode` are those of `coding.py`; `AudioTokenizer`, `ImageTokenizer` and `LatentTokenizer`
    define how its hooks read the media of a modality and restore their sizes.
    """

    family: ClassVar[str] = ""
    config_class: ClassVar[type] = object
    #: names of the parts that only encoding, and only decoding, needs; what `load(part=...)` leaves out.
    encoder_only: tuple[str, ...] = ("encoder",)
    decoder_only: tuple[str, ...] = ("decoder",)
    #: names of parts and settings that neither the ids nor the decoded media of this tokenizer depend on.
    beside: ClassVar[tuple[str, ...]] = ()
    #: Of a tokenizer that only encodes: why, as `NotDecodable` says it.
    no_decoder: ClassVar[str] = "its authors published no decoder with these weights"
    config: Any = None
    spec: TokenizerSpec
    quantizer: Quantizer
    #: filled in by `load`: registry name, hub id or folder that the weights came from.
    source: str = ""
    #: name of the authors' checkpoint layout that it was converted from; "": this library's own layout.
    layout: str = ""
    #: licence of the weights, as their card states it; "": unknown. Saved with them.
    licence: str = ""
    #: registry name or hub id that these very weights were published as; "": they were not, or it is not known. Saved with them.
    origin: str = ""
    #: registry names or hub ids, with ", " between them, of weights that training began with, where it is known. Saved with them.
    trained_from: str = ""
    #: "encoder" or "decoder" where `load(part=...)` left the other half out.
    part: str = ""

    def forward(self, x: Tensor) -> Reconstruction:
        """Encode, quantize and decode a training batch `[B, ...]`, with gradients; same values as `encode` and then `decode`."""
        raise NotImplementedError

    @property
    def requantizes(self) -> str:
        """The setting of the config, a number, by which `forward` quantizes further latents in training; "": none, or it is 0."""
        return ""

    def compile(self, **options: Any) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]  (`nn.Module.compile` gives None)
        """Compile encoder and decoder with `torch.compile`; ids are unchanged. `options` go to `torch.compile`.

        Copies and pickles of a compiled tokenizer are compiled too, each around its own weights.
        """
        compile_methods(self, options)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """State for `copy` and `pickle`, without methods bound to this instance's weights."""
        return state_of(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        compile_again(self)

    # --- loading, saving, publishing ----------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **options: Any) -> Self:
        """Same as `tokenzoo.load(name, **options)`; called on a family's class, it takes only tokenizers of that family.

        Raises:
            ValueError: `name` is a tokenizer of another family; and what `tokenzoo.load` raises.
        """
        tokenizer = hooks.call("load", name, **options)
        if not isinstance(tokenizer, cls):
            raise ValueError(f"{os.fspath(name)!r} is of the family {tokenizer.family}, not a {cls.__name__}; use tokenzoo.load.")
        return tokenizer

    def save_pretrained(self, folder: str | os.PathLike[str], **options: Any) -> Path:
        """`tokenzoo.save_pretrained(self, folder, **options)`: write config, weights and model card; returns the folder."""
        return hooks.call("save_pretrained", self, folder, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """`tokenzoo.push_to_hub(self, repo_id, **options)`: publish it as the repository `org/repo`; returns the commit's URL."""
        return hooks.call("push_to_hub", self, repo_id, **options)

    def summary(self) -> str:
        """Facts, size, licence and options as text of about one screen."""
        return summary(self)

    def check_decodes(self) -> None:
        """Raise `NotDecodable` where this tokenizer has no decoder."""
        if not self.spec.decodes:
            raise NotDecodable(f"this {self.family} tokenizer only encodes: {self.no_decoder}.")

    def check_tokens(self, tokens: Tokens | Ids) -> Tokens:
        """Check the input of `decode`: `tokens` unchanged, or ids as tokens of this tokenizer.

        Tokens that another tokenizer made, with vocabularies of the same sizes, cause one warning for each such tokenizer.

        Raises:
            NotDecodable: this tokenizer only encodes.
            TokenError: tokens of another modality, other K or V or layout, or a cut that this tokenizer does not decode.
        """
        self.check_decodes()
        return self.check_ids(tokens)

    def check_ids(self, tokens: Tokens | Ids) -> Tokens:
        """As `check_tokens`, but also allowed for a tokenizer that only encodes."""
        return checked(self, tokens if isinstance(tokens, Tokens) else tokens_of(self, tokens))

    def tokens(
        self, ids: Ids, *, grid: Any = None, sizes: Any = None, sample_rate_hz: Any = None, lengths: Any = None
    ) -> Tokens:
        """Convert plain ids, such as the output of a language model, to the tokens that `decode` takes.

        Args:
            ids: whole numbers `[B, K, L]`, or `[K, L]` of one item: a tensor, an array, nested lists. Codebooks with strides
                (`spec.strides`) repeat an id to fill its stride. Fewer codebooks or positions where `spec.prefix` allows it.
            grid: `(h, w)` with h w = L, or one such pair for each item; needed for pictures of any size, and to decode features to
                a grid `[D, h, w]`. For clips `(t, h, w)`; `(h, w)` is a clip of one frame.
            sizes: size that decoded media are cut or scaled to: samples, or (H, W) in pixels; one for all items, or one for each.
                None: the full output of the decoder.
            sample_rate_hz: sampling rate of decoded audio, for all items or for each; None: the codec's own.
            lengths: valid positions of each item `[B]`; later positions are ignored. None: all positions are valid.

        Returns:
            `Tokens` with vocabularies, strides, scales, names and identity of this tokenizer.

        Raises:
            TokenError: a shape, an id, a grid or a size that this tokenizer cannot have.
        """
        return tokens_of(self, ids, grid=grid, sizes=sizes, sample_rate_hz=sample_rate_hz, lengths=lengths)

    # --- identity -------------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> TokenizerId | None:
        """Name and fingerprint, as `Tokens.tokenizer` holds them; None where the weights cannot be read (device "meta")."""
        return identity_of(self)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Tokenizer":
        """Move or cast (`to`, `half`, `cuda`) the weights; the tokenizer keeps its identity."""
        with keeping_fingerprint(self):
            super()._apply(fn, recurse)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward` of a training batch.

        Raises:
            ValueError: anything but a tensor, such as a path; `encode` takes media.
        """
        x = args[0] if args else kwargs.get("x")
        if not isinstance(x, Tensor):
            verb = "decode" if isinstance(x, Tokens) else "encode"
            raise ValueError(
                f"got {type(x).__name__}. Calling a tokenizer runs a training batch, a tensor, through it; call "
                f"tokenizer.{verb}({'tokens' if verb == 'decode' else 'media'}) instead."
            )
        return super().__call__(*args, **kwargs)
