"""Decoding ids as they come, by decoding the last ones again: MiMo's `streaming_decode`.

The decoder's norms see all frames at once, so sound that has been returned does not exactly equal the offline sound; the more ids are
kept on the left, and the longer sound waits on the right, the closer it comes.

Letters: K codebooks, l ids of one part, D latent width.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..base import AudioTokenizer


class OverlapDecoder:
    """The decoder of one stream of ids.

    Args:
        tokenizer: checks ids, and gives their vectors.
        decode: its decoder, `[1, D, n]` to `[1, 1, n * hop]`.
        left: ids that are kept to be decoded again; more than `right`.
        right: ids whose sound waits for later ones.

    Raises:
        ValueError: `left` and `right` under which no sound would ever come.
    """

    def __init__(self, tokenizer: AudioTokenizer, decode: Callable[[Tensor], Tensor], *, left: int, right: int) -> None:
        if right < 0 or left <= right:
            raise ValueError(f"left is {left} and right {right}; right is 0 or more, and left is larger than it.")
        self.tokenizer, self.decode, self.left, self.right = tokenizer, decode, left, right
        self._kept: Tensor | None = None  # [1, D, n]
        self._done = 0  # of these, whose sound was returned

    @torch.no_grad()
    def push(self, ids: Tensor, *, last: bool = False) -> Tensor | None:
        """Return the next samples `[1, n]`, or None where there are none yet.

        Args:
            ids: the next ones, `[K', l]`; K' may be less than K.
            last: nothing follows, so return all that is left; the decoder can then be used for another stream.

        Raises:
            TokenError: ids that the tokenizer does not have.
        """
        tokenizer, hop = self.tokenizer, self.tokenizer.spec.hop_samples
        checked = tokenizer.check_tokens(tokenizer.tokens(ids[None])).ids
        new = tokenizer.vectors_of(checked.to(tokenizer.device))
        z = new if self._kept is None else torch.cat([self._kept, new], dim=-1)
        count, start = z.shape[-1], self._done
        if last:
            self._kept, self._done = None, 0
            return self.decode(z)[0, :, start * hop :].float()
        self._kept, self._done = z[..., -self.left :], 0
        if count <= self.right:
            return None
        end = count - self.right
        self._done = end - max(0, count - self.left)
        return self.decode(z)[0, :, start * hop : end * hop].float()
