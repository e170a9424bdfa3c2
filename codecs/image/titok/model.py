"""TiTok and its relatives: a picture as one sequence of latent tokens, through two ViTs.

TiTok: Yu et al. 2024, "An Image is Worth 32 Tokens for Reconstruction and Generation", arXiv 2406.07550. TA-TiTok (a decoder
also conditioned on text): Kim et al. 2025, "Democratizing Text-to-Image Masked Generative Models with Compact Text-Aware
One-Dimensional Tokens", arXiv 2501.07730. One-D-Piece (any prefix decodes): Miwa et al. 2025, "One-D-Piece: Image Tokenizer Meets
Quality-Controllable Compression", arXiv 2501.10064. Parity checked against bytedance/1d-tokenizer @ 942a96fbdd (Apache-2.0),
classes `TiTok`, `TATiTok`, and turingmotors/One-D-Piece @ 473665d1ec (Apache-2.0), class `OneDPiece`.

A ViT encodes one sequence of the patches of a picture `[B, 3, H, W]` and N learned latent tokens; the states of the latter, mapped
to D channels `[B, D, N]`, are quantized: ids `[B, K, N]`. A second ViT decodes the quantized vectors together with mask tokens in
place of the patches to grid features `[B, width, g, g]`, which a head turns into the picture.

Two generations are published. The first ("legacy": L-32, B-64, S-128, One-D-Piece) predicts logits over the codebook of a
MaskGIT-VQGAN, whose decoder makes the pixels of the softmax-weighted mean code. The later ones (vq8k, TA-TiTok)
predict patches of pixels.

Letters: B batch, H W pixels, g decoder grid side, N latent tokens, D latent width, V_t codes of the MaskGIT-VQGAN.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ...coding import Batch
from ...layers.vit import LatentQueryDecoder, LatentQueryEncoder, PatchesToPixels, TransformerSize, embedding, init_linear
from ...layers.vqgan import DecoderConfig, VQGANDecoder
from ...options import DecodeOptions, EncodeOptions, ImageEncodeOptions, OrderedEncodeOptions
from ...quantizers.base import QuantizerConfig
from ...quantizers.vq import VQConfig
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ...tokens import Tokens
from ..base import ImageTokenizer
from .text import ClipText


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Text that the decoder is conditioned on besides the tokens (TA-TiTok).

    Attributes:
        length: number of text states, one for each text token.
        dim: width of the text states.
        model: hub id of the CLIP text model that computes them.
    """

    length: int = 77
    dim: int = 768
    model: str = "openai/clip-vit-large-patch14-336"


@dataclass(frozen=True, kw_only=True)
class PixelDecoderConfig:
    """The convolutional half of the MaskGIT-VQGAN; the defaults are those of the one published.

    Attributes:
        decoder: codes to pixels, see `layers/vqgan.py`.
        latent_dim: width of the MaskGIT-VQGAN's codes.
    """

    decoder: DecoderConfig = DecoderConfig(
        widths=(128, 128, 256, 256, 512), blocks=2, middle=("residual",) * 2, bias=False, shortcut="output"
    )
    latent_dim: int = 256


@dataclass(frozen=True, kw_only=True)
class TiTokConfig:
    """Settings of `TiTok`; the defaults are S-128's with pixel output.

    Attributes:
        image_size: side of the pictures in pixels, H = W.
        encoder_patch_size, decoder_patch_size: pixels on a side of a patch; legacy decoders predict one code of the
            MaskGIT-VQGAN for each patch.
        encoder, decoder: sizes of the two transformers.
        num_latents: N, number of latent tokens.
        latent_dim: D, channels of the latents.
        quantizer: settings of any quantizer; its `dim` is filled in.
        latent_layout: the authors' first generation *reshapes* the encoder's `[B, N, width]` to `[B, width, N]` instead of
            transposing it, so that the map to D channels mixes positions; "reshaped" does the same.
        output: the decoder's target: "pixels", or "codes" of a MaskGIT-VQGAN.
        teacher_codes: V_t, for output "codes".
        teacher: the MaskGIT-VQGAN whose decoder makes the pixels; None (the first of two training stages): decoding
            returns the logits `[B, V_t, g, g]`.
        text: text guidance of the decoder; None: no text.
        prefix: any number of first tokens can be decoded. Training then cuts every batch to a random number of tokens from 1
            to N (tail token drop, arXiv 2501.10064, section 3.1).
    """

    image_size: int = 256
    encoder_patch_size: int = 16
    decoder_patch_size: int = 16
    encoder: TransformerSize = TransformerSize()
    decoder: TransformerSize = TransformerSize()
    num_latents: int = 128
    latent_dim: int = 12
    quantizer: QuantizerConfig = VQConfig(
        codebook_size=4096, normalize=True, returns="normalized", update="gradient", kmeans_init=False
    )
    latent_layout: Literal["transposed", "reshaped"] = "transposed"
    output: Literal["pixels", "codes"] = "pixels"
    teacher_codes: int = 1024
    teacher: PixelDecoderConfig | None = None
    text: TextConfig | None = None
    prefix: bool = False

    def __post_init__(self) -> None:
        for name in ("encoder_patch_size", "decoder_patch_size"):
            if self.image_size % getattr(self, name):
                raise ValueError(f"image_size {self.image_size} is no multiple of {name} {getattr(self, name)}.")
        if self.teacher is not None and self.output != "codes":
            raise ValueError('a teacher is used only with output "codes"; set output, or leave the teacher out.')
        if self.teacher is not None and self.teacher.decoder.stride != self.decoder_patch_size:
            raise ValueError(
                f"the teacher makes {self.teacher.decoder.stride} pixels of a code, "
                f"decoder_patch_size is {self.decoder_patch_size}; they must be equal."
            )


