"""The speech tokenizer of GLM-4-Voice: the first half of Whisper-large-v3, made causal by blocks, with one codebook; it only encodes.

Zeng et al. 2024, arXiv 2412.02612; the method: arXiv 2411.17607. Read from THUDM/GLM-4-Voice @ eb00ce9142, speech_tokenizer/
(Apache-2.0). Kimi-Audio loads the same file, GLM-TTS ships the same class.

    clip, 16 kHz -> pieces of 30 s -> log-mel -> causal convolutions -> 16 blocks -> mean of 4 frames -> nearest of V code vectors

Each position attends to all earlier ones and to its block of 200 (4 s), which silence behind the clip does not belong to. A clip has an
id for every 1280 samples begun, 12.5 a second. Each piece of 30 s goes through the network alone, filled up with silence to whole ids.
Ids do not depend on the other clips of a batch; the mel's floor follows the loudest frame of the piece.

Differs: the authors' code pads clips to the longest of a batch, so the last id of a clip that ends within 40 samples of a whole id
depends on its batch mates there; here it is that of the clip alone. Whisper's second half and decoder, which learn to transcribe from
the codes, are left out; in `configs/audio/glm_voice-debug.yaml` a small language model takes their place.

Letters: B batch, T samples, M mel bands, N mel frames, W width, P frames behind the convolutions, L positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch
from ...config import ConfigError
from ...layers.whisper import LogMel, WhisperBlock, WhisperStem, first_rows, sinusoids
from ...quantizers.base import QuantizerConfig
from ...quantizers.vq import VQConfig
from ...spec import AudioSpec
from ..encode_only import EncodeOnlyTokenizer

SAMPLE_RATE_HZ, MEL_HOP = 16000, 160
#: Mel frames of one frame behind the convolutions.
STEM_STRIDE = 2


@dataclass(frozen=True, kw_only=True)
class GLMVoiceConfig:
    """Settings of `GLMVoice`; the defaults are the published model's.

    Attributes:
        bands: M, mel bands.
        width: W.
        heads: attention heads.
        hidden: hidden width of the blocks' MLPs.
        layers: blocks in front of the quantizer.
        pool: frames that become one position; 1: none do.
        pool_after: block behind which they do, counted from 1.
        pooling: their mean, or channel by channel their largest value.
        table: length of the learned table of positions; longer pieces than it are refused.
        causal_stem: convolutions see no later frame.
        attention: what a position attends to: everything ("full"), everything earlier ("causal"), or that and its block ("block").
        block: frames P of a block; behind the pooling it has `block // pool` positions.
        piece_samples: longer clips are encoded in pieces of this many samples, each alone; a multiple of the hop.
        quantizer: settings of the quantizer; its `dim` is filled in.
    """

    bands: int = 128
    width: int = 1280
    heads: int = 20
    hidden: int = 5120
    layers: int = 16
    pool: int = 4
    pool_after: int = 16
    pooling: Literal["mean", "max"] = "mean"
    table: int = 1500
    causal_stem: bool = True
    attention: Literal["full", "causal", "block"] = "block"
    block: int = 200
    piece_samples: int = 480_000
    quantizer: QuantizerConfig = VQConfig(codebook_size=16384)

    def __post_init__(self) -> None:
        for name in ("bands", "width", "heads", "hidden", "layers", "pool", "pool_after", "table", "block"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.width % self.heads or self.width % 2:
            raise ConfigError(f"width is {self.width}; it must be even and divide into {self.heads} heads.")
        if self.pool > 1 and self.pool_after > self.layers:
            raise ConfigError(f"pool_after is {self.pool_after}; there are {self.layers} layers in front of the quantizer.")
        if self.attention == "block" and self.pool_after < self.layers and self.block < self.pool:
            raise ConfigError(f"block is {self.block}; behind the pooling of {self.pool} nothing would be left of it.")
        if self.piece_samples < 1 or self.piece_samples % self.hop_samples:
            raise ConfigError(f"piece_samples is {self.piece_samples}; it must be a multiple of {self.hop_samples}, one id.")

    @property
    def hop_samples(self) -> int:
        """Samples from one position to the next."""
        return MEL_HOP * STEM_STRIDE * self.pool


class GLMVoiceEncoder(nn.Module):
    """Log-mel frames `[B, M, N]`, N a multiple of two pools, to hidden states `[B, W, L]`."""

    def __init__(self, config: GLMVoiceConfig) -> None:
        super().__init__()
        c = self.config = config
        self.stem = WhisperStem(c.bands, c.width, causal=c.causal_stem)
        self.table = nn.Parameter(sinusoids(c.table, c.width))
        self.blocks = nn.ModuleList(WhisperBlock(c.width, c.heads, hidden=c.hidden) for _ in range(c.layers))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """Encode `[B, M, N]`, of whose mel frames the first `frames` are the clip's and the others fill it up."""
        c = self.config
        x = self.stem(x).transpose(1, 2)  # [B, P, W]
        x = x + first_rows(self.table, x.shape[1])
        valid, block = -(-frames // STEM_STRIDE), c.block
        mask = self._mask(x, valid, block)
        for number, layer in enumerate(self.blocks, 1):
            x = layer(x, mask=mask)
            if number == c.pool_after and c.pool > 1:
                x = self._pooled(x)
                valid, block = -(-valid // c.pool), block // c.pool
                mask = self._mask(x, valid, block)
        return x.transpose(1, 2)

    def _pooled(self, x: Tensor) -> Tensor:
        groups = x.unflatten(1, (-1, self.config.pool))
        return groups.mean(2) if self.config.pooling == "mean" else groups.amax(2)

    def _mask(self, x: Tensor, valid: int, block: int) -> Tensor:
        """bool `[P, P]`: the keys that each query attends to; of "causal" attention, fillings too, which come later than the clip."""
        at = torch.arange(x.shape[1], device=x.device)
        earlier, inside = at <= at[:, None], at < valid
        if self.config.attention == "causal":
            return earlier
        if self.config.attention == "full":
            return inside.expand(len(at), -1)
        return (earlier | (at // max(1, block) == at[:, None] // max(1, block))) & inside


class GLMVoice(EncodeOnlyTokenizer):
    """GLM-4-Voice's tokenizer; see the module's docstring. `decode` raises NotDecodable; `semantic` returns the code vectors."""

    family: ClassVar[str] = "glm_voice"
    config_class: ClassVar[type] = GLMVoiceConfig
    config: GLMVoiceConfig

    def __init__(self, config: GLMVoiceConfig) -> None:
        super().__init__()
        self.config = c = config
        self.mel = LogMel(c.bands, sample_rate_hz=SAMPLE_RATE_HZ, hop_samples=MEL_HOP)
        self.encoder = GLMVoiceEncoder(c)
        self.quantizer = c.quantizer.build(dim=c.width)
        self.spec = AudioSpec.of(
            self.quantizer, sample_rate_hz=SAMPLE_RATE_HZ, hop_samples=c.hop_samples, decodes=False, semantic_dim=c.width
        )

    def own_pieces(self, x: Tensor, batch: Batch | None = None) -> Iterator[Tensor]:
        """Latents of clips `[B, 1, T]`, in pieces `[B, W, l]` of `piece_samples` samples."""
        hop, several = self.config.hop_samples, x.shape[-1] > self.config.piece_samples
        for piece in x[:, 0].split(self.config.piece_samples, dim=-1):
            samples = piece.shape[-1]
            count = -(-samples // hop)
            # The authors fill the last piece of a long clip up to the length of the others, so that its end is not reflected.
            more = hop if several and samples < self.config.piece_samples else 0
            mel = self.mel(F.pad(piece, (0, count * hop - samples + more)))
            yield self.encoder(mel.to(self.dtype), -(-samples // MEL_HOP))[..., :count]
