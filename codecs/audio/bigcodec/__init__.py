"""BigCodec: one codebook of 8192 entries between wide alias-free convolutions with LSTMs."""
