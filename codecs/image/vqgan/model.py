"""The VQGAN line: convolutional encoder and decoder around any quantizer, one id (or a few) a position of a 2-D grid.

| system            | upstream, commit that parity was checked against, licence              | paper
|-------------------|------------------------------------------------------------------------|-----------------
| taming VQGAN      | CompVis/taming-transformers @ 3ba01b2416, MIT                          | arXiv 2012.09841
| LlamaGen VQ-8/16  | FoundationVision/LlamaGen @ ce98ec4180, MIT                            | arXiv 2406.06525
| MaskGIT-VQGAN     | bytedance/1d-tokenizer @ 942a96fbdd, Apache-2.0                        | arXiv 2202.04200
| diffusers VQModel | huggingface/diffusers @ 58eb52c080, Apache-2.0                         | arXiv 2112.10752
| Open-MAGVIT2      | TencentARC/SEED-Voken @ b9a17eac8e, Apache-2.0                         | arXiv 2409.04410
| IBQ               | TencentARC/SEED-Voken @ b9a17eac8e, Apache-2.0                         | arXiv 2412.02692
| Emu3.5 IBQ        | baaivision/Emu3.5 @ 8fcf1da48f, Apache-2.0                             | arXiv 2510.26583
| WeTok             | zhuangshaobin/WeTok @ caa2ad7e70, Apache-2.0                           | arXiv 2508.05599
| BitDance          | shallowdream204/BitDance @ 4c5ea90161, Apache-2.0                      | arXiv 2602.14041
| ELM's autoencoder | Pepper-lll/LMforImageGeneration @ c2f29f0ac9, none stated              | arXiv 2410.16257
| Cosmos DI         | NVIDIA/Cosmos-Tokenizer @ 3584ae752c, Apache-2.0                       | arXiv 2501.03575
| Chameleon's       | huggingface/transformers v5.24.0, Apache-2.0                           | arXiv 2405.09818
| Janus' VQ-16      | deepseek-ai/Janus, MIT; huggingface/transformers v5.24.0               | arXiv 2410.13848
| Apertus 1.5's     | huggingface/transformers v5.24.0, Apache-2.0                           | -
| ITER's VQGAN      | chaofengc/ITER @ 826bcaa3a3, CC BY-NC-SA 4.0                           | arXiv 2312.05616

The VQGAN: Esser et al. 2021, "Taming Transformers for High-Resolution Image Synthesis". Its convolutional encoder halves the sides
at most levels, with self-attention at the coarse ones: pictures `[B, 3, H, W]` to features `[B, z_channels, h, w]`. A convolution
maps them to D channels, and the quantizer gives each position K ids, `[B, K, h w]`. A second convolution and a mirrored decoder lead
from the quantized vectors back to `[B, 3, H, W]`. The systems differ in levels, norms, attention and quantizer.

Differs: taming's published configs place attention by resolution; here it is placed by level, so that
it is the same for every size. GroupNorm and attention act over the whole picture. Large pictures go through the fine levels
in pieces whose norms share their statistics (`kernels/conv_stack.py`), so ids equal those of the whole picture; a 4096 x 4096
photograph through 128 channels takes about 3 GB instead of 26. Attention runs over the whole coarse grid: 65,536 positions at
stride 16; at stride 8 four times as many, in 16 times the time.

Letters: B batch, H W pixels, h w grid, D width of the code, K ids a position, L = h w.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...coding import Batch
from ...config import ConfigError, Signed
from ...layers.vqgan import DecoderConfig, EncoderConfig, VQGANDecoder, VQGANEncoder
from ...options import DecodeOptions, NoiseDecodeOptions
from ...quantizers.base import QuantizerConfig
from ...quantizers.vq import VQConfig
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer, pad_to_stride


@dataclass(frozen=True, kw_only=True)
class VQGANConfig:
    """Settings of `VQGAN`; the defaults are LlamaGen's VQ-16.

    Attributes:
        encoder, decoder: settings of both, see `layers/vqgan.py`. decoder None: no decoder (Chameleon's and Apertus' encoders, as
            transformers publishes them).
        z_channels: output channels of the encoder and input channels of the decoder.
        embed_dim: D; a convolution maps z_channels to it before the quantizer and back after. 0: no such convolutions,
            D is z_channels.
        quant_kernel: kernel size of these convolutions (VAR: 3).
        quantizer: settings of any quantizer; its `dim` is filled in.
        value_range: range of input and output pixels.
        network_range: range of the network's pixels if it differs from `value_range` (ITER: -1..1 and 0..1).
        clip: whether decoded pixels are clipped to `value_range`, as in some authors' `decode`. Never in training.
    """

    encoder: EncoderConfig = EncoderConfig(attention_levels=(4,))
    decoder: DecoderConfig | None = DecoderConfig(attention_levels=(4,))
    z_channels: int = 256
    embed_dim: int = 8
    quant_kernel: int = 1
    quantizer: QuantizerConfig = VQConfig(
        codebook_size=16384,
        normalize=True,
        returns="normalized",
        update="gradient",
        kmeans_init=False,
        replace_below=0.0,
    )
    value_range: tuple[Signed, Signed] = (-1.0, 1.0)
    network_range: tuple[Signed, Signed] | None = None
    clip: bool = False

    def __post_init__(self) -> None:
        if self.decoder is not None and self.encoder.stride != self.decoder.stride:
            raise ConfigError(
                f"the encoder divides the size by {self.encoder.stride}, the decoder multiplies it by "
                f"{self.decoder.stride}; make widths, resample_levels and patch_size agree."
            )
        if self.quant_kernel % 2 == 0:
            raise ConfigError(f"quant_kernel is {self.quant_kernel}; it must be odd, so that the grid keeps its size.")


class VQGAN(ImageTokenizer):
    """Convolutional image tokenizer for pictures of any size; see the module's docstring.

    ids `[B, K, L]` run over the grid row by row. Binary quantizers of more than 18 bits split their channels into K groups, in order.
    """

    family: ClassVar[str] = "vqgan"
    config_class: ClassVar[type] = VQGANConfig
    encoder_only = ("encoder", "to_code")
    decoder_only = ("decoder", "from_code")
    decode_options: type[DecodeOptions] = NoiseDecodeOptions
    config: VQGANConfig

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.config = c = config
        dim = c.embed_dim or c.z_channels
        self.encoder = VQGANEncoder(c.encoder, c.z_channels)
        self.decoder = None if c.decoder is None else VQGANDecoder(c.decoder, c.z_channels, code_dim=dim)
        self.quantizer = c.quantizer.build(dim=dim)
        pad = c.quant_kernel // 2
        self.to_code = nn.Conv2d(c.z_channels, dim, c.quant_kernel, padding=pad) if c.embed_dim else nn.Identity()
        back = c.embed_dim and c.decoder is not None
        self.from_code = nn.Conv2d(dim, c.z_channels, c.quant_kernel, padding=pad) if back else nn.Identity()
        self.decode_options = noise_options(c.decoder)
        self.spec = self._spec()

    def _spec(self) -> ImageSpec:
        return ImageSpec.of(
            self.quantizer,
            decodes=self.config.decoder is not None,
            stride=self.config.encoder.stride,
            value_range=self.config.value_range,
        )

    @property
    def size_multiple(self) -> int:
        """The stride, or with windowed attention the stride times the window."""
        window = 1
        for stack in (self.config.encoder, self.config.decoder):
            window = max(window, stack.swin.window if stack is not None and "swin" in stack.middle else 1)
        return self.spec.stride * window

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, h w]` of pictures `[B, 3, H, W]`, H and W multiples of `size_multiple`."""
        return self.to_code(self.encode_features(x)).flatten(2)

    def encode_features(self, x: Tensor) -> Tensor:
        """The encoder's output `[B, z_channels, h, w]` of pictures `[B, 3, H, W]`."""
        c = self.config
        if c.network_range is not None:
            x = _rescale(x, c.value_range, c.network_range)
        return self.encoder(x)

    def decode_latents(
        self, z_q: Tensor, grid: tuple[int, ...] | None = None, *, noise: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, h w]`.

        Args:
            z_q: quantized latents `[B, D, h w]`.
            grid: (h, w), the grid of the latents.
            noise: `[B, z_channels, h, w]`, for decoders that take noise. None: fresh draws in a training step,
                otherwise drawn from `seed`, the same for every picture of this grid.
            seed: seed of the noise, where `noise` is None.
        """
        decoder = self._decoder()
        if grid is None or len(grid) != 2:
            raise ValueError(f"{self.family} needs the grid (h, w) of its latents, got {grid}.")
        code = z_q.unflatten(-1, (grid[0], grid[1]))  # [B, D, h, w]
        z = self.from_code(code)
        if decoder.config.noise and noise is None:
            noise = self._noise(z, seed)
        return self._to_pixels(decoder(z, code, noise))

    def forward(self, x: Tensor) -> Reconstruction:
        """As `ImageTokenizer.forward`; without a decoder `x_hat` are the latents of the ids, `[B, D, L]`."""
        if self.config.decoder is not None:
            return super().forward(x)
        x = pad_to_stride(x, self.size_multiple)
        z = self.encode_latents(x)
        quantized = self.quantizer(z, grid=self.grid_of(x))
        return Reconstruction(x_hat=quantized.z_q, z=z, quantized=quantized)

    def _decoder(self) -> VQGANDecoder:
        """The decoder; raises NotDecodable if there is none."""
        self.check_decodes()
        assert self.decoder is not None
        return self.decoder

    @property
    def noise_channels(self) -> int:
        """Channels of the `noise` that the decoder reads; 0: it reads none."""
        return self.decoder.in_channels if self.decoder is not None and self.decoder.config.noise else 0

    def _noise(self, z: Tensor, seed: int) -> Tensor:
        if self.training and torch.is_grad_enabled():
            return torch.randn_like(z)
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(z.shape[1:], generator=generator, dtype=torch.float32).to(z).expand_as(z)  # one draw for all items

    def _to_pixels(self, x: Tensor) -> Tensor:
        c = self.config
        if c.network_range is not None:
            x = _rescale(x, c.network_range, c.value_range)
        return x.clamp(*c.value_range) if c.clip else x

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, K, h w]`; a noisy decoder reads `noise [B, z_channels, h, w]`, or the draws of `seed`."""
        o = batch.options
        if not isinstance(o, NoiseDecodeOptions):
            return super().media_of(ids, batch)
        z_q, noise = self.vectors_of(ids, batch.grid), batch.rows("noise")
        return self.decode_latents(z_q, batch.grid, noise=None if noise is None else noise.to(z_q), seed=o.seed)


def noise_options(decoder: DecoderConfig | None) -> type[DecodeOptions]:
    """The class of `decode`'s options with this decoder."""
    return NoiseDecodeOptions if decoder is not None and decoder.noise else DecodeOptions


def _rescale(x: Tensor, source: tuple[float, float], target: tuple[float, float]) -> Tensor:
    """Map the values of one range linearly onto another."""
    (a, b), (c, d) = source, target
    return (x - a) * ((d - c) / (b - a)) + c
