"""VQToken: few tokens for a clip of pictures; k-means over the frames' features, a codebook for each clip.

Zhang and Fu 2025, "VQToken: Neural Discrete Token Representation Learning for Extreme Token Reduction in Video Large Language Models",
arXiv 2503.16980. Read from Hai-chao-Zhang/VQToken @ 019f89f (BSD-3-Clause), `VQToken/{vq_token,cluster,vq_attn}.py` and
`llava/model/llava_arch.py`.

    clip [T, 3, H, W] -> frozen image model -> features [T, N, C] -> length 1 -> k-means -> codebook [K, C] and map [T, N]

The map is the ids, the codebook a side vector "table" of the tokens: a row of the codebook means something to its own clip alone. There
is no way back to pictures; `semantic(tokens)` gives the features, `table[map]`. A language model reads K vectors in place of T N:
`clip_vectors(tokens)`, the rows of the codebook, or what the attention of the map to the codebook makes of them (`attention.py`).

Differs: the first centres follow from the clip (`clusters.py`), where the authors draw them at random, so that ids do not change from
call to call. The authors' elbow counts from 0 where the curve begins at K = 12, and their silhouette does not depend on K; here both
are what they are called. The authors cluster the features after the projection of their language model, which is part of it.

Letters: B batch, T frames, N = h w positions of a frame, C width of the features, K codes of a clip, L = T N, V most codes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...coding import Batch, Coded, one_batch
from ...config import ConfigError, SignedInt
from ...media import Prepared, as_clips
from ...options import ImageEncodeOptions, check_at_least
from ...quantizers.base import Quantized, Quantizer, QuantizerConfig, straight_through, zero_loss
from ...quantizers.parts.nearest import unit
from ...spec import ImageSpec
from ...token_fields import TokenError
from ...token_ids import Ids
from ...tokenizer import Reconstruction
from ...tokens import Tokens
from ..base import ImageTokenizer
from .attention import MapAttention
from .clusters import Clusters, Rule, clusters_of
from .tower import FrameTower, PublishedTower

#: Name of the codebooks among the side vectors of tokens.
TABLE = "table"
#: Frames that go through the image model together.
_FRAMES = 16


@dataclass(frozen=True, kw_only=True)
class VQTokenConfig:
    """Settings of `VQToken`; the defaults are the authors' image model and numbers.

    Attributes:
        model: name of an image model of timm, with its tag.
        model_options: further arguments of `timm.create_model`, such as `img_size`.
        published: the model's published weights are loaded when they are first needed. False: its weights are part of this tokenizer,
            and random until they are loaded.
        layer: block of the model whose output is clustered: 0 the first, -1 the last.
        num_tokens: V, the most codes of a clip.
        least_tokens: fewest codes of a clip where their number is adaptive.
        normalize: features are scaled to length 1 and clustered by cosine similarity; False: by Euclidean distance.
        iterations: most steps of k-means.
        attention_heads, attention_layers: of the attention that `clip_vectors` uses, untrained until its weights are loaded; no heads:
            none.
    """

    model: str = "vit_so400m_patch14_siglip_384.webli"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    published: bool = True
    layer: SignedInt = -1
    num_tokens: int = 32
    least_tokens: int = 12
    normalize: bool = True
    iterations: int = 50
    attention_heads: int = 0
    attention_layers: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.least_tokens <= self.num_tokens:
            raise ConfigError(f"least_tokens is {self.least_tokens}; allowed: 1 to num_tokens, {self.num_tokens}.")
        if self.iterations < 1 or self.attention_layers < 1:
            raise ConfigError(f"iterations is {self.iterations}, attention_layers {self.attention_layers}; both must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class VQTokenEncodeOptions(ImageEncodeOptions):
    """Options of `encode`.

    Attributes:
        num_tokens: codes of each clip, 1 to V; fewer where the clip has fewer different features. None: V.
        adaptive: choose the number of codes of each clip, from `least_tokens` of the config to `num_tokens`, by the "elbow" of the
            error or the "silhouette" of the clusters; None: `num_tokens` codes.
        frames: of longer clips take this many frames, evenly spaced; None: all.
    """

    num_tokens: int | None = None
    adaptive: Rule | None = None
    frames: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("num_tokens", self.num_tokens, 1)
        check_at_least("frames", self.frames, 1)


@dataclass(frozen=True, kw_only=True)
class ClipKMeansConfig(QuantizerConfig):
    """Settings of `ClipKMeans`; see `VQTokenConfig`."""

    kind: ClassVar[str] = "clip_kmeans"

    num_tokens: int
    least_tokens: int
    normalize: bool
    iterations: int

    def quantizer_class(self) -> type[Quantizer]:
        return ClipKMeans


class ClipKMeans(Quantizer):
    """k-means of each item by itself; without the item's table, ids have no vectors."""

    config: ClipKMeansConfig

    def __init__(self, config: ClipKMeansConfig) -> None:
        super().__init__(config, (config.num_tokens,))

    @torch.no_grad()
    def clusters(self, z: Tensor, *, num_tokens: int | None = None, adaptive: Rule | None = None) -> list[Clusters]:
        """Codebook and ids of each item of features `[B, C, L]`, of length 1 with `normalize`."""
        c = self.config
        most = c.num_tokens if num_tokens is None else num_tokens
        return [
            clusters_of(
                rows, most, least=min(c.least_tokens, most), adaptive=adaptive, cosine=c.normalize, iterations=c.iterations
            )
            for rows in z.float().transpose(1, 2)
        ]

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        found = self.clusters(z)
        z_q = torch.stack([c.table[c.ids].t() for c in found])
        error = (z.detach() - z_q).square().mean()
        ids = torch.stack([c.ids for c in found])[:, None]
        return Quantized(z_q=straight_through(z, z_q), ids=ids, loss=zero_loss(z), metrics={"error": error})

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return torch.stack([c.ids for c in self.clusters(z)])[:, None]

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        raise ValueError("ids of a clip are rows of the codebook that its tokens carry; call semantic(tokens) of the tokenizer.")


