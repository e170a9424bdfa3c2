"""`sq_codec` in tiny form, for tests over all families."""

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "sq_codec": (
        "sq_codec",
        {
            "pool": 2,
            "strides": [2, 5],
            "stride_kernels": [4, 10],
            "decoder_strides": [5, 2],
            "decoder_stride_kernels": [10, 4],
            "width": 4,
            "latent_dim": 3,
        },
    ),
}