@dataclass(frozen=True, kw_only=True)
class TiTokDecodeOptions(DecodeOptions):
    """Options of `TiTok.decode` of text-aware tokenizers.

    Attributes:
        text: a description of each picture, or the text model's states `[B, length, dim]`; None: states of zero.
    """

    text: Tensor | tuple[str, ...] | None = None


class TiTok(ImageTokenizer):
    """Pictures of one size to N tokens and back; see the module's docstring."""

    family: ClassVar[str] = "titok"
    config_class: ClassVar[type] = TiTokConfig
    encode_options: type[EncodeOptions] = OrderedEncodeOptions
    decode_options: type[DecodeOptions] = TiTokDecodeOptions
    encoder_only = ("encoder", "to_latent")
    decoder_only = ("from_latent", "decoder", "text", "head")
    config: TiTokConfig

    def __init__(self, config: TiTokConfig) -> None:
        super().__init__()
        self.config = c = config
        self.encoder = LatentQueryEncoder(
            image_size=c.image_size,
            patch_size=c.encoder_patch_size,
            num_latents=c.num_latents,
            width=c.encoder.width,
            layers=c.encoder.layers,
            heads=c.encoder.heads,
        )
        self.to_latent = nn.Linear(c.encoder.width, c.latent_dim)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.from_latent = nn.Linear(c.latent_dim, c.decoder.width)
        self.decoder = self.build_decoder()
        self.text = TextTokens(c.text, c.decoder.width) if c.text else None
        self.head = CodesHead(c) if c.output == "codes" else PixelsHead(c)
        for part in (self.encoder, self.to_latent, self.from_latent, self.decoder, self.text):
            if part is not None:
                part.apply(init_linear)
        self.encode_options = OrderedEncodeOptions if c.prefix else ImageEncodeOptions
        self.decode_options = TiTokDecodeOptions if c.text else DecodeOptions
        self.spec = ImageSpec.of(
            self.quantizer,
            prefix=("positions",) if c.prefix else (),
            stride=0,
            image_size=(c.image_size, c.image_size),
            num_positions=c.num_latents,
            value_range=(0.0, 1.0),
            resize="crop",
        )

    def build_decoder(self) -> nn.Module:
        """The transformer from mapped latents to the grid's features."""
        c = self.config
        return LatentQueryDecoder(
            grid_size=c.image_size // c.decoder_patch_size,
            num_latents=c.num_latents,
            width=c.decoder.width,
            layers=c.decoder.layers,
            heads=c.decoder.heads,
        )

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, N]` of pictures `[B, 3, H, W]`."""
        y = self.encoder(x)  # [B, N, width]
        if self.config.latent_layout == "reshaped":
            y = y.reshape(len(y), y.shape[2], y.shape[1]).transpose(1, 2)  # [B, N, width], in the mixed order of "reshaped"
        return self.to_latent(y).transpose(1, 2)

    def decode_latents(
        self, z_q: Tensor, grid: tuple[int, ...] | None = None, *, text: Tensor | None = None
    ) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, n]` and text states `[B, length, dim]` (None: zeros).

        n is N, or any number from 1 where the config has `prefix`.
        """
        return self.head(self.decode_grid(z_q, text=text))

    def decode_grid(self, z_q: Tensor, *, text: Tensor | None = None) -> Tensor:
        """The decoder's grid features `[B, width, g, g]` of latents `[B, D, n]`."""
        n, full = z_q.shape[2], self.config.num_latents
        if n != full and (not self.config.prefix or not 1 <= n <= full):
            allowed = f"1 to {full}" if self.config.prefix else str(full)
            raise ValueError(f"{self.family}: {n} tokens; this tokenizer decodes {allowed}.")
        if text is not None and self.text is None:
            raise ValueError(f"{self.family}: this tokenizer takes no text; leave `text` out.")
        extra = None if self.text is None else self.text(text, len(z_q))
        return self.decoder(self.from_latent(z_q.transpose(1, 2)), extra)

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, K, n]`, and of a text if the decoder takes one."""
        text = self._states(batch) if isinstance(batch.options, TiTokDecodeOptions) else None
        return self.decode_latents(self.vectors_of(ids), text=text)

    def _states(self, batch: Batch) -> Tensor | None:
        """The text model's states `[B, length, dim]` of the items of `batch`."""
        text = batch.options.text
        if text is None or self.config.text is None:
            return None
        if len(text) != batch.total:
            raise ValueError(f"text describes {len(text)} pictures, the tokens are of {batch.total}.")
        if not isinstance(text, Tensor):
            own = [text[i] for i in batch.items]
            return ClipText.named(self.config.text.model)(own, self.config.text.length).to(self.device, self.dtype)
        return text[batch.items].to(self.device, self.dtype)

    def fit_out(self, x: Tensor, item: Tokens, options: Any) -> Tensor:
        """As `ImageTokenizer.fit_out` for pictures; logits `[V_t, g, g]` are returned unchanged."""
        return super().fit_out(x, item, options) if self.gives_pixels else x

    @property
    def gives_pixels(self) -> bool:
        """Whether `decode` gives pictures: False for the first training stage, whose decoder ends in logits."""
        return self.config.output == "pixels" or self.config.teacher is not None

    def forward(self, x: Tensor, states: Tensor | None = None, *, text: Tensor | None = None) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`; with output "codes", `features["logits"]` is `[B, V_t, g, g]`.

        Args:
            x: pictures.
            states: text states `[B, dim, length]`, as the teacher `clip_text` gives them in training.
            text: the same as `[B, length, dim]`, as `decode` takes them.
        """
        text = text if states is None else states.transpose(1, 2)
        z = self.encode_latents(x)
        quantized = self.quantizer(z)
        z_q = quantized.z_q
        if self.training and self.config.prefix:
            z_q = z_q[:, :, : int(torch.randint(1, z_q.shape[2] + 1, ()))]
        grid = self.decode_grid(z_q, text=text)
        if self.config.output == "pixels":
            return Reconstruction(x_hat=self.head(grid), z=z, quantized=quantized)
        assert isinstance(self.head, CodesHead)
        logits = self.head.logits(grid)
        return Reconstruction(x_hat=self.head.pixels(logits), z=z, quantized=quantized, features={"logits": logits})


class TextTokens(nn.Module):
    """Map states of a text model to further tokens of the decoder's sequence."""

    def __init__(self, config: TextConfig, width: int) -> None:
        super().__init__()
        self.length, self.dim = config.length, config.dim
        self.proj = nn.Linear(config.dim, width)
        self.positions = embedding(config.length, width)

    def forward(self, states: Tensor | None, batch: int) -> Tensor:
        """Tokens `[B, length, width]` of states `[B, length, dim]`; None: zeros."""
        if states is None:
            states = self.positions.new_zeros(batch, self.length, self.dim)
        if states.shape != (batch, self.length, self.dim):
            raise ValueError(f"text states are {list(states.shape)}, expected {[batch, self.length, self.dim]}.")
        return self.proj(states) + self.positions


