"""DualViTok, the tokenizer of ILLUME+: a coarse grid of semantic ids and a fine grid of pixel ids.

Huang et al. 2025, "ILLUME+: Illuminating Unified MLLM with Dual Visual Tokenization and Diffusion Refinement", arXiv 2504.01934.
Parity checked against illume-unified-mllm/ILLUME_plus @ 51de69dcd4 (Apache-2.0), class `DualViTok`.

The picture, resized to multiples of 28 pixels, is encoded by the frozen tower of Qwen2-VL and a few blocks to semantic latents
`[B, D_s, L_s]`; at its own size a convolutional encoder maps it to pixel latents `[B, D_p, L]`. Each has one SimVQ codebook: ids
`[B, 2, L]`, the semantic ones padded with zeros. Pictures `[B, 3, H, W]` are decoded from both codes, the semantic ones resized to
the pixel grid; the tower's features are decoded from the semantic codes alone. The diffusion decoder of `sdxl.py` draws larger pictures
from the same codes: `decode(tokens, refiner="ILLUME-MLLM/dualvitok-sdxl-decoder")`.

Letters: B batch, H W pixels, h w pixel grid, L = h w, s t semantic grid, L_s = s t, D = D_s + D_p code width, F feature width.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.qwen2_vision import Qwen2Tower, Qwen2TowerConfig, RotaryStack, RotaryStackConfig
from ...layers.vit import init_linear
from ...layers.vqgan import DecoderConfig, EncoderConfig, VQGANDecoder, VQGANEncoder
from ...quantizers.base import QuantizerConfig
from ...quantizers.simvq import SimVQConfig
from ...quantizers.two_grids import TwoGrids
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ..base import pad_to_stride
from ..refined import Refined, RefineDecodeOptions
from .sdxl import SdxlRefiner, SdxlRefinerConfig, read_sdxl_refiner

Head = Literal["linear", "norm_linear", "linear_norm", "mlp"]

#: (H, W, height and width of the tower's input) where the latter are not the next smaller multiples of 28 pixels.
SIZES = (
    (512, 384, 448, 336), (384, 512, 336, 448), (768, 384, 728, 364), (384, 768, 364, 728), (384, 576, 336, 504),
    (576, 384, 504, 336), (960, 320, 924, 308), (320, 960, 308, 924),
)  # fmt: skip
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_DC = {"attention_levels": (4,), "resample": "residual"}


@dataclass(frozen=True, kw_only=True)
class DualViTokConfig:
    """Settings of `DualViTok`; the defaults are the published ones.

    Attributes:
        tower: settings of the semantic tower, which is frozen unless `train_tower`.
        semantic_encoder: blocks from the tower's features to the semantic code, followed by `semantic_head`.
        semantic_dim: D_s, channels of the semantic latents.
        target: the tower's features that the blocks read and the semantic code reconstructs: after a LayerNorm without gain
            ("norm"), or unchanged ("identity").
        semantic_decoder: blocks from the semantic code to features, followed by `feature_head`.
        feature_dim: F, width of the decoded features.
        sizes: picture sizes whose tower input has a fixed size, as in `SIZES`.
        encoder, decoder: settings of the pixel encoder and decoder; see `layers/vqgan.py`.
        encoder_channels: the encoder's output channels, before the map to the code.
        pixel_dim: D_p, channels of the pixel latents.
        decoder_channels: the decoder's input channels, after the map from the code; 0: as wide as the code.
        merge: the pixel decoder's input: semantic and pixel codes ("both") or pixel codes alone ("pixel").
        semantic_quantizer, pixel_quantizer: settings of the two quantizers, of any kind without scales; their `dim`s are filled in.
        noise_items, noise_positions: training only: share of pictures with perturbed pixel codes, and share of their perturbed
            positions. `noise`: a perturbed code is replaced by another picture's code ("other") or by zeros ("zero").
        refiner: settings of the diffusion decoder; None: there is none before `set_refiner`.
    """

    tower: Qwen2TowerConfig = field(default_factory=Qwen2TowerConfig)
    train_tower: bool = False
    semantic_encoder: RotaryStackConfig = field(default_factory=RotaryStackConfig)
    semantic_head: Head = "linear"
    semantic_dim: int = 32
    target: Literal["norm", "identity"] = "norm"
    semantic_decoder: RotaryStackConfig = field(default_factory=RotaryStackConfig)
    feature_head: Head = "linear_norm"
    feature_dim: int = 3584
    sizes: tuple[tuple[int, int, int, int], ...] = SIZES
    encoder: EncoderConfig = EncoderConfig(**_DC, head_shortcut=True)
    encoder_channels: int = 32
    pixel_dim: int = 32
    decoder: DecoderConfig = DecoderConfig(
        widths=(384, 384, 768, 768, 1536), condition="spatial", stem_shortcut=True, **_DC
    )  # fmt: skip
    decoder_channels: int = 0
    merge: Literal["both", "pixel"] = "both"
    semantic_quantizer: QuantizerConfig = SimVQConfig(codebook_size=32768)
    pixel_quantizer: QuantizerConfig = SimVQConfig(codebook_size=98304)
    noise_items: float = 0.1
    noise_positions: float = 0.0
    noise: Literal["other", "zero"] = "other"
    refiner: SdxlRefinerConfig | None = None

    def __post_init__(self) -> None:
        if self.encoder.stride != self.decoder.stride or self.encoder.stride > self.tower.stride:
            raise ConfigError(
                f"strides: encoder {self.encoder.stride}, decoder {self.decoder.stride}, tower {self.tower.stride}; the first two "
                "must be the same, and not larger than the third."
            )
        if self.decoder.condition != "spatial":
            raise ConfigError("decoder.condition must be 'spatial': its norms read the code.")
        for h, w, *seen in self.sizes:
            if any(n % self.tower.stride or n > m for n, m in zip(seen, (h, w), strict=True)):
                raise ConfigError(f"sizes: {h} x {w} pixels, resized to {seen}; give smaller multiples of {self.tower.stride}.")
        if not (0 <= self.noise_items <= 1 and 0 <= self.noise_positions <= 1):
            raise ConfigError(f"noise_items {self.noise_items} and noise_positions {self.noise_positions} are shares, 0 to 1.")


def projection(kind: Head, width: int, out: int) -> nn.Sequential:
    """A linear map, alone, with a LayerNorm before or after it, or with a hidden layer; `[..., in]` to `[..., out]`."""
    if kind == "mlp":
        return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, out))
    linear = nn.Linear(width, out)
    before = [nn.LayerNorm(width)] if kind == "norm_linear" else []
    after = [nn.LayerNorm(out)] if kind == "linear_norm" else []
    return nn.Sequential(*before, linear, *after)


class DualViTok(Refined):
    """ids `[B, 2, L]` of codebooks "semantic" and "pixel", each over a separate grid: `tokens.track("semantic")`.

    The semantic ids fill the first L_s positions (`tokens.book_grids` gives their grid); the rest are zeros. L_s follows from the
    pixel grid, so that bare ids decode too.
    """

    family: ClassVar[str] = "dualvitok"
    config_class: ClassVar[type] = DualViTokConfig
    encoder_only = ("encoder", "to_pixel", "tower", "semantic_in", "semantic_encoder", "to_semantic")
    decoder_only = ("from_code", "decoder", "feature_in", "semantic_decoder", "to_features", "refiner")
    published_refiner = ("ILLUME-MLLM/dualvitok-sdxl-decoder", "unet/, vae/ and scheduler/")
    config: DualViTokConfig
    quantizer: TwoGrids

    def __init__(self, config: DualViTokConfig) -> None:
        super().__init__()
        self.config = c = config
        self.tower = Qwen2Tower(c.tower).requires_grad_(c.train_tower)
        self.semantic_in = nn.Linear(c.tower.feature_dim, c.semantic_encoder.width)
        self.semantic_encoder = RotaryStack(c.semantic_encoder)
        self.to_semantic = projection(c.semantic_head, c.semantic_encoder.width, c.semantic_dim)
        self.encoder = VQGANEncoder(c.encoder, c.encoder_channels)
        self.to_pixel = nn.Conv2d(c.encoder_channels, c.pixel_dim, 1)
        self.quantizer = TwoGrids(
            dataclasses.replace(c.semantic_quantizer, dim=c.semantic_dim),
            dataclasses.replace(c.pixel_quantizer, dim=c.pixel_dim),
            positions=self._semantic_positions,
            names=("semantic", "pixel"),
        )
        self.feature_in = nn.Linear(c.semantic_dim, c.semantic_decoder.width)
        self.semantic_decoder = RotaryStack(c.semantic_decoder)
        self.to_features = projection(c.feature_head, c.semantic_decoder.width, c.feature_dim)
        width = c.pixel_dim + (c.semantic_dim if c.merge == "both" else 0)
        self.from_code = nn.Conv2d(width, c.decoder_channels or width, 1)
        self.decoder = VQGANDecoder(c.decoder, c.decoder_channels or width, code_dim=width)
        for part in (self.semantic_in, self.to_semantic, self.feature_in, self.to_features):
            part.apply(init_linear)
        self.code_dim = width
        self.refiner = SdxlRefiner(c.refiner, width) if c.refiner else None
        books = self.quantizer.coarse.num_codebooks, self.quantizer.fine.num_codebooks
        self.spec = ImageSpec.of(
            self.quantizer,
            names=("semantic",) * books[0] + ("pixel",) * books[1],
            stride=c.encoder.stride,
            strides=(c.tower.stride,) * books[0] + (c.encoder.stride,) * books[1],
            semantic_dim=c.feature_dim,
        )

    # --- the two grids ------------------------------------------------------------------------------------------------

    def semantic_grid(self, grid: tuple[int, ...]) -> tuple[int, int]:
        """(s, t) of a pixel grid (h, w)."""
        height, width = self._seen_size(*(n * self.spec.stride for n in grid))
        return height // self.config.tower.stride, width // self.config.tower.stride

    def _semantic_positions(self, grid: tuple[int, ...]) -> int:
        s, t = self.semantic_grid(grid)
        return s * t

    def _seen_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the tower's input, in pixels."""
        for h, w, *seen in self.config.sizes:
            if (h, w) == (height, width):
                return seen[0], seen[1]
        step = self.config.tower.stride
        return max(step, height // step * step), max(step, width // step * step)

    def tower_view(self, x: Tensor) -> Tensor:
        """The tower's input of pictures `[B, 3, H, W]` in -1..1: resized, mapped to 0..1, normalised by CLIP's mean and deviation."""
        size = self._seen_size(*x.shape[-2:])
        y = F.interpolate((x.float() + 1) / 2, size=size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(v, device=x.device, dtype=torch.float32)[:, None, None] for v in (_CLIP_MEAN, _CLIP_STD))
        return ((y - mean) / std).to(x.dtype)

    # --- encode -------------------------------------------------------------------------------------------------------

    def encode_features(self, x: Tensor) -> Tensor:
        """The tower's features `[B, L_s, F]`: continuous input for understanding, and the target of the semantic code."""
        features = self.tower(self.tower_view(x))
        return F.layer_norm(features, features.shape[-1:], eps=1e-6) if self.config.target == "norm" else features

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of pictures `[B, 3, H, W]`: semantic channels first, zero after their first L_s positions."""
        return self._encode(x)[0]

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents `[B, D, L]` and the tower's features `[B, L_s, F]`."""
        target = self.encode_features(x)
        pixel = self.to_pixel(self.encoder(x))  # [B, D_p, h, w]
        y = self.semantic_encoder(self.semantic_in(target), self.semantic_grid(pixel.shape[-2:]))
        semantic = self.to_semantic(y).transpose(1, 2)  # [B, D_s, L_s]
        pixel = pixel.flatten(2)
        return torch.cat([F.pad(semantic, (0, pixel.shape[2] - semantic.shape[2])), pixel], dim=1), target

    def book_grids_of(self, grid: tuple[int, ...]) -> list[tuple[int, int]]:
        """The semantic or the pixel grid of each codebook, over a pixel grid `(h, w)`."""
        pixel = self._checked(grid)
        return [self.semantic_grid(pixel) if name == "semantic" else pixel for name in self.spec.names]

    # --- decode -------------------------------------------------------------------------------------------------------

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, L]` over the pixel grid `grid`."""
        code = self.merged_code(z_q, self._checked(grid))
        return self.decoder(self.from_code(code), code)

    def merged_code(self, z_q: Tensor, grid: tuple[int, ...]) -> Tensor:
        """The pixel decoder's input `[B, D, h, w]`: semantic codes resized to the pixel grid, and pixel codes."""
        pixel = z_q[:, self.config.semantic_dim :].unflatten(2, grid)
        if self.training and torch.is_grad_enabled() and self.config.noise_positions:
            pixel = self._disturbed(pixel)
        if self.config.merge == "pixel":
            return pixel
        semantic = F.interpolate(self._semantic(z_q, grid).float(), size=tuple(grid), mode="bicubic").to(pixel.dtype)
        return torch.cat([semantic, pixel], dim=1)

    def decode_features(self, z_q: Tensor, grid: tuple[int, ...]) -> Tensor:
        """The tower's features `[B, L_s, feature_dim]`, decoded from the semantic channels of latents `[B, D, L]`."""
        semantic = self._semantic(z_q, grid)
        y = self.feature_in(semantic.flatten(2).transpose(1, 2))
        return self.to_features(self.semantic_decoder(y, tuple(semantic.shape[-2:])))

    def read_refiner(self, source: Any) -> SdxlRefiner:
        """The diffusion decoder of a folder or hub repository."""
        return read_sdxl_refiner(source, self.code_dim)

    def _keep_refiner(self, module: nn.Module) -> None:
        if not isinstance(module, SdxlRefiner):
            raise ValueError(f"the refiner of {self.family} is a SdxlRefiner, a folder or a hub id; got {type(module).__name__}.")
        self.refiner, self.config = module, dataclasses.replace(self.config, refiner=module.config)

    def refined(self, z_q: Tensor, grid: tuple[int, ...], *, noise: Tensor | None, options: RefineDecodeOptions) -> Tensor:
        """Pictures `[B, 3, H, W]` that the diffusion decoder draws from latents `[B, D, L]`."""
        assert isinstance(self.refiner, SdxlRefiner)
        o, size = options, (grid[0] * self.spec.stride, grid[1] * self.spec.stride)
        code = self.merged_code(z_q, grid)
        return self.refiner(code, size=size, noise=noise, seed=o.seed or 0, steps=o.steps, guidance=o.guidance)

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The tower's features `[B, feature_dim, L_s]` of ids `[B, K, L]`."""
        grid = self._checked(grid)
        return self.decode_features(self.vectors_of(ids, grid), grid).transpose(1, 2)

    def _semantic(self, z_q: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Semantic channels on their grid, `[B, D_s, s, t]`."""
        s, t = self.semantic_grid(grid)
        return z_q[:, : self.config.semantic_dim, : s * t].unflatten(2, (s, t))

    def _checked(self, grid: tuple[int, ...] | None) -> tuple[int, int]:
        if grid is None or len(grid) != 2:
            raise ValueError(f"{self.family} needs the pixel grid (h, w), got {grid}.")
        return grid[0], grid[1]

    # --- training -----------------------------------------------------------------------------------------------------

    def _disturbed(self, pixel: Tensor) -> Tensor:
        """Codes `[B, D_p, h, w]` with some positions of some pictures perturbed; the next picture's codes carry no gradient."""
        c, (b, _, h, w) = self.config, pixel.shape
        items = torch.rand(b, 1, 1, 1, device=pixel.device) <= c.noise_items
        hit = items & (torch.rand(b, 1, h, w, device=pixel.device) <= c.noise_positions)
        return torch.where(hit, pixel.detach().roll(1, 0) if c.noise == "other" else torch.zeros_like(pixel), pixel)

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`; features "semantic" (decoded) and "semantic_target" (the tower's) are `[B, F, L_s]`."""
        size = x.shape[-2:]
        x = pad_to_stride(x, self.size_multiple)
        grid = self.grid_of(x)
        assert grid is not None
        z, target = self._encode(x)
        quantized = self.quantizer(z, grid=grid)
        features = {"semantic": self.decode_features(quantized.z_q, grid).transpose(1, 2), "semantic_target": target.transpose(1, 2)}
        x_hat = self.decode_latents(quantized.z_q, grid)[..., : size[0], : size[1]]
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=features)
