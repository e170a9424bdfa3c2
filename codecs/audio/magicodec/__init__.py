"""MagiCodec: patches of samples, windowed transformers, one codebook of 131072 entries."""
