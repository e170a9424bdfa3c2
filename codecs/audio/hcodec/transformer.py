"""The transformer of all versions of H-Codec: gated blocks with an LSTM before each attention."""

from ...layers.transformer1d import Transformer1d, Transformer1dConfig


def frame_transformer(width: int, *, heads: int, layers: int, feed_forward: int) -> Transformer1d:
    """Blocks over `[B, width, L]`; every position attends to all others."""
    return Transformer1d(
        Transformer1dConfig(
            width=width,
            layers=layers,
            heads=heads,
            feed_forward=feed_forward,
            gated=True,
            activation="silu",
            context=None,
            causal=False,
            norm="rms",
            norm_eps=1e-6,
            layer_scale=None,
            bias=True,
            out_bias=False,
            recurrent=True,
        )
    )
