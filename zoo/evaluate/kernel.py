"""KID-HED: how far the set of reconstructions is from the set of originals, a stand-in for rFID that needs no download at run time.

The kernel distance of Binkowski et al. 2018, arXiv 1801.01401: the unbiased squared maximum mean discrepancy with a polynomial kernel
of degree 3, which has no bias that depends on the number of pictures, so that a hundred are enough. Its features are the mean over
positions of the unit-length activations after the last block of the VGG16 inside the edge detector HED (`perceptual.py`), in place of
Inception's. **Its numbers compare with no rFID, and with no KID of others**: always write the name KID-HED beside them.

Letters: n pictures of a set, D features.
"""

import torch
from torch import Tensor

#: Fewer pictures than this give a value that is mostly noise.
MIN_ITEMS = 50


def features_of(last: Tensor) -> Tensor:
    """Features `[B, D]` of the activations `[B, D, h, w]` after the last block."""
    return last.mean(dim=(2, 3)).double().cpu()


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy of two sets of features `[n, D]`, n at least 2; for alike sets about 0, also below it.

    Differs: the kernel is (x . y + 1)^3, not (x . y / D + 1)^3, since these features are of about unit length.
    """

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T + 1) ** 3

    within = sum((k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1)) for k in (kernel(a, a), kernel(b, b)))
    return float(within - 2 * kernel(a, b).mean())


class KernelDistance:
    """Features of originals and reconstructions, one picture after the other."""

    def __init__(self) -> None:
        self._features: tuple[list[Tensor], list[Tensor]] = [], []

    def __len__(self) -> int:
        return sum(len(kept) for kept in self._features[0])

    def add(self, original: Tensor, decoded: Tensor) -> None:
        """Activations `[B, D, h, w]` of pictures and of their reconstructions."""
        for kept, last in zip(self._features, (original, decoded), strict=True):
            kept.append(features_of(last))

    def value(self) -> float:
        """The distance of the two sets."""
        a, b = (torch.cat(kept) for kept in self._features)
        return kernel_distance(a, b)
