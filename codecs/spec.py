"""What a tokenizer's tokens are: rates, vocabularies, sizes. Every derived number is computed, none is typed in."""

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

if TYPE_CHECKING:
    from .quantizers.base import Quantizer

#: What may be cut short before `decode`.
Prefix = tuple[Literal["codebooks", "positions"], ...]


def id_bits(vocab_size: int) -> int:
    """Bits that one id of a vocabulary of `vocab_size` takes: ceil(log2 V), at least 1."""
    return max(1, (vocab_size - 1).bit_length())


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """Facts common to both modalities.

    Attributes:
        vocab_sizes: V of each codebook, K numbers.
        channels: channels of the media: 1 or 2 for audio, 3 for colour pictures.
        prefix: what may be cut short before `decode`: "codebooks", "positions", both or nothing.
        names: a name for each codebook where they mean different things, else empty.
        decodes: False where no decoder is published: `decode` raises `NotDecodable`.
        semantic_dim: D of the features that `semantic(tokens)` gives; 0 if the ids have no semantic features.
        encode_options, decode_options: names of what `encode` and `decode` take; the tokenizer fills them in.
    """

    vocab_sizes: tuple[int, ...]
    channels: int
    prefix: Prefix = ()
    names: tuple[str, ...] = ()
    decodes: bool = True
    semantic_dim: int = 0
    encode_options: tuple[str, ...] = ()
    decode_options: tuple[str, ...] = ()
    modality: ClassVar[str] = ""

    @property
    def num_codebooks(self) -> int:
        """K, integers at each token position."""
        return len(self.vocab_sizes)

    @property
    def bits_per_position(self) -> int:
        """Bits that one position of all codebooks takes."""
        return sum(id_bits(v) for v in self.vocab_sizes)

    def with_options(self, encode: tuple[str, ...], decode: tuple[str, ...]) -> Self:
        """The same facts with the names of the options."""
        return dataclasses.replace(self, encode_options=encode, decode_options=decode)


@dataclass(frozen=True, kw_only=True)
class AudioSpec(TokenizerSpec):
    """Facts of an audio tokenizer.

    Attributes:
        sample_rate_hz: sampling rate of the network's input waveforms.
        output_rate_hz: rate of the waveforms that it gives, where it differs (0: the same).
        hop_samples: input samples from one token position to the next.
        strides: for each codebook, positions that share one id (multi-rate codecs); empty when all are 1.
        causal: True where a sample never depends on later ones but for `latency_samples`; such codecs stream.
        latency_samples: samples of look-ahead that the first output sample waits for, in a stream.
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
        semantic_dim: int = 0,
    ) -> Self:
        """Facts of a tokenizer around `quantizer`, which gives vocabularies, strides and, unless given, what may be cut short."""
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
            semantic_dim=semantic_dim,
        )

    @property
    def streamable(self) -> bool:
        """True where `tokenizer.stream()` works."""
        return self.causal

    @property
    def decoded_rate_hz(self) -> int:
        """Rate of the waveforms that the decoder gives."""
        return self.output_rate_hz or self.sample_rate_hz

    @property
    def frame_rate_hz(self) -> float:
        """Token positions a second."""
        return self.sample_rate_hz / self.hop_samples

    @property
    def tokens_per_second(self) -> float:
        """Integers a second, over all codebooks."""
        return sum(self.frame_rate_hz / s for s in self.strides or (1,) * self.num_codebooks)

    @property
    def bitrate_kbps(self) -> float:
        """Thousands of bits a second, log2 V bits an integer."""
        strides = self.strides or (1,) * self.num_codebooks
        rate = self.frame_rate_hz
        return sum(rate / s * math.log2(v) for s, v in zip(strides, self.vocab_sizes, strict=True)) / 1000


@dataclass(frozen=True, kw_only=True)
class ImageSpec(TokenizerSpec):
    """Facts of an image tokenizer.

    Attributes:
        stride: pixels from one token position to the next in a grid; 0 for sequences without a grid.
        image_size: the one `(H, W)` the network takes, or None: any size (padded to a multiple of `stride`).
        num_positions: L at `image_size` where it is not the grid's; 0 otherwise.
        strides: for each codebook, pixels from one position to the next, where they have grids of their own (DualViTok);
            H // stride x W // stride ids of those that are coarser than `stride`. Empty: one grid for all.
        scales: `(h, w)` of each scale of a multi-scale tokenizer at `image_size`; else empty.
        value_range: range of the network's input and output pixel values.
        resize: how a picture that does not fit `image_size` is brought there by default.
    """

    stride: int
    channels: int = 3
    image_size: tuple[int, int] | None = None
    num_positions: int = 0
    strides: tuple[int, ...] = ()
    scales: tuple[tuple[int, int], ...] = ()
    value_range: tuple[float, float] = (-1.0, 1.0)
    resize: Literal["native", "crop", "squash"] = "native"
    modality: ClassVar[str] = "image"

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
        """Facts of a tokenizer around `quantizer`, which gives vocabularies and, unless given, what may be cut short.

        `scales` are `quantizer.scale_grids` where pictures have one size; for others the schedule is stretched with the grid.
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
        """Integers for a picture of `height` x `width` pixels, over all codebooks."""
        return sum(self._counts(height, width))

    def bits_per_pixel(self, height: int = 256, width: int = 256) -> float:
        """Bits a pixel at `image_size`, or for a picture of `height` x `width`, log2 V bits an integer."""
        if self.image_size is not None:
            height, width = self.image_size
        counts = self._counts(height, width)
        return sum(n * math.log2(v) for n, v in zip(counts, self.vocab_sizes, strict=True)) / (height * width)

    def whole_scales(self, positions: int) -> int:
        """Positions of the scales that the first `positions` hold whole."""
        return max((e for e in itertools.accumulate(h * w for h, w in self.scales) if e <= positions), default=0)

    def _counts(self, height: int, width: int) -> list[int]:
        """Ids of each codebook."""
        whole = self.positions(height, width)
        if not self.strides:
            return [whole] * self.num_codebooks
        return [whole if s == self.stride else max(1, height // s) * max(1, width // s) for s in self.strides]


@dataclass(frozen=True, kw_only=True)
class LatentSpec(TokenizerSpec):
    """Facts of a tokenizer over latents; `channels` is C, the width of the input; there is no sampling rate.

    Attributes:
        scales: `(h, w)` of each scale where the quantizer has several, over grids of the last one's size; else empty.
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
        """Facts of a tokenizer around `quantizer`, which gives vocabularies, scales and, unless given, what may be cut short."""
        return cls(
            vocab_sizes=quantizer.codebook_sizes,
            scales=quantizer.scale_grids,
            prefix=_prefix(quantizer) if prefix is None else prefix,
            channels=channels,
            names=names,
            decodes=decodes,
            semantic_dim=semantic_dim,
        )


def _prefix(quantizer: "Quantizer") -> Prefix:
    """Codebooks, where any first few of several decode."""
    return ("codebooks",) if quantizer.prefix_decodable and quantizer.num_codebooks > 1 else ()
