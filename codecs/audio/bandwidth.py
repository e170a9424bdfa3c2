"""Operating points of residual codecs: the number of codebooks at a bit rate, as EnCodec counts (arXiv 2210.13438)."""

import math

from ..spec import AudioSpec


def codebooks_within(
    spec: AudioSpec, bandwidth_kbps: float, allowed: tuple[float, ...], *, in_kilobits: bool = False
) -> int:
    """Number of codebooks of `spec` that fit into `bandwidth_kbps`, at least 1 and at most K.

    Args:
        spec: facts of the tokenizer; all its codebooks have the same size.
        bandwidth_kbps: bit rate in kbit/s, one of `allowed`.
        allowed: the bit rates in kbit/s that the model was trained for.
        in_kilobits: divide kbit/s by kbit/s (X-codec) instead of bit/s by bit/s (EnCodec): a quotient close to a whole
            number may round down in one of them.

    Raises:
        ValueError: `bandwidth_kbps` is not in `allowed`.
    """
    if bandwidth_kbps not in allowed:
        names = ", ".join(f"{b:g}" for b in allowed)
        raise ValueError(f"bandwidth_kbps is {bandwidth_kbps}; this model was trained for {names}.")
    rate = math.ceil(spec.sample_rate_hz / spec.hop_samples)  # the authors count whole frames a second
    bits = math.log2(spec.vocab_sizes[0]) * rate
    count = bandwidth_kbps / (bits / 1000) if in_kilobits else bandwidth_kbps * 1000 / bits
    return min(max(1, math.floor(count)), spec.num_codebooks)
