"""Stable Codec (TAAE): patches of samples, few strided convolutions, long chains of transformer blocks, FSQ."""
