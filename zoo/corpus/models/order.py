"""The order of dimensions by frequency (TokenBridge, arXiv:2503.16430): those that carry a picture's coarse structure come first.

Differs: the authors state one order, found once for their autoencoder; here it is found in the training data, from ids, whose order
within a dimension is that of its levels. The limit between low and high is our own choice.
"""

import numpy as np

from ..dataset import TokenDataset

#: Frequencies up to this many cycles a position are low; 0.5 is the highest there is.
LOW = 0.125
#: Documents that are looked at.
_MOST = 256


def frequency_order(data: TokenDataset) -> tuple[int, ...]:
    """Dimensions by the share of their variance over positions that lies at low frequencies, the largest share first."""
    books = len(data.packing.vocab_sizes)
    low, whole = np.zeros(books), np.zeros(books)
    for i in range(min(data.documents, _MOST)):
        tokens = data.tokens(i)
        shape = tokens.grid if len(tokens.grid) == 2 else (1, tokens.ids.shape[2])
        x = tokens.ids[0, :books].double().numpy().reshape(books, *shape)
        power = np.abs(np.fft.fft2(x - x.mean(axis=(1, 2), keepdims=True))) ** 2 / x[0].size
        rows, columns = (np.fft.fftfreq(n) for n in shape)
        slow = np.hypot(rows[:, None], columns) <= LOW
        low, whole = low + power[:, slow].sum(axis=1), whole + power.sum(axis=(1, 2))
    return tuple(int(k) for k in np.argsort(-low / np.maximum(whole, 1e-12), kind="stable"))
