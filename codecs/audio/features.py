"""`FeatureTokenizer`: audio families that also take features of a frozen speech model as input.

Letters: B batch, C channels, T samples, N positions of a feature, D latent width, L positions.
"""

from collections.abc import Hashable
from typing import Any

from torch import Tensor

from ..coding import Batch
from ..media import Prepared
from ..options import EncodeOptions, FeatureEncodeOptions
from .base import AudioTokenizer


class FeatureTokenizer(AudioTokenizer):
    """Base class of families with a speech model; `encode(clips, features=...)` takes its features `[C, N]` of each clip."""

    encode_options: type[EncodeOptions] = FeatureEncodeOptions

    def encode_latents(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """Latents `[B, D, L]` of clips `[B, C, T]` and features `[B, C, N]`; None: the family computes them."""
        raise NotImplementedError

    def encode_key(self, item: Prepared, index: int, options: Any) -> Hashable:
        """Clips of one length with features of one length go through the network in one batch."""
        key, features = super().encode_key(item, index, options), getattr(options, "features", None)
        if features is None:
            return key
        return key, tuple(features[index].shape) if index < len(features) else None

    def latents_of(self, x: Tensor, batch: Batch) -> Tensor:
        """Latents `[B, D, L]` of clips `[B, C, T]`, with the features that were passed to `encode`, if any."""
        features = self.features_of(batch)
        return self.encode_latents(x) if features is None else self.encode_latents(x, features)

    def features_of(self, batch: Batch) -> Tensor | None:
        """Features `[B, C, N]` that were passed to `encode` for the clips of `batch`, on the device; None: none were passed."""
        features = batch.rows("features") if isinstance(batch.options, FeatureEncodeOptions) else None
        return None if features is None else features.to(self.device)
