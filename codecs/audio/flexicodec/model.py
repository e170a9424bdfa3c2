"""FlexiCodec: a speech recogniser's features in one codebook, DAC on what they leave over, and one position for frames that are alike.

Li et al. 2025, "FlexiCodec: A Dynamic Neural Audio Codec for Low Frame Rates", arXiv 2510.00981. Parity was checked against
AmphionTeam/FlexiCodec @ f52415c (MIT).

    speech model -> features, 12.5 a second -> groups of frames -> ConvNeXt -> FSQ -------> ids 1 -> ConvNeXt -> s
    waveform -----> DAC encoder, 12.5 a second -> the same groups -> (minus s) -> residual VQ -> ids 2.. -> (plus s)
    -> each group's vector at each of its frames -> transformer (`smoother`) -> DAC decoder -> waveform

The features `[B, C, N]` are those of SenseVoice-Small's encoder (`sensevoice.py`), 16.7 a second, interpolated to the codec's frames.
A frame whose features resemble those of the frame before joins its group, and each group becomes one position: a clip has fewer
positions than frames, and their number depends on the clip and on `threshold`. ids `[B, K, R]`: codebook 0 holds the frames of each
group as the id d - 1, the semantic codebook 1 and the acoustic ones come behind it; `run_lengths.expand` repeats each position for its
frames. The latents `[B, 1 + S + D, R]` hold the number of frames, 0 behind an item's last group, and both paths.

Differs: neither groups nor their vectors depend on other items of a batch; the authors' speech model, aggregators and ConvNeXt blocks
see the filling behind shorter items. In training the semantic part that is subtracted is a constant, so that the decoder's gradient to
the semantic path is not cancelled by that of the residual; and of the reconstructed features each group counts once for each of its
frames. As published, the last samples get no frame where the speech model has none for them: `decode` gives zeros there.

Letters: B batch, T samples, N frames of the speech model, L frames, R groups, S width of the semantic path, C = D channels of the
features and of the acoustic latents.
"""

import dataclasses
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch, Coded
from ...layers.convnext1d import ConvNeXtBlock1d
from ...layers.dac import dac_init
from ...layers.frame_groups import (
    GroupVectors,
    check_draw,
    check_threshold,
    expand_groups,
    group_frames,
    group_lengths,
    group_means,
)
from ...layers.strided import StridedConfig
from ...layers.transformer1d import Transformer1d, Transformer1dConfig
from ...media import resample_short
from ...options import EncodeOptions, FeatureEncodeOptions
from ...precision import float32_by_default
from ...quantizers.base import Quantizer, QuantizerConfig
from ...quantizers.dual import Dual, DualConfig
from ...quantizers.fsq import FSQConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...run_lengths import DURATION
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ...tokens import Tokens
from ..base import pad_to_hop
from ..dac.model import DACDecoder, DACEncoder
from ..features import FeatureTokenizer
from .durations import WithDurations
from .sensevoice import FRAME_HOP, SenseVoice, SenseVoiceConfig, samples_for, stack_count

#: Sampling rate of the speech model's input.
SPEECH_RATE_HZ = 16000
#: Most frames of a group that a duration may stand for; such numbers are exact in bfloat16.
MOST_FRAMES = 256

_TRANSFORMER = Transformer1dConfig(width=512, layers=6, causal=False, context=None)


@dataclass(frozen=True, kw_only=True)
class GroupsConfig:
    """Settings of the groups of frames; the defaults are the published model's.

    Attributes:
        threshold: frames whose features have a cosine similarity above this to the frame before join its group; 1: none does.
        longest: largest number of frames of a group, 1 to 256.
        draw_threshold: training draws a threshold from this range at each step; None: always `threshold`.
        query: of the vectors that transformers give the groups: "mean": read off behind the mean of the group's frames plus a learned
            vector; "learned": behind that vector alone.
        semantic: settings of the transformer that gives groups of features their vectors; None: these are the means of their frames.
        acoustic: the same for groups of the waveform's latents.
    """

    threshold: float = 0.91
    longest: int = 8
    draw_threshold: tuple[float, float] | None = (0.8, 1.0)
    query: Literal["mean", "learned"] = "mean"
    semantic: Transformer1dConfig | None = _TRANSFORMER
    acoustic: Transformer1dConfig | None = _TRANSFORMER

    def __post_init__(self) -> None:
        check_threshold("threshold", self.threshold)
        check_draw(self.draw_threshold)
        if not 1 <= self.longest <= MOST_FRAMES:
            raise ValueError(f"longest is {self.longest}; a group has 1 to {MOST_FRAMES} frames.")


