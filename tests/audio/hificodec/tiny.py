"""`hificodec` in tiny form, for tests over all families."""

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "hificodec": (
        "hificodec",
        {
            "strides": [2, 5],
            "stride_kernels": [4, 11],
            "encoder_width": 8,
            "decoder_width": 8,
            "unit_kernels": [3, 5],
            "unit_dilations": [[1, 3], [1, 2]],
            "quantizer": {"kind": "grouped_vq", "codebook_size": 16, "update": "gradient"},
        },
    ),
}
