"""`dalle_dvae` in tiny form, for tests over all families."""

from tiny_parts import RVQ

_TINY = {"width": 16, "groups": 3, "blocks": 1, "code_dim": 6}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "dalle-dvae": ("dalle_dvae", _TINY | {"quantizer": {"kind": "gumbel", "codebook_size": 16, "code_dim": 6}}),
    "dalle-dvae-rvq": ("dalle_dvae", _TINY | {"quantizer": RVQ | {"kmeans_init": True}}),
}
