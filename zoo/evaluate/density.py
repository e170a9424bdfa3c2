"""TokDense: what each token that a language model reads contributes to its score.

VQToken (Zhang and Fu 2025, arXiv 2503.16980) compares ways to read a clip of pictures by accuracy over number of tokens.
"""

from collections.abc import Sequence

from ...codecs.tokens import TokenError, Tokens


def tokens_read(tokens: Tokens) -> list[int]:
    """Number of tokens that a language model reads of each item.

    Of items that carry a codebook of their own (the side vector "table") these are its rows, of all others the ids of all codebooks.
    """
    if "table" in tokens.side_vectors:
        return [len(table) for table in tokens.side_vectors["table"]]
    return [sum(counts) for counts in tokens.counts()]


def tok_dense(score: float, tokens: Tokens | Sequence[Tokens]) -> float:
    """TokDense: the score of a task, such as the accuracy in percent, over the mean number of tokens that were read of an item.

    Args:
        score: of a language model that read these items.
        tokens: the items, in one batch or several.

    Raises:
        TokenError: no items, or items without tokens.
    """
    counts = [n for batch in ([tokens] if isinstance(tokens, Tokens) else tokens) for n in tokens_read(batch)]
    if not sum(counts):
        raise TokenError(f"there are {len(counts)} items with no tokens; TokDense needs at least one token.")
    return score * len(counts) / sum(counts)
