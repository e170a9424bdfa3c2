"""`s3` in tiny form, for tests over all families."""

SMALL_S3 = {"bands": 8, "width": 16, "heads": 2, "layers": 1, "memory": 3, "window_frames": 48, "overlap_frames": 16}
#: Version 1: a table of positions, and nearest code vectors; a hop of 320 samples.
SMALL_S3_V1 = SMALL_S3 | {"strides": [1, 2], "memory": 0, "table": 24, "latent_dim": 0}
SMALL_S3_V1 |= {"quantizer": {"kind": "vq", "codebook_size": 16}}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {"s3": ("s3", SMALL_S3), "s3-v1": ("s3", SMALL_S3_V1)}
