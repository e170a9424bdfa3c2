"""SQ-Codec: no codebook at all, every latent channel rounded to one of 19 values."""
