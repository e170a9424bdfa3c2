"""`vqgan` in tiny form, for tests over all families."""

from tiny_parts import SMALL_STACK, VQGAN

SMALL_SWIN = {"middle": ["residual", "swin", "head_attention"], "swin": {"width": 16, "depth": 2, "window": 2, "heads": 2}}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "vqgan": ("vqgan", VQGAN | {"quantizer": {"kind": "vq", "codebook_size": 16, "update": "gradient"}}),
    "vqgan-gumbel": ("vqgan", VQGAN | {"quantizer": {"kind": "gumbel", "codebook_size": 16}}),
    "vqgan-magvit2": (
        "vqgan",
        {
            "encoder": SMALL_STACK | {"stem_width": 4, "bias": False, "resample": "conv_centred", "middle": ["residual"]},
            "decoder": SMALL_STACK | {"bias": False, "resample": "depth_to_space", "condition": "adaptive", "noise": True},
            "z_channels": 20,
            "embed_dim": 0,
            "quantizer": {"kind": "sign", "bits": 20},
        },
    ),
    "vqgan-maskgit": (
        "vqgan",
        {
            "encoder": SMALL_STACK | {"stem_width": 4, "shortcut": "output", "resample": "average", "head_kernel": 1},
            "decoder": SMALL_STACK | {"shortcut": "output", "resample": "pixel_shuffle", "activation": "gelu"},
            "z_channels": 6,
            "embed_dim": 0,
            "quantizer": {"kind": "bernoulli", "bits": 8, "double_sigmoid": True},
            "value_range": [0.0, 1.0],
        },
    ),
    "vqgan-haar-swin": (
        "vqgan",
        {
            "encoder": SMALL_STACK | SMALL_SWIN | {"stem_width": 4, "patching": "haar", "patch_size": 2},
            "decoder": SMALL_STACK | SMALL_SWIN | {"patching": "haar", "patch_size": 2, "condition": "spatial"},
            "z_channels": 6,
            "embed_dim": 3,
            "quantizer": {"kind": "fsq", "levels": [5, 4, 3]},
            "value_range": [0.0, 1.0],
            "network_range": [-1.0, 1.0],
        },
    ),
    "vqgan-encoder": ("vqgan", VQGAN | {"decoder": None}),  # encodes alone
    "vqgan-ibq": ("vqgan", VQGAN | {"quantizer": {"kind": "ibq", "codebook_size": 512}}),
}