class VQToken(ImageTokenizer):
    """A clip to the map of its positions to K codes, and the codes; see the module's docstring."""

    family: ClassVar[str] = "vqtoken"
    config_class: ClassVar[type] = VQTokenConfig
    encode_options = VQTokenEncodeOptions
    encoder_only = ("tower",)
    decoder_only = ("attention",)
    config: VQTokenConfig
    quantizer: ClipKMeans
    place: Tensor

    def __init__(self, config: VQTokenConfig) -> None:
        super().__init__()
        self.config = c = config
        if c.published:
            with torch.device("meta"):
                facts = FrameTower(c.model, c.model_options, c.layer)
        else:
            facts = FrameTower(c.model, c.model_options, c.layer)
        self.tower = None if c.published else facts
        self._published = PublishedTower(c.model, c.model_options, c.layer)
        self._side = facts.stride
        self.quantizer = ClipKMeans(ClipKMeansConfig(
            dim=facts.width, num_tokens=c.num_tokens, least_tokens=c.least_tokens, normalize=c.normalize, iterations=c.iterations
        ))  # fmt: skip
        self.spec = ImageSpec(
            vocab_sizes=(c.num_tokens,),
            channels=3,
            stride=facts.stride,
            image_size=facts.image_size,
            value_range=(0.0, 1.0),
            resize="squash",
            clips=True,
            decodes=False,
            semantic_dim=facts.width,
            side_vectors=(TABLE,),
        )
        if c.attention_heads and facts.width % c.attention_heads:
            raise ConfigError(f"attention_heads is {c.attention_heads}; it must divide the width of the features, {facts.width}.")
        positions = self.spec.positions()
        self.attention = MapAttention(positions, facts.width, c.attention_heads, c.attention_layers) if c.attention_heads else None
        self.register_buffer("place", torch.zeros(()), persistent=False)  # device and dtype where no weights are its own

    @property
    def device(self) -> torch.device:
        """Device on which features and ids are computed."""
        return self.place.device

    @property
    def dtype(self) -> torch.dtype:
        """Number type in which the image model computes; the clusters are always computed in float32 and float64."""
        return self.place.dtype

    # --- encode -----------------------------------------------------------------------------------------------------------

    def prepare_media(self, media: Any, options: VQTokenEncodeOptions) -> list[Prepared]:
        """Clips of any kind (see `media/clips.py`) with frames of the model's size; arguments as in `ImageTokenizer`."""
        resize = options.resize or self.spec.resize
        clips = as_clips(media, self.spec.value_range, given_range=options.value_range, frames=options.frames)
        sizes = [(len(clip), *self.kept_size(clip[0], resize)) for clip in clips]
        return [Prepared(torch.stack([self.fit_in(x, resize) for x in c]), s) for c, s in zip(clips, sizes, strict=True)]

    def grid_of(self, x: Tensor) -> tuple[int, ...] | None:
        """Grid `(t, h, w)` of a batch of clips `[B, T, 3, H, W]`."""
        frame = super().grid_of(x)
        return None if frame is None else (x.shape[1], *frame)

    def encode_batch(self, x: Tensor, batch: Batch) -> Coded:
        """Ids of clips `[B, T, 3, H, W]`; the frames have one size, so there are no tiles."""
        return self.ids_of(self.latents_of(x, batch), batch)

    def ids_of(self, z: Tensor, batch: Batch) -> Coded:
        """Ids `[B, 1, L]` of features `[B, C, L]`; the codebooks go into `batch.notes`."""
        most = batch.options.num_tokens
        if most is not None and most > self.config.num_tokens:
            raise ConfigError(f"num_tokens is {most}; this tokenizer allows 1 to {self.config.num_tokens}.")
        found = self.quantizer.clusters(z, num_tokens=most, adaptive=batch.options.adaptive)
        batch.notes[TABLE] = tuple(c.table for c in found)
        return Coded(torch.stack([c.ids for c in found])[:, None])

    def tokens_of_batch(self, coded: Coded, items: Sequence[Prepared], batch: Batch) -> Tokens:
        """Tokens of a batch, with the codebook of each clip."""
        return dataclasses.replace(super().tokens_of_batch(coded, items, batch), side_vectors={TABLE: batch.notes[TABLE]})

    def encode_latents(self, x: Tensor) -> Tensor:
        """Features `[B, C, T N]` of clips `[B, T, 3, H, W]` in 0..1, of length 1 with `normalize`; each clip is computed alone."""
        tower = self.tower or self._published.get(self.device, self.dtype)
        z = torch.stack([torch.cat([tower(part) for part in clip.split(_FRAMES)]) for clip in x])  # [B, T, C, N]
        z = z.transpose(1, 2).flatten(2)
        return unit(z.float().transpose(1, 2)).transpose(1, 2) if self.config.normalize else z

    # --- back to vectors --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def semantic(self, tokens: Tokens | Ids, *, pooled: bool = False) -> Tensor | list[Tensor]:
        """Features of clips: the code of each position, float32 `[B, C, L]`, or a list of `[C, L]` where L differs.

        Args:
            tokens: from `encode`, with their table.
            pooled: not possible here.

        Raises:
            TokenError: tokens without a table, or with ids outside it.
        """
        features = [table[ids[0]].t() for ids, table in self._items(tokens)]
        return one_batch([self.pooled_of(y) if pooled else y for y in features])

    @torch.no_grad()
    def clip_vectors(self, tokens: Tokens) -> Tensor | list[Tensor]:
        """What a language model reads of each clip: float32 `[B, K, C]`, or a list of `[K, C]` where K differs.

        The rows of the table or, where the config has attention heads, what the attention of the map to the table gives.

        Raises:
            TokenError: as `semantic`.
        """
        return one_batch([self._blended(ids, table).float() for ids, table in self._items(tokens)])

    def _blended(self, ids: Tensor, table: Tensor) -> Tensor:
        """Vectors `[K, C]` of ids `[1, L]` and a table `[K, C]`."""
        if self.attention is None:
            return table
        maps = ids.view(1, -1, self.spec.positions())
        return self.attention(maps, table.to(self.dtype)[None])[0]

    def _items(self, tokens: Tokens | Ids) -> list[tuple[Tensor, Tensor]]:
        """Ids `[1, L]` and table `[K, C]` of each clip, checked."""
        out = []
        for item in self.check_ids(tokens).to(self.device):
            ids, table = item.ids[0], item.side_vectors[TABLE][0]
            if table.shape[1] != self.spec.semantic_dim or int(ids.max()) >= len(table):
                raise TokenError(
                    f"a clip has ids up to {int(ids.max())} and a table {list(table.shape)}; it must have a row of "
                    f"{self.spec.semantic_dim} numbers for each id."
                )
            out.append((ids, table))
        return out

    def forward(self, x: Tensor) -> Reconstruction:
        """Encode and quantize clips `[B, T, 3, H, W]`; `x_hat` is the codes of the positions, `[B, C, L]`.

        `Reconstruction.features` holds, where the config has attention heads, "clip_vectors" `[B, V, C]`; rows past K are 0.

        Raises:
            ValueError: no batch of clips.
        """
        if x.ndim != 5:
            raise ValueError(f"a batch of clips is [B, T, 3, H, W]; got {list(x.shape)}.")
        z = self.encode_latents(x)
        quantized = self.quantizer(z)
        features = {}
        if self.attention is not None:
            rows = [self._blended(c.ids[None], c.table) for c in self.quantizer.clusters(z)]
            features["clip_vectors"] = torch.stack([F.pad(r, (0, 0, 0, self.config.num_tokens - len(r))) for r in rows])
        return Reconstruction(x_hat=quantized.z_q, z=z, quantized=quantized, features=features)
