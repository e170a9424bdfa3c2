"""S3, the supervised semantic speech tokenizer of CosyVoice 1, 2 and 3: ids from inside a speech recogniser; it only encodes.

CosyVoice (Du et al. 2024, arXiv 2407.05407), CosyVoice 2 (arXiv 2412.10117), CosyVoice 3 (arXiv 2505.17589). The authors publish ONNX
files; read from xingchensong/S3Tokenizer, package s3tokenizer 0.3.0 (Apache-2.0), whose classes this equals id by id.

    clip, 16 kHz -> log-mel, 100 frames/s -> windows of 30 s -> two strided convolutions -> transformer -> quantizer -> ids

- v1: Whisper's blocks with a table of sinusoids, 50 or 25 ids/s; hidden states of length 1, the nearest of 4096 code vectors.
- v2, v3: rotary positions and an FSMN branch in each attention, 25 ids/s; 8 channels rounded to 3 levels each, 6561 codes; 6 layers in
  v2, 12 in v3.

The mel's floor follows the loudest frame of the clip, and attention sees the whole window, so ids depend on the whole clip, but neither
on other clips of a batch nor on padding. Clips of more than 30 s are encoded in windows that overlap by 4 s, of which 2 s are dropped
on each side of a seam. So it is in the port, also where the last window is shorter than the 2 s that it is to lose: all of its ids are
dropped then, and the clip's last moments (up to 2 s) have none.

Differs: clips below 201 samples, which the port refuses, are filled up with silence. CosyVoice itself refuses clips above 30 s.
The papers train quantizer and recogniser (SenseVoice-Large) together on transcripts; their data and code are not public.
`configs/audio/s3-25hz.yaml` does it with a language model that has to write the transcript.

Letters: B batch, T samples, M mel bands, N mel frames, W width, D latent width, L positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from ...coding import Batch
from ...config import ConfigError
from ...layers.transformer1d import rotary_angles
from ...layers.whisper import LogMel, WhisperBlock, WhisperStem, first_rows, sinusoids
from ...precision import unit_norm
from ...quantizers.base import QuantizerConfig
from ...quantizers.fsq import FSQConfig
from ...spec import AudioSpec
from ..encode_only import EncodeOnlyTokenizer

SAMPLE_RATE_HZ, MEL_HOP = 16000, 160


@dataclass(frozen=True, kw_only=True)
class S3Config:
    """Settings of `S3`; the defaults are those of v2.

    Attributes:
        bands: M, mel bands.
        strides: of the two convolutions; (1, 2): 50 ids/s, (2, 2): 25.
        width: W.
        heads: attention heads.
        layers: number of blocks.
        table: length of the table of sinusoids that is added to the frames (v1); 0: rotary positions. Longer windows than it are
            refused.
        memory: kernel of the FSMN branch of each attention; 0: none (v1).
        rope_period: base of the rotary frequencies.
        norm_eps: epsilon of the norms.
        latent_dim: D, channels that a linear map gives the quantizer; 0: it takes the hidden states, scaled to length 1 (v1).
        window_frames: N of the windows in which longer clips are encoded.
        overlap_frames: mel frames that two windows share; a multiple of twice the product of the strides, as is the rest of a window.
        quantizer: settings of the quantizer; its `dim` is filled in.
    """

    bands: int = 128
    strides: tuple[int, int] = (2, 2)
    width: int = 1280
    heads: int = 20
    layers: int = 6
    table: int = 0
    memory: int = 31
    rope_period: float = 10000.0
    norm_eps: float = 1e-5
    latent_dim: int = 8
    window_frames: int = 3000
    overlap_frames: int = 400
    quantizer: QuantizerConfig = FSQConfig(levels=(3,) * 8, convention="s3")

    def __post_init__(self) -> None:
        for name in ("bands", "width", "heads", "layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if min(self.strides) < 1:
            raise ConfigError(f"strides are {self.strides}; they must be at least 1.")
        if self.width % self.heads or (not self.table and self.width // self.heads % 2):
            even = "" if self.table else ", an even number of channels each"
            raise ConfigError(f"width is {self.width}; it must divide into {self.heads} heads{even}.")
        if self.table and self.width % 2:
            raise ConfigError(f"width is {self.width}; sinusoids need an even number.")
        if self.memory and not self.memory % 2:
            raise ConfigError(f"memory is {self.memory}; a kernel centred on its frame is odd.")
        stride = self.stride
        if not 0 < self.overlap_frames < self.window_frames or self.overlap_frames % (2 * stride) or self.window_frames % stride:
            raise ConfigError(
                f"overlap_frames is {self.overlap_frames} and window_frames {self.window_frames}; give an overlap shorter than the "
                f"window, a multiple of {2 * stride}, and a window that is a multiple of {stride}."
            )

    @property
    def stride(self) -> int:
        """Mel frames from one position to the next."""
        return self.strides[0] * self.strides[1]


class Window(NamedTuple):
    """A part of a clip that is encoded alone: mel frames `start..stop`, of whose positions `first..last` are kept."""

    start: int
    stop: int
    first: int
    last: int


class S3Encoder(nn.Module):
    """Log-mel frames `[B, M, N]` to hidden states `[B, W, L]`."""

    table: Tensor | None

    def __init__(self, config: S3Config) -> None:
        super().__init__()
        c = self.config = config
        self.stem = WhisperStem(c.bands, c.width, strides=c.strides)
        self.register_buffer("table", sinusoids(c.table, c.width) if c.table else None)  # part of the published files
        self.blocks = nn.ModuleList(WhisperBlock(c.width, c.heads, memory=c.memory, eps=c.norm_eps) for _ in range(c.layers))

    def forward(self, x: Tensor) -> Tensor:
        """Encode `[B, M, N]`."""
        x = self.stem(x).transpose(1, 2)  # [B, L, W]
        length, angles = x.shape[1], None
        if self.table is not None:
            x = x + first_rows(self.table, length)
        else:
            angles = rotary_angles(length, self.config.width // self.config.heads, self.config.rope_period, x)
        for block in self.blocks:
            x = block(x, angles)
        return x.transpose(1, 2)


class S3(EncodeOnlyTokenizer):
    """S3 tokenizer; see the module's docstring. `decode` raises NotDecodable; `semantic` returns the code vectors of the ids."""

    family: ClassVar[str] = "s3"
    config_class: ClassVar[type] = S3Config
    encoder_only = ("encoder", "down")
    config: S3Config

    def __init__(self, config: S3Config) -> None:
        super().__init__()
        self.config = c = config
        self.mel = LogMel(c.bands, sample_rate_hz=SAMPLE_RATE_HZ, hop_samples=MEL_HOP)
        self.encoder = S3Encoder(c)
        self.down = nn.Linear(c.width, c.latent_dim) if c.latent_dim else None
        if self.down is not None:  # torch's own first weights would leave all channels between -1/2 and 1/2: one id for all frames
            nn.init.normal_(self.down.weight, std=3 * c.width**-0.5)
        self.quantizer = c.quantizer.build(dim=c.latent_dim or c.width)
        self.spec = AudioSpec.of(
            self.quantizer,
            sample_rate_hz=SAMPLE_RATE_HZ,
            hop_samples=MEL_HOP * c.stride,
            decodes=False,
            semantic_dim=c.latent_dim or c.width,
        )

    # --- lengths ----------------------------------------------------------------------------------------------------

    def windows(self, frames: int) -> list[Window]:
        """The windows of a clip of `frames` mel frames."""
        c = self.config
        if frames <= c.window_frames:
            return [Window(0, frames, 0, -(-frames // c.stride))]
        margin, out = c.overlap_frames // 2 // c.stride, []
        starts = range(0, frames, c.window_frames - c.overlap_frames)
        for start in starts:
            stop = min(start + c.window_frames, frames)
            count = -(-(stop - start) // c.stride)
            last = count if start == starts[-1] else count - margin
            out.append(Window(start, stop, margin if start else 0, last))
        return [w for w in out if w.first < w.last]

    def num_frames(self, samples: int) -> int:
        """L, the number of ids of a clip of `samples` samples."""
        frames = max(samples, self.mel.least_samples) // MEL_HOP
        return sum(w.last - w.first for w in self.windows(frames))

    # --- contract ---------------------------------------------------------------------------------------------------

    def own_pieces(self, x: Tensor, batch: Batch | None = None) -> Iterator[Tensor]:
        """Latents of clips `[B, 1, T]`, window by window `[B, D, l]`."""
        mel = self.mel(x[:, 0]).to(self.dtype)
        for w in self.windows(mel.shape[-1]):
            yield self.latents_of_mel(mel[..., w.start : w.stop])[..., w.first : w.last]

    def latents_of_mel(self, mel: Tensor) -> Tensor:
        """Latents `[B, D, L]` of the log-mel frames `[B, M, N]` of one window."""
        hidden = self.encoder(mel)
        return unit_norm(hidden, dim=1) if self.down is None else self.down(hidden.transpose(1, 2)).transpose(1, 2)
