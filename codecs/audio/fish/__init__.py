"""The codec of Fish Audio's S1 and S2: a causal DAC with transformers, one semantic codebook and residual ones."""
