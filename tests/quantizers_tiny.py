"""Quantizers that tiny families of both modalities have."""

RVQ = {"kind": "residual_vq", "num_codebooks": 3, "codebook_size": 16, "kmeans_init": False}
#: Factorised cosine lookup, as DAC, SNAC and BigCodec have it.
FACTORISED = RVQ | {"codebook_dim": 4, "normalize": True, "update": "gradient", "replace_below": 0.0}
