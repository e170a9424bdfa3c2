"""Loudness stored as a number with the tokens, so that the codebooks need not encode it."""

from typing import Any

import torch
from torch import Tensor


class RMSNormalizer:
    """Mix-in of audio families whose config has `normalize: "none" | "rms"`; comes before `AudioTokenizer` in the list of bases."""

    config: Any
    #: RMS of normalised clips, -23 dB of full scale.
    target_rms = 10 ** (-23 / 20)
    #: Clips with a lower RMS are treated as if they had this one, so that silence stays silent; -60 dB of full scale.
    floor_rms = 1e-3

    def normalize(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Divide a batch `[B, C, T]` by its clips' factors; returns it with the factors `[B, 1]`."""
        if self.config.normalize == "none":
            return x, None
        rms = x.double().square().mean(dim=(1, 2)).sqrt().float()  # double: the same for any length of clip
        scale = rms.clamp(min=self.floor_rms) / self.target_rms
        return (x / scale[:, None, None]).to(x.dtype), scale[:, None].to(torch.float32)