@dataclass(frozen=True, kw_only=True)
class FlexiCodecConfig(StridedConfig):
    """Settings of `FlexiCodec`; the defaults are the published model's. What is not listed here is in `StridedConfig`.

    Attributes:
        latent_dim: D, channels of the acoustic latents and of the features, which are added to them.
        speech: settings of the speech model, whose weights are part of this model; None: `encode` needs `features=`.
        speech_stride: frames of the speech model for each frame of the codec: a whole number takes means, another one interpolates.
        semantic_width: S, channels of the semantic latents.
        semantic_hidden: inner width of the ConvNeXt blocks.
        semantic_blocks: number of ConvNeXt blocks on each side of the semantic codebook.
        semantic_causal: convolutions of the semantic path are causal.
        subtract_decoded: subtract and add the output of the semantic decoder; otherwise the quantized semantic latent itself, and
            the decoder's output is only a training target.
        semantic_only: in training, probability that an item is decoded without its acoustic codebooks.
        groups: settings of the groups of frames; None: a fixed rate, and no codebook of durations.
        smoother: the transformer over all frames of the quantized latents, before the decoder; None: none.
        semantic_quantizer: settings of the semantic path's quantizer, of any kind with one codebook; its `dim` is filled in.
        quantizer: settings of the acoustic residual's quantizer, of any kind that decodes prefixes; its `dim` is filled in.
    """

    sample_rate_hz: int = 16000
    strides: tuple[int, ...] = (4, 4, 5, 8, 2)
    encoder_width: int = 32
    latent_dim: int = 512
    speech: SenseVoiceConfig | None = SenseVoiceConfig()
    speech_stride: float = 1.33333
    semantic_width: int = 768
    semantic_hidden: int = 2048
    semantic_blocks: int = 4
    semantic_causal: bool = False
    subtract_decoded: bool = True
    semantic_only: float = 0.125
    groups: GroupsConfig | None = GroupsConfig()
    smoother: Transformer1dConfig | None = Transformer1dConfig(width=512, layers=32, causal=False, context=None)
    semantic_quantizer: QuantizerConfig = FSQConfig(levels=(8, 8, 8, 8, 8), convention="nemo")
    quantizer: QuantizerConfig = ResidualVQConfig(
        num_codebooks=24,
        codebook_size=4096,
        codebook_dim=8,
        normalize=True,
        update="gradient",
        kmeans_init=False,
        replace_below=0.0,
        dropout=1.0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.speech is not None and self.speech.width != self.latent_dim:
            raise ValueError(f"latent_dim is {self.latent_dim} and speech.width {self.speech.width}: they must be equal.")
        if not self.subtract_decoded and self.semantic_width != self.latent_dim:
            raise ValueError(f"without subtract_decoded, semantic_width must equal latent_dim, {self.latent_dim}.")
        if not 0 <= self.semantic_only < 1:
            raise ValueError(f"semantic_only is {self.semantic_only}; it is a probability below 1.")
        if self.speech_stride < 1:
            raise ValueError(f"speech_stride is {self.speech_stride}; it must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class FlexiCodecEncodeOptions(FeatureEncodeOptions):
    """Options of `FlexiCodec.encode` of models with groups of frames.

    Attributes:
        threshold: frames whose features have a cosine similarity above this to the frame before share a position; higher keeps more
            frames apart, and 1 all of them. None: the model's own.
    """

    threshold: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None:
            check_threshold("threshold", self.threshold)


class SemanticPath(nn.Module):
    """Encoder and decoder around the semantic codebook: features `[B, C, R]` to latents `[B, S, R]`, and back.

    `valid` `[B, 1, R]` is 0 at what fills up an item, which the convolutions read as zeros, as beyond the end of a single item.
    """

    def __init__(self, c: FlexiCodecConfig) -> None:
        super().__init__()
        self.down = nn.Conv1d(c.latent_dim, c.semantic_width, 1)
        self.encoder = nn.ModuleList(_block(c) for _ in range(c.semantic_blocks))
        self.decoder = nn.ModuleList(_block(c) for _ in range(c.semantic_blocks))
        self.up = nn.Conv1d(c.semantic_width, c.latent_dim, 1)

    def encode(self, features: Tensor, valid: Tensor) -> Tensor:
        """Latents `[B, S, R]` of features `[B, C, R]`."""
        return _through(self.encoder, self.down(features), valid)

    def decode(self, z_q: Tensor, valid: Tensor) -> Tensor:
        """Features `[B, C, R]` of quantized latents `[B, S, R]`."""
        return self.up(_through(self.decoder, z_q, valid))


def _block(c: FlexiCodecConfig) -> ConvNeXtBlock1d:
    return ConvNeXtBlock1d(c.semantic_width, kernel_size=7, layer_scale=None, causal=c.semantic_causal, hidden=c.semantic_hidden)


def _through(blocks: nn.ModuleList, x: Tensor, valid: Tensor) -> Tensor:
    for block in blocks:
        x = block(x * valid)
    return x


class FlexiCodec(FeatureTokenizer):
    """FlexiCodec; see the module's docstring. The first k codebooks alone can be decoded, from the second on with content.

    Ids depend on the whole clip, so clips are never cut into pieces. `features=` takes the speech model's features `[B, C, N]` at its
    own rate.
    """

    family: ClassVar[str] = "flexicodec"
    config_class: ClassVar[type] = FlexiCodecConfig
    encoder_only = ("encoder", "semantic_path.down", "semantic_path.encoder", "speech", "acoustic_groups", "semantic_groups")
    decoder_only = ("decoder", "smoother")
    config: FlexiCodecConfig

    def __init__(self, config: FlexiCodecConfig) -> None:
        super().__init__()
        self.config = c = config
        self.encoder = DACEncoder(c.encoder_width, c.strides, c.latent_dim)
        self.decoder = DACDecoder(c.latent_dim, c.decoder_width, c.ups)
        self.semantic_path = SemanticPath(c)
        self.apply(dac_init)
        self.speech = None if c.speech is None else SenseVoice(c.speech)
        self.semantic_groups, self.acoustic_groups = _group_vectors(c)
        self.smoother = None if c.smoother is None else Transformer1d(c.smoother, in_channels=c.latent_dim, out_channels=c.latent_dim)
        both = DualConfig(
            dim=c.semantic_width + c.latent_dim,
            first=dataclasses.replace(c.semantic_quantizer, dim=c.semantic_width),
            second=dataclasses.replace(c.quantizer, dim=c.latent_dim),
            prefix=True,
        )
        self._paths_of(Dual(both), c)
        acoustic = (f"acoustic {k}" for k in range(1, self.paths.num_codebooks))
        self.spec = AudioSpec.of(
            self.quantizer,
            names=(*((DURATION,) if c.groups else ()), "semantic", *acoustic),
            sample_rate_hz=c.sample_rate_hz,
            hop_samples=c.hop_samples,
            semantic_dim=c.latent_dim,
        )

    def _paths_of(self, paths: Dual, c: FlexiCodecConfig) -> None:
        if paths.first.num_codebooks != 1:
            raise ValueError("semantic_quantizer must have one codebook.")
        self.quantizer: Quantizer = paths if c.groups is None else WithDurations(paths, c.groups.longest)
        if c.groups is not None:
            self.encode_options: type[EncodeOptions] = FlexiCodecEncodeOptions

    @property
    def paths(self) -> Dual:
        """The quantizer of the semantic and the acoustic path."""
        inner = self.quantizer.inner if isinstance(self.quantizer, WithDurations) else self.quantizer
        assert isinstance(inner, Dual)
        return inner

    # --- features ---------------------------------------------------------------------------------------------------

    def num_frames(self, samples: int) -> int:
        """L, the number of frames of a clip of `samples` samples that is encoded without `features=`, before they are grouped."""
        samples = max(samples, self._least_samples())
        stacks = stack_count(-(-samples * SPEECH_RATE_HZ // self.spec.sample_rate_hz))
        return min(int(stacks / self.config.speech_stride), -(-samples // self.spec.hop_samples))

    def _least_samples(self) -> int:
        """Samples that the speech model needs for one frame of the codec."""
        needed = samples_for(math.ceil(self.config.speech_stride))
        return -(-needed * self.spec.sample_rate_hz // SPEECH_RATE_HZ)

    @torch.no_grad()
    def speech_features(self, x: Tensor) -> Tensor:
        """The speech model's features `[B, C, N]` of clips `[B, 1, T]`."""
        c = self.config
        if self.speech is None:
            raise ValueError("this tokenizer has no speech model (speech is null): pass `features=` to encode.")
        if abs(FRAME_HOP * c.speech_stride / SPEECH_RATE_HZ * c.sample_rate_hz / c.hop_samples - 1) > 1e-3:
            raise ValueError(
                f"the speech model gives {SPEECH_RATE_HZ / FRAME_HOP / c.speech_stride:g} frames a second, this codec has "
                f"{self.spec.frame_rate_hz:g}: change speech_stride, or pass `features=` to encode."
            )
        with float32_by_default():
            speech = resample_short(x[:, 0].float(), c.sample_rate_hz, SPEECH_RATE_HZ)
        return self.speech(speech)

    def _at_frames(self, features: Tensor) -> Tensor:
        """Features `[B, C, N]` at the codec's frames `[B, C, L]`."""
        stride = self.config.speech_stride
        count = int(features.shape[-1] / stride)
        if not count:
            raise ValueError(f"features have {features.shape[-1]} frames; one frame of the codec needs {math.ceil(stride)}.")
        return F.avg_pool1d(features, int(stride)) if stride == int(stride) else F.interpolate(features, size=count, mode="linear")

    # --- encode -----------------------------------------------------------------------------------------------------

    def latents_of(self, x: Tensor, batch: Batch) -> Tensor:
        """Latents of clips `[B, 1, T]`, with the features and the threshold that were passed to `encode`, if any."""
        return self.encode_latents(x, self.features_of(batch), threshold=getattr(batch.options, "threshold", None))

    def encode_latents(self, x: Tensor, features: Tensor | None = None, *, threshold: float | None = None) -> Tensor:
        """Latents `[B, 1 + S + D, R]` of clips `[B, 1, T]`; `features` `[B, C, N]` are computed if they are not given.

        Without groups the latents are `[B, S + D, L]`. `threshold` as in `FlexiCodecEncodeOptions`.
        """
        if features is None:
            x = F.pad(x, (0, max(0, self._least_samples() - x.shape[-1])))
            features = self.speech_features(x)
        frames, acoustic = self._frames(x, features)
        g = self.config.groups
        if g is None:
            return self._both(frames, acoustic, torch.ones_like(frames[:, :1]))
        groups = group_frames(frames, threshold=g.threshold if threshold is None else threshold, longest=g.longest)
        durations = group_lengths(groups)
        valid = (durations > 0)[:, None].to(frames.dtype)
        features, acoustic = _vectors(self.semantic_groups, frames, groups), _vectors(self.acoustic_groups, acoustic, groups)
        return torch.cat([durations[:, None].to(frames.dtype), self._both(features, acoustic, valid)], dim=1)

    def _frames(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features `[B, C, L]` and acoustic latents `[B, D, L]`, frame by frame."""
        if features.shape[1] != self.config.latent_dim:
            raise ValueError(f"features have {features.shape[1]} channels; this codec takes {self.config.latent_dim}.")
        frames = self._at_frames(features.to(self.dtype))
        acoustic = self.encoder(pad_to_hop(x, self.spec.hop_samples))
        length = min(acoustic.shape[-1], frames.shape[-1])
        if abs(acoustic.shape[-1] - frames.shape[-1]) > 2:
            raise ValueError(f"{acoustic.shape[-1]} frames of audio and {frames.shape[-1]} of features: they do not belong together.")
        return frames[..., :length], acoustic[..., :length]

    def _both(self, features: Tensor, acoustic: Tensor, valid: Tensor) -> Tensor:
        """Latents of both paths `[B, S + D, R]`, of one vector of features and one of the waveform for each position."""
        semantic = self.semantic_path.encode(features, valid)
        with torch.no_grad():
            first = self.paths.first
            decoded = self.semantic_part(first.decode(first.encode(semantic)).to(self.dtype), valid)
        return torch.cat([semantic, acoustic - decoded], dim=1)

    def semantic_part(self, semantic_q: Tensor, valid: Tensor) -> Tensor:
        """Contribution of the semantic codebook's vectors `[B, S, R]` to the acoustic latent, `[B, D, R]`; `valid` `[B, 1, R]`."""
        return self.semantic_path.decode(semantic_q, valid) if self.config.subtract_decoded else semantic_q

    def ids_of(self, z: Tensor, batch: Batch) -> Coded:
        """Ids `[B, K, R]` of latents, and the number of groups of each item."""
        coded = super().ids_of(z, batch)
        return coded if self.config.groups is None else coded._replace(lengths=(z[:, 0] > 0).sum(1).tolist())

    # --- decode -----------------------------------------------------------------------------------------------------

    def decode_key(self, item: Tokens, options: Any) -> Hashable:
        """Items of equally many positions and frames go through the decoder together."""
        return super().decode_key(item, options), self._frame_count(item)

    def _frame_count(self, item: Tokens) -> int:
        """Frames that the positions of an item stand for."""
        return item.ids.shape[-1] if self.config.groups is None else int(self.frames_of(item.ids, item.lengths.to(item.ids.device)))

    def frames_of(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Frames `[B]` that the first `lengths` `[B]` positions of ids `[B, K, R]` stand for."""
        if self.config.groups is None:
            return lengths
        own = torch.arange(ids.shape[-1], device=ids.device) < lengths[:, None]
        return ((ids[:, 0] + 1) * own).sum(1)

    def _kept(self, item: Tokens) -> int | None:
        assert item.sizes is not None
        whole, frames = -(-int(item.sizes[0, 0]) * self.spec.sample_rate_hz // self._rate_in(item)), self._frame_count(item)
        left = frames * self.spec.hop_samples
        return left if frames < self.num_frames(whole) and left < whole else None

    def _split(self, z_q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Semantic and acoustic vectors, `valid` `[B, 1, R]` and the frames' groups `[B, L]` (None: a fixed rate)."""
        owners, valid = None, torch.ones_like(z_q[:, :1])
        if self.config.groups is not None:
            durations, z_q = z_q[:, 0].round().long(), z_q[:, 1:]
            owners, valid = _owners(durations), (durations > 0)[:, None].to(z_q.dtype)
        semantic, acoustic = z_q.split([self.config.semantic_width, self.config.latent_dim], dim=1)
        return semantic, acoustic, valid, owners

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, about L * hop]` of latents `[B, 1 + S + D, R]`; the items' numbers of frames L must be equal."""
        semantic, acoustic, valid, owners = self._split(z_q)
        return self._wave(acoustic + self.semantic_part(semantic, valid), owners)

    def _wave(self, z: Tensor, owners: Tensor | None) -> Tensor:
        z = z if owners is None else expand_groups(z, owners)
        return self.decoder(z if self.smoother is None else self.smoother(z))

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The speech model's features at the codec's frames `[B, C, L]`, as reconstructed from durations and semantic ids."""
        semantic, _, valid, owners = self._split(self.vectors_of(ids[:, : 1 if self.config.groups is None else 2]))
        decoded = self.semantic_path.decode(semantic, valid)
        return decoded if owners is None else expand_groups(decoded, owners)

    # --- training ---------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, features: Tensor | None = None) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients, except for the frozen speech model.

        `Reconstruction.features` holds "semantic", the features `[B, C, L]` reconstructed from the semantic codebook, and
        "semantic_target", the speech model's features, of each group the mean.
        """
        c, given = self.config, x
        if features is None:
            given = F.pad(x, (0, max(0, self._least_samples() - x.shape[-1])))
            features = self.speech_features(given)
        drawn = c.groups.draw_threshold if c.groups is not None and self.training else None
        threshold = None if drawn is None else float(torch.empty(()).uniform_(*drawn))
        z = self.encode_latents(given, features, threshold=threshold)
        quantized = self.quantizer(z)
        semantic, acoustic, valid, owners = self._split(quantized.z_q)
        if self.training and c.semantic_only:
            acoustic = acoustic * (torch.rand(len(x), 1, 1, device=x.device) >= c.semantic_only)
        decoded = self.semantic_path.decode(semantic, valid)
        x_hat = self._wave(acoustic + (decoded if c.subtract_decoded else semantic), owners)
        target = self._at_frames(features.to(self.dtype))[..., : z.shape[-1] if owners is None else owners.shape[-1]]
        if owners is not None:
            target = expand_groups(group_means(target, group_lengths(owners)), owners)
            decoded = expand_groups(decoded, owners)
        out = {"semantic": decoded, "semantic_target": target}
        return Reconstruction(x_hat=self.to_length(x_hat, x.shape[-1]), z=z, quantized=quantized, features=out)


def _group_vectors(c: FlexiCodecConfig) -> tuple[GroupVectors | None, GroupVectors | None]:
    """What gives groups of features, and of the waveform's latents, their vectors."""
    g = c.groups
    if g is None:
        return None, None
    first, second = (None if t is None else GroupVectors(c.latent_dim, t, g.query) for t in (g.semantic, g.acoustic))
    return first, second


def _owners(durations: Tensor) -> Tensor:
    """The group of each frame, int64 `[B, L]`, of the groups' lengths `[B, R]`, whose sums are L."""
    ends = durations.cumsum(dim=1)
    at = torch.arange(int(ends[:, -1].max()), device=durations.device).expand(len(durations), -1)
    return torch.searchsorted(ends, at.contiguous(), right=True)


def _vectors(part: GroupVectors | None, x: Tensor, groups: Tensor) -> Tensor:
    """One vector for each group, `[B, D, R]`, of frames `[B, D, L]` in groups `[B, L]`."""
    return group_means(x, group_lengths(groups)) if part is None else part(x, groups)
