"""Facts about a tokenizer's tokens: rates, vocabularies, sizes. Every derived number is computed from the others."""

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from .config import ConfigError

if TYPE_CHECKING:
    from .quantizers.base import Quantizer

#: Axes of tokens that may be cut to their first entries before `decode`.
Prefix = tuple[Literal["codebooks", "positions"], ...]


def id_bits(vocab_size: int) -> int:
    """Bits that one id of a vocabulary of `vocab_size` takes: ceil(log2 V), at least 1."""
    return max(1, (vocab_size - 1).bit_length())


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """Facts common to all modalities: audio, images, latents.

    Attributes:
        vocab_sizes: V of each codebook, K numbers.
        channels: channels of the media: 1 or 2 for audio, 3 for colour pictures.
        prefix: "codebooks", "positions", or both: `decode` takes the first N of them as well as all; empty: only all.
        names: a name for each codebook where they represent different things, else empty.
        decodes: False where no decoder is published: `decode` raises `NotDecodable`.
        semantic_dim: D of the features that `semantic(tokens)` returns; 0 if the ids have no semantic features.
        side_vectors: names of the vectors that tokens carry beside their ids (`Tokens.side_vectors`), without which ids mean nothing.
        encode_options, decode_options: names of the options of `encode` and `decode`; the tokenizer fills them in.

    Raises:
        ConfigError: no codebook, or a size or rate below 1.
    """

    vocab_sizes: tuple[int, ...]
    channels: int
    prefix: Prefix = ()
    names: tuple[str, ...] = ()
    decodes: bool = True
    semantic_dim: int = 0
    side_vectors: tuple[str, ...] = ()
    encode_options: tuple[str, ...] = ()
    decode_options: tuple[str, ...] = ()
    modality: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self._check_positive("channels", self.channels)
        for k, size in enumerate(self.vocab_sizes):
            self._check_positive(f"the vocabulary of codebook {k}", size)
        if not self.vocab_sizes:
            raise ConfigError("a tokenizer needs at least one codebook.")

    @staticmethod
    def _check_positive(name: str, value: int) -> None:
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1.")

    @property
    def num_codebooks(self) -> int:
        """K, integers at each token position."""
        return len(self.vocab_sizes)

    @property
    def bits_per_position(self) -> int:
        """Bits of one position, over all codebooks."""
        return sum(id_bits(v) for v in self.vocab_sizes)

    def with_options(self, encode: tuple[str, ...], decode: tuple[str, ...]) -> Self:
        """A copy with the names of the options of `encode` and of `decode`."""
        return dataclasses.replace(self, encode_options=encode, decode_options=decode)


