"""FlowMo's transformer: two streams, patches and tokens, with weights of their own and attention over both (MMDiT).

Esser et al. 2024, arXiv 2403.03206, in the form of FLUX's first blocks; kylesargent/FlowMo @ d15029f7ff, flowmo/models.py. Queries and
keys are normalised and rotated by position: a patch by (0, row, column), a token by (number, number, number). Attention is scaled by 8
over the head's width (muP).

Letters: B batch, H W pixels, p patch side, P patches, N tokens, D width, C channels of a token.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.grid_cells import of_cells
from ...layers.rectified_flow import TimeEmbedding
from ...layers.rotary_vit import rotate


@dataclass(frozen=True, kw_only=True)
class TwoStreamConfig:
    """Settings of `TwoStreams`.

    Attributes:
        width: D.
        layers, heads: number of blocks and of attention heads.
        hidden: hidden width of the MLPs.
        axes: channels of a head that are rotated by each of the three coordinates; their sum is the head's width.
        theta: base of the rotations' wavelengths.
        bias: whether the maps to queries, keys and values have a bias.
        zero_init: gates begin at 0, as theirs: each block begins as the identity.
    """

    width: int = 768
    layers: int = 8
    heads: int = 12
    hidden: int = 3072
    axes: tuple[int, int, int] = (8, 28, 28)
    theta: float = 10000.0
    bias: bool = True
    zero_init: bool = True

    def __post_init__(self) -> None:
        if self.width % self.heads or sum(self.axes) != self.width // self.heads or any(a % 2 for a in self.axes):
            raise ConfigError(
                f"axes is {self.axes}; three even numbers whose sum is the head's width, {self.width} / {self.heads}, are needed."
            )


class HeadNorm(nn.Module):
    """RMS norm of each head, `[..., d]`, with gains."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[..., d]`."""
        y = x.float()
        return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * self.scale


