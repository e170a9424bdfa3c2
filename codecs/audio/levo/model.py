"""LeVo / SongGeneration: songs as one token stream (the mix), or as two parallel ones, vocal and accompaniment.

Lei et al. 2025, "LeVo: High-Quality Song Generation with Multi-Preference Alignment", arXiv 2506.07520. Written from
tencent-ailab/SongGeneration @ b1b03ec (own licence: academic use only): `libs/rvq/descript_quantize3.py` and
`codeclm/tokenizer/Flow1dVAE/{model_1rvq,model_septoken,generate_1rvq,generate_septoken}.py`.

    stereo track at 48 kHz -> both channels' mean at 24 kHz -> MusicFM, one layer -> factorised VQ -> ids of that track

Single tokens encode the whole mix, with MusicFM's layer 6. Separate tokens encode vocal and accompaniment, each with its own layer
and codebook, in one `Tokens` with a named codebook for each track: ids `[B, G, L]`. A source separator (the authors use Demucs) is
not included. This family encodes features: `encode` takes `[G * C, L]`, `extract_features` computes them from audio, `decode`
returns the quantized features, and `synthesize` decodes separate tokens to a waveform (`sound.py`). Not implemented: prompts, and
waveforms of single tokens, whose flow transformer is commented out in the public code.

Letters: B batch, T samples, G tracks, C feature width, D = G C, L positions (25 a second).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...config import ConfigError
from ...latent import LatentSpec, LatentTokenizer
from ...media import as_waveform, resample, resample_short, to_channels
from ...quantizers.grouped_vq import GroupedVQConfig
from ...tokens import Tokens
from .musicfm import MusicFM, MusicFMConfig
from .sound import FlowConfig, FlowDecoder, OobleckConfig, OobleckDecoder, joined

#: Tracks with a higher peak amplitude are scaled down to this peak, each track as a whole.
PEAK = 0.8


@dataclass(frozen=True, kw_only=True)
class LeVoConfig:
    """Settings of `LeVo`; the defaults are those of separate tokens.

    Attributes:
        tracks: names of the tracks; one name means single tokens.
        layers: for each track, the MusicFM layer whose output is its features.
        sample_rate_hz: sampling rate of the tracks.
        piece_seconds: MusicFM takes pieces of this length as input; shorter tracks are repeated to fill one.
        feature_dim: C, channels of one track's features.
        musicfm: settings of the feature extractor; None: features are always passed by the caller.
        quantizer: settings of `grouped_vq` with one group for each track; its `dim` is filled in.
        flow, vae: settings of the waveform decoder; None: tokens cannot be synthesized.
    """

    tracks: tuple[str, ...] = ("vocal", "accompaniment")
    layers: tuple[int, ...] = (7, 3)
    sample_rate_hz: int = 48000
    piece_seconds: int = 40
    feature_dim: int = 1024
    musicfm: MusicFMConfig | None = MusicFMConfig()
    quantizer: GroupedVQConfig = GroupedVQConfig(
        levels=1, codebook_size=16384, codebook_dim=32, normalize=True, update="gradient", kmeans_init=False, replace_below=0.0
    )
    flow: FlowConfig | None = None
    vae: OobleckConfig | None = None

    def __post_init__(self) -> None:
        if not self.tracks or len(self.layers) != len(self.tracks) or len(set(self.tracks)) != len(self.tracks):
            raise ConfigError(f"tracks {self.tracks} and layers {self.layers}: give each track a unique name and a layer.")
        if self.quantizer.groups != len(self.tracks):
            raise ConfigError(f"quantizer.groups is {self.quantizer.groups}; there are {len(self.tracks)} tracks.")
        if self.musicfm and (self.musicfm.width != self.feature_dim or max(self.layers) > self.musicfm.layers):
            raise ConfigError(
                f"musicfm has width {self.musicfm.width} and {self.musicfm.layers} layers; feature_dim is {self.feature_dim}, "
                f"and layers {self.layers} are requested."
            )


class LeVo(LatentTokenizer):
    """Tokens of a song's tracks; see the module's docstring. Ids `[B, G, L]`; all tracks are needed to decode."""

    family: ClassVar[str] = "levo"
    config_class: ClassVar[type] = LeVoConfig
    encoder_only = ("musicfm",)
    decoder_only = ("flow", "vae")
    features_advice = "`extract_features(*tracks)` computes them from a song's tracks, `tokenize(*tracks)` goes from tracks to tokens."
    config: LeVoConfig

    def __init__(self, config: LeVoConfig) -> None:
        super().__init__()
        self.config = c = config
        self.musicfm = MusicFM(c.musicfm) if c.musicfm else None
        width = c.feature_dim * len(c.tracks)
        self.quantizer = c.quantizer.build(dim=width)
        self.flow = FlowDecoder(c.flow, width) if c.flow else None
        self.vae = OobleckDecoder(c.vae, c.flow.latent_dim if c.flow else 64) if c.vae else None
        for part in (self.flow, self.vae):  # published parts; the loop trains the tables alone
            if part is not None:
                part.requires_grad_(False)
        self.spec = LatentSpec.of(self.quantizer, channels=width, names=c.tracks * c.quantizer.levels, semantic_dim=width)

    def tokenize(self, *tracks: Any) -> Tokens:
        """Tokens of one song: `extract_features` of its tracks, then `encode`."""
        return self.encode(self.extract_features(*tracks))

    @torch.no_grad()
    def extract_features(self, *tracks: Any) -> Tensor:
        """Features `[1, G C, L]` of one song.

        Args:
            tracks: in the order of `config.tracks`, each a path, `(waveform, sample_rate)`, or `[T]`, `[1, T]` or `[2, T]` at
                `config.sample_rate_hz`. All are cut to the shortest.

        Raises:
            ValueError: another number of tracks, or a model without MusicFM.
        """
        c = self.config
        if self.musicfm is None:
            raise ValueError("this model has no MusicFM (config.musicfm): pass features to encode.")
        if len(tracks) != len(c.tracks):
            raise ValueError(f"got {len(tracks)} tracks; give {len(c.tracks)}: {', '.join(c.tracks)}.")
        clips = [as_waveform(t, default_rate_hz=c.sample_rate_hz, channels=2, name=n) for t, n in zip(tracks, c.tracks, strict=True)]
        stereo = [to_channels(resample(w.samples, w.sample_rate_hz, c.sample_rate_hz), 2) for w in clips]
        length = min(x.shape[-1] for x in stereo)
        parts = []
        for x, layer in zip(stereo, c.layers, strict=True):
            x = x.to(self.device, self.musicfm.proj.weight.dtype)
            x = x * (PEAK / x.abs().max().clamp(min=PEAK))
            parts.append(self._features(x[:, :length], layer))
        return torch.cat(parts, dim=0)[None]

    def _features(self, x: Tensor, layer: int) -> Tensor:
        """Features `[C, L]` of one track `[2, T]`; MusicFM runs on pieces of equal length, one at a time."""
        c, fm = self.config, self.musicfm
        assert fm is not None
        piece, rate = c.piece_seconds * c.sample_rate_hz, c.sample_rate_hz
        frames_hz = fm.config.sample_rate_hz / fm.config.frame_samples
        frames = int(x.shape[-1] / rate * frames_hz) + 1
        while x.shape[-1] < piece:
            x = torch.cat([x, x], dim=-1)
        per_piece = round(c.piece_seconds * frames_hz)
        count = -(-frames // per_piece)
        x = torch.cat([x, x], dim=-1)[:, : count * piece]
        mono = [p.mean(0, keepdim=True) for p in x.split(piece, dim=-1)]
        features = [fm(resample_short(p, rate, fm.config.sample_rate_hz), layer) for p in mono]
        return torch.cat(features, dim=-1)[0, :, :frames]

    # --- sound ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def synthesize(self, tokens: Tokens, *, steps: int = 10, guidance: float = 1.5, seed: int = 0) -> list[Tensor]:
        """Waveforms of separate tokens: for each song the mix of its tracks, float32 `[2, L * hop]` at `config.sample_rate_hz`.

        The same seed gives the same waveform. Songs are synthesized one at a time.

        Args:
            tokens: from `encode` or a language model.
            steps: integration steps of the flow.
            guidance: scale of the classifier-free guidance by the tokens.
            seed: seed of the initial noise.

        Raises:
            ValueError: tokens of another tokenizer, or a model without flow transformer or VAE.
        """
        if self.flow is None or self.vae is None:
            raise ValueError("this model has no flow transformer or no VAE (config.flow, config.vae): it cannot synthesize a waveform.")
        tokens = self.check_tokens(tokens)
        hop, songs = self.vae.config.hop_samples, []
        for song in tokens:
            vectors = self.quantizer.decode(song.ids.to(self.device)).to(self.flow.positions.dtype)
            generator = torch.Generator().manual_seed(seed)
            latents = self.flow(vectors, steps=steps, guidance=guidance, generator=generator)
            sound = joined([self.vae(z) for z in latents], self.flow.config.overlap_frames * hop)
            songs.append(sound[0, :, : vectors.shape[-1] * hop].float())
        return songs
