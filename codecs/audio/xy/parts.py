"""The parts of XY-Tokenizer: stacks of Whisper's blocks over a table of positions, and convolutions that change the rate.

Letters: B batch, M mel bands, N mel frames, P frames behind the encoders, L positions, W width, C channels.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.vocos import FourierHead, VocosBlock
from ...layers.whisper import WhisperBlock, WhisperStem, sinusoids


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """Settings of one stack of Whisper's blocks; the defaults are those of the published encoders.

    Attributes:
        width: W.
        heads: attention heads.
        hidden: hidden width of the blocks' MLPs.
        layers: number of blocks.
        table: length of the table of sinusoids that is added to the input, the longest sequence.
    """

    width: int = 768
    heads: int = 12
    hidden: int = 3072
    layers: int = 12
    table: int = 1500

    def __post_init__(self) -> None:
        for name in ("width", "heads", "hidden", "layers", "table"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.width % self.heads or self.width % 2:
            raise ConfigError(f"width is {self.width}; it must be even and divide into {self.heads} heads.")


class Stack(nn.Module):
    """A table of sinusoids, blocks and a norm, `[B, C, L]` to `[B, C', L]`; linear maps where C or C' are not the width."""

    table: Tensor

    def __init__(self, config: StackConfig, *, inputs: int = 0, outputs: int = 0) -> None:
        super().__init__()
        c, inputs, outputs = config, inputs or config.width, outputs or config.width
        self.in_proj = nn.Linear(inputs, c.width) if inputs != c.width else None
        self.register_buffer("table", sinusoids(c.table, c.width))  # part of the published file
        self.blocks = nn.ModuleList(WhisperBlock(c.width, c.heads, hidden=c.hidden) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width)
        self.out_proj = nn.Linear(c.width, outputs) if outputs != c.width else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the stack to `[B, C, L]`."""
        x = x.transpose(1, 2)
        x = x if self.in_proj is None else self.in_proj(x)
        x = x + self.table[: x.shape[1]].to(x.dtype)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return (x if self.out_proj is None else self.out_proj(x)).transpose(1, 2)


class MelEncoder(nn.Module):
    """Convolutions and a stack: log-mel frames `[B, M, N]` to the first `frames` of `[B, W, P]`."""

    def __init__(self, config: StackConfig, bands: int, stride: int) -> None:
        super().__init__()
        self.stem = WhisperStem(bands, config.width, strides=(1, stride))
        self.stack = Stack(config)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """Encode `[B, M, N]`; frames behind the first `frames` reach these through the convolutions only."""
        return self.stack(self.stem(x)[..., :frames])


class GatedDown(nn.Module):
    """`pool` frames become one position `[B, pool W, L]`: they themselves and a gated convolution of them, normalised."""

    def __init__(self, width: int, pool: int) -> None:
        super().__init__()
        self.pool, dim = pool, width * pool
        self.gate = nn.Conv1d(width, dim, pool, stride=pool, bias=False)
        self.up = nn.Conv1d(width, dim, pool, stride=pool, bias=False)
        self.down = nn.Linear(dim, dim, bias=False)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, W, P]`, P a multiple of `pool`, to `[B, pool W, P / pool]`."""
        y = self.down((F.silu(self.gate(x)) * self.up(x)).transpose(1, 2))  # [B, L, pool W]
        frames = x.transpose(1, 2).unflatten(1, (-1, self.pool)).flatten(2)  # frame behind frame
        return self.norm(y + frames).transpose(1, 2)


class MelDecoder(nn.Module):
    """A stack and two transposed convolutions with GELU: `[B, W, P]` to `[B, M, stride P]`, what lies beyond is cut off."""

    def __init__(self, config: StackConfig, bands: int, stride: int) -> None:
        super().__init__()
        self.stack, self.stride = Stack(config), stride
        self.conv_in = nn.ConvTranspose1d(config.width, config.width, 3, stride=stride)
        self.conv_out = nn.ConvTranspose1d(config.width, bands, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Decode `[B, W, P]`."""
        y = F.gelu(self.conv_out(F.gelu(self.conv_in(self.stack(x)))))
        return y[..., : x.shape[-1] * self.stride]


class VocosDecoder(nn.Module):
    """Vocos (arXiv 2306.00814): frames `[B, M, N]` to waveforms `[B, 1, N hop]`."""

    def __init__(self, bands: int, *, width: int, hidden: int, layers: int, window_samples: int, hop_samples: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(bands, width, 7, padding=3)
        self.norm_in = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.ModuleList(VocosBlock(width, hidden, layer_scale=1 / layers) for _ in range(layers))
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.head = FourierHead(width, window_samples=window_samples, hop_samples=hop_samples)

    def forward(self, x: Tensor) -> Tensor:
        """Decode `[B, M, N]`."""
        x = self.norm_in(self.embed(x).transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm_out(x.transpose(1, 2)))[:, None]