class PixelsHead(nn.Module):
    """Grid features to patches of pixels, smoothed over the seams by a 3x3 convolution."""

    def __init__(self, config: TiTokConfig) -> None:
        super().__init__()
        self.patches = PatchesToPixels(config.decoder.width, config.decoder_patch_size)
        self.smooth = nn.Conv2d(3, 3, 3, padding=1)
        self.apply(init_linear)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` of features `[B, width, g, g]`."""
        return self.smooth(self.patches(x))


class CodesHead(nn.Module):
    """Grid features to logits over the MaskGIT-VQGAN's codes, and the mean code under these logits to pixels."""

    def __init__(self, config: TiTokConfig) -> None:
        super().__init__()
        width = config.decoder.width
        self.to_logits = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1), nn.Tanh(), nn.Conv2d(2 * width, config.teacher_codes, 1)
        )
        self.apply(init_linear)
        self.codebook = self.pixel_decoder = None
        if config.teacher is not None:
            self.codebook = nn.Parameter(torch.empty(config.teacher_codes, config.teacher.latent_dim))
            nn.init.uniform_(self.codebook, -1 / config.teacher_codes, 1 / config.teacher_codes)
            self.pixel_decoder = VQGANDecoder(config.teacher.decoder, config.teacher.latent_dim)

    def logits(self, x: Tensor) -> Tensor:
        """Logits `[B, V_t, g, g]` of features `[B, width, g, g]`."""
        return self.to_logits(x)

    def pixels(self, logits: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` of logits `[B, V_t, g, g]`; the logits themselves without a teacher."""
        if self.pixel_decoder is None:
            return logits
        return self.pixel_decoder(torch.einsum("bvhw,vd->bdhw", logits.softmax(1), self.codebook))

    def forward(self, x: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` of features `[B, width, g, g]`; without a teacher logits `[B, V_t, g, g]`."""
        return self.pixels(self.logits(x))
