"""XY-Tokenizer: 16 kHz speech in 8 codebooks at 12.5 Hz, a semantic and an acoustic encoder in front of one residual quantizer.

Gong et al. 2025, arXiv 2506.23325; used by MOSS-TTSD. Read from gyt1145028706/XY-Tokenizer @ 5df5609c58 (Apache-2.0 by its readme).

    clip -> windows of 30 s -> Whisper's log-mel -> semantic encoder -> adapter \\
                                                 -> acoustic encoder ------------> adapter -> 4 frames to one -> residual VQ -> ids
    ids -> vectors -> adapter -> one position to 4 frames -> decoder -> mel frames -> Vocos -> waveform

A clip of T samples has T // 1280 ids a codebook: what is left at its end is not encoded, and decoded as silence. Longer clips than 20 s
are encoded and decoded in windows of 30 s every 20 s, of which the first 20 s are kept; `kept_seconds` changes this. The mel's floor
follows the loudest frame of a window, and attention sees all of it; ids depend neither on other clips of a batch nor on padding.

Differs: clips below 1280 samples, which have no ids in the authors' code, are filled up with silence to one. Whatever lies behind the
clip in its window is left out, except for the frames that convolutions reach, in place of masked; results are the same. In a batch
of theirs the last tenth of a second of shorter clips depends on what the decoder's convolutions find behind; here each stands alone.
Training is in two stages, none of whose code is public: the paper's losses are a language model's that reads the transcript, and
those of a codec with discriminators.

Letters: B batch, T samples, M mel bands, N mel frames, P frames behind the encoders, D latent width, L positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch
from ...config import ConfigError
from ...kernels.conv1d import join
from ...layers.whisper import LogMel
from ...options import DecodeOptions, EncodeOptions, check_at_least
from ...quantizers.base import QuantizerConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...spec import AudioSpec
from ..own_pieces import OwnPiecesTokenizer
from .parts import GatedDown, MelDecoder, MelEncoder, Stack, StackConfig, VocosDecoder


@dataclass(frozen=True, kw_only=True)
class XYConfig:
    """Settings of `XYTokenizer`; the defaults are those of the 16 kHz model.

    Attributes:
        sample_rate_hz: of the input.
        bands: M, mel bands of the encoders.
        fft_samples, mel_hop: window and hop of the log-mel, in samples.
        window_samples: longest clip that is encoded at once.
        kept_samples: samples of a window that are kept where a clip has several, the distance from one window to the next.
        stride: of the encoders' second convolution.
        semantic, acoustic: the two encoders.
        adapter: the stack behind the semantic encoder; its output has `adapter_dim` channels.
        adapter_dim: see there.
        before: the stack over both, in front of the quantizer; its output has `down_dim` channels.
        down_dim: see there.
        pool: frames that become one position of D = `pool * down_dim` channels.
        quantizer: settings of the quantizer; its `dim` is filled in.
        after: the stack behind the quantizer.
        up: frames that one position becomes.
        decoder: the decoder's stack; its width is that of these frames.
        decoder_stride: of its first transposed convolution.
        decoder_bands: channels that it gives Vocos.
        vocos_width, vocos_hidden, vocos_layers: widths and number of Vocos' blocks.
        vocos_window, vocos_hop: window and hop of its inverse Fourier transform, in output samples.
    """

    sample_rate_hz: int = 16000
    bands: int = 80
    fft_samples: int = 400
    mel_hop: int = 160
    window_samples: int = 480_000
    kept_samples: int = 320_000
    stride: int = 2
    semantic: StackConfig = StackConfig()
    acoustic: StackConfig = StackConfig()
    adapter: StackConfig = StackConfig(layers=4)
    adapter_dim: int = 768
    before: StackConfig = StackConfig(layers=4)
    down_dim: int = 768
    pool: int = 4
    quantizer: QuantizerConfig = ResidualVQConfig(num_codebooks=8, codebook_size=1024, stack_dim=512, commitment_weight=1.0)
    after: StackConfig = StackConfig(layers=4, table=375)
    up: int = 4
    decoder: StackConfig = StackConfig()
    decoder_stride: int = 2
    decoder_bands: int = 80
    vocos_width: int = 512
    vocos_hidden: int = 4096
    vocos_layers: int = 30
    vocos_window: int = 640
    vocos_hop: int = 160

    def __post_init__(self) -> None:
        for name in ("mel_hop", "stride", "pool", "up", "decoder_stride", "vocos_layers", "vocos_hop"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        check_kept("kept_samples", self.kept_samples, self)
        if self.window_samples % self.hop_samples:
            raise ConfigError(f"window_samples is {self.window_samples}; it must be a multiple of {self.hop_samples}, one id.")
        ids, frames = self.window_samples // self.hop_samples, self.window_samples // self.mel_hop // self.stride
        for name, least in [*dict.fromkeys(("semantic", "acoustic", "adapter", "before"), frames).items(),
                            ("after", ids), ("decoder", ids * self.up)]:  # fmt: skip
            if getattr(self, name).table < least:
                raise ConfigError(f"{name}.table is {getattr(self, name).table}; a window has {least} positions there.")
        if self.samples_out * self.sample_rate_hz % self.hop_samples:
            raise ConfigError(f"an id decodes to {self.samples_out} samples and stands for {self.hop_samples}: no whole rate in Hz.")

    @property
    def hop_samples(self) -> int:
        """Input samples from one position to the next."""
        return self.mel_hop * self.stride * self.pool

    @property
    def samples_out(self) -> int:
        """Output samples from one position to the next."""
        return self.up * self.decoder_stride * self.vocos_hop


def check_kept(name: str, samples: int, config: XYConfig) -> int:
    """Return `samples`, or raise ConfigError where a window cannot keep that many."""
    if not 0 < samples <= config.window_samples or samples % config.hop_samples:
        raise ConfigError(
            f"{name} gives {samples} samples; allowed: multiples of {config.hop_samples}, at most {config.window_samples}."
        )
    return samples


@dataclass(frozen=True, kw_only=True)
class XYEncodeOptions(EncodeOptions):
    """Options of `XYTokenizer.encode`.

    Attributes:
        kept_seconds: of a clip of several windows, keep this much of each (the authors' 30 - overlap_seconds); None: the model's own.
    """

    kept_seconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("kept_seconds", self.kept_seconds, 0)


@dataclass(frozen=True, kw_only=True)
class XYDecodeOptions(DecodeOptions):
    """Options of `XYTokenizer.decode`.

    Attributes:
        kept_seconds: as in `XYEncodeOptions`, of the windows of ids.
    """

    kept_seconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("kept_seconds", self.kept_seconds, 0)


class Window(NamedTuple):
    """Samples `start..stop` of a clip, encoded alone, of whose ids the first `count` are kept."""

    start: int
    stop: int
    count: int


class XYTokenizer(OwnPiecesTokenizer):
    """XY-Tokenizer; see the module's docstring."""

    family: ClassVar[str] = "xy"
    config_class: ClassVar[type] = XYConfig
    encode_options: type[EncodeOptions] = XYEncodeOptions
    decode_options: type[DecodeOptions] = XYDecodeOptions
    encoder_only = ("semantic_encoder", "adapter", "acoustic_encoder", "before", "down")
    decoder_only = ("after", "up", "decoder", "vocos")
    config: XYConfig

    def __init__(self, config: XYConfig) -> None:
        super().__init__()
        self.config = c = config
        dim, up = c.pool * c.down_dim, c.up * c.decoder.width
        self.mel = LogMel(c.bands, sample_rate_hz=c.sample_rate_hz, window_samples=c.fft_samples, hop_samples=c.mel_hop)
        self.semantic_encoder = MelEncoder(c.semantic, c.bands, c.stride)
        self.adapter = Stack(c.adapter, inputs=c.semantic.width, outputs=c.adapter_dim)
        self.acoustic_encoder = MelEncoder(c.acoustic, c.bands, c.stride)
        self.before = Stack(c.before, inputs=c.adapter_dim + c.acoustic.width, outputs=c.down_dim)
        self.down = GatedDown(c.down_dim, c.pool)
        self.quantizer = c.quantizer.build(dim=dim)
        self.after = Stack(c.after, inputs=dim, outputs=up)
        self.up = nn.ConvTranspose1d(up, c.decoder.width, c.up, stride=c.up, bias=False)
        self.decoder = MelDecoder(c.decoder, c.decoder_bands, c.decoder_stride)
        self.vocos = VocosDecoder(
            c.decoder_bands,
            width=c.vocos_width,
            hidden=c.vocos_hidden,
            layers=c.vocos_layers,
            window_samples=c.vocos_window,
            hop_samples=c.vocos_hop,
        )
        out = c.samples_out * c.sample_rate_hz // c.hop_samples
        self.spec = AudioSpec.of(
            self.quantizer,
            sample_rate_hz=c.sample_rate_hz,
            hop_samples=c.hop_samples,
            output_rate_hz=0 if out == c.sample_rate_hz else out,
        )

    # --- lengths ----------------------------------------------------------------------------------------------------

    def num_frames(self, samples: int) -> int:
        """L, the number of ids of a clip of `samples` samples: one for each whole hop, at least 1."""
        return max(1, samples // self.config.hop_samples)

    def fill(self, x: Tensor) -> Tensor:
        """Clips `[B, 1, T]`, filled up with silence to one hop."""
        return F.pad(x, (0, max(0, self.config.hop_samples - x.shape[-1])))

    def _kept_of(self, options: Any) -> int:
        """Samples that a window keeps, by the options of a call."""
        seconds = getattr(options, "kept_seconds", None)
        if seconds is None:
            return self.config.kept_samples
        return check_kept("kept_seconds", round(seconds * self.config.sample_rate_hz), self.config)

    def windows(self, samples: int, kept: int) -> list[Window]:
        """The windows of a clip of `samples` samples, at least one hop."""
        hop, out = self.config.hop_samples, []
        for start in range(0, samples, kept):
            count = kept // hop if start + kept < samples else (samples - start) // hop
            out.append(Window(start, min(start + self.config.window_samples, samples), count))
        return [w for w in out if w.count]

    # --- encode -----------------------------------------------------------------------------------------------------

    def own_pieces(self, x: Tensor, batch: Batch | None = None) -> Iterator[Tensor]:
        """Latents of clips `[B, 1, T]`, window by window in pieces `[B, D, l]`."""
        x, kept = self.fill(x), self.config.kept_samples if batch is None else self._kept_of(batch.options)
        for w in self.windows(x.shape[-1], kept):
            yield self._window(x[:, 0, w.start : w.stop], w.count)

    def _window(self, x: Tensor, count: int) -> Tensor:
        """The first `count` latents `[B, D, count]` of one window `[B, T]`."""
        c, samples = self.config, x.shape[-1]
        frames = -(-samples // c.mel_hop) // c.stride  # of the clip alone; of the window there are more
        # behind the clip lies silence up to the window's end; of it no more is computed than the last frames depend on
        reach = min(c.window_samples, samples + c.fft_samples + 3 * c.stride * c.mel_hop)
        mel = self.mel(F.pad(x, (0, reach - samples)))[..., : (frames + 1) * c.stride].to(self.dtype)
        semantic = self.adapter(self.semantic_encoder(mel, frames))
        z = self.before(torch.cat([semantic, self.acoustic_encoder(mel, frames)], dim=1))
        return self.down(z[..., : count * c.pool])

    # --- decode -----------------------------------------------------------------------------------------------------

    @property
    def hop_out_samples(self) -> int:
        """Output samples of the decoder for each position."""
        return self.config.samples_out

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Waveforms `[B, 1, L * hop]` of ids `[B, K', L]`, decoded window by window."""
        return self._decoded(self.vectors_of(ids), self._kept_of(batch.options))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`."""
        return self._decoded(z_q, self.config.kept_samples)

    def _decoded(self, z: Tensor, kept: int) -> Tensor:
        c = self.config
        most, step, parts = c.window_samples // c.hop_samples, kept // c.hop_samples, list[Tensor]()
        for start in range(0, z.shape[-1], step):
            frames = self.up(self.after(z[..., start : start + most]))
            parts.append(self.vocos(self.decoder(frames))[..., : step * c.samples_out])
        return join(parts)
