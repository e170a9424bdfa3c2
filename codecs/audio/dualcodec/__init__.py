"""DualCodec: one semantic codebook over a speech model's features, and DAC on what its reconstruction leaves over."""