class Stream(nn.Module):
    """One stream's half of a block.

    Args:
        config: settings.
        timed: gains, shifts and gates follow from a vector of the time.
        continues: whether the stream goes on after the attention; else only its keys and values are used.
    """

    def __init__(self, config: TwoStreamConfig, *, timed: bool, continues: bool) -> None:
        super().__init__()
        d, self.heads, self.continues = config.width, config.heads, continues
        self.modulation = nn.Linear(d, 6 * d) if timed else None
        self.qkv = nn.Linear(d, 3 * d, bias=config.bias)
        self.query_norm = HeadNorm(d // config.heads) if continues else None
        self.key_norm = HeadNorm(d // config.heads)
        if continues:
            self.out = nn.Linear(d, d)
            self.mlp = nn.Sequential(nn.Linear(d, config.hidden), nn.GELU(approximate="tanh"), nn.Linear(config.hidden, d))
        if self.modulation is not None and config.zero_init:
            with torch.no_grad():
                for part in (self.modulation.weight, self.modulation.bias):
                    part[2 * d : 3 * d] = 0
                    part[5 * d :] = 0

    def changes(self, time: Tensor | None) -> list[Tensor]:
        """(shift, scale, gate) of the attention and of the MLP, each `[B, 1, D]`; empty without a time."""
        return [] if time is None or self.modulation is None else list(self.modulation(F.silu(time))[:, None].chunk(6, dim=2))

    def heads_of(self, x: Tensor, changes: list[Tensor]) -> tuple[Tensor | None, Tensor, Tensor]:
        """Queries (None where they are not used), keys and values `[B, heads, L, d]` of `[B, L, D]`."""
        y = self.qkv(_changed(_normed(x), changes[:2]))
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in y.chunk(3, dim=2))
        return None if self.query_norm is None else self.query_norm(q), self.key_norm(k), v

    def after(self, x: Tensor, attended: Tensor, changes: list[Tensor]) -> Tensor:
        """The stream `[B, L, D]` after its part of the attention's output and its MLP."""
        x = x + self.out(attended) * (changes[2] if changes else 1)
        return x + self.mlp(_changed(_normed(x), changes[3:5])) * (changes[5] if changes else 1)


class JointBlock(nn.Module):
    """Two streams that attend to each other; `only` names the one that goes on after the last block."""

    def __init__(self, config: TwoStreamConfig, *, timed: bool, only: str = "") -> None:
        super().__init__()
        self.head_width = config.width // config.heads
        self.patches = Stream(config, timed=timed, continues=only != "tokens")
        self.tokens = Stream(config, timed=timed, continues=only != "patches")

    def forward(self, patches: Tensor, tokens: Tensor, time: Tensor | None, turns: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams, `[B, P, D]` and `[B, N, D]`; `turns` as `TwoStreams._turns` gives them."""
        count, of_patches, of_tokens = tokens.shape[1], self.patches.changes(time), self.tokens.changes(time)
        qt, kt, vt = self.tokens.heads_of(tokens, of_tokens)
        qp, kp, vp = self.patches.heads_of(patches, of_patches)
        k, v = _turned(torch.cat([kt, kp], dim=2), turns), torch.cat([vt, vp], dim=2)
        if qt is not None:
            q = _turned(qt, turns[:, :count])
            tokens = self.tokens.after(tokens, self._attended(q, k, v), of_tokens)
        if qp is not None:
            q = _turned(qp, turns[:, count:])
            patches = self.patches.after(patches, self._attended(q, k, v), of_patches)
        return patches, tokens

    def _attended(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, scale=8.0 / self.head_width).transpose(1, 2).flatten(2)


class TwoStreams(nn.Module):
    """Patches of pictures and tokens in, one of the two streams out.

    Args:
        config: settings.
        patch_size: p.
        tokens: C, channels of the tokens that come in; 0: one learned vector stands for each of them.
        out: channels of what comes out: of each token, or of each patch (`gives` "tokens" or "patches").
        gives: the stream that comes out.
        timed: the blocks are modulated by a time.
    """

    def __init__(self, config: TwoStreamConfig, *, patch_size: int, tokens: int, out: int, gives: str, timed: bool) -> None:
        super().__init__()
        self.config, self.patch_size, self.gives = config, patch_size, gives
        d = config.width
        self.patch_in = nn.Linear(3 * patch_size**2, d)
        self.token_in = nn.Linear(tokens, d) if tokens else None
        self.query = None if tokens else nn.Parameter(torch.randn(d) * d**-0.5)
        self.time = TimeEmbedding(d, spread=10000.0) if timed else None
        last = config.layers - 1
        self.blocks = nn.ModuleList(JointBlock(config, timed=timed, only=gives if i == last else "") for i in range(config.layers))
        self.modulation = nn.Linear(d, 2 * d) if timed else None
        self.head = nn.Linear(d, out)

    def forward(self, x: Tensor, tokens: Tensor | int, t: Tensor | None = None) -> Tensor:
        """Transform pictures.

        Args:
            x: `[B, 3, H, W]`.
            tokens: `[B, N, C]`, or N where one vector stands for all.
            t: times `[B]`.

        Returns:
            Tokens `[B, N, out]`, or pictures `[B, 3, H, W]`.
        """
        p, (h, w) = self.patch_size, (x.shape[2] // self.patch_size, x.shape[3] // self.patch_size)
        cells = x.unflatten(3, (w, p)).unflatten(2, (h, p)).permute(0, 2, 4, 3, 5, 1)  # [B, h, w, p, p, 3]
        patches = self.patch_in(cells.flatten(3).flatten(1, 2))
        if isinstance(tokens, int):
            assert self.query is not None
            states = self.query.expand(len(x), tokens, -1)
        else:
            assert self.token_in is not None
            states = self.token_in(tokens)
        time = None if self.time is None or t is None else self.time(t)
        turns = self._turns(states.shape[1], h, w, x.device)
        for block in self.blocks:
            patches, states = block(patches, states, time, turns)
        y = _normed(states if self.gives == "tokens" else patches)
        if time is not None and self.modulation is not None:  # normalised once more after the modulation, as theirs
            y = _normed(_changed(y, [part[:, None] for part in self.modulation(F.silu(time)).chunk(2, dim=1)]))
        y = self.head(y)
        if self.gives == "tokens":
            return y
        return y.unflatten(1, (h, w)).unflatten(3, (p, p, 3)).permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)

    def _turns(self, count: int, h: int, w: int, device: torch.device) -> Tensor:
        """Cosines and sines of each position's angles, one for each channel, `[2, N + P, d]`: tokens, then patches row by row."""
        numbers = torch.arange(count, device=device)
        rows, columns = of_cells(torch.arange(h, device=device), torch.arange(w, device=device))
        places = ((numbers, numbers.new_zeros(h * w)), (numbers, rows), (numbers, columns))
        angles = []
        for (tokens, patches), width in zip(places, self.config.axes, strict=True):
            speed = self.config.theta ** (-torch.arange(0, width, 2, dtype=torch.float64, device=device) / width)
            angles.append(torch.cat([tokens, patches])[:, None].double() * speed)
        phase = torch.cat(angles, dim=1).repeat_interleave(2, dim=1)
        return torch.stack([phase.cos(), phase.sin()]).float()


def _normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def _changed(x: Tensor, changes: list[Tensor]) -> Tensor:
    """`x` with shift and gain; unchanged where there are none."""
    return (1 + changes[1]) * x + changes[0] if changes else x


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """Heads `[B, heads, L, d]` with neighbouring channels rotated as pairs; `turns [2, L, d]`."""
    return rotate(x.float(), turns[0], turns[1], "pairs").to(x.dtype)