@dataclass(frozen=True, kw_only=True)
class AudioSpec(TokenizerSpec):
    """Facts of an audio tokenizer.

    Attributes:
        sample_rate_hz: sampling rate of the network's input waveforms.
        output_rate_hz: sampling rate of its output waveforms; 0: the same.
        hop_samples: input samples from one token position to the next.
        strides: for each codebook, positions that share one id (multi-rate codecs); empty when all are 1.
        causal: True where an output sample depends on no input more than `latency_samples` later; such codecs stream.
        latency_samples: look-ahead in input samples, after which a stream outputs its first sample.
        value_range: allowed sample values.
    """

    sample_rate_hz: int
    hop_samples: int
    channels: int = 1
    output_rate_hz: int = 0
    strides: tuple[int, ...] = ()
    causal: bool = False
    latency_samples: int = 0
    value_range: tuple[float, float] = (-1.0, 1.0)
    modality: ClassVar[str] = "audio"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range(self.value_range)
        self._check_positive("sample_rate_hz", self.sample_rate_hz)
        self._check_positive("hop_samples", self.hop_samples)

    @classmethod
    def of(
        cls,
        quantizer: "Quantizer",
        *,
        sample_rate_hz: int,
        hop_samples: int,
        channels: int = 1,
        output_rate_hz: int = 0,
        causal: bool = False,
        latency_samples: int = 0,
        prefix: Prefix | None = None,
        names: tuple[str, ...] = (),
        decodes: bool = True,
        semantic_dim: int = 0,
        side_vectors: tuple[str, ...] = (),
    ) -> Self:
        """Spec of a tokenizer around `quantizer`: vocabularies, strides and (where it is None) `prefix` are the quantizer's."""
        return cls(
            vocab_sizes=quantizer.codebook_sizes,
            strides=quantizer.strides,
            prefix=_prefix(quantizer) if prefix is None else prefix,
            sample_rate_hz=sample_rate_hz,
            hop_samples=hop_samples,
            channels=channels,
            output_rate_hz=output_rate_hz,
            causal=causal,
            latency_samples=latency_samples,
            names=names,
            decodes=decodes,
            semantic_dim=semantic_dim,
            side_vectors=side_vectors,
        )

    @property
    def streamable(self) -> bool:
        """True for causal codecs, for which `tokenizer.stream()` is available."""
        return self.causal

    @property
    def decoded_rate_hz(self) -> int:
        """Sampling rate of the decoder's output waveforms."""
        return self.output_rate_hz or self.sample_rate_hz

    @property
    def frame_rate_hz(self) -> float:
        """Number of token positions a second, `sample_rate_hz / hop_samples`."""
        return self.sample_rate_hz / self.hop_samples

    @property
    def tokens_per_second(self) -> float:
        """Number of ids a second, over all codebooks; a codebook with stride s has one for every s positions."""
        return sum(self.frame_rate_hz / s for s in self.strides or (1,) * self.num_codebooks)

    @property
    def bitrate_kbps(self) -> float:
        """Bitrate in kbit/s, with log2 V bits for each id."""
        strides = self.strides or (1,) * self.num_codebooks
        rate = self.frame_rate_hz
        return sum(rate / s * math.log2(v) for s, v in zip(strides, self.vocab_sizes, strict=True)) / 1000


