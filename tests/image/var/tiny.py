"""`var` in tiny form, for tests over all families."""

from tiny_parts import VQGAN

#: One convolution a scale, so that all of them are used.
PHI3 = {"kmeans_init": True, "phi_count": 3}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "var": (
        "var",
        VQGAN | {"quantizer": {"kind": "multiscale_bsq", "bits": 4, "scales": [[1, 1], [2, 2], [3, 3], [6, 6]]}},
    ),
    "var-vq": (
        "var",
        VQGAN | {"quantizer": {"kind": "multiscale_vq", "codebook_size": 16, "scales": [[1, 1], [2, 2], [4, 4]]} | PHI3},
    ),
}