@dataclass(frozen=True, kw_only=True)
class ImageSpec(TokenizerSpec):
    """Facts of an image tokenizer.

    Attributes:
        stride: pixels from one token position to the next in a grid; 0 for sequences without a grid.
        image_size: the one `(H, W)` the network takes, or None: any size (padded to a multiple of `stride`).
        num_positions: L at `image_size` where it is not the number of positions of the grid; 0 otherwise.
        strides: for each codebook, pixels from one position to the next, where codebooks have separate grids (DualViTok); those
            that are coarser than `stride` have H // stride x W // stride ids. Empty: one grid for all.
        scales: `(h, w)` of each scale of a multi-scale tokenizer at `image_size`; else empty.
        value_range: range of the network's input and output pixel values.
        resize: how a picture of another size is resized to `image_size` by default; see `ImageEncodeOptions`.
        clips: True where an item is a clip of pictures `[T, 3, H, W]` and a picture a clip of one frame: grids are `(t, h, w)`, sizes
            `(T, H, W)`. What `encode` then takes: `media/clips.py`.
    """

    stride: int
    channels: int = 3
    image_size: tuple[int, int] | None = None
    num_positions: int = 0
    strides: tuple[int, ...] = ()
    scales: tuple[tuple[int, int], ...] = ()
    value_range: tuple[float, float] = (-1.0, 1.0)
    resize: Literal["native", "crop", "squash"] = "native"
    clips: bool = False
    modality: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range(self.value_range)
        for side in self.image_size or ():
            self._check_positive("image_size", side)

    @classmethod
    def of(
        cls,
        quantizer: "Quantizer",
        *,
        stride: int,
        image_size: tuple[int, int] | None = None,
        num_positions: int = 0,
        strides: tuple[int, ...] = (),
        scales: tuple[tuple[int, int], ...] = (),
        value_range: tuple[float, float] = (-1.0, 1.0),
        resize: Literal["native", "crop", "squash"] = "native",
        prefix: Prefix | None = None,
        names: tuple[str, ...] = (),
        decodes: bool = True,
        semantic_dim: int = 0,
    ) -> Self:
        """Spec of a tokenizer around `quantizer`: vocabularies and (where it is None) `prefix` are the quantizer's.

        Pass `quantizer.scale_grids` as `scales` where pictures have one size; for other sizes the schedule of scales is stretched.
        """
        return cls(
            vocab_sizes=quantizer.codebook_sizes,
            scales=scales,
            prefix=_prefix(quantizer) if prefix is None else prefix,
            stride=stride,
            image_size=image_size,
            num_positions=num_positions,
            strides=strides,
            value_range=value_range,
            resize=resize,
            names=names,
            decodes=decodes,
            semantic_dim=semantic_dim,
        )

    def positions(self, height: int = 256, width: int = 256) -> int:
        """L, token positions of a picture of `height` x `width` pixels."""
        if self.image_size is not None:
            height, width = self.image_size
        if self.num_positions:
            return self.num_positions
        if self.scales:
            return sum(h * w for h, w in self.scales)
        return -(-height // self.stride) * -(-width // self.stride)

    def tokens_per_image(self, height: int = 256, width: int = 256) -> int:
        """Number of ids of a picture of `height` x `width` pixels, over all codebooks."""
        return sum(self._counts(height, width))

    def bits_per_pixel(self, height: int = 256, width: int = 256) -> float:
        """Bits a pixel, with log2 V bits for each id, at `image_size` or else for a picture of `height` x `width` pixels."""
        if self.image_size is not None:
            height, width = self.image_size
        counts = self._counts(height, width)
        return sum(n * math.log2(v) for n, v in zip(counts, self.vocab_sizes, strict=True)) / (height * width)

    def whole_scales(self, positions: int) -> int:
        """Number of positions of those scales that lie completely within the first `positions`."""
        return max((e for e in itertools.accumulate(h * w for h, w in self.scales) if e <= positions), default=0)

    def _counts(self, height: int, width: int) -> list[int]:
        """Number of ids of each codebook for a picture of `height` x `width` pixels."""
        whole = self.positions(height, width)
        if not self.strides:
            return [whole] * self.num_codebooks
        return [whole if s == self.stride else max(1, height // s) * max(1, width // s) for s in self.strides]


@dataclass(frozen=True, kw_only=True)
class LatentSpec(TokenizerSpec):
    """Facts of a tokenizer over latents; `channels` is C, the width of the input; there is no sampling rate.

    Attributes:
        scales: `(h, w)` of each scale of a multi-scale quantizer, the last one that of the input grid; else empty.
    """

    scales: tuple[tuple[int, int], ...] = ()
    modality: ClassVar[str] = "latent"

    @classmethod
    def of(
        cls,
        quantizer: "Quantizer",
        *,
        channels: int,
        prefix: Prefix | None = None,
        names: tuple[str, ...] = (),
        decodes: bool = True,
        semantic_dim: int = 0,
    ) -> Self:
        """Spec of a tokenizer around `quantizer`: vocabularies, scales and (where it is None) `prefix` are the quantizer's."""
        return cls(
            vocab_sizes=quantizer.codebook_sizes,
            scales=quantizer.scale_grids,
            prefix=_prefix(quantizer) if prefix is None else prefix,
            channels=channels,
            names=names,
            decodes=decodes,
            semantic_dim=semantic_dim,
        )


@dataclass(frozen=True, kw_only=True)
class MapSpec(LatentSpec):
    """Facts of a tokenizer of maps.

    Attributes:
        stride: rows and columns of the map from one token to the next; 1: one token for each position of the map.
        classes: number of classes; the input is integers `[H, W]`. 0: the input is floats `[C, H, W]`, C being `channels`.
        sequences: floats `[C, N]` are accepted as well, for no position depends on another.
    """

    stride: int = 1
    classes: int = 0
    sequences: bool = False


def _check_range(value_range: tuple[float, float]) -> None:
    low, high = value_range
    if not -math.inf < low < high < math.inf:
        raise ConfigError(f"value_range is {value_range}; it must be two finite numbers, the lower one first.")


def _prefix(quantizer: "Quantizer") -> Prefix:
    """("codebooks",) where the first N of several codebooks can be decoded without the others, else ()."""
    return ("codebooks",) if quantizer.prefix_decodable and quantizer.num_codebooks > 1 else ()
